"""From expected pulls to chances: a negative binomial whose dispersion depends on the mean.

NB2: variance = mu + alpha mu². Registries are burstier than Poisson at every level of activity, and the
excess differs by activity, so alpha is learnt per bucket of mu from the model's own recent errors.
(Hilbe, Negative Binomial Regression, 2011, on NB2; moments as in Cameron and Trivedi, 1990.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from prewarm.demand.series import WEEK, Grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

EDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
FLOOR = 0.01  # a mean below it is as rare as we care to tell
ALPHA_RANGE = (0.002, 5.0)
ODDS_RANGE = (0.1, 20.0)
MOST = 4000  # cells of a bucket that quantiles are recalibrated on
WIDER = 1.08  # standard deviations of what was seen: days differ by more than a week shows
FEW_CELLS = 200  # cells that what was said before is worth
STEPS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)

Means = Callable[[Grid, range], "NDArray[np.float32]"]
Cells = tuple["NDArray[np.float64]", "NDArray[np.float64]"]  # means that were foretold, and pulls that came
NOTHING: Cells = (np.zeros(0), np.zeros(0))


@dataclass(frozen=True, slots=True)
class Dispersion:
    """alpha per bucket of the mean; bucket b holds `edges[b - 1] <= mu < edges[b]`.

    Jobs keep their hour more surely than any such distribution says, and nodes come less so: `odds` multiply
    the odds of at least one pull, by bucket, such that as many came as were said. Where there is one, bursts
    come in other shapes, too: quantiles are recalibrated on cells with pulls that were `seen`, by bucket. (A
    sample and no table: whoever asks for no quantile needs no scipy.)
    """

    edges: tuple[float, ...] = EDGES
    alpha: tuple[float, ...] = (0.3,) * (len(EDGES) + 1)
    odds: tuple[float, ...] = (1.0,) * (len(EDGES) + 1)
    seen: Cells = field(default=NOTHING, compare=False, repr=False)

    def probability(self, mean: NDArray[np.float32]) -> NDArray[np.float32]:
        """P(at least one pull): 1 - (1 + alpha mu) ** (-1 / alpha), times the odds; a mean of 0 gives 0."""
        mu = np.asarray(mean, dtype=np.float64)
        buckets = np.digitize(mu, self.edges)
        alpha, odds = np.asarray(self.alpha)[buckets], np.asarray(self.odds)[buckets]
        return np.asarray(_likely(mu, alpha, odds), dtype=np.float32)

    def quantile(self, mean: NDArray[np.float32], level: float) -> NDArray[np.float32]:
        """The smallest whole number of pulls y with P(Y <= y) >= `level` (0 < level < 1).

        It is 0 exactly where `probability` is at most 1 - `level`.
        """
        mu = np.asarray(mean, dtype=np.float64)
        result = np.zeros(mu.shape, dtype=np.float32)
        buckets = np.digitize(mu, self.edges)
        for bucket in np.unique(buckets).tolist():
            here = buckets == bucket
            result[here] = self._quantile(mu[here], bucket, level)
        return result

    def interval(
        self, mean: NDArray[np.float32], level: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The central interval that holds `level` percent: (lo, hi)."""
        tail = (100 - level) / 200
        return self.quantile(mean, tail), self.quantile(mean, 1 - tail)

    def _quantile(self, mu: NDArray[np.float64], bucket: int, level: float) -> NDArray[np.float64]:
        alpha = self.alpha[bucket]
        some = _likely(mu, alpha, self.odds[bucket])
        result = np.zeros(mu.shape)
        pulled = level > 1 - some  # the rest has none at this level
        mu, some = mu[pulled], some[pulled]
        among = np.interp(1 - (1 - level) / some, self._levels(bucket), STEPS)
        none = np.exp(-np.log1p(alpha * mu) / alpha)
        result[pulled] = np.maximum(_inverse(mu, alpha, none + among * (1 - none)), 1)
        return result

    def _levels(self, bucket: int) -> NDArray[np.float64]:
        """The share of cells at or below each of STEPS of the distribution of one pull and more.

        Of a seen cell of y pulls between F(y - 1) and F(y) as much as lies below the step: the
        non-randomised probability integral transform of counts (Czado, Gneiting and Held, 2009).
        """
        from scipy.special import ndtr, ndtri

        mu, y = (cells[np.digitize(self.seen[0], self.edges) == bucket] for cells in self.seen)
        low, high = _among(mu, y, self.alpha[bucket])
        steps = np.array(STEPS)
        below = np.clip((steps - low[:, None]) / np.maximum(high - low, 1e-12)[:, None], 0, 1)
        share = ndtr(ndtri(below.mean(axis=0)) / WIDER) if len(mu) else steps
        return np.asarray((len(mu) * share + FEW_CELLS * steps) / (len(mu) + FEW_CELLS), dtype=np.float64)


