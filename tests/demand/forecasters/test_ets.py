"""Exponential smoothing: what it falls back to, and that it says so."""

from __future__ import annotations

import numpy as np

from prewarm.demand.forecasters.ets import ETS, Smoothed, unfitted
from prewarm.demand.forecasters.profile import Profile
from tests.contracts import DAY, busy


def test_images_that_are_not_the_busiest_have_the_profile() -> None:
    """Two series are fitted, the others are the profile's."""
    means, profile = ETS(busiest=2).forecast(busy(), DAY), Profile().forecast(busy(), DAY)
    assert np.array_equal(means[:-2], profile[:-2])
    assert not np.array_equal(means[-2:], profile[-2:])


def test_a_series_that_could_not_be_fitted_has_the_profile() -> None:
    """Its forecast is the profile's, whatever the others have."""
    grid = busy()
    fit = ETS(busiest=1).fit(grid)
    failed = Smoothed(grid, fit.profile, {len(grid.images) - 1: None}, fit.caps, fit.dispersion, ())
    assert np.array_equal(failed.means(DAY), Profile().forecast(grid, DAY))


def test_a_failed_fit_is_told() -> None:
    """No fallback is silent, and no note is made of nothing."""
    assert unfitted("ets", []) == ()
    assert "2 images (docker.io/a:1" in unfitted("ets", ["docker.io/a:1", "docker.io/b:1"])[0]
