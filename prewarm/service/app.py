"""The app factory: settings in, a FastAPI application out."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, get_args

from fastapi import Depends, FastAPI
from starlette.middleware.gzip import GZipMiddleware

from prewarm import __version__
from prewarm.service import (
    caches,
    deliveries,
    demand,
    figures,
    forecasts,
    health,
    images,
    metrics,
    page,
    pauses,
    plans,
    problems,
    rankings,
    reports,
    runs,
    schedules,
    scorecards,
    sites,
)
from prewarm.service.access import Access, Failures, Signed, of_all_sites, of_one_site
from prewarm.service.background import Runs
from prewarm.service.board import Board
from prewarm.service.bodies import Bounded
from prewarm.service.clockwork import Clockwork
from prewarm.service.feeding import Feed
from prewarm.service.guards import Guard
from prewarm.service.memory import Memory
from prewarm.service.workshop import Workshop
from prewarm.settings import Scope

if TYPE_CHECKING:
    from prewarm.settings import Settings

SMALLEST = 1024  # bytes that are worth compressing
DRAINING = 8.0  # seconds that runs have to end in order
NOUNS = (rankings, forecasts, demand, images, figures, reports, scorecards)
COMMANDS = (plans, runs, pauses, schedules)


def _now() -> datetime:
    return datetime.now(UTC)


def create_app(settings: Settings, now: Callable[[], datetime] = _now) -> FastAPI:
    """The service over one lake; `now` is the clock.

    Wherever tokens are set, reads need the scope `read` and what changes something `run`.
    """
    board, requests, background = Board(settings, now), Counter[tuple[str, int]](), Runs(settings, now)
    workshop = Workshop()
    feed, clockwork = Feed(settings, now), Clockwork(settings, background, now)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with feed.kept_up():
            async with (
                board.kept_fresh(),
                clockwork.ticking() if settings.service.schedules else nullcontext(),
            ):
                yield
                await background.ended(DRAINING)
        workshop.close()

    app = FastAPI(
        title="prewarm",
        version=__version__,
        description="Which images each site will pull in which hour. Times are ISO 8601; answers are UTC.",
        lifespan=lifespan,
        docs_url=None,  # it would load from elsewhere; ours is a page of the package
        redoc_url=None,
        openapi_url="/openapi.json" if settings.service.docs else None,
    )
    app.state.settings, app.state.board, app.state.requests = settings, board, requests
    app.state.workshop = workshop
    app.state.feed, app.state.reading = feed, Counter[str]()
    app.state.clockwork = clockwork
    app.state.runs, app.state.planning = background, threading.Lock()
    problems.install(app)
    failures = Failures()
    access = {scope: Access(settings.service, scope, failures) for scope in get_args(Scope)}
    app.add_middleware(GZipMiddleware, minimum_size=SMALLEST)
    app.add_middleware(Memory, board=board, access=access["read"])
    app.add_middleware(Bounded)
    app.add_middleware(Guard, requests=requests)
    own = {name: source.site for name, source in settings.sources.items()}
    _include(app, access, Signed(access["ingest"], settings.secrets(), own))
    return app


def _include(app: FastAPI, access: Mapping[str, Access], signed: Signed) -> None:
    """All routes, each behind who may ask for it."""
    readers = [Depends(access["read"])]
    for noun in NOUNS:
        app.include_router(noun.router, prefix="/v1", dependencies=[*readers, Depends(of_one_site)])
    for listed in (sites, caches):
        app.include_router(listed.router, prefix="/v1", dependencies=readers)
    for command in COMMANDS:
        app.include_router(command.reads, prefix="/v1", dependencies=readers)
        app.include_router(command.commands, prefix="/v1", dependencies=[Depends(access["run"])])
    app.include_router(deliveries.router, prefix="/v1", dependencies=[Depends(signed)])
    app.include_router(metrics.router, dependencies=[*readers, Depends(of_all_sites)])
    app.include_router(health.router)
    app.include_router(page.router)
