"""The baselines, by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from prewarm.demand.calendars import Site
from prewarm.demand.forecasters.baselines import (
    EWMA,
    TSB,
    Cumulative,
    HourOfWeek,
    Last7Days,
    Last24Hours,
    SeasonalNaive,
    Yesterday,
)
from prewarm.demand.series import WEEK
from tests.contracts import DAY, history, with_outage


def test_seasonal_naive_repeats_the_same_hour_of_last_week() -> None:
    """The hour after two weeks is the first hour of the second week, and a week later still it is."""
    grid = history(np.arange(2 * WEEK, dtype=np.float64)[None, :])
    assert SeasonalNaive().forecast(grid, DAY)[0].tolist() == list(range(WEEK, WEEK + 24))
    assert SeasonalNaive().forecast(grid, range(WEEK, WEEK + 1))[0, 0] == WEEK


def test_seasonal_naive_falls_back_to_yesterday() -> None:
    """With two days of history the same hour of the second day is the best there is."""
    grid = history(np.arange(48, dtype=np.float64)[None, :])
    assert SeasonalNaive().forecast(grid, DAY)[0].tolist() == list(range(24, 48))


def test_seasonal_naive_falls_back_to_the_mean() -> None:
    """With two hours, hours of day that were never seen take the mean."""
    grid = history(np.array([[2.0, 4.0]]))
    assert SeasonalNaive().forecast(grid, range(22, 24))[0].tolist() == [2.0, 4.0]
    assert SeasonalNaive().forecast(grid, range(5, 7))[0].tolist() == [3.0, 3.0]


def test_seasonal_naive_passes_over_an_outage() -> None:
    """Last week's hour is unknown: the one of the week before is taken."""
    grid = with_outage(history(np.arange(3 * WEEK, dtype=np.float64)[None, :]), 2 * WEEK, 2 * WEEK + 5)
    assert SeasonalNaive().forecast(grid, range(2))[0].tolist() == [WEEK, WEEK + 1]


def test_seasonal_naive_keeps_the_hour_when_the_clocks_change() -> None:
    """After the change, eight o'clock repeats last week's eight o'clock, which is 167 hours ago."""
    berlin = Site("berlin", "Europe/Berlin")
    start = datetime(2026, 3, 15, 23, tzinfo=UTC)
    grid = replace(history(np.arange(2 * WEEK - 1, dtype=np.float64)[None, :], berlin), start=start)
    source = int(SeasonalNaive().forecast(grid, range(8, 9))[0, 0])
    assert grid.clock(range(8, 9)).hour[0] == grid.clock().hour[source] == 8
    assert grid.hours + 8 - source == 167


def test_last_24_hours_is_their_mean() -> None:
    """The counter that people start with, whatever the hour."""
    grid = history(np.concatenate([np.full(50, 100.0), np.arange(24.0)])[None, :])
    assert Last24Hours().forecast(grid, DAY)[0].tolist() == [11.5] * 24


def test_last_24_hours_passes_over_an_outage() -> None:
    """The last observed day counts."""
    grid = with_outage(history(np.full((1, 100), 6.0)), 80, 100)
    assert Last24Hours().forecast(grid, range(1))[0, 0] == 6


def test_yesterday_repeats_the_day_before() -> None:
    """The same hour of yesterday, whatever the weekday."""
    grid = history(np.arange(2 * WEEK, dtype=np.float64)[None, :])
    assert Yesterday().forecast(grid, DAY)[0].tolist() == list(range(2 * WEEK - 24, 2 * WEEK))


def test_hour_of_week_is_the_mean_of_four_weeks() -> None:
    """Older weeks take no part."""
    weeks = np.repeat([100.0, 1, 2, 3, 6], WEEK)
    assert HourOfWeek().forecast(history(weeks[None, :]), DAY)[0].tolist() == [3.0] * 24


def test_counters_count_their_stretch() -> None:
    """The last seven days, and everything."""
    grid = history(np.repeat([0.0, 4.0], [3 * WEEK, WEEK])[None, :])
    assert np.isclose(Last7Days().forecast(grid, range(1))[0, 0], 4)
    assert np.isclose(Cumulative().forecast(grid, range(1))[0, 0], 1)


def test_ewma_halves_the_weight_with_every_half_life() -> None:
    """Pulls that ended a half-life ago weigh about half of what they would."""
    grid = history(np.repeat([8.0, 0.0], [10 * WEEK, 24])[None, :])
    assert np.isclose(EWMA(half_life=24).forecast(grid, range(1))[0, 0], 4, rtol=0.01)


def test_tsb_is_chance_times_size_and_decays() -> None:
    """One run of six in every third hour is two an hour; a dead image fades, unlike Croston's."""
    alive = np.where(np.arange(4 * WEEK) % 3 == 2, 6.0, 0.0)
    dead = np.concatenate([alive[: 3 * WEEK], np.zeros(WEEK)])
    means = TSB().forecast(history(np.array([alive, dead])), range(1))[:, 0]
    assert np.isclose(means[0], 2, rtol=0.05)
    assert means[1] < 0.05
