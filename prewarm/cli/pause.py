"""`prewarm pause` and `prewarm resume`: the kill switch."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from prewarm.cli import options, output

if TYPE_CHECKING:
    from prewarm.settings import Settings


@click.command()
@click.option("--why", metavar="TEXT", help="For whoever finds it paused.")
@options.common
def pause(settings: Settings, as_json: bool, why: str | None) -> None:
    """Set the kill switch: nothing warms until `prewarm resume`.

    It binds every process that shares the lake's folder, and outlives restarts. Runs that go on end within
    a second.
    """
    from prewarm.lake import Lake
    from prewarm.pipeline.warming.switch import pause as set_switch

    standing = set_switch(Lake.open(settings.lake), datetime.now(UTC), _who(), why)
    if as_json:
        output.print_json({"paused": True, "since": standing.since, "by": standing.by, "why": standing.why})
    else:
        click.echo(str(standing))


@click.command()
@options.common
def resume(settings: Settings, as_json: bool) -> None:
    """Unset the kill switch."""
    from prewarm.lake import Lake
    from prewarm.pipeline.warming.switch import resume as unset_switch

    ended = unset_switch(Lake.open(settings.lake))
    if as_json:
        output.print_json({"paused": False})
    else:
        click.echo("warming may begin again" if ended else "warming was not paused")


def _who() -> str:
    """The name of who is logged in; a container's user may have none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "the command line"
