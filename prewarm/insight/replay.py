"""Past pulls, in order, through a simulated cache: what would have been.

The cache is one shared mirror. It holds objects (a version's own digest, which stands for its manifests,
and its blobs), each under its digest, so shared layers are held once. An object lapses `ttl` after it
was filled; hits do not extend that (CNCF Distribution, proxy mode). When the disk is full the least recently
used object goes first. Every policy starts from the same reactive cache: what is asked for and missing is
fetched and kept. A policy adds warm runs, given as data; nothing here forecasts.

Simplifications, all in favour of doing nothing: a fill is instantaneous, so the second client of a busy
minute never waits; the HEAD with which a mirror checks a tag upstream costs every policy the same and is
left out.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Cause(StrEnum):
    """Why a pull missed; every miss has exactly one."""

    NEVER_SEEN = "never seen before"
    FRESH_PUSH = "fresh push"
    TAG_MOVED = "tag moved"
    TTL_LAPSED = "TTL lapsed"
    EVICTED = "evicted"


FRESH = timedelta(days=1)
"""A first pull within this time of the push is a fresh push."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a digest consists of: distinct blobs as (digest, bytes), config and layers."""

    digest: str
    blobs: tuple[tuple[str, int], ...]
    pushed_at: datetime | None = None  # None: unknown

    @property
    def bytes(self) -> int:
        return sum(size for _, size in self.blobs)


@dataclass(frozen=True, slots=True)
class Pull:
    """One client asked for `image` and was given `content`."""

    time: datetime
    image: str
    content: Content


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


@dataclass(frozen=True, slots=True)
class Cost:
    """What a miss costs the client that waits for it, in seconds.

    Round trips (two for the manifests, one for each missing blob) times the upstream's latency, plus missing
    bytes over the upstream's bandwidth.
    """

    round_trip: float = 0.08  # seconds
    bandwidth: float = 12.5e6  # bytes per second: 100 Mbit/s

    def seconds(self, blobs: int, size: int) -> float:
        return self.round_trip * (2 + blobs) + size / self.bandwidth


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


Window = tuple[datetime, datetime]


def replay(
    pulls: Sequence[Pull],
    mirror: Mirror,
    *,
    runs: Sequence[WarmRun] = (),
    windows: Sequence[Window] | None = None,
    cost: Cost = Cost(),
) -> Result:
    """Replay `pulls` (in order of time) through `mirror` with these warm runs.

    `windows` are the stretches [start, end) whose pulls are scored, in order; the time before the first one
    fills the cache. None scores everything. A run at the moment of a pull comes first.
    """
    cache = _Cache(mirror)
    score = _Score(cost, windows)
    for event in _merged(pulls, sorted(runs, key=lambda run: run.time)):
        now = event.time.timestamp()
        cache.expire(now)
        if isinstance(event, Pull):
            cause, missing = cache.pull(event, now)
            score.pulled(event, now, cause, missing)
        else:
            score.warmed_bytes += _warm(cache, event, now)
    return score.result(cache.wasted_bytes())


def _merged(pulls: Sequence[Pull], runs: Sequence[WarmRun]) -> Iterator[Pull | WarmRun]:
    """Both in order of time, runs first."""
    upcoming = deque(runs)
    for pull in pulls:
        while upcoming and upcoming[0].time <= pull.time:
            yield upcoming.popleft()
        yield pull
    yield from upcoming


def _warm(cache: _Cache, run: WarmRun, now: float) -> int:
    """Warm what fits the run's budget; the bytes that were fetched."""
    spent = 0
    for image, content in run.images:
        missing = cache.missing(content)
        size = sum(size for _, size in missing)
        if missing and (run.max_bytes is None or spent + size <= run.max_bytes):
            cache.fill(image, content, missing, now, warmed=True)
            spent += size
    return spent


