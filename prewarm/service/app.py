"""The app factory: settings in, a FastAPI application out."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fastapi import Depends, FastAPI
from starlette.middleware.gzip import GZipMiddleware

from prewarm import __version__
from prewarm.service import demand, forecasts, health, images, metrics, page, problems, rankings, sites
from prewarm.service.access import Access
from prewarm.service.board import Board
from prewarm.service.guards import Guard
from prewarm.service.memory import Memory

if TYPE_CHECKING:
    from prewarm.settings import Settings

SMALLEST = 1024  # bytes that are worth compressing
NOUNS = (rankings, forecasts, demand, images, sites)


def _now() -> datetime:
    return datetime.now(UTC)


def create_app(settings: Settings, now: Callable[[], datetime] = _now) -> FastAPI:
    """The service over one lake. Reads need scope `read` wherever tokens are set; `now` is the clock."""
    board, requests = Board(settings, now), Counter[tuple[str, int]]()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with board.kept_fresh():
            yield

    app = FastAPI(
        title="prewarm",
        version=__version__,
        description="Which images each site will pull in which hour. Times are ISO 8601; answers are UTC.",
        lifespan=lifespan,
        docs_url=None,  # it would load from elsewhere; ours is a page of the package
        redoc_url=None,
    )
    app.state.settings, app.state.board, app.state.requests = settings, board, requests
    app.state.rankings = rankings.computer(settings)
    problems.install(app)
    reading = Access(settings.service, "read")
    app.add_middleware(GZipMiddleware, minimum_size=SMALLEST)
    app.add_middleware(Memory, board=board, access=reading)
    app.add_middleware(Guard, requests=requests)
    readers = [Depends(reading)]
    for noun in NOUNS:
        app.include_router(noun.router, prefix="/v1", dependencies=readers)
    app.include_router(metrics.router, dependencies=readers)
    app.include_router(health.router)
    app.include_router(page.router)
    return app
