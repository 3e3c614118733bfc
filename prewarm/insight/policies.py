"""The skeptic's rivals, as warm runs for the replay: nobody, a fixed list, a weekly list, an oracle.

Each names images per run; what a name stands for at that moment is looked up by `resolve`, as a warm run
would ask the registry. All policies of one comparison get the same times and the same budget.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from prewarm.insight.replay import Content, Pull, WarmRun

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


def weekly(pulls: Sequence[Pull], times: Iterable[datetime], top: int, refreshed: datetime) -> Lists:
    """The most pulled images of the week before the last refresh; the list is refreshed every seven days,
    counted from `refreshed`."""
    found: Lists = []
    for time in times:
        end = refreshed + ((time - refreshed) // WEEK) * WEEK
        found.append((time, most_pulled(pulls, end - WEEK, end, top)))
    return found


def oracle(pulls: Sequence[Pull], times: Iterable[datetime], ahead: timedelta) -> Lists:
    """What will be pulled within `ahead` of each run, most pulled first: no forecast names better ones."""
    return [(time, most_pulled(pulls, time, time + ahead, None)) for time in times]


def most_pulled(pulls: Sequence[Pull], start: datetime, end: datetime, top: int | None) -> list[str]:
    """Images by their pulls in [start, end), most first, ties by name. `pulls` are in order of time."""
    first = bisect_left(pulls, start, key=lambda pull: pull.time)
    last = bisect_left(pulls, end, key=lambda pull: pull.time)
    counts = Counter(pull.image for pull in pulls[first:last])
    return sorted(counts, key=lambda image: (-counts[image], image))[:top]


def _resolved(images: Sequence[str], time: datetime, resolve: Resolve) -> Iterable[tuple[str, Content]]:
    for image in images:
        content = resolve(image, time)
        if content is not None:
            yield image, content
