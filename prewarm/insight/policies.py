"""The skeptic's rivals, as warm runs for the replay: lists, replication on push, perfect foresight.

Each names images per run; what a name stands for at that moment is looked up by `resolve`, as a warm run
would ask the registry. All policies of one comparison get the same times and the same budget.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

import numpy as np

from prewarm.insight.mirrors import WarmRun
from prewarm.insight.traces import MICROSECOND, Content, Push, Trace, Window, micros, moment

NONE, LFU, ORACLE, BELADY = "none", "lfu", "oracle", "belady"
LONGER, BIGGER, PUSHED = "longer-ttl", "bigger-disk", "replicate-on-push"
FIXED, WEEKLY = "fixed", "weekly"
"""Policies by name; every forecaster is one, too."""

FACTOR = 4  # of a longer expiry and a bigger disk

Resolve = Callable[[str, datetime], Content | None]
"""What an image's tag points to upstream at a time; None when there is no such tag."""

Lists = list[tuple[datetime, Sequence[str]]]
"""(time of the run, images in the order in which they are warmed)."""

WEEK = timedelta(days=7)
SUBSCRIBED = 4 * WEEK
"""A repository that a site has pulled within this time is replicated to it."""


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


def foresight(trace: Trace, windows: Iterable[Window], max_bytes: int | None) -> list[WarmRun]:
    """Perfect foresight: at the start of each window all that will be pulled within it, most pulled first.

    It knows what tags will stand for, unless that was pushed only later. A list beats it only by
    what it fetches for nobody, when that postpones an expiry.
    """
    runs = []
    for start, end in windows:
        rows = trace.between(start, end)
        images, first, counts = np.unique(trace.image[rows], return_index=True, return_counts=True)
        order = sorted(range(len(images)), key=lambda i: (-counts[i], trace.images[images[i]]))
        named = [(trace.images[images[i]], trace.contents[trace.content[rows][first[i]]]) for i in order]
        there = [
            (image, content)
            for image, content in named
            if content.pushed_at is None or content.pushed_at <= start
        ]
        runs.append(WarmRun(start, tuple(there), max_bytes))
    return runs


def replicated(
    trace: Trace, pushes: Sequence[Push], windows: Iterable[Window], max_bytes: int | None
) -> list[WarmRun]:
    """Replication on push: what is pushed to a repository that the site pulled lately is fetched at once.

    `max_bytes` is the budget of a window, as of any run; a push that does not fit what is left is left.
    """
    times = [time for time, _, _ in pushes]
    last = _repositories(trace)
    runs = []
    for start, end in windows:
        spent = 0
        for time, image, content in pushes[
            bisect_left(times, micros(start)) : bisect_left(times, micros(end))
        ]:
            fits = max_bytes is None or spent + content.bytes <= max_bytes
            if fits and _pulled(last.get(repository(image), ()), time):
                spent += content.bytes
                runs.append(WarmRun(moment(time), ((image, content),)))
    return runs


def _repositories(trace: Trace) -> dict[str, list[int]]:
    """When each repository was pulled, in order of time."""
    names = [repository(image) for image in trace.images]
    found: dict[str, list[int]] = {}
    for time, image in zip(trace.times.tolist(), trace.image.tolist(), strict=True):
        found.setdefault(names[image], []).append(time)
    return found


def _pulled(times: Sequence[int], now: int) -> bool:
    """Whether one of `times` lies in the four weeks before `now`."""
    place = bisect_left(times, now)
    return place > 0 and now - times[place - 1] <= SUBSCRIBED // MICROSECOND


def repository(image: str) -> str:
    """The name without tag and digest.

    >>> repository("127.0.0.1:5000/acme/api:2.1")
    '127.0.0.1:5000/acme/api'
    """
    name = image.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name


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
