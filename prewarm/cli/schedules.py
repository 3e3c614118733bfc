"""`prewarm schedules`: what `prewarm serve` begins by itself, and when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from prewarm.cli import options, output

if TYPE_CHECKING:
    from prewarm.settings import Settings


@click.command()
@options.common
def schedules(settings: Settings, as_json: bool) -> None:
    """List the schedules: what each does, when it begins next, what it did last."""
    from prewarm.lake import Lake
    from prewarm.pipeline.warming.agenda import Agenda
    from prewarm.service.timetables import rows

    found = rows(settings, Agenda(Lake.open(settings.lake)), datetime.now(UTC))
    told = [row | {"what": "paused" if row["paused"] else row["problem"] or row["what"]} for row in found]
    if as_json:
        output.print_json({"schedules": told})
        return
    columns = ("name", "verb", "cache", "mode", "next", "last", "what")
    shown = [[_shown(row[column]) for column in columns] for row in told]
    output.print_table(("schedule", *columns[1:]), shown)


def _shown(value: object) -> str:
    return output.shown(value) if isinstance(value, datetime) else "–" if value is None else str(value)
