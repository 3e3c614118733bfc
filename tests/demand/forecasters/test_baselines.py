"""The baselines, by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from prewarm.demand.calendars import Site
from prewarm.demand.forecasters.baselines import Last24Hours, SeasonalNaive
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
