"""A site's clock: hour of day, day of week, day type and public holidays for any run of hours.

Hours are counted in UTC and read on the site's own clock, so daylight saving takes no special case:
an hour that a clock shows twice is two hours with one label, an hour that it skips has no label.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from typing import TYPE_CHECKING, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import numpy as np

from prewarm.errors import SettingsError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)

HOUR = timedelta(hours=1)
WORKDAY, WEEKEND, HOLIDAY = "workday", "weekend", "holiday"
PAGE = 7 * 24  # hours; clocks are read by whole pages and kept
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SATURDAY_SUNDAY = frozenset({5, 6})


@dataclass(frozen=True, slots=True)
class Site:
    """One cache and the clients behind it, with the clock they live by.

    `timezone` is a name of the IANA database. `holidays` is a country of the `holidays` package,
    with its subdivision where it has one (`DE`, `US-ID`); None knows no holidays.

    >>> Site("mumbai", "Asia/Kolkata").floor(datetime(2026, 3, 2, 2, 50, tzinfo=UTC))
    datetime.datetime(2026, 3, 2, 2, 30, tzinfo=datetime.timezone.utc)
    """

    name: str = "default"
    timezone: str = "UTC"
    holidays: str | None = None

    def __post_init__(self) -> None:
        _zone(self.timezone)
        if self.holidays is not None:
            _country(self.holidays)

    @property
    def zone(self) -> ZoneInfo:
        return _zone(self.timezone)

    @property
    def weekend(self) -> frozenset[int]:
        """Days of the week (Monday is 0) that are no workdays where this site is."""
        return _SATURDAY_SUNDAY if self.holidays is None else _days_off(self.holidays)

    def floor(self, moment: datetime) -> datetime:
        """Start of the site's hour that holds `moment` (08:00 in Mumbai is 02:30 UTC), in UTC."""
        local = moment.astimezone(self.zone)
        into = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        return moment.astimezone(UTC) - into

    def day(self, day: date) -> tuple[datetime, int]:
        """Start in UTC and number of hours of a calendar day: 24, or 23 and 25 when the clocks change.

        Raises SettingsError for the first and the last day that there are, which may lack a neighbour.
        """
        try:
            _, start, end = (
                datetime.combine(d, time(), tzinfo=self.zone).astimezone(UTC)
                for d in (day - timedelta(days=1), day, day + timedelta(days=1))
            )
        except OverflowError:
            raise SettingsError(f"day {day} is at the end of time; expected one such as 2026-11-30") from None
        return start, round((end - start) / HOUR)


@dataclass(frozen=True, eq=False, slots=True)
class Clock:
    """What a site's clock and calendar say of consecutive hours; every array has one item an hour.

    `hour` is 0 to 23, `weekday` 0 (Monday) to 6, `weekend` and `holiday` are the two day types beside
    workdays. `rest_day` is the weekday whose rhythm a holiday follows: the last day of the weekend.
    """

    hour: NDArray[np.int64]
    weekday: NDArray[np.int64]
    weekend: NDArray[np.bool_]
    holiday: NDArray[np.bool_]
    rest_day: int = 6

    @property
    def hour_of_week(self) -> NDArray[np.int64]:
        """0 (Monday 00:00) to 167; the hour itself, whether it is a holiday or not."""
        return self.weekday * 24 + self.hour

    @property
    def day_type(self) -> list[str]:
        """`workday`, `weekend` or `holiday` per hour; a holiday on a weekend is a holiday."""
        return [
            HOLIDAY if holiday else WEEKEND if weekend else WORKDAY
            for holiday, weekend in zip(self.holiday, self.weekend, strict=True)
        ]


def clock(site: Site, start: datetime, hours: int) -> Clock:
    """Read the site's clock at `start`, `start` + 1 h … (`hours` of them); its arrays are read-only."""
    since = start - _EPOCH
    first, into = divmod(since // HOUR, PAGE)
    pages = max(1, -(-(into + hours) // PAGE))
    begin = _EPOCH + since % HOUR
    try:
        read = [_page(site, begin + (first + number) * PAGE * HOUR) for number in range(pages)]
    except OverflowError:  # a page at the end of time is not whole
        return _read(site, start, hours)
    return _cut(read, slice(into, into + hours))


def _cut(pages: Sequence[Clock], hours: slice) -> Clock:
    """The `hours` of pages that follow one another."""

    def told(labels: Iterable[NDArray[T]]) -> NDArray[T]:
        joined = np.concatenate(list(labels))[hours]
        joined.flags.writeable = False
        return joined

    return Clock(
        hour=told(page.hour for page in pages),
        weekday=told(page.weekday for page in pages),
        weekend=told(page.weekend for page in pages),
        holiday=told(page.holiday for page in pages),
        rest_day=pages[0].rest_day,
    )


@lru_cache(maxsize=256)
def _page(site: Site, start: datetime) -> Clock:
    """A week, kept: a history is cut at many hours, and its clock is the same."""
    return _read(site, start, PAGE)


def _read(site: Site, start: datetime, hours: int) -> Clock:
    local = [(start + t * HOUR).astimezone(site.zone) for t in range(hours)]
    weekday = np.fromiter((moment.weekday() for moment in local), np.int64, hours)
    off = holidays(site, {moment.year for moment in local})
    told = Clock(
        hour=np.fromiter((moment.hour for moment in local), np.int64, hours),
        weekday=weekday,
        weekend=np.isin(weekday, list(site.weekend)),
        holiday=np.fromiter((moment.date() in off for moment in local), np.bool_, hours),
        rest_day=max(site.weekend, default=6),
    )
    for labels in (told.hour, told.weekday, told.weekend, told.holiday):
        labels.flags.writeable = False
    return told


def holidays(site: Site, years: set[int]) -> Mapping[date, str]:
    """The site's public holidays in `years`: day → name; empty for a site without a calendar."""
    return {} if site.holidays is None else _named_days(site.holidays, frozenset(years))


@cache
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = nearest(name, available_timezones())
        hint = f"did you mean {near!r}?" if near else "expected a name such as 'Europe/Berlin'"
        raise SettingsError(f"no time zone called {name!r}; {hint}") from None


@cache
def _country(code: str) -> tuple[str, str | None]:
    """`US-ID` → ("US", "ID"), known to the holidays package; SettingsError names the nearest."""
    from holidays import list_supported_countries

    country, _, subdivision = code.partition("-")
    known = list_supported_countries()
    if country not in known:
        raise SettingsError(_no_calendar(code, country, known))
    if subdivision and subdivision not in known[country]:
        near = nearest(subdivision, known[country]) or next(iter(known[country]), None)
        example = f"{country}-{near}" if near else country
        raise SettingsError(f"no holiday calendar for {code!r}; {country} has {example!r}, for example")
    return country, subdivision or None


def _no_calendar(code: str, country: str, known: Mapping[str, list[str]]) -> str:
    near = country.upper() if country.upper() in known else nearest(country.upper(), known)
    hint = f"did you mean {near!r}?" if near else "expected a country code"
    return f"no holiday calendar for {code!r}; {hint} (examples: 'DE', 'US-ID')"


@cache
def _named_days(code: str, years: frozenset[int]) -> dict[date, str]:
    from holidays import country_holidays

    country, subdivision = _country(code)
    return dict(country_holidays(country, subdiv=subdivision, years=years))


@cache
def _days_off(code: str) -> frozenset[int]:
    from holidays import country_holidays

    country, subdivision = _country(code)
    return frozenset(country_holidays(country, subdiv=subdivision).weekend)
