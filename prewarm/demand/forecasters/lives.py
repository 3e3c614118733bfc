"""What becomes of an image in the hours after its first pull, from what became of earlier ones.

A build tag lives for hours: by the time its own pulls could show a rhythm, it is over. Earlier tags of its
repository show how pulls ebb with age, and its own pulls so far how busy it is beside them:

    pulls at age a = curve(a) * (own pulls + OWN) / (what the curve expected of them + OWN)

The curve is the mean of the site's images by hour of life, shrunk to by each repository's own (Gamma-Poisson
means, as in `profile`). An image's own pulls fade, so that one that fell silent is let go.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from prewarm.demand.series import Grid

YOUNG = 72  # hours since the first pull; older images show for themselves
SPANS = (0, 1, 2, 3, 4, 6, 8, 12, 18, 24, 36, 48, 72, 96)  # hours of life are taken together between these
WORTH = 8.0  # images that the site's curve is worth to a repository
OWN = 1.0  # pulls that the curve is worth to an image
FADE = 0.75  # a pull weighs so much of one an hour later
LEAST = 1e-3  # pulls an hour of a curve
BEFORE = 24  # hours without a pull at the history's beginning that make a first pull a birth


def ebbing(history: Grid, ahead: range, otherwise: NDArray[np.floating]) -> NDArray[np.float32]:
    """Expected pulls by age, images x len(ahead); `otherwise` (by image) where age tells nothing."""
    result = np.repeat(otherwise.astype(np.float32)[:, None], len(ahead), axis=1)
    first = history.counts.first()
    young = np.flatnonzero((first < history.hours) & (history.hours - first < YOUNG))
    born = np.flatnonzero((first >= BEFORE) & (first < history.hours))
    if not young.size or not born.size:
        return result
    curve = _curves(history, born, first[born])[history.repositories[young]]
    busy = _busy(history, young, first[young], curve)
    for column, hour in enumerate(ahead):
        age = history.hours - first[young] + hour
        told = age < SPANS[-1]
        result[young[told], column] = (busy * curve[np.arange(len(young)), np.minimum(age, SPANS[-1] - 1)])[
            told
        ]
    return result


def _busy(
    history: Grid, rows: NDArray[np.int64], first: NDArray[np.int64], curve: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How busy each image has been, beside its curve."""
    elapsed = history.hours - 1 - first[:, None] - np.arange(YOUNG)  # hours since each hour of its life
    weight = FADE ** np.maximum(elapsed, 0) * _seen(history, first, YOUNG)
    pulls = history.counts[rows].since(first, YOUNG)
    came, expected = ((table * weight).sum(axis=1) for table in (pulls, curve[:, :YOUNG]))
    return np.asarray((came + OWN) / (expected + OWN), dtype=np.float64)


def _curves(history: Grid, rows: NDArray[np.int64], first: NDArray[np.int64]) -> NDArray[np.float64]:
    """Pulls an hour of an image by its age, repository x hour of life."""
    width = SPANS[-1]
    hours, pulls = _seen(history, first, width), history.counts[rows].since(first, width)
    site = _spans(pulls.sum(axis=0, dtype=np.float64)[None]) / np.maximum(_spans(hours.sum(axis=0)[None]), 1)
    site = np.maximum(site, LEAST)
    own, known = (_by_repository(history, rows, table) for table in (pulls, hours))
    return np.asarray((own + WORTH * site) / (known + WORTH), dtype=np.float64)


def _seen(history: Grid, first: NDArray[np.int64], width: int) -> NDArray[np.bool_]:
    """Whether each hour of each life is over, and no outage: images x width."""
    at = first[:, None] + np.arange(width)
    known = history.observed[np.minimum(at, history.hours - 1)]
    return np.asarray((at < history.hours) & known, dtype=np.bool_)


def _by_repository(history: Grid, rows: NDArray[np.int64], table: NDArray[np.generic]) -> NDArray[np.float64]:
    """The sums of each repository's images, by span."""
    width = table.shape[1]
    families = int(history.repositories.max(initial=-1)) + 1
    cells = history.repositories[rows][:, None] * np.int64(width) + np.arange(width)
    return _spans(np.bincount(cells.ravel(), table.ravel(), families * width).reshape(families, width))


def _spans(table: NDArray[np.generic]) -> NDArray[np.float64]:
    """Each row's hours of life replaced by the mean of their span."""
    means = np.empty(table.shape)
    for begin, end in pairwise(SPANS):
        means[:, begin:end] = table[:, begin:end].mean(axis=1, keepdims=True)
    return means
