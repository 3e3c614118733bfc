"""A schedule's next window: what `run --schedule NAME` plans for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from prewarm.errors import SettingsError
from prewarm.pipeline.plan import Request
from prewarm.warming.planning import Budget

if TYPE_CHECKING:
    from prewarm.demand.calendars import Site

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class When:
    """The hours whose demand a schedule serves, on the site's clock, and what it may use for them."""

    name: str
    days: str  # "mon-fri", "sat,sun"
    covers: str  # "07:30-11:00"
    budget: Budget
    ready_by: str | None = None  # "07:30"
    objective: str = "any-pull"
    holdout: float = 0.0  # share to withhold, for the experiment


def due(when: When, site: Site, now: datetime) -> Request:
    """What to plan for: the schedule's first window within a day of `now`.

    Raises SettingsError when none begins by then, and for days or hours that cannot be read.
    """
    allowed = weekdays(when.days)
    begin, end = _hours(when.covers)
    today = now.astimezone(site.zone).date()
    for day in (today, today + DAY):
        start = _on(site, day, begin)
        stop = _on(site, day if end > begin else day + DAY, end)
        if day.weekday() in allowed and stop > now and start - now <= DAY:
            ready = _on(site, day, _clock(when.ready_by)) if when.ready_by else start
            budget = Budget(when.budget.top, when.budget.max_bytes, when.budget.max_pulls, _ahead(ready, now))
            hours = -((start - stop) // timedelta(hours=1))
            return Request(start, hours, budget, when.objective, holdout=when.holdout)
    raise SettingsError(f"schedule {when.name!r} is not due: it covers {when.covers} on {when.days}")


def weekdays(text: str) -> frozenset[int]:
    """`mon-fri` or `sat,sun` as numbers, Monday 0; SettingsError for anything else.

    >>> sorted(weekdays("fri-mon"))
    [0, 4, 5, 6]
    """
    found: set[int] = set()
    for part in text.lower().split(","):
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        if first not in DAYS or last not in DAYS:
            raise SettingsError(f"days {text!r} cannot be read; examples: mon-fri, sat,sun")
        start, length = DAYS.index(first), (DAYS.index(last) - DAYS.index(first)) % 7
        found |= {(start + step) % 7 for step in range(length + 1)}
    return frozenset(found)


def _hours(covers: str) -> tuple[time, time]:
    first, _, last = covers.partition("-")
    return _clock(first), _clock(last)


def _clock(text: str) -> time:
    try:
        return time.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"{text!r} is no time of day; example: 07:30") from None


def _on(site: Site, day: date, clock: time) -> datetime:
    return datetime.combine(day, clock, tzinfo=site.zone).astimezone(UTC)


def _ahead(ready: datetime, now: datetime) -> datetime | None:
    """A deadline that has passed bounds nothing: a late run still helps the rest of its window."""
    return ready if ready > now else None
