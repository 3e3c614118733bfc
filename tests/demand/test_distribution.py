"""Chances and quantiles of the negative binomial, against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import nbinom

from prewarm.demand.distribution import EDGES, Dispersion, calibrate, learnt
from prewarm.demand.forecasters.profile import Profile
from tests.contracts import history

ALPHA = (5.0, 2.0, 1.0, 0.6, 0.3, 0.2, 0.1, 0.05, 0.02)
MEANS = np.geomspace(1e-3, 900, 400).astype(np.float32)


def reference(mean: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """scipy's parameters n and p for these means."""
    alpha = np.asarray(ALPHA)[np.digitize(mean.astype(np.float64), EDGES)]
    return 1 / alpha, 1 / (1 + alpha * mean.astype(np.float64))


def test_chance_of_a_pull_is_that_of_the_negative_binomial() -> None:
    """P(≥1) in closed form equals scipy's survival function."""
    n, p = reference(MEANS)
    assert np.allclose(Dispersion(EDGES, ALPHA).probability(MEANS), nbinom.sf(0, n, p), atol=1e-6)


@pytest.mark.parametrize("level", [0.025, 0.05, 0.5, 0.9, 0.95, 0.999])
def test_quantiles_are_those_of_the_negative_binomial(level: float) -> None:
    """The look-up table gives exactly scipy's quantiles, from nearly nothing to hundreds."""
    n, p = reference(MEANS)
    ours = Dispersion(EDGES, ALPHA).quantile(MEANS, level)
    assert (ours == nbinom.ppf(level, n, p)).all()


def test_quantiles_of_huge_means_are_within_a_thousandth() -> None:
    """A billion pulls an hour are no overflow."""
    means = np.geomspace(1e4, 1e9, 50).astype(np.float32)
    n, p = reference(means)
    ours = Dispersion(EDGES, ALPHA).quantile(means, 0.95)
    assert np.allclose(ours, nbinom.ppf(0.95, n, p), rtol=2e-3)


def test_no_pulls_expected_are_no_pulls() -> None:
    """A mean of zero has no chance and no quantile."""
    none = np.zeros((2, 3), dtype=np.float32)
    assert not Dispersion().probability(none).any()
    lo, hi = Dispersion().interval(none, 90)
    assert not lo.any()
    assert not hi.any()
    assert lo.shape == (2, 3)


def test_dispersion_is_learnt_from_recent_errors() -> None:
    """Bursty counts (alpha 1) are told from Poisson ones (alpha near 0) at the same mean."""
    rng = np.random.default_rng(2)
    rate = np.full((60, 24 * 21), 5.0)
    poisson = history(rng.poisson(rate).astype(np.float64))
    bursty = history(rng.poisson(rate * rng.gamma(1.0, 1.0, rate.shape)).astype(np.float64))
    bucket = int(np.digitize(5.0, EDGES))
    learnt = [calibrate(grid, Profile().forecast, Dispersion()).alpha[bucket] for grid in (poisson, bursty)]
    assert learnt[0] < 0.1
    assert 0.7 < learnt[1] < 1.4


def test_a_young_history_keeps_the_shipped_dispersion() -> None:
    """With less than a week before the days to learn from, nothing is learnt."""
    before = Dispersion(EDGES, ALPHA)
    assert calibrate(history(np.ones((5, 100))), Profile().forecast, before) == before


def test_busier_buckets_than_were_seen_borrow_from_the_busiest() -> None:
    """What is known of five pulls an hour says more of fifty than what other registries do."""
    before = Dispersion(EDGES, ALPHA)
    told = calibrate(history(np.full((40, 24 * 21), 5.0)), Profile().forecast, before)
    reached = int(np.digitize(5.0, EDGES))
    assert told.alpha[reached] < ALPHA[reached] / 2
    assert told.alpha[-1] == told.alpha[reached]


