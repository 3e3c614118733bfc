"""The hierarchical profile: who borrows from whom, and the calendar."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from prewarm.demand.calendars import Site, clock
from prewarm.demand.forecasters import Prior
from prewarm.demand.forecasters.profile import Profile, fit
from prewarm.demand.series import WEEK, Grid
from tests.contracts import DAY, history


def from_labels(site: Site, start: datetime, weeks: int, pulled_at: int = 8, rate: float = 12) -> Grid:
    """One image that is pulled `rate` times in the hour `pulled_at` of every workday of the site's clock."""
    told = clock(site, start, weeks * WEEK)
    counts = np.where((told.hour == pulled_at) & ~told.weekend & ~told.holiday, rate, 0.0)
    return replace(history(counts[None, :], site), start=start)


def test_a_steady_image_is_expected_at_its_rate() -> None:
    """Ten pulls in every hour are ten in the next."""
    means = Profile().forecast(history(np.full((1, 4 * WEEK), 10.0)), DAY)
    assert np.allclose(means, 10, rtol=0.05)


def test_a_daily_rhythm_is_found() -> None:
    """Pulls at eight on workdays are expected at eight, and hardly at nine or on Sunday."""
    grid = from_labels(Site(), datetime(2026, 2, 2, tzinfo=UTC), 4)
    monday, sunday = Profile().forecast(grid, DAY)[0], Profile().forecast(grid, range(144, 168))[0]
    assert monday[8] > 8
    assert monday[9] < 0.5
    assert sunday[8] < 1


def test_eight_stays_eight_when_the_clocks_change() -> None:
    """After the change to summer time the peak is at eight on the site's clock, an hour earlier in UTC."""
    berlin = Site("berlin", "Europe/Berlin")
    start, _ = berlin.day(datetime(2026, 3, 2, tzinfo=UTC).date())
    grid = from_labels(berlin, start, 4)
    ahead = range(24)
    assert grid.cutoff == datetime(2026, 3, 29, 23, tzinfo=UTC)
    assert grid.clock(ahead).hour[int(Profile().forecast(grid, ahead)[0].argmax())] == 8


def test_a_holiday_follows_the_rhythm_of_sunday() -> None:
    """The Friday that is a holiday is expected to be as quiet as a Sunday."""
    start = datetime(2026, 3, 23, tzinfo=UTC)
    plain, easter = Site("p", "UTC"), Site("e", "UTC", "DE")
    friday = range(4 * 24 + 8, 4 * 24 + 9)
    grid = from_labels(plain, datetime(2026, 3, 2, tzinfo=UTC), 4)
    assert grid.cutoff == datetime(2026, 3, 30, tzinfo=UTC) > start
    usual = Profile().forecast(grid, friday)[0, 0]
    holiday = Profile().forecast(replace(grid, site=easter), friday)[0, 0]
    assert holiday < usual / 5


def test_a_new_tag_borrows_the_rhythm_of_its_repository() -> None:
    """A tag first pulled an hour ago peaks when its older sibling does."""
    told = clock(Site(), datetime(2026, 2, 2, tzinfo=UTC), 4 * WEEK)
    old = np.where(told.hour == 20, 30.0, 0.2)
    new = np.zeros_like(old)
    new[-1] = 2
    means = Profile().forecast(history(np.array([old, new])), DAY)
    assert means[1].argmax() == 20
    assert means[1, 20] > 5 * means[1, 3]


def test_a_quiet_spell_lowers_the_level() -> None:
    """An image that stopped a day ago is expected far less than one that did not."""
    going = np.full(4 * WEEK, 10.0)
    gone = going.copy()
    gone[-30:] = 0
    grid = history(np.array([going, np.zeros_like(going), gone]))
    means = Profile().forecast(grid, DAY).mean(axis=1)
    assert means[2] < means[0] / 2


def test_a_burst_long_ago_does_not_make_a_wild_forecast() -> None:
    """No mean is above one and a half times the busiest hour of four weeks, plus five."""
    counts = np.zeros((1, 5 * WEEK))
    counts[0, :24] = 1e6
    assert Profile().forecast(history(counts), DAY).max() <= 5


def test_a_short_history_takes_the_shipped_rhythm() -> None:
    """After six hours of flat traffic, the prior says that mornings are busier."""
    morning = tuple(4.0 if hour == 9 else 0.87 for hour in range(24))
    means = Profile(Prior(morning, morning)).forecast(history(np.full((1, 6), 3.0)), range(18))[0]
    assert means.argmax() == 9 - 6
    flat = Profile().forecast(history(np.full((1, 6), 3.0)), range(18))[0]
    assert flat.max() < 1.3 * flat.min()


def test_the_shipped_rhythm_fades_within_two_weeks() -> None:
    """With two weeks of history the prior changes nothing."""
    grid = history(np.random.default_rng(1).poisson(3.0, (4, 2 * WEEK)).astype(np.float64))
    odd = Prior(tuple(range(1, 25)), tuple(range(1, 25)))
    assert np.array_equal(Profile(odd).forecast(grid, DAY), Profile().forecast(grid, DAY))


def test_an_image_never_seen_is_expected_a_little() -> None:
    """An unpulled image of a busy repository is expected less than its siblings, and more than 0."""
    counts = np.vstack([np.full(4 * WEEK, 8.0), np.zeros(4 * WEEK)])
    means = Profile().forecast(history(counts), DAY)
    assert (means[1] > 0).all()
    assert (means[1] <= means[0]).all()


def test_the_global_shape_has_mean_one_over_a_week() -> None:
    """Shapes are multiples of a mean rate."""
    fitted = fit(Profile(), history(np.random.default_rng(1).poisson(2.0, (6, 3 * WEEK)).astype(np.float64)))
    week = np.concatenate([np.tile(fitted.shape[:24], 5), np.tile(fitted.shape[24:], 2)])
    assert week.mean() == pytest.approx(1)
