"""How good a forecast was: metrics as plain functions, and rolling origins over one site's history.

Matrices are images x hours: `y` what was pulled, `score` or `mean` what was said before. Rankings are judged
hour by hour; an hour without any pull says nothing about a ranking and is NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


FLOOR = 0.01  # a mean below it is taken for it where a loss would be infinite
QUANTILES = (0.5, 0.8, 0.9, 0.95)


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


def calibration_error(y: NDArray[np.floating], probability: NDArray[np.floating], bins: int = 20) -> float:
    """Expected calibration error of P(at least one pull): |said - came| over bins, by their cells."""
    said, came = probability.astype(np.float64).ravel(), (y > 0).ravel()
    if not said.size:
        return float("nan")
    where = np.minimum((said * bins).astype(np.int64), bins - 1)
    gap = np.bincount(where, said, bins) - np.bincount(where, came, bins)
    return float(np.abs(gap).sum() / said.size)


def _share(found: NDArray[np.floating], possible: NDArray[np.floating]) -> NDArray[np.float64]:
    """found / possible, NaN where nothing was possible."""
    shares = np.full(np.shape(possible), np.nan)
    return np.asarray(np.divide(found, possible, out=shares, where=possible > 0), dtype=np.float64)
