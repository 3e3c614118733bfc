"""Jobs that keep an interval: images whose pulls come every so many hours, whatever the day or the week.

A daily or weekly job is seen by the hour of day and week; one that runs every 36 or 72 hours is not. The
interval is the most common gap between hours with pulls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from prewarm.demand.series import Grid

LEAST_GAPS = 3  # of the same length before it is an interval
LEAST_SHARE = 0.6  # of all gaps of an image that must have it
STRAY = 0.3  # of its rate that even the most regular image has between its runs
MISSED = 3  # runs missed in a row, after which the job is taken to have ended


@dataclass(frozen=True, eq=False)
class Intervals:
    """What was found, by image: `gap` in hours (0: none), the hour of the last pull, how often it is kept."""

    gap: NDArray[np.int64]
    last: NDArray[np.int64]
    share: NDArray[np.float64]
    size: NDArray[np.float64]  # pulls of a run
    rate: NDArray[np.float64]  # pulls an hour


def intervals(history: Grid) -> Intervals:
    """The interval of every image that keeps one; gaps of an hour are no interval."""
    counts, images = history.counts, history.counts.shape[0]
    runs, rows = np.diff(counts.indptr), counts.rows.astype(np.int64)
    same = rows[1:] == rows[:-1]
    gaps, owner = np.diff(counts.indices)[same].astype(np.int64), rows[1:][same]
    gap, often = _most_common(owner, gaps, images)
    share = often / np.maximum(runs - 1, 1)
    last = counts.last()
    kept = (often >= LEAST_GAPS) & (share >= LEAST_SHARE) & (gap > 1)
    kept &= history.hours - last <= MISSED * gap
    total = counts.sum(axis=1)
    return Intervals(
        np.where(kept, gap, 0), last, share, total / np.maximum(runs, 1), total / max(history.hours, 1)
    )


def due(history: Grid, ahead: range, otherwise: NDArray[np.float32]) -> NDArray[np.float32]:
    """Expected pulls of the images that keep an interval; the others' means are `otherwise`, by image."""
    found = intervals(history)
    result = np.repeat(otherwise[:, None], len(ahead), axis=1)
    rows = np.flatnonzero(found.gap)
    hours = history.hours + np.arange(ahead.start, ahead.stop, ahead.step)
    on_time = (hours[None, :] - found.last[rows, None]) % found.gap[rows, None] == 0
    hit = (found.share * found.size)[rows, None]
    stray = (np.maximum(1 - found.share, STRAY) * found.rate)[rows, None]
    result[rows] = np.where(on_time, hit, stray)
    return result


def _most_common(
    owner: NDArray[np.int64], gaps: NDArray[np.int64], images: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The most common gap of each image and how often it came; 0, 0 without any. Ties: the longer one."""
    gap, often = np.zeros(images, dtype=np.int64), np.zeros(images, dtype=np.int64)
    if gaps.size:
        base = int(gaps.max()) + 1
        pairs, times = np.unique(owner * base + gaps, return_counts=True)
        image, length = np.divmod(pairs, base)
        order = np.lexsort((length, times))  # the best of each image is written last
        gap[image[order]] = length[order]
        often[image[order]] = times[order]
    return gap, often