class _Cache:
    """Objects by digest, least recently used first."""

    def __init__(self, mirror: Mirror) -> None:
        self._capacity = mirror.capacity
        self._ttl = mirror.ttl.total_seconds() if mirror.ttl is not None else None
        self._held: OrderedDict[str, tuple[int, float]] = OrderedDict()  # digest -> (bytes, filled)
        self._used = 0
        self._filled: deque[tuple[float, str]] = deque()  # in order of filling
        self._gone: dict[str, Cause] = {}  # why an object is no longer held
        self._known: set[str] = set()  # versions that were held once
        self._images: set[str] = set()  # images that were asked for or warmed
        self._unused: dict[str, int] = {}  # warmed, not pulled yet
        self._wasted = 0

    def expire(self, now: float) -> None:
        """Drop what has lapsed by `now`."""
        if self._ttl is None:
            return
        while self._filled and self._filled[0][0] + self._ttl <= now:
            filled, digest = self._filled.popleft()
            if digest in self._held and self._held[digest][1] == filled:
                self._drop(digest, Cause.TTL_LAPSED)

    def missing(self, content: Content) -> list[tuple[str, int]]:
        """The objects of `content` that are not held."""
        held = self._held
        found = [blob for blob in content.blobs if blob[0] not in held]
        if content.digest not in held:
            found.append((content.digest, 0))
        return found

    def pull(self, pull: Pull, now: float) -> tuple[Cause | None, list[tuple[str, int]]]:
        """Serve a client: why it missed (None: a hit) and what had to be fetched."""
        content = pull.content
        missing = self.missing(content)
        cause = self._cause(pull, missing) if missing else None
        self._touch(content)
        if missing:
            self.fill(pull.image, content, missing, now, warmed=False)
        return cause, missing

    def fill(
        self, image: str, content: Content, missing: Iterable[tuple[str, int]], now: float, *, warmed: bool
    ) -> None:
        """Fetch the missing objects of `content` and keep them."""
        self._images.add(image)
        self._known.add(content.digest)
        for digest, size in missing:
            self._store(digest, size, now)
            if warmed and size:
                self._unused[digest] = size

    def wasted_bytes(self) -> int:
        """Warmed bytes that were dropped unused or are still unused."""
        return self._wasted + sum(self._unused.values())

    def _touch(self, content: Content) -> None:
        held, unused = self._held, self._unused
        for digest, _ in content.blobs:
            if digest in held:
                held.move_to_end(digest)
                if unused:
                    unused.pop(digest, None)
        if content.digest in held:
            held.move_to_end(content.digest)

    def _store(self, digest: str, size: int, now: float) -> None:
        if self._capacity is not None:
            if size > self._capacity:
                self._gone[digest] = Cause.EVICTED
                return
            while self._used + size > self._capacity:
                self._drop(next(iter(self._held)), Cause.EVICTED)
        self._held[digest] = (size, now)
        self._used += size
        if self._ttl is not None:
            self._filled.append((now, digest))

    def _drop(self, digest: str, cause: Cause) -> None:
        size, _ = self._held.pop(digest)
        self._used -= size
        self._gone[digest] = cause
        self._wasted += self._unused.pop(digest, 0)

    def _cause(self, pull: Pull, missing: list[tuple[str, int]]) -> Cause:
        if pull.content.digest in self._known:
            evicted = any(self._gone.get(digest) is Cause.EVICTED for digest, _ in missing)
            return Cause.EVICTED if evicted else Cause.TTL_LAPSED
        if pull.image in self._images:
            return Cause.TAG_MOVED
        pushed = pull.content.pushed_at
        fresh = pushed is not None and pull.time - pushed <= FRESH
        return Cause.FRESH_PUSH if fresh else Cause.NEVER_SEEN


class _Score:
    """Adds up a Result."""

    def __init__(self, cost: Cost, windows: Sequence[Window] | None) -> None:
        spans = [(start.timestamp(), end.timestamp()) for start, end in windows or ()]
        self._spans = spans if windows is not None else [(float("-inf"), float("inf"))]
        self._cost = cost
        self._current = 0  # the window that is scored, or the next one
        self._pulls = self._bytes_pulled = self._bytes_missed = self._filled = 0
        self._misses: Counter[Cause] = Counter()
        self._waiting = [0.0] * len(self._spans)
        self.warmed_bytes = 0

    def pulled(self, pull: Pull, now: float, cause: Cause | None, missing: list[tuple[str, int]]) -> None:
        size = sum(size for _, size in missing) if cause is not None else 0
        if size and self._spans and self._spans[0][0] <= now < self._spans[-1][1]:
            self._filled += size
        if not self._scored(now):
            return
        self._pulls += 1
        self._bytes_pulled += pull.content.bytes
        if cause is not None:
            self._misses[cause] += 1
            self._bytes_missed += size
            self._waiting[self._current] += self._cost.seconds(len(missing), size)

    def result(self, wasted: int) -> Result:
        return Result(
            pulls=self._pulls,
            misses=dict(self._misses),
            bytes_pulled=self._bytes_pulled,
            bytes_missed=self._bytes_missed,
            waiting=tuple(self._waiting),
            filled_bytes=self._filled,
            warmed_bytes=self.warmed_bytes,
            wasted_bytes=wasted,
        )

    def _scored(self, now: float) -> bool:
        """Whether `now` is in a window; those that are over are left behind."""
        while self._current < len(self._spans) and self._spans[self._current][1] <= now:
            self._current += 1
        return self._current < len(self._spans) and self._spans[self._current][0] <= now
