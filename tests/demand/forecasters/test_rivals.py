"""When a baseline answers instead of the default."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from prewarm.demand.forecasters.auto import Auto
from prewarm.demand.forecasters.rivals import RIVALS, Fallback, fallback, gained
from tests.contracts import DAY, busy

WEEK_OF_DAYS = np.repeat(np.arange(7), 10)


def scored(level: float, seed: int, spread: float = 0.05) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Seventy hours of a week, ranked about so well."""
    return level + spread * np.random.default_rng(seed).normal(size=70)


def test_the_best_of_the_baselines_that_are_clearly_ahead_answers() -> None:
    """Two are ahead by more than chance explains: the better one is chosen, with both scores told."""
    found = fallback(
        scored(0.6, 0),
        {"ewma": scored(0.7, 1), "tsb": scored(0.8, 2), "yesterday": scored(0.5, 3)},
        WEEK_OF_DAYS,
    )
    assert found is not None
    assert found.name == "tsb"
    assert (found.ours, found.theirs) == pytest.approx((0.6, 0.8), abs=0.02)
    assert "so tsb answers" in found.note("further ahead")


def test_one_lucky_day_is_no_reason_to_fall_back() -> None:
    """A baseline that was far ahead on a single day was not ahead by more than chance explains."""
    lucky = scored(0.6, 1, 0.001) + 0.3 * (WEEK_OF_DAYS == 2)
    assert fallback(scored(0.6, 0, 0.001), {"ewma": lucky}, WEEK_OF_DAYS) is None


def test_a_few_days_decide_nothing() -> None:
    """Before five days of tests the default stays, however far behind."""
    assert fallback(scored(0.1, 0), {"ewma": scored(0.9, 1)}, WEEK_OF_DAYS // 2) is None


def test_hours_without_pulls_say_nothing() -> None:
    """They are NaN, and the others are 1 when the order is right and less when it is not."""
    pulls = np.array([[0.0, 3.0, 0.0], [0.0, 1.0, 2.0]])
    told = gained(pulls, np.array([[2.0], [1.0]]))
    assert np.isnan(told[0])
    assert told[1] == 1
    assert told[2] < 1


def test_an_average_that_fell_back_says_what_the_baseline_says() -> None:
    """The hours of that stretch are the baseline's (ties broken by the average), the others stay."""
    grid = busy()
    usual = Auto().fit(grid)
    fallen = replace(usual, fallbacks=(Fallback("ewma", 0.9, 0.8), None))
    means, ewma = fallen.means(DAY), RIVALS["ewma"].forecast(grid, DAY)
    assert means[:, :3] == pytest.approx(ewma[:, :3], rel=0.05, abs=0.1)
    assert (means[:, 3:] == usual.means(DAY)[:, 3:]).all()
    assert "ewma answers" in fallen.notes[0]


def test_gain_takes_equal_means_in_the_order_of_the_images() -> None:
    pulls = np.array([[0.0, 3.0], [1.0, 0.0], [0.0, 0.0]])
    told = gained(pulls, np.array([[0.5, 0.0], [0.5, 0.0], [0.1, 0.0]]))
    assert told.tolist() == pytest.approx([1 / np.log2(3), 1.0])
