"""The metrics, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from prewarm.demand import evaluation
from prewarm.demand.distribution import Dispersion
from prewarm.demand.evaluation import Tally, capture_at, difference, ndcg_at, recall_at
from prewarm.demand.forecasters.baselines import Last24Hours
from tests.contracts import history, with_outage

PULLS = np.array([[5.0, 0], [3, 0], [3, 0], [0, 0]])


def score(*values: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The same scores for both hours."""
    return np.array([values, values]).T


def test_recall_takes_ties_for_equals() -> None:
    """Either of two images with three pulls is the second best; an hour without pulls says nothing."""
    for good in (score(9, 8, 1, 0), score(9, 1, 8, 0)):
        assert recall_at(PULLS, good, 2)[0] == 1
    assert recall_at(PULLS, score(9, 1, 2, 8), 2)[0] == 0.5
    assert np.isnan(recall_at(PULLS, score(9, 1, 2, 8), 2)[1])


def test_recall_asks_for_no_more_than_was_pulled() -> None:
    """Three images were pulled: a list of four that has them is perfect."""
    assert recall_at(PULLS, score(1, 1, 1, 1), 4)[0] == 1


def test_capture_is_a_share_of_the_best_possible() -> None:
    """Three of the eight pulls that two images could have had."""
    assert capture_at(PULLS, score(0, 9, 1, 8), 2)[0] == pytest.approx(3 / 8)


def test_ndcg_rewards_the_right_order() -> None:
    """Perfect is one; the best image second is less."""
    assert ndcg_at(PULLS, score(9, 8, 7, 0), 3)[0] == pytest.approx(1)
    assert ndcg_at(PULLS, score(8, 9, 7, 0), 3)[0] < 1


def test_losses_are_zero_for_the_truth() -> None:
    """And positive for anything else."""
    y = np.array([[1.0, 4.0]])
    assert evaluation.poisson_deviance(y, y) == pytest.approx(0)
    assert evaluation.poisson_deviance(y, 2 * y) > 0
    assert evaluation.weighted_quantile_loss(y, {0.5: y, 0.9: y}) == 0
    assert evaluation.coverage(y, y - 1, np.array([[1.0, 3.0]])) == 0.5


def test_calibration_is_the_gap_between_said_and_came() -> None:
    """Half of the cells had a pull, nine tenths were said."""
    y, said = np.array([[0.0, 1.0]]), np.array([[0.9, 0.9]])
    assert evaluation.calibration_error(evaluation.chance_gaps(y, said), 2) == pytest.approx(0.4)


def test_origins_tile_the_end_of_the_history() -> None:
    """Windows of a day, the last one ending with the history; never less than a day before one."""
    grid = history(np.ones((1, 100)))
    assert evaluation.origins(grid, 2, 24) == [52, 76]
    assert evaluation.origins(grid, 9, 24) == [28, 52, 76]
    assert evaluation.origins(grid, 2, 1) == [96, 99]


def test_hours_of_an_outage_are_not_scored() -> None:
    """What nobody logged cannot be missed."""
    grid = with_outage(history(np.full((2, 96), 3.0)), 80, 90)
    tallies = {"last-24h": Tally((1,))}
    ticks = iter(range(100))
    evaluation.score({"last-24h": Last24Hours()}, grid, [72], 24, Dispersion(), tallies, lambda: next(ticks))
    assert len(tallies["last-24h"].capture[1]) == 14
    assert tallies["last-24h"].document()["seconds"] == 1


def test_only_windows_that_were_scored_are_counted() -> None:
    """Of two days the second is an outage: one origin."""
    grid = with_outage(history(np.full((2, 96), 3.0)), 72, 96)
    tallies = {"last-24h": Tally((1,))}
    model = {"last-24h": Last24Hours()}
    assert evaluation.score(model, grid, [48, 72], 24, Dispersion(), tallies, lambda: 0.0) == 1


def test_a_difference_has_an_interval_over_days() -> None:
    """One model that is better every day has an interval above zero; against itself it is zero."""
    better, worse = Tally((1,)), Tally((1,))
    better.capture[1], worse.capture[1] = [0.9, 0.8, 1.0], [0.5, 0.6, 0.4]
    better.days = worse.days = ["a", "b", "c"]
    gap, lo, hi = difference(better, worse, 1)
    assert lo > 0
    assert lo <= gap <= hi
    assert difference(better, better, 1) == (0, 0, 0)
