"""Runs in the background: each on a thread with an event loop of its own, watched from the service's loop.

What happens in a run is told to the service's loop, where all state is changed and read, so that nothing
needs a lock.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from prewarm.errors import CacheBusy, PrewarmError
from prewarm.lake import Lake
from prewarm.pipeline.warming.caches import state_folder
from prewarm.pipeline.warming.journal import outcome_row
from prewarm.pipeline.warming.run import Conduct, RunResult, new_id
from prewarm.pipeline.warming.run import run as execute
from prewarm.pipeline.warming.switch import refuse_when_paused
from prewarm.warming.executor import STATES, lock

if TYPE_CHECKING:
    from prewarm.pipeline.warming.plan import Request
    from prewarm.settings import Settings
    from prewarm.warming.executor import Event
    from prewarm.warming.planning import Plan

log = logging.getLogger("prewarm.audit")

KEPT = 100  # runs that are remembered whole when they are over; the lake has the others
AT_ONCE = 8
HEARTBEAT = 15.0  # seconds of silence after which a watcher is told that the run goes on
OVER = ("done", "partly", "failed", "cancelled", "refused")


@dataclass(eq=False)
class Live:
    """One run of this service, from the moment when it was asked for."""

    id: str
    cache: str
    site: str | None
    by: str
    asked_at: datetime
    state: str = "planning"  # then running, then one of OVER
    plan: str | None = None
    warms: int = 0
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    error: str | None = None
    finished_at: datetime | None = None
    warnings: tuple[str, ...] = ()
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    cancelled: bool = False
    stopper: Callable[[], None] | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in OVER

    def tell(self, what: str, about: dict[str, Any]) -> None:
        """Note an event and wake whoever watches; on the service's loop."""
        self.events.append((what, about))
        self._changed.set()
        self._changed = asyncio.Event()

    async def watch(self, after: int = 0) -> AsyncIterator[tuple[int, str, dict[str, Any]] | None]:
        """Events with their numbers, those after `after`, until the run is over; None is silence."""
        told = after
        while True:
            changed = self._changed
            while told < len(self.events):
                told += 1
                yield (told, *self.events[told - 1])
            if self.over:
                return
            try:
                await asyncio.wait_for(changed.wait(), HEARTBEAT)
            except TimeoutError:
                yield None

    def stop(self) -> None:
        """Have it end soon, with what is done."""
        self.cancelled = True
        if self.stopper is not None:
            self.stopper()

    def summary(self) -> dict[str, Any]:
        """The run in a list."""
        counts = dict.fromkeys(STATES, 0)
        for outcome in self.outcomes.values():
            counts[outcome["state"]] += 1
        started = [each["started_at"] for each in self.outcomes.values() if each["started_at"]]
        return {
            "id": self.id,
            "plan": self.plan,
            "cache": self.cache,
            "site": self.site,
            "state": self.state,
            "started_at": min(started, default=self.asked_at),
            "finished_at": self.finished_at,
            "totals": {**counts, "bytes": sum(each["bytes"] for each in self.outcomes.values())},
        }

    def document(self) -> dict[str, Any]:
        """The whole run: what it was asked for, how far it is, what became of each image."""
        return {
            **self.summary(),
            "by": self.by,
            "asked_at": self.asked_at,
            "warms": self.warms,
            "running": sorted(self.running),
            "error": self.error,
            "warnings": list(self.warnings),
            "outcomes": list(self.outcomes.values()),
        }


