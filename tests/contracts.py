"""What every forecaster promises, as functions that take one: run over built-ins here, and by third parties.

A plug-in's own tests call `forecaster_contract(driver)`; each check raises AssertionError with the promise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prewarm.demand.calendars import Site
from prewarm.demand.counts import Counts
from prewarm.demand.forecasters import Driver, Forecaster, Prior
from prewarm.demand.series import Grid, repositories

START = datetime(2026, 2, 2, tzinfo=UTC)  # a Monday
DAY = range(24)


def history(counts: NDArray[np.float64], site: Site | None = None) -> Grid:
    """A grid of images `r/<i // 2>:<i>`, two a repository, from Monday 2026-02-02 00:00 UTC."""
    images = tuple(f"docker.io/r/{i // 2:03}:{i}" for i in range(len(counts)))
    return Grid(
        site=site or Site(),
        images=images,
        repositories=repositories(pl.Series(images, dtype=pl.String)),
        start=START,
        counts=Counts.of(counts),
        observed=np.ones(counts.shape[1], dtype=np.bool_),
    )


def busy(images: int = 8, hours: int = 24 * 17) -> Grid:
    """Images with a daily rhythm, from nearly never to 40 pulls an hour; seeded."""
    rng = np.random.default_rng(5)
    rate = np.geomspace(0.02, 40, images)[:, None] * (1 + np.sin(np.arange(hours) / 24 * 2 * np.pi))
    return history(rng.poisson(rate).astype(np.float64))


def with_outage(grid: Grid, begin: int, end: int) -> Grid:
    """`grid` whose hours from `begin` to `end` are unknown (and hold no counts)."""
    counts = grid.counts.toarray()
    counts[:, begin:end] = 0
    observed = grid.observed.copy()
    observed[begin:end] = False
    return Grid(grid.site, grid.images, grid.repositories, grid.start, Counts.of(counts), observed)


def hard_histories() -> Iterator[tuple[str, Grid]]:
    """Histories that models stumble over, by name."""
    one = np.zeros((3, 200))
    one[1, 77] = 1
    gap = busy().counts.toarray().astype(np.float64)
    gap[:, 100:268] = 0
    burst = busy().counts.toarray().astype(np.float64)
    burst[2, 300] = 1e9
    yield "one pull ever", history(one)
    yield "all zeros", history(np.zeros((3, 400)))
    yield "one hour long", history(np.ones((3, 1)))
    yield "a week of silence", history(gap)
    yield "a week of outage", with_outage(busy(), 100, 268)
    yield "only outage", with_outage(busy(), 0, busy().hours)
    yield "a single image", busy(images=1)
    yield "a billion pulls in an hour", history(burst)
    yield "no image", history(np.zeros((0, 200)))
    yield "half an hour off", history(np.ones((2, 300)), Site("mumbai", "Asia/Kolkata", "IN"))


def one_mean_per_image_and_hour(model: Forecaster) -> None:
    """Any range ahead gives one column an hour, also an empty one and one far away."""
    grid = busy()
    for ahead in (range(0), range(1), DAY, range(9, 10), range(700, 724)):
        assert model.forecast(grid, ahead).shape == (len(grid.images), len(ahead)), ahead
        assert model.forecast(grid, ahead).dtype == np.float32


def later_hours_do_not_matter(model: Forecaster) -> None:
    """What happened after the cutoff changes nothing: a longer history, cut, gives the same answer."""
    grid = busy()
    counts = grid.counts.toarray().astype(np.float64)
    counts[:, 360:] = 1e6
    np.testing.assert_array_equal(
        model.forecast(grid.until(360), DAY), model.forecast(history(counts).until(360), DAY)
    )


def order_does_not_matter(model: Forecaster) -> None:
    """The images in another order give the same means in that order."""
    grid = busy()
    order = np.random.default_rng(1).permutation(len(grid.images))
    mixed = Grid(
        grid.site,
        tuple(grid.images[i] for i in order),
        grid.repositories[order],
        grid.start,
        grid.counts[order],
        grid.observed,
    )
    np.testing.assert_allclose(
        model.forecast(mixed, DAY), model.forecast(grid, DAY)[order], rtol=1e-3, atol=1e-5
    )


def history_is_left_alone(model: Forecaster) -> None:
    """Forecasting changes nothing in the history, and the same history gives the same answer."""
    grid = busy()
    before, observed = grid.counts.toarray(), grid.observed.copy()
    first = model.forecast(grid, DAY)
    np.testing.assert_array_equal(grid.counts.toarray(), before)
    np.testing.assert_array_equal(grid.observed, observed)
    np.testing.assert_array_equal(model.forecast(grid, DAY), first)


def means_are_finite_and_not_negative(model: Forecaster) -> None:
    """Whatever the history, every mean is a number that is 0 or more, and no wild multiple of the past."""
    for name, grid in hard_histories():
        means = model.forecast(grid, DAY)
        assert means.shape == (len(grid.images), 24), name
        assert np.isfinite(means).all(), name
        assert (means >= 0).all(), name
        assert means.max(initial=0) <= 2 * grid.counts.data.max(initial=0) + 6 if grid.images else True, name


def hours_of_an_outage_are_not_read(model: Forecaster) -> None:
    """An outage in the last day is unknown, not zero: a steady image stays expected."""
    steady = history(np.full((2, 24 * 21), 10.0))
    means = model.forecast(with_outage(steady, steady.hours - 24, steady.hours), DAY)
    assert (means > 5).all()


FORECASTER_CHECKS: tuple[Callable[[Forecaster], None], ...] = (
    one_mean_per_image_and_hour,
    later_hours_do_not_matter,
    order_does_not_matter,
    history_is_left_alone,
    means_are_finite_and_not_negative,
    hours_of_an_outage_are_not_read,
)


def forecaster_contract(driver: Driver) -> None:
    """Every check over one driver."""
    model = driver(Prior())
    assert model.name
    assert model.name == model.name.lower()
    for check in FORECASTER_CHECKS:
        check(model)
