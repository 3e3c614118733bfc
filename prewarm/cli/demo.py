"""`prewarm demo`: the whole story on the shipped sample."""

from __future__ import annotations

from pathlib import Path

import click

from prewarm.cli import options, output


@click.command()
@click.option("--lake", type=click.Path(path_type=Path), help="Folder to work in and keep [a temporary one].")
@options.as_json
def demo(lake: Path | None, as_json: bool) -> None:
    """Tell the whole story on a synthetic office: log, ranking, plan, warmed images, and the rivals.

    The top ten goes to stdout, one image a line with its expected pulls; the story to stderr.
    """
    from prewarm.demo import story

    told = story.tell(output.console(stderr=True), lake=lake)
    if as_json:
        output.print_json(told)
    else:
        for image, pulls in told["top"]:
            click.echo(f"{image}\t{pulls:.1f}")
