"""What each schedule does, when it begins next and what it did last: for the service and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prewarm.errors import PrewarmError
from prewarm.pipeline.warming.agenda import Agenda, Entry
from prewarm.pipeline.warming.schedules import next_start

if TYPE_CHECKING:
    from datetime import datetime

    from prewarm.settings import Settings


def rows(settings: Settings, agenda: Agenda, now: datetime) -> list[dict[str, Any]]:
    """Every schedule by name; a `problem` says why one has no `next`."""
    entries = agenda.read()
    return [_row(settings, name, entries.get(name, Entry()), now) for name in sorted(settings.schedules)]


def _row(settings: Settings, name: str, entry: Entry, now: datetime) -> dict[str, Any]:
    section = settings.schedule(name)
    start, problem, zone = None, None, None
    try:
        timetable = settings.timetable(name)
        zone = timetable.site.timezone
        start = next_start(timetable, max(entry.until or now, now))
    except PrewarmError as refused:
        problem = str(refused)
    return {
        "name": name,
        "verb": section.verb,
        "cache": section.cache,
        "mode": section.mode,
        "timezone": zone,
        "paused": entry.paused,
        "next": start.at if start else None,
        "last": entry.last,
        "what": entry.what,
        "run": entry.run,
        "problem": problem,
    }
