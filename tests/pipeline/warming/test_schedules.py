"""Schedules: which window is next, on the site's clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from prewarm.demand.calendars import Site
from prewarm.errors import SettingsError
from prewarm.pipeline.warming.schedules import Start, Timetable, When, due, lead_for, next_start, weekdays
from prewarm.warming.planning import Budget

BOISE = Site("boise", "America/Boise")
MORNING = When("morning", "mon-fri", "07:30-11:00", Budget(top=20), "07:30")


def test_the_window_is_on_the_sites_clock() -> None:
    """07:30 in Boise in November is 14:30 UTC; three and a half hours are covered by four."""
    request = due(MORNING, BOISE, datetime(2026, 11, 24, 13, 0, tzinfo=UTC))

    assert request.at == datetime(2026, 11, 24, 14, 30, tzinfo=UTC)
    assert request.hours == 4
    assert request.budget.ready_by == datetime(2026, 11, 24, 14, 30, tzinfo=UTC)
    assert request.budget.top == 20


def test_a_late_run_still_serves_the_rest_of_its_window() -> None:
    """Within the window the deadline has passed, so it bounds nothing."""
    request = due(MORNING, BOISE, datetime(2026, 11, 24, 15, 0, tzinfo=UTC))

    assert request.at == datetime(2026, 11, 24, 14, 30, tzinfo=UTC)
    assert request.budget.ready_by is None


def test_the_evening_before_plans_for_tomorrow() -> None:
    """When today's window is over, the next one within a day is planned for."""
    request = due(MORNING, BOISE, datetime(2026, 11, 25, 2, 0, tzinfo=UTC))

    assert request.at == datetime(2026, 11, 25, 14, 30, tzinfo=UTC)


def test_a_window_may_cross_midnight() -> None:
    """22:00-02:00 ends on the next day."""
    night = When("night", "tue", "22:00-02:00", Budget())

    assert due(night, Site(), datetime(2026, 11, 24, 12, 0, tzinfo=UTC)).hours == 4


def test_a_day_without_a_window_is_refused_in_words() -> None:
    """On Saturday nothing is due, and the schedule says when it is."""
    with pytest.raises(SettingsError, match="'morning' is not due: it covers 07:30-11:00 on mon-fri"):
        due(MORNING, BOISE, datetime(2026, 11, 28, 13, 0, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "days"),
    [("mon-fri", {0, 1, 2, 3, 4}), ("sat,sun", {5, 6}), ("fri-mon", {4, 5, 6, 0}), ("Wed", {2})],
)
def test_days(text: str, days: set[int]) -> None:
    """Ranges, lists, ranges over the weekend."""
    assert weekdays(text) == days


@pytest.mark.parametrize("text", ["", "monday", "mon-", "1-5"])
def test_days_that_cannot_be_read_are_refused(text: str) -> None:
    """Only three-letter English days, alone or as ranges."""
    with pytest.raises(SettingsError, match="examples: mon-fri"):
        weekdays(text)


def test_a_schedule_hands_its_holdout_on() -> None:
    """The plan withholds that share."""
    request = due(replace(MORNING, holdout=0.1), BOISE, datetime(2026, 11, 24, 13, 0, tzinfo=UTC))

    assert request.holdout == 0.1


def test_a_window_that_began_yesterday_is_still_served() -> None:
    """A late run at one in the morning is for the night that goes on, not for the next."""
    night = When("night", "tue", "22:00-02:00", Budget())

    assert due(night, Site(), datetime(2026, 11, 25, 1, 0, tzinfo=UTC)).at == datetime(
        2026, 11, 24, 22, 0, tzinfo=UTC
    )


def test_a_run_begins_before_it_has_to_be_ready() -> None:
    """07:30 in Boise less the lead, on working days; from then on it helps until its window is over."""
    table = Timetable("morning", "run", "office", BOISE, MORNING, timedelta(hours=2))

    friday = next_start(table, datetime(2026, 11, 27, 8, 0, tzinfo=UTC))
    monday = next_start(table, datetime(2026, 11, 27, 12, 30, tzinfo=UTC))

    assert friday == Start(
        datetime(2026, 11, 27, 12, 30, tzinfo=UTC), datetime(2026, 11, 27, 18, 0, tzinfo=UTC)
    )
    assert monday is not None
    assert monday.at == datetime(2026, 11, 30, 12, 30, tzinfo=UTC)


def test_a_start_keeps_to_the_clock_when_that_changes() -> None:
    """Two days around the end of summer time: the same hour on the wall, another in UTC."""
    table = Timetable("all", "run", "office", BOISE, replace(MORNING, days="mon-sun"), timedelta(0))

    before = next_start(table, datetime(2026, 10, 31, 0, 0, tzinfo=UTC))
    after = next_start(table, datetime(2026, 11, 1, 0, 0, tzinfo=UTC))

    assert before is not None
    assert after is not None
    assert (before.at.hour, after.at.hour) == (13, 14)


@pytest.mark.parametrize(
    ("max_bytes", "bandwidth", "minutes"),
    [(None, 10, 60), (10, None, 60), (36_000_000_000, 10_000_000, 80), (10**15, 1, 720)],
)
def test_the_lead_is_what_the_bytes_take(max_bytes: int | None, bandwidth: int | None, minutes: int) -> None:
    """With a quarter to spare, and an hour where that cannot be told."""
    assert lead_for(max_bytes, bandwidth) == timedelta(minutes=minutes)


def test_maintenance_goes_by_its_cron_expression() -> None:
    """On the site's clock."""
    table = Timetable("tidy", "prune", "office", BOISE, cron="0 3 * * *")

    assert next_start(table, datetime(2026, 11, 24, 8, 30, tzinfo=UTC)) == Start(
        datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
    )
