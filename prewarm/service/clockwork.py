"""Schedules, run by the service: looked at every few seconds, begun when they are due.

What was missed while no service ran is begun once, however often it was due, and left out when its window
is over. A start is claimed in a file that all services of a lake share, and waits while its cache is being
warmed or the kill switch is set.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from prewarm.errors import CacheBusy, Paused, PrewarmError
from prewarm.lake import Lake
from prewarm.pipeline.warming import upkeep
from prewarm.pipeline.warming.agenda import Agenda, Entry
from prewarm.pipeline.warming.plan import plan
from prewarm.pipeline.warming.run import Conduct
from prewarm.pipeline.warming.schedules import Start, Timetable, due, next_start
from prewarm.pipeline.warming.switch import refuse_when_paused
from prewarm.service.problems import DEFECTS

if TYPE_CHECKING:
    from prewarm.service.background import Runs
    from prewarm.settings import Settings

log = logging.getLogger("prewarm.audit")

EVERY = 5.0  # seconds between two looks


class Clockwork:
    """The schedules of one service."""

    def __init__(self, settings: Settings, runs: Runs, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._runs = runs
        self._now = now
        self._lake = Lake.open(settings.lake)
        self.agenda = Agenda(self._lake)
        self._busy: set[str] = set()  # caches that maintenance is at work on
        self._tasks: set[asyncio.Task[None]] = set()
        self._told: dict[str, str] = {}  # by schedule, the last refusal

    @asynccontextmanager
    async def ticking(self) -> AsyncIterator[None]:
        """Within, schedules are begun when they are due."""
        task = asyncio.create_task(self._tick_on())
        try:
            yield
        finally:
            task.cancel()
            for each in (task, *self._tasks):
                each.cancel()
            await asyncio.gather(task, *self._tasks, return_exceptions=True)

    async def _tick_on(self) -> None:
        while True:
            try:
                await self.tick(self._now())
            except DEFECTS:  # it must not end the looking: the log tells, and the next look comes
                log.exception("schedules could not be looked at")
            await asyncio.sleep(EVERY)

    async def tick(self, now: datetime) -> None:
        """Begin what is due; on the service's loop."""
        entries = await asyncio.to_thread(self.agenda.read)
        for name in sorted(self._settings.schedules):
            try:
                await self._look(name, entries.get(name, Entry()), now)
            except PrewarmError as refused:
                if self._told.get(name) != str(refused):
                    self._told[name] = str(refused)
                    log.warning("%s", refused, extra={"schedule": name})
                    with suppress(PrewarmError):  # a folder that cannot be written is what is told
                        await self._note(name, now, str(refused))

    async def _look(self, name: str, entry: Entry, now: datetime) -> None:
        timetable = self._settings.timetable(name)
        if entry.until is None or entry.until > now:  # seen for the first time, or the clock was set back
            await asyncio.to_thread(self.agenda.change, name, lambda old: replace(old, until=now))
            return
        start = next_start(timetable, entry.until)
        if start is None or start.at > now or entry.paused:
            if entry.paused and start is not None and start.at <= now:
                await self._claim(name, entry, now, "left out: the schedule is paused")
            return
        if start.until is not None and start.until <= now:
            await self._claim(name, entry, now, "left out: its window was over")
        else:
            await self._begin(timetable, entry, start, now)

    async def _begin(self, timetable: Timetable, entry: Entry, start: Start, now: datetime) -> None:
        """Begin it, unless its cache is busy or the switch is set: then it waits for the next look."""
        with suppress(CacheBusy, Paused):
            await asyncio.to_thread(refuse_when_paused, self._lake)
            if self._runs.holds(timetable.cache) or timetable.cache in self._busy:
                return
            if not await self._claim(timetable.name, entry, now, f"begun: {timetable.verb}"):
                return  # another service was faster
            try:
                await self._do(timetable, now)
            except (CacheBusy, Paused):
                await asyncio.to_thread(self.agenda.change, timetable.name, lambda _: entry)
                raise

    async def _do(self, timetable: Timetable, now: datetime) -> None:
        if timetable.verb == "run" and timetable.warms:
            assert timetable.when is not None
            request = due(timetable.when, timetable.site, now)
            live = self._runs.start(timetable.cache, request, f"schedule {timetable.name}")
            await self._note(timetable.name, now, "begun: run", live.id)
            log.info("run begun", extra={"who": f"schedule {timetable.name}", "run": live.id})
            return
        self._busy.add(timetable.cache)
        task = asyncio.create_task(self._maintain(timetable, now))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _maintain(self, timetable: Timetable, now: datetime) -> None:
        """A plan that is not executed, a refresh or a prune, on a thread with a loop of its own."""
        try:
            what, id = await asyncio.to_thread(self._maintained, timetable, now)
        except PrewarmError as refused:
            what, id = f"refused: {refused}", None
        except DEFECTS:  # nobody awaits this task: the log and the schedule's row tell
            log.exception("schedule %s failed", timetable.name)
            what, id = "a defect; the service's log says which", None
        finally:
            self._busy.discard(timetable.cache)
        await self._note(timetable.name, now, what, id)
        log.info(what, extra={"who": f"schedule {timetable.name}", "cache": timetable.cache, "plan": id})

    def _maintained(self, timetable: Timetable, now: datetime) -> tuple[str, str | None]:
        settings, spec = self._settings, self._settings.cache_spec(timetable.cache)
        given = (self._lake, spec, settings.endpoints())
        demand, conduct = settings.demand_of_sites(), Conduct(clock=self._now)
        if timetable.verb == "run":
            assert timetable.when is not None
            request = due(timetable.when, timetable.site, now)
            made = asyncio.run(plan(*given, request, now=now, demand=demand)).plan
            return f"planned {len(made.warms)} images, {made.bytes} bytes; nothing was transferred", made.id
        if timetable.verb == "refresh":
            fresh = asyncio.run(
                upkeep.refresh(
                    *given, demand=demand, conduct=conduct, over=timetable.over, apply=timetable.warms
                )
            )
            return f"refreshed {len(fresh.moved)} images", fresh.run.id if fresh.run else None
        pruned = asyncio.run(upkeep.prune(*given, demand=demand, conduct=conduct, apply=timetable.warms))
        return f"pruned {len(pruned.evict)} images", None

    async def _claim(self, name: str, seen: Entry, now: datetime, what: str) -> bool:
        """Whether this service is the one that takes what is due; later starts are counted from now."""

        def decide(entry: Entry) -> Entry | None:
            if entry.until != seen.until:
                return None
            return replace(entry, until=now, last=now, what=what, run=None)

        return await asyncio.to_thread(self.agenda.change, name, decide)

    async def _note(self, name: str, now: datetime, what: str, run: str | None = None) -> None:
        await asyncio.to_thread(
            self.agenda.change, name, lambda entry: replace(entry, last=now, what=what, run=run)
        )