def test_rare_images_say_nothing_of_busy_ones() -> None:
    """Of means far below one pull nobody can tell the spread; a site of these alone keeps what was known."""
    rng = np.random.default_rng(8)
    mean = rng.uniform(0.0, 0.02, 20_000)
    y = rng.poisson(mean * rng.gamma(1, 1, len(mean))).astype(np.float64)
    before = Dispersion(EDGES, ALPHA)
    told = learnt(before, [(np.maximum(mean, 0.01), y)])
    assert told.alpha[4:] == pytest.approx(before.alpha[4:], rel=0.25)
    busy = np.full(1, 50.0, dtype=np.float32)
    assert told.quantile(busy, 0.95)[0] == pytest.approx(before.quantile(busy, 0.95)[0], rel=0.05)


@pytest.mark.parametrize("rate", [15.0, 60.0, 400.0])
def test_quantiles_of_busy_images_keep_their_word(rate: float) -> None:
    """Of skewed bursts, too: so many cells have fewer, and at most as many, as the level says."""
    rng = np.random.default_rng(6)
    y = rng.poisson(rate * rng.gamma(4, 0.2, 40_000) * np.where(rng.random(40_000) < 0.02, 5, 1))
    mean = np.full(20_000, rate)
    told = learnt(Dispersion(), [(mean, y[:20_000].astype(np.float64))])
    for level in (0.05, 0.2, 0.5, 0.8, 0.9, 0.95):
        q = told.quantile(mean.astype(np.float32), level)
        # Within three points: the spread is a little wider than what was seen.
        assert (y[20_000:] < q).mean() - 0.03 < level < (y[20_000:] <= q).mean() + 0.03


def test_quantiles_and_chances_agree() -> None:
    """A quantile is 0 exactly where at least one pull is no likelier than that, also with learnt odds."""
    rng = np.random.default_rng(8)
    mean = np.exp(rng.uniform(-4, 3, 30_000))
    y = (rng.random(30_000) < 0.8 * (1 - np.exp(-mean))) * np.ceil(mean * rng.gamma(2, 0.5, 30_000))
    told = learnt(Dispersion(), [(mean, y)])
    some = told.probability(mean.astype(np.float32))
    assert told.odds != Dispersion().odds
    for level in (0.2, 0.5, 0.9):
        sure = np.abs(some - (1 - level)) > 1e-5
        zero = told.quantile(mean.astype(np.float32), level) == 0
        assert (zero == (some <= 1 - level))[sure].all()


def test_intervals_cover_what_they_promise() -> None:
    """Nine in ten outcomes of a bursty process, or a little more, fall into the 90 % interval."""
    rng = np.random.default_rng(4)
    mean = np.full(20_000, 6.0, dtype=np.float32)
    dispersion = Dispersion(EDGES, (0.3,) * 9)
    y = rng.poisson(mean * rng.gamma(1 / 0.3, 0.3, mean.shape))
    lo, hi = dispersion.interval(mean, 90)
    assert 0.89 < ((lo <= y) & (y <= hi)).mean() < 0.95


def test_chances_are_recalibrated_by_what_came() -> None:
    """Jobs that keep their hour come more surely than a distribution of their mean says, and it is learnt."""
    rng = np.random.default_rng(4)
    mean = np.full(4000, 1.5)
    jobs = learnt(Dispersion(), [(mean, (rng.random(4000) < 0.95) * 1.6)])
    assert jobs.probability(mean[:1].astype(np.float32)) == pytest.approx(0.95, abs=0.02)
    nodes = learnt(Dispersion(), [(mean, (rng.random(4000) < 0.1) * 15.0)])
    assert nodes.probability(mean[:1].astype(np.float32)) == pytest.approx(0.1, abs=0.03)
    assert nodes.probability(np.zeros(1, np.float32)) == 0


def test_cells_below_the_floor_say_nothing_of_the_chances_above_it() -> None:
    """Thousands of images that are as good as dead do not make the rare ones rarer."""
    dead = learnt(Dispersion(), [(np.full(5000, 0.01), np.zeros(5000))])
    assert dead.odds == Dispersion().odds
