"""The baselines that every model has to beat, and that stand beside it in the scorecard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from prewarm.demand.forecasters import FLAT, Prior

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from prewarm.demand.series import Grid


@dataclass(frozen=True)
class SeasonalNaive:
    """The same hour of last week; of yesterday where last week is not known; else the last day's mean.

    Hours are matched on the site's clock, so a change of daylight saving does not shift them, and hours of
    an outage are passed over. A baseline borrows nothing, so the prior is not used.
    """

    prior: Prior = FLAT
    name: str = "seasonal-naive"

    def forecast(self, history: Grid, ahead: range) -> NDArray[np.float32]:
        """Pulls of the latest hour with the same label, images x len(ahead)."""
        past, future = history.clock(), history.clock(ahead)
        weekly = latest(past.hour_of_week, history.observed, future.hour_of_week)
        daily = latest(past.hour, history.observed, future.hour)
        source = np.where(weekly >= 0, weekly, daily)
        result = np.asarray(history.counts[:, np.maximum(source, 0)].toarray(), dtype=np.float32)
        result[:, source < 0] = last_day(history)[:, None]
        return result


@dataclass(frozen=True)
class Last24Hours:
    """What was pulled in the last day, spread evenly: the counter that people start with."""

    prior: Prior = FLAT
    name: str = "last-24h"

    def forecast(self, history: Grid, ahead: range) -> NDArray[np.float32]:
        """Mean pulls of the last 24 observed hours, the same for every hour."""
        return np.repeat(last_day(history)[:, None], len(ahead), axis=1)


def latest(
    past: NDArray[np.int64], observed: NDArray[np.bool_], wanted: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Column of the latest observed hour with each wanted label; -1 where there is none."""
    columns = np.flatnonzero(observed)
    last = np.full(max(past.max(initial=0), wanted.max(initial=0)) + 1, -1, dtype=np.int64)
    np.maximum.at(last, past[columns], columns)
    return last[wanted]


def last_day(history: Grid) -> NDArray[np.float32]:
    """Mean pulls an hour over the last 24 observed hours, by image; 0 without any."""
    columns = np.flatnonzero(history.observed)[-24:]
    if not columns.size:
        return np.zeros(len(history.images), dtype=np.float32)
    return np.asarray(history.counts[:, columns].sum(axis=1) / columns.size, dtype=np.float32)
