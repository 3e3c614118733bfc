"""Outcomes on their way into the lake.

They are written every few seconds while a run goes on, each once. What a killed run could not write, and the
images that it had on their way, are taken from its trail by the next run: an engine's pulls on our behalf
would else be taken for demand.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from prewarm.pipeline.warming.trail import left_behind
from prewarm.tables import OUTCOMES, WARMED
from prewarm.warming.executor import Event, Outcome

if TYPE_CHECKING:
    from prewarm.lake import Lake
    from prewarm.pipeline.warming.caches import CacheSpec
    from prewarm.pipeline.warming.trail import Trail

EVERY = 5.0  # seconds between two writes


class Journal:
    """The outcomes of one run of one plan."""

    def __init__(self, lake: Lake, spec: CacheSpec, run: str, plan: str, trail: Trail | None = None) -> None:
        self._lake = lake
        self._spec = spec
        self._trail = trail
        self._shared: dict[str, str | None] = {
            "run": run,
            "plan": plan,
            "cache": spec.name,
            "driver": spec.driver,
            "site": spec.site,
        }
        self._waiting: list[Outcome] = []
        self._noted: set[str] = set()

    def note(self, event: Event) -> None:
        """Take an outcome to be written soon."""
        if event.outcome is not None:
            self.add([event.outcome])
        elif self._trail is not None:
            self._trail.started(event.image)

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Take those outcomes that were not taken before."""
        new = [outcome for outcome in outcomes if outcome.image not in self._noted]
        self._noted.update(outcome.image for outcome in new)
        self._waiting += new
        if self._trail is not None:
            for outcome in new:
                self._trail.ended(outcome)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Within, what is noted is written every few seconds; on leaving, all of it is.

        Raises LakeError on leaving when the lake could not be written.
        """
        if self._trail is not None:
            self._trail.begin(self._shared)
        ended = asyncio.Event()
        keeping = asyncio.ensure_future(self._keep(ended))
        try:
            yield
        finally:
            ended.set()
            await keeping
            if self._trail is not None:
                self._trail.close()

    async def _keep(self, ended: asyncio.Event) -> None:
        last = False
        while not last:
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await ended.wait()
            last = ended.is_set()
            if self._trail is not None:
                self._trail.alive()
            batch, self._waiting = self._waiting, []
            if batch:
                await asyncio.to_thread(self._write, batch)

    def _write(self, batch: list[Outcome]) -> None:
        _write(self._lake, self._spec, self._shared, batch)


def account_for_killed(lake: Lake, spec: CacheSpec, trail: Path) -> int:
    """Write what a killed run of this cache did, as its trail tells; the number of outcomes.

    For whoever holds the cache's lock. What the run has written itself is not written again.
    """
    left = left_behind(trail)
    if left is None:
        return 0
    written = lake.read("outcomes", pl.col("run") == left.shared["run"], columns=["image"])
    known = set(written["image"].to_list())
    missing = [outcome for outcome in left.outcomes if outcome.image not in known]
    if missing:
        _write(lake, spec, left.shared, missing)
    trail.unlink(missing_ok=True)
    return len(missing)


def _write(lake: Lake, spec: CacheSpec, shared: dict[str, str | None], batch: list[Outcome]) -> None:
    rows = [{**shared, **outcome_row(outcome)} for outcome in batch]
    lake.append("outcomes", pl.DataFrame(rows, schema=dict(OUTCOMES)))
    filled = [_fill(spec, outcome) for outcome in batch if outcome.state == "warmed"]
    if filled:
        lake.append("warmed", pl.DataFrame(filled, schema=dict(WARMED)))


def _fill(spec: CacheSpec, outcome: Outcome) -> dict[str, Any]:
    filled, ttl = outcome.finished_at, spec.ttl
    return {
        "cache": spec.name,
        "image": outcome.image,
        "digest": outcome.digest,
        "bytes": outcome.bytes,
        "filled_at": filled,
        "expires_at": filled + ttl if filled and ttl else None,
    }


def outcome_row(outcome: Outcome) -> dict[str, Any]:
    """An outcome as the lake and the JSON of a run have it."""
    return {
        "image": outcome.image,
        "digest": outcome.digest,
        "state": outcome.state,
        "bytes": outcome.bytes,
        "seconds": outcome.seconds,
        "attempts": outcome.attempts,
        "error": outcome.error,
        "started_at": outcome.started_at,
        "finished_at": outcome.finished_at,
    }
