"""What a registry looks like: its rhythm, how few images carry it, how fast they change.

Plain functions of a grid, for figures, notebooks and the REST service alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from prewarm.demand.series import WEEK, Grid

if TYPE_CHECKING:
    from numpy.typing import NDArray


def rhythm(grid: Grid, image: str | None = None) -> NDArray[np.float64]:
    """Mean pulls an hour, weekday (Monday first) x hour of day, of one image or of all together.

    On the site's clock, over observed hours that are no holidays; NaN where there was none. An image that the
    grid does not have is pulled 0 times.
    """
    rows = [row for row, name in enumerate(grid.images) if image in (None, name)]
    told = grid.clock()
    known = np.flatnonzero(grid.observed & ~told.holiday)
    totals = grid.counts[rows].sum(axis=0)
    hours = np.bincount(told.hour_of_week[known], minlength=WEEK).astype(np.float64)
    pulls = np.bincount(told.hour_of_week[known], totals[known], minlength=WEEK)
    hours[hours == 0] = np.nan
    return np.asarray(pulls / hours).reshape(7, 24)


def concentration(grid: Grid) -> NDArray[np.float64]:
    """Share of all pulls that the busiest 1, 2, 3 … images have; empty without pulls."""
    totals = np.sort(grid.counts.sum(axis=1))[::-1]
    return np.asarray(np.cumsum(totals) / totals.sum() if totals.any() else np.empty(0))


@dataclass(frozen=True, eq=False)
class Churn:
    """How much of each day was new; one item for each day but the first, in order.

    `new_images` counts images never pulled before, `new_share` is their share of the day's pulls, and
    `kept` the share of the day's `top` images that were among yesterday's.
    """

    new_images: NDArray[np.int64]
    new_share: NDArray[np.float64]
    kept: NDArray[np.float64]


def churn(grid: Grid, top: int = 10) -> Churn:
    """Day by day, in days of 24 hours that end with the grid; a rest at its beginning is left out."""
    days = grid.hours // 24
    first = grid.hours - 24 * days
    day = np.arange(grid.hours - first) // 24
    daily = grid.counts[:, first:].grouped(day, np.ones(day.size), days)
    rest = grid.counts[:, :first].sum(axis=1)
    before = (np.cumsum(daily, axis=1) + rest[:, None]) > 0
    fresh = (daily[:, 1:] > 0) & ~before[:, :-1]
    pulls = np.maximum(daily[:, 1:].sum(axis=0), 1)
    ranked = np.argsort(-daily, axis=0, kind="stable")[:top]
    busy = np.zeros(daily.shape, dtype=np.bool_)
    np.put_along_axis(busy, ranked, True, axis=0)
    busy &= daily > 0
    kept = (busy[:, 1:] & busy[:, :-1]).sum(axis=0) / np.maximum(busy[:, 1:].sum(axis=0), 1)
    return Churn(fresh.sum(axis=0), (daily[:, 1:] * fresh).sum(axis=0) / pulls, kept)
