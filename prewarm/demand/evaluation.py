"""How good a forecast was: metrics as plain functions, and rolling origins over one site's history.

Matrices are images x hours: `y` what was pulled, `score` or `mean` what was said before. Rankings are judged
hour by hour; an hour without any pull says nothing about a ranking and is NaN.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from prewarm.demand.calendars import HOUR
from prewarm.demand.forecasters import fit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from prewarm.demand.distribution import Dispersion
    from prewarm.demand.forecasters import Forecaster
    from prewarm.demand.series import Grid

FLOOR = 0.01  # a mean below it is taken for it where a loss would be infinite
QUANTILES = (0.5, 0.8, 0.9, 0.95)
LEVEL = 90  # percent of the interval whose coverage is told


def top(score: NDArray[np.floating], n: int) -> NDArray[np.int64]:
    """Rows of the `n` best images of each hour, best first (n x hours); ties in the order of the rows."""
    return np.argsort(-score, axis=0, kind="stable")[:n]


def recall_at(y: NDArray[np.floating], score: NDArray[np.floating], n: int) -> NDArray[np.float64]:
    """Share of each hour's `n` most pulled images that are among the `n` best by `score`.

    Images that tie with the n-th most pulled are as good as it; when fewer than `n` were pulled, these are
    the ones to find.
    """
    wanted = np.minimum((y > 0).sum(axis=0), n)
    least = np.maximum(np.sort(y, axis=0)[::-1][: max(n, 1)][-1:], np.finfo(np.float32).tiny)
    found = (np.take_along_axis(y, top(score, n), axis=0) >= least).sum(axis=0)
    return _share(np.minimum(found, wanted), wanted)


def capture_at(y: NDArray[np.floating], score: NDArray[np.floating], n: int) -> NDArray[np.float64]:
    """Pulls of the `n` best by `score`, as a share of those that the best `n` could have had."""
    found = np.take_along_axis(y, top(score, n), axis=0).sum(axis=0)
    return _share(found, np.sort(y, axis=0)[::-1][:n].sum(axis=0))


def ndcg_at(y: NDArray[np.floating], score: NDArray[np.floating], n: int) -> NDArray[np.float64]:
    """Normalised discounted cumulative gain of the first `n`, with gain log2(1 + pulls).

    (Järvelin and Kekäläinen, 2002.)
    """
    gain = np.log2(1 + y.astype(np.float64))
    discount = 1 / np.log2(np.arange(2, min(n, len(y)) + 2))
    found = discount @ np.take_along_axis(gain, top(score, n), axis=0)
    return _share(found, discount @ np.sort(gain, axis=0)[::-1][:n])


def poisson_deviance(y: NDArray[np.floating], mean: NDArray[np.floating]) -> float:
    """Mean Poisson deviance of the cells; means below 0.01 are taken for 0.01."""
    mu = np.maximum(mean.astype(np.float64), FLOOR)
    logs = y * np.log(np.where(y > 0, y, 1) / mu)
    return float(2 * np.mean(np.where(y > 0, logs, 0) - (y - mu))) if y.size else float("nan")


def weighted_quantile_loss(y: NDArray[np.floating], quantiles: Mapping[float, NDArray[np.floating]]) -> float:
    """Sum of the quantile losses over the pulls, averaged over the levels (0 is perfect).

    `quantiles` holds a matrix per level.
    """
    losses = [
        2 * np.maximum(level * (y - q), (level - 1) * (y - q)).sum(dtype=np.float64)
        for level, q in quantiles.items()
    ]
    return float(np.mean(losses) / max(y.sum(dtype=np.float64), 1.0))


def coverage(y: NDArray[np.floating], lo: NDArray[np.floating], hi: NDArray[np.floating]) -> float:
    """Share of the cells that lie in [lo, hi]."""
    return float(np.mean((lo <= y) & (y <= hi))) if y.size else float("nan")


def calibration_error(gaps: NDArray[np.float64], cells: int) -> float:
    """Expected calibration error of P(at least one pull) from the `gaps` of its bins (see `chance_gaps`)."""
    return float(np.abs(gaps).sum() / max(cells, 1))


def chance_gaps(
    y: NDArray[np.floating], probability: NDArray[np.floating], bins: int = 20
) -> NDArray[np.float64]:
    """By bin of the probability: the number of cells with pulls that was said, minus the number that came."""
    said, came = probability.astype(np.float64).ravel(), (y > 0).ravel()
    where = np.minimum((said * bins).astype(np.int64), bins - 1)
    return np.asarray(np.bincount(where, said, bins) - np.bincount(where, came, bins), dtype=np.float64)


@dataclass
class Tally:
    """What one model's forecasts came to, hour by hour; several origins and sites add up."""

    tops: tuple[int, ...]
    recall: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    ndcg: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    capture: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    days: list[str] = field(default_factory=list)  # site and day of each hour, for paired comparisons
    cells: int = 0
    pulls: float = 0.0
    deviance: float = 0.0
    loss: float = 0.0
    covered: float = 0.0
    gaps: NDArray[np.float64] = field(default_factory=lambda: np.zeros(20))
    seconds: list[float] = field(default_factory=list)
    fallbacks: Counter[str] = field(default_factory=Counter)  # windows that a baseline answered, by baseline

    def add(self, y: NDArray[np.float32], mean: NDArray[np.float32], dispersion: Dispersion) -> None:
        """Score the means of some hours, images x hours."""
        for n in self.tops:
            self.recall[n] += recall_at(y, mean, n).tolist()
            self.ndcg[n] += ndcg_at(y, mean, n).tolist()
            self.capture[n] += capture_at(y, mean, n).tolist()
        lo, hi = dispersion.interval(mean, LEVEL)
        quantiles = {level: dispersion.quantile(mean, level) for level in QUANTILES}
        pulls = max(float(y.sum(dtype=np.float64)), 1.0)
        self.cells += y.size
        self.pulls += pulls
        self.deviance += poisson_deviance(y, mean) * y.size
        self.loss += weighted_quantile_loss(y, quantiles) * pulls
        self.covered += coverage(y, lo, hi) * y.size
        self.gaps += chance_gaps(y, dispersion.probability(mean))

    def document(self) -> dict[str, float | None]:
        """The scores by name, rounded; None where no hour had a pull."""
        ranked = {
            f"{name}@{n}": rounded(_mean(hours[n]))
            for name, hours in (("recall", self.recall), ("ndcg", self.ndcg), ("capture", self.capture))
            for n in self.tops
        }
        cells = max(self.cells, 1)
        return {
            **ranked,
            "deviance": rounded(self.deviance / cells),
            "wql": rounded(self.loss / max(self.pulls, 1.0)),
            "coverage": rounded(self.covered / cells),
            "calibration": rounded(calibration_error(self.gaps, self.cells)),
            "seconds": rounded(_mean(self.seconds)),
        }


