"""The baselines that every model has to beat, and that stand beside it in the scorecard.

A baseline borrows nothing, so none of them uses the prior. Hours are matched on the site's clock, so a
change of daylight saving does not shift them, and hours of an outage are passed over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from prewarm.demand.forecasters import FLAT, Prior

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from prewarm.demand.series import Grid

DAY, WEEK = 24, 168
BASELINES = (
    "last-24h",
    "last-7d",
    "cumulative",
    "yesterday",
    "seasonal-naive",
    "hour-of-week",
    "ewma",
    "tsb",
)


@dataclass(frozen=True)
class SeasonalNaive:
    """The same hour of last week; of yesterday where last week is not known; else the last day's mean."""

    prior: Prior = FLAT
    name: str = "seasonal-naive"

    def forecast(self, history: Grid, ahead: range) -> NDArray[np.float32]:
        """Pulls of the latest hour with the same label, images x len(ahead)."""
        past, future = history.clock(), history.clock(ahead)
        weekly = latest(past.hour_of_week, history.observed, future.hour_of_week)
        daily = latest(past.hour, history.observed, future.hour)
        return _repeated(history, np.where(weekly >= 0, weekly, daily))


@dataclass(frozen=True)
class Yesterday:
    """The same hour of yesterday; the last day's mean where that is not known."""

    prior: Prior = FLAT
    name: str = "yesterday"

    def forecast(self, history: Grid, ahead: range) -> NDArray[np.float32]:
        """Pulls of the latest hour with the same hour of day, images x len(ahead)."""
        return _repeated(history, latest(history.clock().hour, history.observed, history.clock(ahead).hour))


@dataclass(frozen=True)
class HourOfWeek:
    """Mean of the same hour of the week over the last four weeks; the last day's mean where none is known."""

    prior: Prior = FLAT
    name: str = "hour-of-week"

    def forecast(self, history: Grid, ahead: range) -> NDArray[np.float32]:
        """Mean pulls of the hours with the same label, images x len(ahead)."""
        past, future = history.clock().hour_of_week, history.clock(ahead).hour_of_week
        return same_hours(history, past, future, history.observed, (0.25,) * 4)


@dataclass(frozen=True)
class Last24Hours:
    """What was pulled in the last day, spread evenly: the counter that people start with."""

    prior: Prior = FLAT
    name: str = "last-24h"

    def forecast(self, history: Grid, ahead: range) -> NDArray[np.float32]:
        """Mean pulls of the last 24 observed hours, the same for every hour."""
        return _flat(last_hours(history, DAY), ahead)


@dataclass(frozen=True)
class Last7Days:
    """What was pulled in the last week, spread evenly: a list that is refreshed every hour."""

    prior: Prior = FLAT
    name: str = "last-7d"

    def forecast(self, history: Grid, ahead: range) -> NDArray[np.float32]:
        """Mean pulls of the last 168 observed hours, the same for every hour."""
        return _flat(last_hours(history, WEEK), ahead)


@dataclass(frozen=True)
class Cumulative:
    """Plain popularity: all pulls that the history has, spread evenly."""

    prior: Prior = FLAT
    name: str = "cumulative"

    def forecast(self, history: Grid, ahead: range) -> NDArray[np.float32]:
        """Mean pulls of all observed hours, the same for every hour."""
        return _flat(last_hours(history, max(history.hours, 1)), ahead)


@dataclass(frozen=True)
class EWMA:
    """Exponentially weighted mean; the half-life (hours) was tuned on other data than is reported."""

    prior: Prior = FLAT
    half_life: float = 24.0
    name: str = "ewma"

    def forecast(self, history: Grid, ahead: range) -> NDArray[np.float32]:
        """The mean now, the same for every hour."""
        return _flat(weighted_mean(history, self.half_life), ahead)


