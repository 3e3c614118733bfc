"""The skeptic's rivals, as warm runs for the replay: nobody, a fixed list, a weekly list, an oracle.

Each names images per run; what a name stands for at that moment is looked up by `resolve`, as a warm run
would ask the registry. All policies of one comparison get the same times and the same budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

import numpy as np

from prewarm.insight.mirrors import WarmRun
from prewarm.insight.traces import Content, Trace

Resolve = Callable[[str, datetime], Content | None]
"""What an image's tag points to upstream at a time; None when there is no such tag."""

Lists = list[tuple[datetime, Sequence[str]]]
"""(time of the run, images in the order in which they are warmed)."""

WEEK = timedelta(days=7)


def scheduled(names: Lists, resolve: Resolve, max_bytes: int | None = None) -> list[WarmRun]:
    """Warm runs from (time, images in order); images that do not exist at that time are left out."""
    return [WarmRun(time, tuple(_resolved(images, time, resolve)), max_bytes) for time, images in names]


def fixed(images: Sequence[str], times: Iterable[datetime]) -> Lists:
    """The same list every time: somebody wrote it down once."""
    return [(time, images) for time in times]


def weekly(trace: Trace, times: Iterable[datetime], top: int, refreshed: datetime) -> Lists:
    """The most pulled images of the week before the last refresh; the list is refreshed every seven days,
    counted from `refreshed`."""
    found: Lists = []
    for time in times:
        end = refreshed + ((time - refreshed) // WEEK) * WEEK
        found.append((time, most_pulled(trace, end - WEEK, end, top)))
    return found


def oracle(trace: Trace, times: Iterable[datetime], ahead: timedelta) -> Lists:
    """What will be pulled within `ahead` of each run, most pulled first: no forecast names better ones."""
    return [(time, most_pulled(trace, time, time + ahead, None)) for time in times]


def most_pulled(trace: Trace, start: datetime, end: datetime, top: int | None) -> list[str]:
    """Images by their pulls in [start, end), most first, ties by name."""
    counts = np.bincount(trace.image[trace.between(start, end)], minlength=len(trace.images))
    found = np.flatnonzero(counts).tolist()
    found.sort(key=lambda image: (-counts[image], trace.images[image]))
    return [trace.images[image] for image in found[:top]]


def _resolved(images: Sequence[str], time: datetime, resolve: Resolve) -> Iterable[tuple[str, Content]]:
    for image in images:
        content = resolve(image, time)
        if content is not None:
            yield image, content
