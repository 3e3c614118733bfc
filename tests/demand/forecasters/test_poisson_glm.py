"""Poisson regression on the clock: the day that it draws, what it falls back to, and that it says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from prewarm.demand.forecasters.ets import unfitted
from prewarm.demand.forecasters.poisson_glm import PoissonGLM
from prewarm.demand.forecasters.profile import Profile
from prewarm.demand.series import WEEK
from tests.contracts import DAY, busy, history


def test_a_smooth_day_is_drawn_from_its_counts() -> None:
    """Pulls that swell to noon and ebb are expected so, and half as many on days off."""
    hour = np.arange(4 * WEEK)
    off = hour // 24 % 7 >= 5
    rate = np.exp(1 + np.cos(2 * np.pi * (hour % 24 - 12) / 24)) * np.where(off, 0.5, 1.0)
    grid = history(np.random.default_rng(1).poisson(rate)[None, :].astype(np.float64))
    week = PoissonGLM().forecast(grid, range(WEEK))[0]
    assert week == pytest.approx(rate[:WEEK], rel=0.3, abs=0.5)


def test_images_that_are_not_the_busiest_have_the_profile() -> None:
    """Two are regressed, the others are the profile's."""
    means, profile = PoissonGLM(busiest=2).forecast(busy(), DAY), Profile().forecast(busy(), DAY)
    assert np.array_equal(means[:-2], profile[:-2])
    assert not np.array_equal(means[-2:], profile[-2:])


def test_an_image_whose_regression_failed_has_the_profile() -> None:
    """Its forecast is the profile's, and no fallback is silent."""
    grid = busy()
    failed = replace(PoissonGLM(busiest=1).fit(grid), coefficients={len(grid.images) - 1: None})
    assert np.array_equal(failed.means(DAY), Profile().forecast(grid, DAY))
    assert unfitted("poisson-glm", []) == ()
    told = unfitted("poisson-glm", ["docker.io/a:1", "docker.io/b:1"])[0]
    assert told.startswith("poisson-glm could not be fitted to 2 images (docker.io/a:1")
