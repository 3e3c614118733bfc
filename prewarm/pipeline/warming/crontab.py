"""Cron expressions on a site's clock: five fields, as crontab(5) has them.

When clocks are set forward, a time that does not exist is taken an hour later, so that no day is left out;
when they are set back, a fixed hour counts once, and an expression for every hour goes on through both.

It is our own because maintenance keeps to one clock with `ready_by`, which also moves by the hour that is
missing. Of the libraries, cronsim follows Debian's cron and croniter resembles it: both begin at the end of
the gap (03:00 for 02:30), cronsim has no `@daily`, and croniter begins a fixed hour twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from prewarm.errors import SettingsError

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FURTHEST = 9 * 366  # days: a 29 February may be eight years away
NICKNAMES = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *"}


@dataclass(frozen=True, slots=True)
class Cron:
    """The minutes, hours, days and months at which something is due; `weekdays` has Sunday as 0."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    def falls_on(self, day: date) -> bool:
        """Whether a day counts: where days of the month and of the week are both named, either will do."""
        if day.month not in self.months:
            return False
        by_month, by_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return by_month and by_week
        return by_month or by_week

    def after(self, moment: datetime, zone: tzinfo) -> datetime | None:
        """The first time after `moment`, in UTC; None when there is none (31 February)."""
        day = moment.astimezone(zone).date() - timedelta(days=1)  # what did not exist yesterday may be today
        for _ in range(FURTHEST):
            if self.falls_on(day):
                found = [at for at in self._on(day, zone) if at > moment]
                if found:
                    return min(found)
            day += timedelta(days=1)
        return None

    def _on(self, day: date, zone: tzinfo) -> list[datetime]:
        folds = (0, 1) if len(self.hours) == 24 else (0,)
        times = [time(hour, minute) for hour in self.hours for minute in self.minutes]
        return [
            datetime.combine(day, each.replace(fold=fold), zone).astimezone(UTC)
            for each in times
            for fold in folds
            if fold == 0 or _is_repeated(day, each, zone)
        ]


def parse(text: str) -> Cron:
    """The expression as a value; SettingsError, with an example, for one that cannot be read.

    >>> parse("*/15 8-9 * * mon-fri").minutes
    (0, 15, 30, 45)
    """
    fields = NICKNAMES.get(text.strip(), text).split()
    if len(fields) != 5:
        raise _refused(text, "it has not five fields")
    try:
        minutes, hours, days = _field(fields[0], 0, 59), _field(fields[1], 0, 23), _field(fields[2], 1, 31)
        months = _field(fields[3], 1, 12, MONTHS, 1)
        weekdays = {number % 7 for number in _field(fields[4], 0, 7, WEEKDAYS, 0)}
    except ValueError as wrong:
        raise _refused(text, str(wrong)) from None
    return Cron(
        tuple(sorted(minutes)),
        tuple(sorted(hours)),
        frozenset(days),
        frozenset(months),
        frozenset(weekdays),
        fields[2].startswith("*"),
        fields[4].startswith("*"),
    )


def _field(text: str, low: int, high: int, names: tuple[str, ...] = (), base: int = 0) -> set[int]:
    found: set[int] = set()
    for part in text.lower().split(","):
        span, slash, step = part.partition("/")
        if slash and not (step.isascii() and step.isdigit() and int(step)):
            raise ValueError(f"/{step} is no step")
        first, dash, last = span.partition("-")
        begin = low if span == "*" else _number(first, names, base)
        end = high if span == "*" or (slash and not dash) else _number(last if dash else first, names, base)
        if not low <= begin <= end <= high:
            raise ValueError(f"{part!r} is not within {low}-{high}")
        found.update(range(begin, end + 1, int(step) if slash else 1))
    return found


def _number(text: str, names: tuple[str, ...], base: int) -> int:
    if text in names:
        return names.index(text) + base
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is no number")
    return int(text)


def _is_repeated(day: date, clock: time, zone: tzinfo) -> bool:
    first, second = (datetime.combine(day, clock.replace(fold=fold), zone) for fold in (0, 1))
    offsets = first.utcoffset(), second.utcoffset()
    return None not in offsets and offsets[0] > offsets[1]  # type: ignore[operator]


def _refused(text: str, why: str) -> SettingsError:
    return SettingsError(f"cron {text!r} cannot be read: {why}; examples: */15 * * * *, 0 3 * * sun")