def origins(history: Grid, count: int, hours: int) -> list[int]:
    """The last `count` origins that leave `hours` hours of outcome, oldest first; windows do not overlap.

    Windows shorter than three hours begin every three hours. No origin has less than a day before it.
    """
    last, every = history.hours - hours, max(hours, 3)
    return [origin for origin in range(last - (count - 1) * every, last + 1, every) if origin >= 24]


def score(
    models: Mapping[str, Forecaster],
    history: Grid,
    at: Iterable[int],
    hours: int,
    before: Dispersion,
    tallies: Mapping[str, Tally],
    timer: Callable[[], float],
) -> int:
    """Let every model forecast the `hours` hours after each origin of `at`, and add to its tally.

    A model sees the images that were pulled before the origin, and nothing else. Hours of an outage do not
    count. `timer` tells seconds.

    Returns how many origins that were: one before which nothing was pulled, or with nothing but an outage
    after it, is passed over.
    """
    scored = 0
    for origin in at:
        known = history.until(origin)
        rows = np.flatnonzero(np.diff(known.counts.indptr))
        seen = np.flatnonzero(history.observed[origin : origin + hours])
        if not rows.size or not seen.size:
            continue
        scored += 1
        y = np.asarray(history.counts[:, origin : origin + hours].toarray(), dtype=np.float32)[:, seen]
        days = [
            f"{history.site.name} {history.start + (origin + int(hour)) * HOUR:%Y-%m-%d}" for hour in seen
        ]
        for name, model in models.items():
            begun = timer()
            answers = fit(model, known.of(rows), before)
            mean = np.zeros(y.shape, dtype=np.float32)
            mean[rows] = answers.means(range(hours))[:, seen]
            tallies[name].seconds.append(timer() - begun)
            tallies[name].add(y, mean, answers.dispersion)
            tallies[name].days += days
            tallies[name].fallbacks.update({each.name for each in getattr(answers, "fallbacks", ()) if each})
    return scored


def difference(ours: Tally, theirs: Tally, n: int, draws: int = 1000) -> tuple[float, float, float]:
    """Mean capture@n of ours minus theirs, and its 95 % interval by a bootstrap of whole days (seeded)."""
    gaps = np.array(ours.capture[n]) - np.array(theirs.capture[n])
    kept = np.isfinite(gaps)
    _, day = np.unique(np.array(ours.days)[kept], return_inverse=True)
    if not day.size:
        return float("nan"), float("nan"), float("nan")
    sums, sizes = np.bincount(day, gaps[kept]), np.bincount(day)
    drawn = np.random.default_rng(0).integers(0, len(sums), (draws, len(sums)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    lo, hi = np.quantile(means, (0.025, 0.975))
    return float(gaps[kept].mean()), float(lo), float(hi)


def _mean(values: list[float]) -> float:
    known = np.array(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    return float(known.mean()) if known.size else float("nan")


def rounded(value: float) -> float | None:
    """A score for people and JSON; None for what no hour could tell."""
    return round(value, 4) if np.isfinite(value) else None


def _share(found: NDArray[np.floating], possible: NDArray[np.floating]) -> NDArray[np.float64]:
    """found / possible, NaN where nothing was possible."""
    shares = np.full(np.shape(possible), np.nan)
    return np.asarray(np.divide(found, possible, out=shares, where=possible > 0), dtype=np.float64)
