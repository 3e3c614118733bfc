"""Schedules: which window is next, on the site's clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from prewarm.demand.calendars import Site
from prewarm.errors import SettingsError
from prewarm.pipeline.schedules import When, due, weekdays
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