class Runs:
    """The runs of this service."""

    def __init__(self, settings: Settings, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._now = now
        self._live: OrderedDict[str, Live] = OrderedDict()
        self._threads = ThreadPoolExecutor(AT_ONCE, "run")
        self._stopping = False

    def find(self, id: str) -> Live | None:
        """The run of that id, if this service began it and remembers it."""
        return self._live.get(id)

    def all(self) -> list[Live]:
        """The runs that are remembered, the newest first."""
        return list(reversed(self._live.values()))

    def holds(self, cache: str) -> bool:
        """Whether a run of this service is at that cache."""
        return any(live.cache == cache and not live.over for live in self._live.values())

    def start(self, cache: str, work: Plan | Request, by: str) -> Live:
        """Begin a run; on the service's loop. Raises CacheBusy and Paused at once where they apply."""
        spec, lake, now = self._settings.cache_spec(cache), Lake.open(self._settings.lake), self._now()
        refuse_when_paused(lake)
        going = [live for live in self._live.values() if not live.over]
        for live in going:
            if live.cache == cache:
                raise CacheBusy(
                    f"cache {cache!r} is being warmed by run {live.id}; wait for it, or cancel it"
                )
        if self._stopping or len(going) >= AT_ONCE:
            raise CacheBusy(f"{len(going)} runs go on, which is as many as this service takes; wait for one")
        with lock(state_folder(lake) / "locks", cache, now):
            pass  # another process's run is refused now rather than later
        live = Live(new_id(now), cache, spec.site, by, now)
        self._live[live.id] = live
        self._forget()
        loop = asyncio.get_running_loop()
        self._threads.submit(self._go, live, work, lambda call, *given: _later(loop, call, *given))
        return live

    def stop(self) -> None:
        """Have all runs end soon, and take no more; from any thread."""
        self._stopping = True
        for live in list(self._live.values()):
            if not live.over:
                live.stop()

    async def ended(self, within: float) -> None:
        """Wait until no run goes on, but no longer than `within` seconds."""
        self.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                for live in list(self._live.values()):
                    async for _ in live.watch(len(live.events)):
                        pass
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _forget(self) -> None:
        over = [live.id for live in self._live.values() if live.over]
        for id in over[: max(len(over) - KEPT, 0)]:
            del self._live[id]

    def _go(self, live: Live, work: Plan | Request, tell: Callable[..., None]) -> None:
        """The run itself, on its own thread."""
        try:
            result = asyncio.run(self._run(live, work, tell))
        except PrewarmError as refused:
            tell(self._end, live, None, str(refused))
        except BaseException:  # whatever it was: the pool would keep it, and who watches would wait for ever
            log.exception("run %s failed", live.id)
            tell(self._end, live, None, "a defect; the service's log says which")
        else:
            tell(self._end, live, result, None)

    async def _run(self, live: Live, work: Plan | Request, tell: Callable[..., None]) -> RunResult:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        live.stopper = lambda: _later(loop, stop.set)
        if live.cancelled:
            stop.set()
        conduct = Conduct(
            id=live.id,
            clock=self._now,
            stop=stop,
            on_plan=lambda plan: tell(_planned, live, plan),
            on_event=lambda event: tell(_happened, live, event),
        )
        return await execute(
            Lake.open(self._settings.lake),
            self._settings.cache_spec(live.cache),
            self._settings.endpoints(),
            work,
            demand=self._settings.demand_of_sites(),
            conduct=conduct,
        )

    def _end(self, live: Live, result: RunResult | None, refused: str | None) -> None:
        live.finished_at = self._now()
        live.error = refused
        live.running.clear()
        if result is not None:
            live.outcomes = {outcome.image: outcome_row(outcome) for outcome in result.outcomes}
            live.warnings = result.warnings
        ended = "refused" if result is None else result.state
        live.state = "cancelled" if live.cancelled else ended
        log.info(
            "run ended", extra={"run": live.id, "cache": live.cache, "state": live.state, "error": refused}
        )
        live.tell("end", live.summary() | {"error": refused})


def _planned(live: Live, plan: Plan) -> None:
    live.state, live.plan, live.warms = "running", plan.id, len(plan.warms)
    live.tell("plan", {"plan": plan.id, "warms": len(plan.warms), "bytes": plan.bytes})


def _happened(live: Live, event: Event) -> None:
    if event.outcome is None:
        live.running.add(event.image)
        live.tell("started", {"image": event.image})
    else:
        live.running.discard(event.image)
        live.outcomes[event.image] = outcome_row(event.outcome)
        live.tell("outcome", live.outcomes[event.image])


def _later(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *given: Any) -> None:
    with suppress(RuntimeError):  # the loop has ended, and whoever would listen with it
        loop.call_soon_threadsafe(call, *given)
