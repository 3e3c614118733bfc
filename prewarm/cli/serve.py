"""`prewarm serve`: the REST service."""

from __future__ import annotations

from pathlib import Path

import click

from prewarm.cli import options


@click.command()
@click.option("--host", metavar="HOST", help="Address to bind [127.0.0.1]; any but loopback needs tokens.")
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="PORT", help="Port to bind [8080]; 0 takes a free one."
)
@options.common
def serve(
    host: str | None,
    port: int | None,
    lake: str | None,
    config: Path | None,
    timezone: str | None,
    assignments: tuple[str, ...],
    as_json: bool,
) -> None:
    """Serve the ranking over REST: /v1/rankings, /livez, /readyz, /docs."""
    service = {key: value for key, value in {"host": host, "port": port}.items() if value is not None}
    settings = options.load(config, assignments, lake=lake, timezone=timezone, service=service or None)
    from prewarm.service import serve as serve_forever

    serve_forever(settings)
