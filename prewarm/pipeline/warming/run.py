"""The verb `run`: a plan is executed under its cache's lock, and its outcomes are kept."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prewarm.errors import CacheError, SettingsError
from prewarm.pipeline.warming.caches import CacheSpec, opened, state_folder
from prewarm.pipeline.warming.journal import Journal, account_for_killed, outcome_row
from prewarm.pipeline.warming.plan import (
    Demand,
    Known,
    Planned,
    Request,
    dated_id,
    permitted,
    plan_with,
    platforms_of,
    platforms_seen,
)
from prewarm.pipeline.warming.switch import refuse_when_paused, stopping_when_paused
from prewarm.pipeline.warming.trail import Trail, trail_path
from prewarm.warming.executor import Event, Outcome, Run, execute, lock
from prewarm.warming.planning import Plan, warnings_of

if TYPE_CHECKING:
    from prewarm.lake import Lake
    from prewarm.warming.caches import Cache
    from prewarm.warming.contacts import Endpoint


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, eq=False)
class RunResult:
    """An executed plan."""

    id: str
    plan: Plan
    run: Run
    warnings: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """`done`, `partly` or `failed`."""
        return self.run.state

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """One per candidate of the plan, in rank order."""
        return self.run.outcomes

    @property
    def totals(self) -> Mapping[str, int | float]:
        """Images per state, `bytes` transferred and `seconds` of wall time."""
        return self.run.totals

    def document(self) -> dict[str, Any]:
        """What `prewarm run --json` prints."""
        return {
            "id": self.id,
            "plan": self.plan.id,
            "cache": self.plan.cache,
            "state": self.state,
            "started_at": stamp(self.run.started_at),
            "finished_at": stamp(self.run.finished_at),
            "outcomes": [_outcome_document(outcome) for outcome in self.outcomes],
            "totals": dict(self.totals),
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class Conduct:
    """How a run goes about it."""

    id: str | None = None  # of the run; None makes one
    concurrency: int = 3  # images at once
    clock: Callable[[], datetime] = utc_now
    stop: asyncio.Event | None = None  # set: end now, with what is done
    on_plan: Callable[[Plan], None] = lambda plan: None
    on_event: Callable[[Event], None] = lambda event: None


async def run(
    lake: Lake,
    spec: CacheSpec,
    endpoints: Sequence[Endpoint],
    work: Plan | Request,
    *,
    demand: Demand | None = None,
    conduct: Conduct | None = None,
) -> RunResult:
    """Execute a plan, or make one and execute it; outcomes are kept in the lake, once.

    The run ends at the plan's `ready_by`, if it has one, and when somebody sets the kill switch. Raises
    CacheBusy when another run holds the cache, Paused while the switch is set, SettingsError for a plan of
    another cache, and as `plan` does.
    """
    conduct = conduct or Conduct()
    stop = conduct.stop or asyncio.Event()
    conduct = replace(conduct, stop=stop)
    if isinstance(work, Plan) and work.cache != spec.name:
        raise SettingsError(f"plan {work.id} is for cache {work.cache!r}, not for {spec.name!r}")
    refuse_when_paused(lake)
    now = conduct.clock()
    platforms = platforms_of(work) if isinstance(work, Plan) else None
    if platforms is None:
        platforms = await asyncio.to_thread(platforms_seen, lake, spec.site, now)
    known = Known(now, platforms, demand or Demand())
    folder = state_folder(lake)
    trail = trail_path(folder, spec.name)
    with lock(folder / "locks", spec.name, now):
        if trail.exists():
            await asyncio.to_thread(account_for_killed, lake, spec, trail)
        async with (
            stopping_when_paused(lake, stop),
            opened(spec, endpoints, folder=folder, platforms=platforms) as cache,
        ):
            planned = await _planned(cache, lake, spec, endpoints, work, known, stop)
            conduct.on_plan(planned.plan)
            id = conduct.id or new_id(conduct.clock())
            digests = {warm.image: warm.digest for warm in planned.plan.warms}
            journal = Journal(lake, spec, id, planned.plan.id, Trail(trail, conduct.clock, digests))
            async with journal.kept():
                done = await _execute(cache, planned, conduct, journal)
                journal.add(done.outcomes)
    return RunResult(id, planned.plan, done, planned.warnings)


def new_id(now: datetime) -> str:
    """A name for a run that begins now."""
    return dated_id("r", now)


@contextmanager
def stopped_by_signals(stop: asyncio.Event) -> Iterator[None]:
    """Within, SIGINT and SIGTERM set `stop` instead of ending the process. For the main thread."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _planned(
    cache: Cache,
    lake: Lake,
    spec: CacheSpec,
    endpoints: Sequence[Endpoint],
    work: Plan | Request,
    known: Known,
    stop: asyncio.Event,
) -> Planned:
    if isinstance(work, Plan):
        allowed = permitted(work, spec, endpoints)
        return Planned(allowed, warnings=warnings_of(allowed))
    return await _unless_stopped(plan_with(cache, lake, spec, endpoints, work, known), stop)


async def _unless_stopped(making: Coroutine[Any, Any, Planned], stop: asyncio.Event) -> Planned:
    """A plan, unless `stop` is set first: CacheError then, since nothing was warmed."""
    plan = asyncio.ensure_future(making)
    waiting = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({plan, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not plan.done():
            raise CacheError("stopped while planning; nothing was warmed")
        return plan.result()
    finally:
        for task in (plan, waiting):
            task.cancel()
        await asyncio.gather(plan, waiting, return_exceptions=True)


async def _execute(cache: Cache, planned: Planned, conduct: Conduct, journal: Journal) -> Run:
    def tell(event: Event) -> None:
        journal.note(event)
        conduct.on_event(event)

    return await execute(
        planned.plan,
        cache,
        clock=conduct.clock,
        concurrency=conduct.concurrency,
        deadline=planned.plan.budget.ready_by,
        stop=conduct.stop,
        known=planned.missing,
        on_event=tell,
    )


def _outcome_document(outcome: Outcome) -> dict[str, Any]:
    times = {"started_at": stamp(outcome.started_at), "finished_at": stamp(outcome.finished_at)}
    return {**outcome_row(outcome), "note": outcome.note, **times}


def stamp(moment: datetime | None) -> str | None:
    """A time as JSON has it: ISO-8601 in UTC."""
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
