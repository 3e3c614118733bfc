"""A simulated mirror: a trace and warm runs go through it, and what was missing, when and why comes out.

It holds objects (a version's own digest, which stands for its manifests, and its blobs), each under its
digest, so shared layers are held once. An object lapses `ttl` after it was filled; hits do not extend that
(CNCF Distribution, proxy mode). When the disk is full an object has to go (see `evictions`). What is asked
for and missing is fetched and kept.

Objects are numbers and a pull costs one look-up for each of its objects, so that ten million pulls take
seconds (`benchmarks/replay.py`).
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

import numpy as np

from prewarm.insight.evictions import Eviction, Foreseen, Frequent, Recent, Roomy
from prewarm.insight.reasons import FRESH, Cause
from prewarm.insight.traces import MICROSECOND, Content, Trace, micros

EvictionName = Literal["lru", "lfu", "belady"]


@dataclass(frozen=True, slots=True)
class WarmRun:
    """One run of a policy: images in order, with what their tags pointed to at that time.

    Held content costs nothing; an image whose missing bytes do not fit what is left of `max_bytes` is
    passed over, as a plan does.
    """

    time: datetime
    images: tuple[tuple[str, Content], ...]
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Mirror:
    """The simulated cache. None: no limit."""

    capacity: int | None = None  # bytes
    ttl: timedelta | None = timedelta(days=7)
    eviction: EvictionName = "lru"


@dataclass(slots=True)
class Passage:
    """What happened on the way: misses in order, one item each in `rows` … `asked`, and what was warmed.

    `rows` are rows of the trace; `blobs` and `sizes` what had to be fetched (blobs count the manifest);
    `asked` whether its manifest was among it, which is what a registry's quota counts as a pull.
    """

    rows: array[int] = field(default_factory=lambda: array("q"))
    causes: list[Cause] = field(default_factory=list)
    blobs: array[int] = field(default_factory=lambda: array("q"))
    sizes: array[int] = field(default_factory=lambda: array("q"))
    asked: array[int] = field(default_factory=lambda: array("b"))
    warmed: list[tuple[int, str, int]] = field(default_factory=list)  # microseconds, image, bytes
    wasted: int = 0  # bytes that were warmed, and dropped or at the end still held without a use

    def miss(self, row: int, cause: Cause, blobs: int, size: int, asked: bool) -> None:
        """Note one more."""
        self.rows.append(row)
        self.causes.append(cause)
        self.blobs.append(blobs)
        self.sizes.append(size)
        self.asked.append(asked)


def passage(
    trace: Trace, mirror: Mirror, runs: Sequence[WarmRun] = (), objects: Objects | None = None
) -> Passage:
    """Send `trace` through `mirror` with these warm runs, in order of time; at one moment runs come first.

    `objects` are those of the trace's contents, where many traces share them.
    """
    cache = _Cache(trace, mirror, objects or Objects(trace.contents))
    begin = 0
    for run in runs:
        end = int(np.searchsorted(trace.times, micros(run.time)))
        cache.serve(begin, end)
        cache.warm(run, end)
        begin = end
    cache.serve(begin, len(trace))
    return cache.done()


class Objects:
    """Digests as numbers, with their sizes: of each content its blobs, and its own digest as the last."""

    def __init__(self, contents: Iterable[Content]) -> None:
        self._numbers: dict[str, int] = {}
        self._parts: dict[str, tuple[int, ...]] = {}
        self.sizes: list[int] = []
        self.parts = [self.of(content) for content in contents]

    def of(self, content: Content) -> tuple[int, ...]:
        """The objects of a content, new ones included."""
        parts = self._parts.get(content.digest)
        if parts is None:
            blobs = (*content.blobs, (content.digest, 0))
            parts = self._parts[content.digest] = tuple(self._number(*blob) for blob in blobs)
        return parts

    def _number(self, digest: str, size: int) -> int:
        number = self._numbers.setdefault(digest, len(self.sizes))
        if number == len(self.sizes):
            self.sizes.append(size)
        return number


class _Cache:
    def __init__(self, trace: Trace, mirror: Mirror, objects: Objects) -> None:
        self._trace = trace
        self._capacity = mirror.capacity
        self._ttl = mirror.ttl // MICROSECOND if mirror.ttl is not None else None
        self._objects = objects
        self._held = _eviction(mirror, trace, self._objects)
        self._used = 0
        self._filled: deque[tuple[int, int]] = deque()  # (when it lapses, object), in order
        self._gone: dict[int, Cause] = {}  # why an object is no longer held
        self._known: set[int] = set()  # versions that were held once, by their own object
        self._images: set[str] = set()  # images that were asked for or warmed
        self._unused: dict[int, int] = {}  # warmed, not pulled yet: object -> bytes
        self._told = Passage()

    def serve(self, begin: int, end: int) -> None:
        """Let the pulls of these rows pass."""
        held, parts, filled, unused = self._held, self._objects.parts, self._filled, self._unused
        touch = held.touch
        rows = slice(begin, end)
        pulls = zip(self._trace.times[rows].tolist(), self._trace.content[rows].tolist(), strict=True)
        for row, (now, content) in enumerate(pulls, begin):
            if filled and filled[0][0] <= now:
                self._expire(now)
            held.row = row
            try:
                for part in parts[content]:
                    touch(part)
            except KeyError:
                self._miss(row, now, content)
            else:
                if unused:
                    for part in parts[content]:
                        unused.pop(part, None)

    def warm(self, run: WarmRun, row: int) -> None:
        """Fetch what fits the run's budget; `row` is that of the next pull."""
        now = micros(run.time)
        self._expire(now)
        self._held.row = row - 1
        spent = 0
        for image, content in run.images:
            parts = self._objects.of(content)
            missing = self._missing(parts)
            size = sum(self._objects.sizes[part] for part in missing)
            if missing and (run.max_bytes is None or spent + size <= run.max_bytes):
                self._unused |= {part: self._objects.sizes[part] for part in missing}
                self._fill(image, parts, missing, now)
                self._told.warmed.append((now, image, size))
                spent += size

    def done(self) -> Passage:
        """All that happened."""
        self._told.wasted += sum(self._unused.values())
        return self._told

    def _miss(self, row: int, now: int, content: int) -> None:
        """Fetch what is missing for a client, and note why it was."""
        parts, sizes = self._objects.parts[content], self._objects.sizes
        missing = self._missing(parts)
        image = self._trace.images[self._trace.image[row]]
        cause = self._cause(image, content, now, missing)
        size = sum(sizes[part] for part in missing)
        self._told.miss(row, cause, len(missing), size, parts[-1] in missing)
        for part in parts:
            if part in self._held.held:
                self._held.touch(part)
                self._unused.pop(part, None)
        self._fill(image, parts, missing, now)

    def _missing(self, parts: tuple[int, ...]) -> list[int]:
        held = self._held.held
        return [part for part in parts if part not in held]

    def _cause(self, image: str, content: int, now: int, missing: list[int]) -> Cause:
        if self._objects.parts[content][-1] in self._known:
            evicted = any(self._gone.get(part) is Cause.EVICTED for part in missing)
            return Cause.EVICTED if evicted else Cause.TTL_LAPSED
        if image in self._images:
            return Cause.TAG_MOVED
        pushed = self._trace.contents[content].pushed_at
        fresh = pushed is not None and now - micros(pushed) <= FRESH // MICROSECOND
        return Cause.FRESH_PUSH if fresh else Cause.NEVER_SEEN

    def _fill(self, image: str, parts: tuple[int, ...], missing: Iterable[int], now: int) -> None:
        self._images.add(image)
        self._known.add(parts[-1])
        for part in missing:
            self._store(part, now)

    def _store(self, part: int, now: int) -> None:
        size = self._objects.sizes[part]
        if self._capacity is not None:
            if size > self._capacity or not self._held.worth(part):
                self._gone[part] = Cause.EVICTED
                return
            while self._used + size > self._capacity:
                self._drop(self._held.victim(), Cause.EVICTED)
        lapses = now + self._ttl if self._ttl is not None else 0
        self._held.add(part, lapses)
        self._used += size
        if self._ttl is not None:
            self._filled.append((lapses, part))

    def _expire(self, now: int) -> None:
        """Drop what has lapsed by `now`."""
        filled, held = self._filled, self._held.held
        while filled and filled[0][0] <= now:
            lapses, part = filled.popleft()
            if held.get(part) == lapses:
                self._drop(part, Cause.TTL_LAPSED)

    def _drop(self, part: int, cause: Cause) -> None:
        self._held.remove(part)
        self._used -= self._objects.sizes[part]
        self._gone[part] = cause
        self._told.wasted += self._unused.pop(part, 0)


def _eviction(mirror: Mirror, trace: Trace, objects: Objects) -> Eviction:
    if mirror.capacity is None:
        return Roomy()
    if mirror.eviction == "belady":
        return Foreseen(trace.content, objects.parts, len(objects.sizes))
    return Recent() if mirror.eviction == "lru" else Frequent()
