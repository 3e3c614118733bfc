"""Past pulls, in order, through a simulated cache: what would have been.

Every policy starts from the same reactive cache (`mirrors`): what is asked for and missing is fetched and
kept. A policy adds warm runs, given as data; nothing here forecasts.

Simplifications, all in favour of doing nothing: a fill is instantaneous, so the second client of a busy
minute never waits; the HEAD with which a mirror checks a tag upstream costs every policy the same and is
left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from prewarm.insight.costs import ASSUMED, Cost
from prewarm.insight.mirrors import Mirror, Objects, Passage, WarmRun, passage
from prewarm.insight.reasons import Cause
from prewarm.insight.traces import MICROSECOND, Pull, Trace, Window, micros, traced

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOREVER = 2**62

REACH = timedelta(days=7)
"""A node that has pulled nothing for so long is not there to be warmed."""


METERED = "docker.io/"
"""Images whose manifests count against a pull quota."""


def _none() -> NDArray[np.float64]:
    return np.zeros(0)


def _never() -> NDArray[np.int64]:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Result:
    """What one policy did. Pulls, misses and waiting are those of the scored windows; `filled_bytes` counts
    from the start of the first to the end of the last one; what was warmed counts whenever it was."""

    pulls: int
    misses: dict[Cause, int]
    bytes_pulled: int  # of the scored pulls
    bytes_missed: int  # ... that came from upstream while a client waited
    waiting: tuple[float, ...]  # seconds that clients waited for upstream, per window
    filled_bytes: int  # fetched because a client asked
    warmed_bytes: int  # fetched by the policy
    wasted_bytes: int  # warmed, and gone or still unused at the end
    took: NDArray[np.float64] = field(default_factory=_none, compare=False)  # seconds of each scored pull
    fetched: NDArray[np.int64] = field(default_factory=_never, compare=False)  # microseconds of each manifest
    metered: NDArray[np.int64] = field(default_factory=_never, compare=False)  # ... of those of METERED
    warmed: int = 0  # images that the policy fetched something of

    @property
    def seconds(self) -> float:
        """Seconds that clients waited for upstream, in all windows."""
        return sum(self.waiting)

    @property
    def missed(self) -> int:
        return sum(self.misses.values())

    @property
    def hits(self) -> int:
        return self.pulls - self.missed

    @property
    def hit_ratio(self) -> float:
        """Pulls served whole from the cache; 1 when there were none."""
        return self.hits / self.pulls if self.pulls else 1.0

    @property
    def byte_hit_ratio(self) -> float:
        return 1.0 - self.bytes_missed / self.bytes_pulled if self.bytes_pulled else 1.0

    @property
    def upstream_bytes(self) -> int:
        return self.filled_bytes + self.warmed_bytes

    @property
    def upstream_pulls(self) -> int:
        """Manifests that upstream sent, as its quota counts them."""
        return len(self.fetched)

    @property
    def precision(self) -> float | None:
        """Share of the warmed bytes that a pull used before they were gone; None when none were warmed."""
        return 1.0 - self.wasted_bytes / self.warmed_bytes if self.warmed_bytes else None

    def percentile(self, percent: float) -> float | None:
        """Seconds that so many percent of the scored pulls stayed within; None without pulls."""
        return float(np.percentile(self.took, percent)) if len(self.took) else None


def replay(
    pulls: Trace | Sequence[Pull],
    mirror: Mirror,
    *,
    runs: Sequence[WarmRun] = (),
    windows: Sequence[Window] | None = None,
    cost: Cost = ASSUMED,
) -> Result:
    """Replay `pulls` (in order of time) through `mirror` with these warm runs.

    `windows` are the stretches [start, end) whose pulls are scored, in order; the time before the first one
    fills the cache. None scores everything. A run at the moment of a pull comes first. Where the trace has
    nodes, each has a `mirror` of its own, and a run reaches those that have pulled in the week before it.
    """
    trace = traced(pulls)
    ordered = sorted(runs, key=lambda run: run.time)
    if trace.node is None:
        return _score(trace, passage(trace, mirror, ordered), windows, cost)
    told = _joined(_by_node(trace, trace.node, mirror, ordered))
    return _score(trace, _cold(trace, told), windows, cost)


def together(results: Sequence[Result]) -> Result:
    """Several sites as one: what each did, added up; windows stay apart."""
    misses: Counter[Cause] = Counter()
    for result in results:
        misses.update(result.misses)
    return Result(
        pulls=sum(each.pulls for each in results),
        misses=dict(misses),
        bytes_pulled=sum(each.bytes_pulled for each in results),
        bytes_missed=sum(each.bytes_missed for each in results),
        waiting=tuple(seconds for each in results for seconds in each.waiting),
        filled_bytes=sum(each.filled_bytes for each in results),
        warmed_bytes=sum(each.warmed_bytes for each in results),
        wasted_bytes=sum(each.wasted_bytes for each in results),
        took=np.concatenate([each.took for each in results] or [_none()]),
        fetched=np.sort(np.concatenate([each.fetched for each in results] or [_never()])),
        metered=np.sort(np.concatenate([each.metered for each in results] or [_never()])),
        warmed=sum(each.warmed for each in results),
    )


def over_quota(fetched: NDArray[np.int64], limit: int, window: timedelta) -> int:
    """Upstream pulls made when `limit` or more had been made in the `window` before: what a quota refuses.

    `fetched` are microseconds, in order. A refused pull counts against nothing.
    """
    span, first, refused = window // MICROSECOND, 0, 0
    granted: list[int] = []
    for time in fetched.tolist():
        while first < len(granted) and granted[first] <= time - span:
            first += 1
        if len(granted) - first >= limit:
            refused += 1
        else:
            granted.append(time)
    return refused


def _by_node(
    trace: Trace, node: NDArray[np.int32], mirror: Mirror, runs: Sequence[WarmRun]
) -> Iterator[tuple[Passage, Sequence[int]]]:
    """The passage of each node, with the rows of the whole trace that its rows are."""
    objects = Objects(trace.contents)
    order = np.argsort(node, kind="stable")
    edges = np.flatnonzero(np.diff(node[order])) + 1
    for rows in np.split(order, edges) if len(order) else ():
        own = replace(trace.only(rows), node=None)
        reached = [run for run in runs if _alive(own.times, micros(run.time))]
        yield passage(own, mirror, reached, objects), rows.tolist()


def _alive(times: NDArray[np.int64], now: int) -> bool:
    """Whether a node that pulls at these times has pulled in the week before `now`."""
    before = int(np.searchsorted(times, now))
    return before > 0 and now - int(times[before - 1]) <= REACH // MICROSECOND


def _joined(parts: Iterable[tuple[Passage, Sequence[int]]]) -> Passage:
    """Passages of nodes as one, in order of time."""
    whole, found = Passage(), []
    for part, rows in parts:
        misses = zip(part.rows, part.causes, part.blobs, part.sizes, part.asked, strict=True)
        found += [(rows[row], cause, blobs, size, bool(asked)) for row, cause, blobs, size, asked in misses]
        whole.warmed += part.warmed
        whole.wasted += part.wasted
    for miss in sorted(found):
        whole.miss(*miss)
    whole.warmed.sort()
    return whole


def _cold(trace: Trace, told: Passage) -> Passage:
    """A first pull on a node of what another one had pulled is due to the node."""
    _, first = np.unique(trace.content, return_index=True)
    seen = np.full(len(trace.contents), len(trace), dtype=np.int64)
    seen[trace.content[first]] = first
    told.causes = [
        Cause.COLD_NODE
        if cause in (Cause.NEVER_SEEN, Cause.FRESH_PUSH) and seen[trace.content[row]] < row
        else cause
        for row, cause in zip(told.rows, told.causes, strict=True)
    ]
    return told


def _score(trace: Trace, told: Passage, windows: Sequence[Window] | None, cost: Cost) -> Result:
    spans = (
        [(-FOREVER, FOREVER)] if windows is None else [(micros(start), micros(end)) for start, end in windows]
    )
    rows, objects, size = (np.array(each, dtype=np.int64) for each in (told.rows, told.blobs, told.sizes))
    window = _windows(trace.times, spans)
    sizes, waited = trace.sizes, cost.waiting(objects, size)
    took = _local(trace, cost, sizes)
    took[rows] += waited
    scored, missed, within = window >= 0, window[rows] >= 0, _within(trace.times[rows], spans)
    return Result(
        pulls=int(scored.sum()),
        misses=dict(Counter(cause for cause, counts in zip(told.causes, missed, strict=True) if counts)),
        bytes_pulled=int(sizes[trace.content[scored]].sum()),
        bytes_missed=int(size[missed].sum()),
        waiting=tuple(np.bincount(window[rows][missed], waited[missed], len(spans)).tolist()),
        filled_bytes=int(size[within].sum()),
        warmed_bytes=sum(size for _, _, size in told.warmed),
        wasted_bytes=told.wasted,
        took=took[scored],
        fetched=_fetched(trace, told, within),
        metered=_fetched(trace, told, within, METERED),
        warmed=len(told.warmed),
    )


def _windows(times: NDArray[np.int64], spans: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Which of `spans` each time lies in; -1 for none."""
    if not spans:
        return np.full(len(times), -1)
    starts, ends = np.array(spans, dtype=np.int64).T
    place = np.searchsorted(starts, times, side="right") - 1
    return np.where((place >= 0) & (times < ends[place]), place, -1)


def _within(times: NDArray[np.int64], spans: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """Whether each time lies between the start of the first span and the end of the last one."""
    if not spans:
        return np.zeros(len(times), dtype=np.bool_)
    return np.asarray((times >= spans[0][0]) & (times < spans[-1][1]))


def _local(trace: Trace, cost: Cost, sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Seconds that each pull takes from the mirror."""
    blobs = np.array([len(content.blobs) for content in trace.contents], dtype=np.int64)
    return np.asarray(cost.local(blobs, sizes)[trace.content], dtype=np.float64)


def _fetched(trace: Trace, told: Passage, within: NDArray[np.bool_], prefix: str = "") -> NDArray[np.int64]:
    """When upstream sent the manifests of images that begin so, for clients and for runs, in order."""
    wanted = np.array([image.startswith(prefix) for image in trace.images], dtype=np.bool_)
    rows = np.array(told.rows, dtype=np.int64)
    asked = rows[np.array(told.asked, dtype=np.bool_) & within & wanted[trace.image[rows]]]
    warmed = [time for time, image, _ in told.warmed if image.startswith(prefix)]
    return np.sort(np.concatenate([trace.times[asked], np.array(warmed, dtype=np.int64)]))
