"""Schedules: which window is next, when its run has to begin, when maintenance is due."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from prewarm.errors import SettingsError
from prewarm.pipeline.warming import crontab
from prewarm.pipeline.warming.plan import Request
from prewarm.warming.planning import Budget

if TYPE_CHECKING:
    from prewarm.demand.calendars import Site

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY = timedelta(days=1)
WEEK = 8  # days within which a weekday comes again, with one to spare
LEAD = timedelta(hours=1)  # where the budget or the bandwidth is not known
PLANNING = timedelta(minutes=5)  # that asking the cache and the registries may take
SPARE = 1.25  # of the time that the bytes take
LONGEST_LEAD = timedelta(hours=12)


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
    for day in (today - DAY, today, today + DAY):
        start = _on(site, day, begin)
        stop = _on(site, day if end > begin else day + DAY, end)
        if day.weekday() in allowed and stop > now and start - now <= DAY:
            ready = _on(site, day, _clock(when.ready_by)) if when.ready_by else start
            budget = Budget(when.budget.top, when.budget.max_bytes, when.budget.max_pulls, _ahead(ready, now))
            hours = -((start - stop) // timedelta(hours=1))
            return Request(start, hours, budget, when.objective, holdout=when.holdout)
    raise SettingsError(f"schedule {when.name!r} is not due: it covers {when.covers} on {when.days}")


@dataclass(frozen=True, slots=True)
class Timetable:
    """When one schedule begins: a warming one before its windows, maintenance by its cron expression."""

    name: str
    verb: str  # run, refresh or prune
    cache: str
    site: Site
    when: When | None = None  # of a warming one
    lead: timedelta = LEAD  # by which its run begins before it has to be ready
    cron: str | None = None
    warms: bool = True  # False: it plans and reports, and transfers nothing
    over: timedelta = timedelta(0)  # time that `refresh` spreads its questions over


@dataclass(frozen=True, slots=True)
class Start:
    """A moment at which a schedule begins, and the one from which on that would be no use."""

    at: datetime
    until: datetime | None = None


def next_start(timetable: Timetable, after: datetime) -> Start | None:
    """The first start after that moment; None when there is none.

    Raises SettingsError for days, hours or an expression that cannot be read.
    """
    if timetable.cron is not None:
        due_at = crontab.parse(timetable.cron).after(after, timetable.site.zone)
        return None if due_at is None else Start(due_at)
    if timetable.when is None:
        raise SettingsError(
            f'schedules.{timetable.name}: it says not when it is due; covers = "07:30-11:00", or a cron'
        )
    when, zone = timetable.when, timetable.site.zone
    allowed, (begin, end) = weekdays(when.days), _hours(when.covers)
    today = after.astimezone(zone).date()
    for number in range(-2, WEEK + 1):
        day = today + number * DAY
        ready = _on(timetable.site, day, _clock(when.ready_by) if when.ready_by else begin)
        at = ready - timetable.lead
        if day.weekday() in allowed and at > after:
            return Start(at, _on(timetable.site, day if end > begin else day + DAY, end))
    return None


def lead_for(max_bytes: int | None, bandwidth: int | None) -> timedelta:
    """How long before its deadline a run begins: what so many bytes take at that bandwidth, and some more."""
    if max_bytes is None or bandwidth is None:
        return LEAD
    seconds = min(SPARE * max_bytes / bandwidth, LONGEST_LEAD.total_seconds())
    return min(PLANNING + timedelta(seconds=seconds), LONGEST_LEAD)


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