@dataclass(frozen=True)
class TSB:
    """Chance of a pull times the size of one, each smoothed, so that a dead image decays.

    (Teunter, Syntetos and Babai, 2011.) `chance` and `size` are the smoothing constants, per hour and
    per hour with pulls.
    """

    prior: Prior = FLAT
    chance: float = 0.03
    size: float = 0.2
    name: str = "tsb"

    def forecast(self, history: Grid, ahead: range) -> NDArray[np.float32]:
        """Chance x size now, the same for every hour."""
        counts = history.counts
        weights = _decay(history, 1 - self.chance)
        rows = counts.rows
        chance = np.bincount(rows, weights[counts.indices], counts.shape[0])
        back = counts.indptr[rows + 1] - 1 - np.arange(counts.nnz)  # pulls after this one, by row
        recent = (1 - self.size) ** back
        total = np.bincount(rows, recent, counts.shape[0])
        size = np.bincount(rows, recent * counts.data, counts.shape[0]) / np.maximum(total, 1e-12)
        return _flat(chance * size, ahead)


def latest(
    past: NDArray[np.int64], observed: NDArray[np.bool_], wanted: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Column of the latest observed hour with each wanted label; -1 where there is none."""
    columns = np.flatnonzero(observed)
    last = np.full(max(past.max(initial=0), wanted.max(initial=0)) + 1, -1, dtype=np.int64)
    np.maximum.at(last, past[columns], columns)
    return last[wanted]


def same_hours(
    history: Grid,
    past: NDArray[np.int64],
    wanted: NDArray[np.int64],
    known: NDArray[np.bool_],
    weights: tuple[float, ...],
) -> NDArray[np.float32]:
    """Weighted mean of the latest known hours with each wanted label, the latest with the first weight.

    `past` labels the hours of the history. Labels that no hour had take the mean of the last day.
    """
    labels, place = np.unique(wanted, return_inverse=True)
    column, share = np.zeros(history.hours, dtype=np.int64), np.zeros(history.hours)
    found = np.zeros(len(labels), dtype=np.bool_)
    for number, label in enumerate(labels.tolist()):
        hours = np.flatnonzero((past == label) & known)[::-1][: len(weights)]
        found[number] = hours.size > 0
        column[hours] = number
        share[hours] = np.array(weights[: hours.size]) / sum(weights[: hours.size])
    result = history.counts.grouped(column, share, len(labels))
    result[:, ~found] = last_hours(history, DAY)[:, None]
    return result[:, place]


def weighted_mean(history: Grid, half_life: float) -> NDArray[np.float32]:
    """Mean of the observed hours, an hour that is `half_life` older weighing half; by image."""
    return np.asarray(history.counts @ _decay(history, 0.5 ** (1 / half_life)), dtype=np.float32)


def last_hours(history: Grid, hours: int) -> NDArray[np.float32]:
    """Mean pulls an hour over the last observed `hours`, by image; 0 without any."""
    columns = np.flatnonzero(history.observed)[-hours:]
    if not columns.size:
        return np.zeros(len(history.images), dtype=np.float32)
    chosen = np.zeros(history.hours, dtype=np.float32)
    chosen[columns] = 1 / columns.size
    return np.asarray(history.counts @ chosen, dtype=np.float32)


def _decay(history: Grid, keep: float) -> NDArray[np.float32]:
    """Weights of the hours that add up to 1, each `keep` times the one after it; 0 in outages."""
    weights = keep ** np.arange(history.hours - 1, -1, -1, dtype=np.float64) * history.observed
    return np.asarray(weights / max(weights.sum(), 1e-300), dtype=np.float32)


def _flat(mean: NDArray[np.floating], ahead: range) -> NDArray[np.float32]:
    return np.repeat(mean.astype(np.float32)[:, None], len(ahead), axis=1)


def _repeated(history: Grid, source: NDArray[np.int64]) -> NDArray[np.float32]:
    """The columns `source`; the last day's mean where it is -1."""
    hours, place = np.unique(np.maximum(source, 0), return_inverse=True)
    column, taken = np.zeros(history.hours, dtype=np.int64), np.zeros(history.hours)
    column[hours], taken[hours] = np.arange(len(hours)), 1
    result = history.counts.grouped(column, taken, len(hours))[:, place]
    result[:, source < 0] = last_hours(history, DAY)[:, None]
    return result
