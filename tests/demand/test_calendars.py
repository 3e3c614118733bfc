"""A site's clock: time zones, daylight saving, half-hour zones, holidays."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from prewarm.demand.calendars import HOUR, Site, clock, holidays
from prewarm.errors import SettingsError


def test_floor_is_the_hour_of_a_half_hour_zone() -> None:
    """08:00 in Mumbai begins at 02:30 UTC, and 02:29 UTC still belongs to 07:00."""
    mumbai = Site("mumbai", "Asia/Kolkata")
    eight = datetime(2026, 3, 2, 2, 30, tzinfo=UTC)
    assert mumbai.floor(eight + timedelta(minutes=59, seconds=59)) == eight
    assert mumbai.floor(eight - timedelta(minutes=1)) == eight - timedelta(hours=1)


def test_floor_keeps_a_whole_hour_with_microseconds_exact() -> None:
    """A moment on the hour is its own floor, and one microsecond before it is an hour earlier."""
    hour = datetime(2026, 3, 2, 8, tzinfo=UTC)
    assert Site().floor(hour) == hour
    assert Site().floor(hour - timedelta(microseconds=1)) == hour - timedelta(hours=1)


def test_hour_of_day_follows_the_clock_over_a_spring_change() -> None:
    """Berlin skips 02:00 on the last Sunday of March."""
    told = clock(Site("berlin", "Europe/Berlin"), datetime(2026, 3, 28, 23, tzinfo=UTC), 5)
    assert told.hour.tolist() == [0, 1, 3, 4, 5]


def test_hour_of_day_repeats_over_an_autumn_change() -> None:
    """Berlin shows 02:00 twice on the last Sunday of October: two hours with one label."""
    told = clock(Site("berlin", "Europe/Berlin"), datetime(2026, 10, 24, 22, tzinfo=UTC), 5)
    assert told.hour.tolist() == [0, 1, 2, 2, 3]


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 6, 1), 24), (date(2026, 10, 25), 25)]
)
def test_a_day_has_the_hours_its_clock_shows(day: date, hours: int) -> None:
    """A day of a site is 23, 24 or 25 hours long."""
    start, length = Site("berlin", "Europe/Berlin").day(day)
    assert (start.astimezone(Site("berlin", "Europe/Berlin").zone).hour, length) == (0, hours)


@pytest.mark.parametrize(("day", "zone"), [(date.max, "UTC"), (date.min, "Asia/Kolkata"), (date.min, "UTC")])
def test_a_day_at_the_end_of_time_is_refused(day: date, zone: str) -> None:
    """There is no tomorrow, or no moment in UTC, to count its hours by."""
    with pytest.raises(SettingsError, match="end of time"):
        Site("office", zone).day(day)


def test_a_day_whose_midnight_does_not_exist_starts_when_it_starts() -> None:
    """Santiago jumps from 24:00 to 01:00 on 6 September 2026: that day begins at 01:00."""
    santiago = Site("scl", "America/Santiago")
    start, length = santiago.day(date(2026, 9, 6))
    assert (start.astimezone(santiago.zone).hour, length) == (1, 23)


def test_hour_of_week_counts_from_monday_midnight() -> None:
    """Monday 00:00 on the site's clock is 0, Sunday 23:00 is 167."""
    boise = Site("boise", "America/Boise")
    start, _ = boise.day(date(2026, 6, 1))
    assert clock(boise, start, 168).hour_of_week.tolist() == list(range(168))


def test_holidays_are_days_of_the_sites_own_clock() -> None:
    """Independence Day in Boise starts at 06:00 UTC."""
    boise = Site("boise", "America/Boise", "US-ID")
    told = clock(boise, datetime(2025, 7, 4, 5, tzinfo=UTC), 26)
    assert told.holiday.tolist() == [False] + [True] * 24 + [False]
    assert holidays(boise, {2025})[date(2025, 7, 4)] == "Independence Day"


def test_day_types_name_workdays_weekends_and_holidays() -> None:
    """A holiday on a workday is a holiday, not a workday."""
    boise = Site("boise", "America/Boise", "US-ID")
    start, _ = boise.day(date(2025, 7, 3))
    assert clock(boise, start, 72).day_type[::24] == ["workday", "holiday", "weekend"]


def test_the_weekend_is_the_one_of_the_country() -> None:
    """Riyadh rests on Friday and Saturday, and its holidays look like its Saturdays."""
    riyadh = Site("riyadh", "Asia/Riyadh", "SA")
    start, _ = riyadh.day(date(2026, 6, 1))
    told = clock(riyadh, start, 168)
    assert np.unique(told.weekday[told.weekend]).tolist() == [4, 5]
    assert told.rest_day == 5


def test_no_hours_give_an_empty_clock() -> None:
    """Nothing asked, nothing told."""
    assert clock(Site(), datetime(2026, 1, 1, tzinfo=UTC), 0).hour.tolist() == []


@pytest.mark.parametrize("name", ["America/Bose", "", "../etc/passwd", "/etc", "x\0y", "America"])
def test_an_unknown_zone_is_refused_in_one_line(name: str) -> None:
    """Whatever is no zone raises SettingsError, never an error of the operating system."""
    with pytest.raises(SettingsError, match="no time zone called"):
        Site("boise", name)


def test_an_unknown_zone_names_the_nearest() -> None:
    """The message teaches what was probably meant."""
    with pytest.raises(SettingsError, match="did you mean 'America/Boise'"):
        Site("boise", "America/Bose")


@pytest.mark.parametrize(
    ("code", "hint"), [("us", "did you mean 'US'"), ("US-XX", "US has 'US-"), ("Germany!", "examples: 'DE'")]
)
def test_an_unknown_calendar_teaches(code: str, hint: str) -> None:
    """A holiday code that nobody knows is refused with one that exists."""
    with pytest.raises(SettingsError, match=hint):
        Site("boise", "America/Boise", code)


def test_a_clock_reads_the_same_from_whichever_hour_it_begins() -> None:
    mumbai = Site("mumbai", "Asia/Kolkata", "IN")
    start = datetime(2026, 1, 20, 2, 30, tzinfo=UTC)
    whole = clock(mumbai, start, 500)
    for begin in (0, 1, 167, 168, 169, 400):
        part = clock(mumbai, start + begin * HOUR, 100)
        assert part.hour_of_week.tolist() == whole.hour_of_week[begin : begin + 100].tolist()
        assert part.day_type == whole.day_type[begin : begin + 100]


def test_a_clock_reaches_to_the_end_of_time() -> None:
    told = clock(Site(), datetime(9999, 12, 31, 20, tzinfo=UTC), 4)
    assert told.hour.tolist() == [20, 21, 22, 23]
