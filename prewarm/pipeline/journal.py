"""Outcomes on their way into the lake.

They are written every few seconds while a run goes on, each once, so that a killed run has told most of
what it did: an engine's pulls on our behalf would else be taken for demand.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import polars as pl

from prewarm.lake import OUTCOMES, WARMED
from prewarm.warming.executor import Event, Outcome

if TYPE_CHECKING:
    from prewarm.lake import Lake
    from prewarm.pipeline.caches import CacheSpec

EVERY = 5.0  # seconds between two writes


class Journal:
    """The outcomes of one run of one plan."""

    def __init__(self, lake: Lake, spec: CacheSpec, run: str, plan: str) -> None:
        self._lake = lake
        self._spec = spec
        self._shared = {
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

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Take those outcomes that were not taken before."""
        new = [outcome for outcome in outcomes if outcome.image not in self._noted]
        self._noted.update(outcome.image for outcome in new)
        self._waiting += new

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Within, what is noted is written every few seconds; on leaving, all of it is.

        Raises LakeError on leaving when the lake could not be written.
        """
        ended = asyncio.Event()
        keeping = asyncio.ensure_future(self._keep(ended))
        try:
            yield
        finally:
            ended.set()
            await keeping

    async def _keep(self, ended: asyncio.Event) -> None:
        last = False
        while not last:
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await ended.wait()
            last = ended.is_set()
            batch, self._waiting = self._waiting, []
            if batch:
                await asyncio.to_thread(self._write, batch)

    def _write(self, batch: list[Outcome]) -> None:
        rows = [{**self._shared, **outcome_row(outcome)} for outcome in batch]
        self._lake.append("outcomes", pl.DataFrame(rows, schema=dict(OUTCOMES)))
        filled = [self._fill(outcome) for outcome in batch if outcome.state == "warmed"]
        if filled:
            self._lake.append("warmed", pl.DataFrame(filled, schema=dict(WARMED)))

    def _fill(self, outcome: Outcome) -> dict[str, Any]:
        filled, ttl = outcome.finished_at, self._spec.ttl
        return {
            "cache": self._spec.name,
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
