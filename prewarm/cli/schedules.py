"""`prewarm schedules`: what `prewarm serve` begins by itself, and when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from prewarm.cli import options, output

if TYPE_CHECKING:
    from prewarm.settings import Settings


@click.command()
@options.common
def schedules(settings: Settings, as_json: bool) -> None:
    """List the schedules: what each does, when it begins next, what it did last."""
    from prewarm.lake import Lake
    from prewarm.pipeline.agenda import Agenda, Entry

    entries, now = Agenda(Lake.open(settings.lake)).read(), datetime.now(UTC)
    rows = [_row(settings, name, entries.get(name, Entry()), now) for name in sorted(settings.schedules)]
    if as_json:
        output.print_json({"schedules": rows})
        return
    columns = ("name", "verb", "cache", "mode", "next", "last", "what")
    shown = [[_shown(row[column]) for column in columns] for row in rows]
    output.print_table(("schedule", *columns[1:]), shown)


def _row(settings: Settings, name: str, entry: Any, now: datetime) -> dict[str, Any]:
    from prewarm.errors import PrewarmError
    from prewarm.pipeline.schedules import next_start

    section = settings.schedule(name)
    start, problem = None, None
    try:
        start = next_start(settings.timetable(name), now)
    except PrewarmError as refused:
        problem = str(refused)
    return {
        "name": name,
        "verb": section.verb,
        "cache": section.cache,
        "mode": section.mode,
        "paused": entry.paused,
        "next": start.at if start else None,
        "last": entry.last,
        "what": "paused" if entry.paused else problem or entry.what,
        "run": entry.run,
    }


def _shown(value: object) -> str:
    return output.shown(value) if isinstance(value, datetime) else "–" if value is None else str(value)
