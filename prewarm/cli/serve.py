"""`prewarm serve`: the REST service."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from prewarm.cli import options, output

if TYPE_CHECKING:
    from prewarm.settings import Settings


@click.command()
@click.option("--host", metavar="HOST", help="Address to bind [127.0.0.1]; any but loopback needs tokens.")
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="PORT", help="Port to bind [8080]; 0 takes a free one."
)
@options.common
def serve(settings: Settings, as_json: bool, host: str | None, port: int | None) -> None:
    """Serve rankings, forecasts and demand over REST, with a page to look at.

    --json prints the address on stdout as soon as it is bound.
    """
    from prewarm.service import serve as serve_forever

    def tell(url: str) -> None:
        if as_json:
            output.print_json({"url": url})
            sys.stdout.flush()

    serve_forever(settings.serving(host, port), tell)
