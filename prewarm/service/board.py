"""What the service answers from: an overview of the lake that a background task keeps fresh.

Readers take whatever stands on the board; a new overview replaces it in one assignment, and what was computed
from the old one goes with it. While the lake cannot be read the old one stays.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, TypeVar

from fastapi import Depends, Request

from prewarm.errors import LakeError, NotEnoughHistory, PrewarmError
from prewarm.lake import Lake
from prewarm.pipeline.demand.overviews import Overview, overview
from prewarm.service.problems import DEFECTS

if TYPE_CHECKING:
    from prewarm.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

TABLES = ("pulls", "pushes", "outcomes", "warmed", "images")  # that answers are made of
PATIENCE = 3.0  # seconds that a start waits for the first overview
SHARE = 4  # a look that took a second is repeated after four at the earliest
KEPT = 256  # answers of one overview


@dataclass(frozen=True, eq=False)
class Reply:
    """An answer as it travelled: by which route, with which headers and body."""

    route: object
    headers: list[tuple[bytes, bytes]]
    body: bytes


@dataclass(frozen=True, eq=False)
class Held:
    """One overview, the state of the lake that it shows, and the answers that were made of it."""

    overview: Overview
    state: tuple[object, ...]
    answers: OrderedDict[Hashable, bytes] = field(default_factory=OrderedDict)
    replies: OrderedDict[Hashable, Reply] = field(default_factory=OrderedDict)  # see `prewarm.service.memory`

    def answer(self, question: Hashable, make: Callable[[], bytes]) -> bytes:
        """The body for `question`, made once. Two that ask at the same moment may both make it."""
        found = self.answers.get(question)
        if found is None:
            found = make()
            keep(self.answers, question, found)
        return found


def keep(among: OrderedDict[Hashable, T], key: Hashable, value: T) -> None:
    """Keep `value`, and no more than the last KEPT."""
    among[key] = value
    while len(among) > KEPT:
        with suppress(KeyError):  # another thread was faster
            among.popitem(last=False)


def versions(lake: Lake) -> tuple[int | None, ...]:
    """Of every table that an answer is made of: where they are the same, so is the answer."""
    return tuple(lake.snapshot(table).version for table in TABLES)


class Board:
    """The newest overview of one lake."""

    def __init__(self, settings: Settings, now: Callable[[], datetime]) -> None:
        self.settings = settings
        self.now = now
        self._held: Held | None = None
        self._refused: PrewarmError | None = None
        self._lock = threading.Lock()

    def read(self) -> Held:
        """What stands on the board. Raises the error that kept the first overview from being made."""
        held = self._held
        if held is not None:
            return held
        raise self._refused or LakeError("the first forecast is being made; ask again in a few seconds")

    @property
    def standing(self) -> Held | None:
        """What stands on the board, or None."""
        return self._held

    @property
    def trouble(self) -> PrewarmError | None:
        """Why the last look at the lake failed, or None."""
        return self._refused

    def look(self, now: datetime) -> None:
        """Replace the overview when the lake or the hour is another."""
        with self._lock:
            try:
                self._look(now)
            except PrewarmError as refused:
                self._refused = refused
                if isinstance(refused, NotEnoughHistory):
                    self._held = None  # the lake was emptied
            except DEFECTS:
                # A defect must not end the looking: what stands on the board stays, and the log tells.
                log.exception("the lake could not be looked at")
                self._refused = LakeError(
                    "the forecast cannot be made: a defect; the service's log says which"
                )

    def _look(self, now: datetime) -> None:
        lake = Lake.open(self.settings.lake)
        # The state is read first: a commit in between is seen again by the next look.
        state = (now.replace(minute=0, second=0, microsecond=0), *versions(lake))
        if self._held is None or state != self._held.state:
            found = overview(
                lake,
                self.settings.declared_sites(),
                now,
                default=self.settings.default_site(),
                counting=self.settings.counting(),
            )
            self._held = Held(found, state)
        self._refused = None

    @asynccontextmanager
    async def kept_fresh(self) -> AsyncIterator[None]:
        """Look again and again; the first look is waited for, if it is quick."""
        first = asyncio.Event()
        task = asyncio.create_task(self._keep_looking(first))
        with suppress(TimeoutError):
            await asyncio.wait_for(first.wait(), PATIENCE)
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _keep_looking(self, first: asyncio.Event) -> None:
        while True:
            began = time.monotonic()
            await asyncio.to_thread(self.look, self.now())
            first.set()
            took = time.monotonic() - began
            await asyncio.sleep(max(self.settings.service.refresh / timedelta(seconds=1), SHARE * took))


def board(request: Request) -> Board:
    """The board of the application that is asked."""
    found: Board = request.app.state.board
    return found


def lake(request: Request) -> Lake:
    """The lake of the application that is asked."""
    return Lake.open(board(request).settings.lake)


async def held(request: Request) -> Held:
    """What stands on the board now."""
    return board(request).read()


async def now(request: Request) -> datetime:
    """The time at which it is asked."""
    return board(request).now()


OnBoard = Annotated[Held, Depends(held)]
Now = Annotated[datetime, Depends(now)]
