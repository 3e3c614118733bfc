"""Whether a simple baseline ranked a site's images better than the default did, on the site's own last days.

The default has to earn its place: where a baseline was ahead of it at the same tests by more than chance
explains, the baseline answers, and the answer says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from prewarm.demand.forecasters.baselines import (
    EWMA,
    Cumulative,
    HourOfWeek,
    Last7Days,
    Last24Hours,
    SeasonalNaive,
    Yesterday,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from prewarm.demand.series import Grid


class Baseline(Protocol):
    """A forecaster that borrows nothing and costs next to nothing."""

    @property
    def name(self) -> str: ...

    def forecast(self, history: Grid, ahead: range) -> NDArray[np.float32]: ...


STEADY: tuple[Baseline, ...] = (Last24Hours(), Last7Days(), Cumulative(), EWMA())
"""They say the same of every hour. TSB would rank as EWMA does, and costs more."""

RHYTHMIC: tuple[Baseline, ...] = (Yesterday(), SeasonalNaive(), HourOfWeek())
RIVALS: Mapping[str, Baseline] = {model.name: model for model in (*STEADY, *RHYTHMIC)}
DAYS = 5  # of tests without which nothing is decided
AHEAD = 0.01  # of a perfect ranking, by which a baseline must be ahead
ERRORS = 2.5  # standard errors of the daily differences that this must be


@dataclass(frozen=True, slots=True)
class Fallback:
    """The baseline that answers, with how well it and the default ranked (mean NDCG of the tests' hours)."""

    name: str
    theirs: float
    ours: float

    def note(self, leads: str) -> str:
        """What a reader of the ranking should know."""
        return (
            f"auto ranked this site's last week worse than {self.name} does, {leads} "
            f"(NDCG {self.ours:.2f} against {self.theirs:.2f}), so {self.name} answers"
        )


def gained(pulls: NDArray[np.floating], mean: NDArray[np.floating]) -> NDArray[np.float64]:
    """Normalised discounted cumulative gain of the order of the means, by hour; NaN where nothing came.

    Means of one column are those of every hour. The gain is log2(1 + pulls), down to the last image.
    """
    gain = np.log2(1 + np.ascontiguousarray(pulls.T, dtype=np.float32))  # hour x image: sorted as it lies
    place = (1 / np.log2(np.arange(2, len(pulls) + 2))).astype(np.float32)
    order = np.broadcast_to(_best_first(mean), gain.shape)
    found = np.take_along_axis(gain, order, axis=1) @ place
    best = np.sort(gain, axis=1)[:, ::-1] @ place
    shares = np.full(len(best), np.nan)
    return np.asarray(np.divide(found, best, out=shares, where=best > 0), dtype=np.float64)


def _best_first(mean: NDArray[np.floating]) -> NDArray[np.int64]:
    """The images of each hour by their means, the first of equals first, hour x image; no mean is below 0.

    Of such floats the bits ascend as they do: with the row behind them, whole numbers are sorted, which is
    several times as fast as to sort rows by floats.
    """
    falling = ~np.ascontiguousarray(mean.T, dtype=np.float32).view(np.int32)
    keys = (falling.astype(np.int64) << 32) | np.arange(len(mean))
    keys.sort(axis=1)
    return np.asarray(keys & 0xFFFFFFFF, dtype=np.int64)


def sampled(pulls: NDArray[np.floating], mean: NDArray[np.floating]) -> NDArray[np.float64]:
    """`gained` of the first three hours and of every third one after; NaN in the others."""
    hours = pulls.shape[1]
    chosen = [*range(min(3, hours)), *range(3, hours, 3)]
    result = np.full(hours, np.nan)
    result[chosen] = gained(pulls[:, chosen], mean if mean.shape[1] == 1 else mean[:, chosen])
    return result


def scores(
    before: Grid, ahead: range, pulls: NDArray[np.float32], there: NDArray[np.bool_]
) -> dict[str, NDArray[np.float64]]:
    """How well every baseline would have ranked the images that were `there`, by hour of `ahead`."""
    steady = {m.name: sampled(pulls[there], m.forecast(before, ahead[:1])[there]) for m in STEADY}
    return steady | {m.name: sampled(pulls[there], m.forecast(before, ahead)[there]) for m in RHYTHMIC}


def fallback(
    ours: NDArray[np.float64], theirs: Mapping[str, NDArray[np.float64]], days: NDArray[np.int64]
) -> Fallback | None:
    """The baseline that was furthest ahead, if by more than chance; hours are grouped by whole `days`."""
    known = np.isfinite(ours)
    _, day = np.unique(days[known], return_inverse=True)
    sizes = np.bincount(day)
    if len(sizes) < DAYS:
        return None
    found = None
    for name, score in theirs.items():
        daily = np.bincount(day, (score - ours)[known]) / sizes
        ahead = float(daily.mean())
        if ahead > AHEAD and ahead > ERRORS * daily.std(ddof=1) / np.sqrt(len(daily)):
            each = Fallback(name, float(score[known].mean()), float(ours[known].mean()))
            found = max(found or each, each, key=lambda fallback: fallback.theirs)
    return found


def together(parts: Sequence[Mapping[str, NDArray[np.float64]]]) -> dict[str, NDArray[np.float64]]:
    """The scores of several tests, one after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