TYPICAL = Dispersion()


def calibrate(history: Grid, means: Means, before: Dispersion, origins: int = 3) -> Dispersion:
    """alpha per bucket from the errors that `means` made over the last `origins` days.

    Each of these days is forecast from the hours before it, so the errors are out of sample. All stays as
    `before` when no day has a week of history before it.
    """
    return learnt(before, recent_errors(history, means, origins))


def learnt(before: Dispersion, errors: Iterable[Cells]) -> Dispersion:
    """`before` as (mean, pulls) of cells that were forecast out of sample correct it; means are above 0.

    Each bucket borrows from the one below, as far as that has seen enough to tell, else from `before`; its
    own 200 cells outweigh that. So an image busier than any other is spread as the busiest that were seen.
    """
    kept = list(errors)
    if not any(len(mu) for mu, _ in kept):
        return before
    found = replace(before, alpha=_alphas(before, kept), seen=_sampled(before, kept))
    return _recalibrated(found, kept)


def _alphas(before: Dispersion, errors: Iterable[Cells]) -> tuple[float, ...]:
    """alpha per bucket by moments: E[(y - mu)^2 - mu] = alpha mu^2."""
    moments = np.zeros((2, len(before.alpha)))
    cells = np.zeros(len(before.alpha))  # a rare one shows next to nothing of the spread
    for mu, y in errors:
        buckets = np.digitize(mu, before.edges)
        excess = (y - mu) ** 2 - mu
        excess = np.minimum(excess, np.quantile(excess, 0.999)) if excess.size else excess
        cells += np.bincount(buckets, np.minimum(mu, 1) ** 2, len(cells))
        moments[0] += np.bincount(buckets, excess, len(cells))
        moments[1] += np.bincount(buckets, mu**2, len(cells))
    own = np.clip(moments[0] / np.maximum(moments[1], FLOOR**2), *ALPHA_RANGE)
    alphas = list(before.alpha)
    for bucket in range(len(alphas)):
        enough = min(cells[:bucket].sum() / FEW_CELLS, 1.0)
        below = enough * alphas[bucket - 1] + (1 - enough) * before.alpha[bucket]
        alphas[bucket] = float(
            (cells[bucket] * own[bucket] + FEW_CELLS * below) / (cells[bucket] + FEW_CELLS)
        )
    return tuple(alphas)


def _recalibrated(spread: Dispersion, errors: Iterable[Cells]) -> Dispersion:
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


def _sampled(before: Dispersion, errors: Sequence[Cells]) -> Cells:
    """Cells with pulls, evenly taken over the tests: at most MOST of each bucket."""
    mu, y = (np.concatenate(cells) for cells in zip(*errors, strict=True))
    mu, y = mu[y > 0], y[y > 0]
    buckets = np.digitize(mu, before.edges)
    chosen = [np.flatnonzero(buckets == bucket) for bucket in range(len(before.alpha))]
    taken = np.concatenate([rows[:: -(-len(rows) // MOST) or 1] for rows in chosen])
    return mu[taken], y[taken]


def recent_errors(history: Grid, means: Means, origins: int) -> Iterator[Cells]:
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


def _likely(
    mu: NDArray[np.float64], alpha: NDArray[np.float64] | float, odds: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    """P(at least one pull), with the odds."""
    none = -np.log1p(alpha * mu) / alpha
    some = odds * -np.expm1(none)
    return np.asarray(some / (some + np.exp(none)), dtype=np.float64)


def _among(
    mu: NDArray[np.float64], y: NDArray[np.float64], alpha: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """P(Y < y) and P(Y <= y), given that there is a pull: of the plain negative binomial."""
    from scipy.special import betainc

    size, chance = 1 / alpha, 1 / (1 + alpha * mu)
    none = np.exp(-np.log1p(alpha * mu) / alpha)
    low, high = betainc(size, y, chance), betainc(size, y + 1, chance)
    return np.maximum(low - none, 0) / (1 - none), np.maximum(high - none, 0) / (1 - none)


def _inverse(mu: NDArray[np.float64], alpha: float, level: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest y with F(y) >= level of each cell, by the plain negative binomial."""
    from scipy.special import betainc, nbdtrik

    size, chance, level = 1 / alpha, 1 / (1 + alpha * mu), np.minimum(level, 1 - 1e-12)
    y = np.maximum(np.ceil(nbdtrik(level, size, chance) - 1e-6), 0)
    # One is added or taken where rounding was on the wrong side.
    y += betainc(size, y + 1, chance) < level
    return np.asarray(y - ((y > 0) & (betainc(size, np.maximum(y, 1), chance) >= level)), dtype=np.float64)
