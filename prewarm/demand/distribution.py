"""From expected pulls to chances: a negative binomial whose dispersion depends on the mean.

NB2: variance = mu + alpha mu². Registries are burstier than Poisson at every level of activity, and the
excess differs by activity, so alpha is learnt per bucket of mu from the model's own recent errors.
(Hilbe, Negative Binomial Regression, 2011, on NB2; moments as in Cameron and Trivedi, 1990.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from prewarm.demand.series import WEEK, Grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

EDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
FLOOR = 0.01  # a mean below it is as rare as we care to tell
ALPHA_RANGE = (0.02, 5.0)
ODDS_RANGE = (0.1, 20.0)
FEW_CELLS = 200  # a bucket with no more of them keeps the alpha it had
_TABLE = 4096  # quantiles up to here are exact, above they are the gamma limit

Means = Callable[[Grid, range], "NDArray[np.float32]"]


@dataclass(frozen=True, slots=True)
class Dispersion:
    """alpha per bucket of the mean; bucket b holds `edges[b - 1] <= mu < edges[b]`.

    Jobs keep their hour more surely than any such distribution says, and nodes come less so: `odds` multiply
    the odds of at least one pull, by bucket, such that as many came as were said.
    """

    edges: tuple[float, ...] = EDGES
    alpha: tuple[float, ...] = (0.3,) * (len(EDGES) + 1)
    odds: tuple[float, ...] = (1.0,) * (len(EDGES) + 1)

    def probability(self, mean: NDArray[np.float32]) -> NDArray[np.float32]:
        """P(at least one pull): 1 - (1 + alpha mu) ** (-1 / alpha), times the odds; a mean of 0 gives 0."""
        mu = np.asarray(mean, dtype=np.float64)
        alpha, odds = self._alpha(mu), np.asarray(self.odds)[np.digitize(mu, self.edges)]
        none = np.exp(-np.log1p(alpha * mu) / alpha)
        some = odds * -np.expm1(-np.log1p(alpha * mu) / alpha)
        return np.asarray(some / (some + none), dtype=np.float32)

    def quantile(self, mean: NDArray[np.float32], level: float) -> NDArray[np.float32]:
        """The smallest whole number of pulls y with P(Y <= y) >= `level` (0 < level < 1).

        F(k; mu) >= level exactly when mu <= mu_k, where mu_k inverts the incomplete beta function, so a
        table of mu_k per bucket turns millions of quantiles into look-ups. Above 4,095 pulls the negative
        binomial is its gamma limit.
        """
        mu = np.asarray(mean, dtype=np.float64)
        result = np.zeros(mu.shape, dtype=np.float32)
        buckets = np.digitize(mu, self.edges)
        for bucket, alpha in enumerate(self.alpha):
            here = buckets == bucket
            if here.any():
                result[here] = _quantile(mu[here], alpha, level)
        return result

    def interval(
        self, mean: NDArray[np.float32], level: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The central interval that holds `level` percent: (lo, hi)."""
        tail = (100 - level) / 200
        return self.quantile(mean, tail), self.quantile(mean, 1 - tail)

    def _alpha(self, mu: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(self.alpha)[np.digitize(mu, self.edges)]


TYPICAL = Dispersion()


def calibrate(history: Grid, means: Means, before: Dispersion, origins: int = 3) -> Dispersion:
    """alpha per bucket from the errors that `means` made over the last `origins` days.

    Each of these days is forecast from the hours before it, so the errors are out of sample. Buckets with
    at most 200 cells keep the alpha of `before`, and so do all when no day has a week of history before it.
    """
    return learnt(before, _recent_errors(history, means, origins))


def learnt(
    before: Dispersion, errors: Iterable[tuple[NDArray[np.float64], NDArray[np.float64]]]
) -> Dispersion:
    """alpha per bucket from (mean, pulls) of cells that were forecast out of sample; means are above 0.

    Buckets with at most 200 cells keep the alpha of `before`.
    """
    moments = np.zeros((2, len(before.alpha)))
    cells = np.zeros(len(before.alpha), dtype=np.int64)
    kept = list(errors)
    for mu, y in kept:
        buckets = np.digitize(mu, before.edges)
        excess = (y - mu) ** 2 - mu
        excess = np.minimum(excess, np.quantile(excess, 0.999)) if excess.size else excess
        cells += np.bincount(buckets, minlength=len(cells))
        moments[0] += np.bincount(buckets, excess, len(cells))
        moments[1] += np.bincount(buckets, mu**2, len(cells))
    alpha = np.clip(moments[0] / np.maximum(moments[1], FLOOR**2), *ALPHA_RANGE)
    spread = replace(before, alpha=tuple(np.where(cells > FEW_CELLS, alpha, before.alpha).tolist()))
    return _recalibrated(spread, kept)


def _recalibrated(
    spread: Dispersion, errors: Iterable[tuple[NDArray[np.float64], NDArray[np.float64]]]
) -> Dispersion:
    """`spread` with odds such that, by bucket, as many cells had a pull as it says.

    A bucket's odds come from the mean chance that is said and the share that came, each with FEW_CELLS cells
    of what was said before; so a bucket of few cells hardly moves.
    """
    said, came, cells = (np.full(len(spread.alpha), 0.0) for _ in range(3))
    plain = replace(spread, odds=(1.0,) * len(spread.alpha))
    for means, pulls in errors:
        told = means > FLOOR  # the others may have been anything below
        mu, y = means[told], pulls[told]
        buckets = np.digitize(mu, spread.edges)
        said += np.bincount(buckets, plain.probability(mu.astype(np.float32)), len(said))
        came += np.bincount(buckets, y > 0, len(said))
        cells += np.bincount(buckets, minlength=len(said))
    level = np.clip(said / np.maximum(cells, 1), 1e-4, 1 - 1e-4)
    share = np.clip((came + FEW_CELLS * level) / (cells + FEW_CELLS), 1e-4, 1 - 1e-4)
    odds = np.where(cells > 0, share / (1 - share) * (1 - level) / level, spread.odds)
    return replace(spread, odds=tuple(np.clip(odds, *ODDS_RANGE).tolist()))


def _recent_errors(
    history: Grid, means: Means, origins: int
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Errors of the last days that have a week of history before them."""
    for day in range(1, origins + 1):
        origin = history.hours - 24 * day
        if origin < WEEK or not history.images:
            return
        yield _errors(history, means, origin)


def _errors(history: Grid, means: Means, origin: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Forecast and outcome of the observed cells of the day from `origin`."""
    seen = np.flatnonzero(history.observed[origin : origin + 24])
    mu = means(history.until(origin), range(24))[:, seen].astype(np.float64).ravel()
    y = history.counts[:, origin : origin + 24].toarray()[:, seen].astype(np.float64).ravel()
    return np.maximum(mu, FLOOR), y


def _quantile(mu: NDArray[np.float64], alpha: float, level: float) -> NDArray[np.float64]:
    from scipy.special import betaincinv, gammaincinv

    size = 1 / alpha
    limit = gammaincinv(size, level) / size
    longest = int(min(_TABLE, 20 + 4 * mu.max() * max(limit, 1.0)))
    chance = betaincinv(size, np.arange(1, longest + 1), level)
    thresholds = size * (1 - chance) / chance
    exact = np.searchsorted(thresholds, mu)
    return np.where(exact < longest, exact, np.maximum(np.ceil(mu * limit), longest))
