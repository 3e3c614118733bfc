"""The default forecaster earns its place on a synthetic office."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from prewarm.demand import forecasters
from prewarm.demand.series import Grid
from tests.demand.samples import office

TOP = 10


def captured(score: Callable[[Grid, int], NDArray[np.float64]], days: int = 3, every: int = 2) -> float:
    """Share of the pulls of each hour's true top ten that the ten best by `score` had, one hour ahead."""
    grid, _ = office()
    got = best = 0.0
    for hour in range(grid.hours - 24 * days, grid.hours, every):
        outcome = grid.counts[:, hour : hour + 1].toarray().ravel()
        chosen = np.argsort(-score(grid.until(hour), hour), kind="stable")[:TOP]
        got += outcome[chosen].sum()
        best += np.sort(outcome)[-TOP:].sum()
    return got / best


def by(name: str) -> Callable[[Grid, int], NDArray[np.float64]]:
    """The next hour's means of a forecaster."""
    model = forecasters.load(name)
    return lambda known, hour: model.forecast(known, range(1))[:, 0].astype(np.float64)


def test_profile_is_near_the_true_rate_and_beats_the_simple_counters() -> None:
    """Capture@10 one hour ahead: at least 0.9 of an oracle's, and more than the two baselines."""
    _, rate = office()
    oracle = captured(lambda known, hour: rate[:, hour])
    profile = captured(by("profile"))
    assert profile >= 0.9 * oracle
    assert profile > captured(by("seasonal-naive"))
    assert profile > captured(by("last-24h"))
