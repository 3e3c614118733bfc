"""Run a plan: a few images at a time, in rank order, until done, stopped or out of time.

Every candidate of the plan gets one outcome. An image is `warmed` only when its cache has returned from
`warm`, which it does when it has proven to hold the image.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from prewarm.errors import CacheBusy, CacheError, DigestMismatch, PrewarmError, RegistryError, TagMoved
from prewarm.references import Reference
from prewarm.warming.caches import Cache, Transfer
from prewarm.warming.images import Image
from prewarm.warming.planning import Plan, Skip, Warm

State = Literal["warmed", "already", "failed", "skipped", "withheld", "cancelled"]
STATES: tuple[State, ...] = ("warmed", "already", "failed", "skipped", "withheld", "cancelled")

ATTEMPTS = 2  # the registry client has retried each request before; a second try is for a later moment


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one candidate."""

    image: str
    state: State
    digest: str | None = None  # what the cache holds, or was asked to hold
    bytes: int = 0  # transferred for it
    seconds: float = 0.0
    attempts: int = 0
    error: str | None = None
    note: str | None = None  # how the cache proved it, and whether the tag moved since the plan
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to an image: its warm has started, or it has an outcome."""

    image: str
    outcome: Outcome | None = None  # None: started


@dataclass(frozen=True, slots=True)
class Run:
    """A plan, executed: one outcome per candidate, in rank order."""

    plan: str
    cache: str
    outcomes: tuple[Outcome, ...]
    started_at: datetime
    finished_at: datetime

    @property
    def state(self) -> Literal["done", "partly", "failed"]:
        """`done` when nothing failed or was cancelled, `failed` when nothing else happened."""
        return state_of(Counter(outcome.state for outcome in self.outcomes))

    @property
    def totals(self) -> dict[str, int | float]:
        """Images per state, `bytes` transferred and `seconds` of wall time."""
        states = Counter(outcome.state for outcome in self.outcomes)
        return {
            **{state: states[state] for state in STATES},
            "bytes": sum(outcome.bytes for outcome in self.outcomes),
            "seconds": _took(self.started_at, self.finished_at),
        }


def state_of(states: Mapping[str, int]) -> Literal["done", "partly", "failed"]:
    """The state of a run with so many outcomes of each state."""
    if not states["failed"] + states["cancelled"]:
        return "done"
    return "partly" if states["warmed"] + states["already"] else "failed"


async def execute(
    plan: Plan,
    cache: Cache,
    *,
    clock: Callable[[], datetime],
    concurrency: int = 3,
    deadline: datetime | None = None,
    stop: asyncio.Event | None = None,
    known: Mapping[str, Image] | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Run:
    """Warm what the plan says; returns when each candidate has its outcome.

    `known` are images that were resolved, and found missing, a moment ago: they are not asked for
    again. What is unfinished at `deadline`, or when `stop` is set, is cancelled and says so; a
    cancellation of the calling task is passed on. A refusal (PrewarmError) fails one image; one that may
    pass is tried again when the others are through.
    """
    started = clock()
    crew = _Crew(plan, cache, clock, dict(known or {}), on_event)
    seconds = None if deadline is None else max((deadline - started).total_seconds(), 0.0)
    early = await _bounded(crew.work(concurrency), stop, seconds)
    if early == "deadline":
        early = f"not finished by {deadline:%Y-%m-%d %H:%M:%S} UTC, the run's deadline"
    outcomes = _in_rank_order(plan, crew.settle(early or "not started"))
    return Run(plan.id, plan.cache, outcomes, started, clock())


@contextmanager
def lock(folder: Path, cache: str, now: datetime) -> Iterator[None]:
    """Hold `cache` for one run: a kernel lock on a file in `folder`, which dies with its process.

    Raises CacheBusy when another run holds it.
    """
    path = folder / f"{quote(cache, safe='')}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as refused:
        raise CacheError(f"cannot lock cache {cache!r}: {path}: {refused.strerror}") from None
    try:
        _take(descriptor, cache)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()}, since {now:%Y-%m-%d %H:%M:%S} UTC".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, cache: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace") or "just started"
        raise CacheBusy(
            f"cache {cache!r} is being warmed by another run ({holder}); wait for it, or stop that process"
        ) from None


async def _bounded(
    work: Coroutine[Any, Any, None], stop: asyncio.Event | None, seconds: float | None
) -> str | None:
    """Await `work`; when it ends early, why: `stopped` or `deadline`. It has ended on return."""
    tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(work)]
    if stop is not None:
        tasks.append(asyncio.ensure_future(stop.wait()))
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            tasks[0].result()
            return None
        return "stopped" if stop is not None and stop.is_set() else "deadline"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Crew:
    """Workers that take warms from one queue, in rank order."""

    def __init__(
        self,
        plan: Plan,
        cache: Cache,
        clock: Callable[[], datetime],
        known: dict[str, Image],
        on_event: Callable[[Event], None],
    ) -> None:
        self.plan = plan
        self.cache = cache
        self.clock = clock
        self.known = known
        self.on_event = on_event
        self.queue = deque(plan.warms)
        self.begun: dict[str, Outcome] = {}  # images that were started, as if cancelled now
        self.outcomes: dict[str, Outcome] = {}

    async def work(self, concurrency: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(max(concurrency, 1), len(self.queue))):
                group.create_task(self._worker())

    def settle(self, early: str) -> dict[str, Outcome]:
        """An outcome for every warm: the unfinished ones are cancelled, with the reason."""
        for warm in self.plan.warms:
            if warm.image not in self.outcomes:
                self._finish(replace(self._begun(warm), state="cancelled", error=early))
        return self.outcomes

    async def _worker(self) -> None:
        while self.queue:
            warm = self.queue.popleft()
            if warm.image not in self.begun:
                self.begun[warm.image] = replace(self._begun(warm), started_at=self.clock())
                self.on_event(Event(warm.image))
            await self._try(warm)

    async def _try(self, warm: Warm) -> None:
        begun = self._begun(warm)
        begun = self.begun[warm.image] = replace(begun, attempts=begun.attempts + 1)
        try:
            self._finish(await self._warm(warm, begun))
        except PrewarmError as refused:
            if begun.attempts < ATTEMPTS and isinstance(refused, RegistryError) and refused.retryable:
                self.queue.append(warm)
            else:
                self._finish(replace(begun, state="failed", error=str(refused)))

    async def _warm(self, warm: Warm, begun: Outcome) -> Outcome:
        image = self.known.pop(warm.image, None)
        if image is None:
            image = await self.cache.resolve(Reference.parse(warm.image))
            if await self.cache.holds(image):
                return replace(begun, state="already", digest=image.digest, note=_moved(warm, image))
        image, transfer = await self._transfer(warm, image)
        notes = filter(None, (_moved(warm, image), transfer.proof))
        return replace(
            self.begun[warm.image], state="warmed", bytes=transfer.bytes, note="; ".join(notes) or None
        )

    async def _transfer(self, warm: Warm, image: Image) -> tuple[Image, Transfer]:
        """Warm the image; a tag that has moved since it was resolved is resolved again, once.

        An engine that pulls by tag tells a moved one by the digest that it got.
        """
        self.begun[warm.image] = replace(self._begun(warm), digest=image.digest or warm.digest)
        try:
            return image, await self.cache.warm(image)
        except (TagMoved, DigestMismatch):
            present = await self.cache.resolve(image.reference)
            if present.digest == image.digest:
                raise
        self.begun[warm.image] = replace(self._begun(warm), digest=present.digest or warm.digest)
        return present, await self.cache.warm(present)

    def _begun(self, warm: Warm) -> Outcome:
        return self.begun.get(warm.image) or Outcome(warm.image, "cancelled", warm.digest)

    def _finish(self, outcome: Outcome) -> None:
        if outcome.started_at is not None:
            now = self.clock()
            outcome = replace(outcome, finished_at=now, seconds=_took(outcome.started_at, now))
        self.outcomes[outcome.image] = outcome
        self.on_event(Event(outcome.image, outcome))


def _took(begun: datetime, ended: datetime) -> float:
    """Seconds between two readings of the clock; 0 when it was set back in between."""
    return max((ended - begun).total_seconds(), 0.0)


def _moved(warm: Warm, image: Image) -> str | None:
    if warm.digest is None or warm.digest == image.digest:
        return None
    return f"the tag moved since the plan, which had {warm.digest}"


def _in_rank_order(plan: Plan, warmed: Mapping[str, Outcome]) -> tuple[Outcome, ...]:
    """One outcome per candidate; candidates without a rank, the operator's own, come first."""
    ranked = [(warm.rank, warmed[warm.image]) for warm in plan.warms]
    ranked += [(skip.rank, _skipped(skip)) for skip in plan.skipped]
    ranked += [
        (held.rank, Outcome(held.image, "withheld", held.digest, note=held.reason)) for held in plan.withheld
    ]
    return tuple(outcome for _, outcome in sorted(ranked, key=lambda pair: pair[0]))


def _skipped(skip: Skip) -> Outcome:
    if skip.held:
        return Outcome(skip.image, "already", skip.digest, note=skip.reason)
    state: State = "failed" if skip.failed else "skipped"
    return Outcome(skip.image, state, skip.digest, error=skip.reason)
