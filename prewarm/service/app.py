"""The app factory: settings in, a FastAPI application out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import Depends, FastAPI

from prewarm import __version__
from prewarm.service import health, problems, rankings
from prewarm.service.access import Access

if TYPE_CHECKING:
    from prewarm.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """The service over one lake. Reads need scope `read` wherever tokens are set."""
    app = FastAPI(
        title="prewarm",
        version=__version__,
        description="Which images each site will pull in which hour.",
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.rankings = rankings.computer(settings)
    problems.install(app)
    app.include_router(health.router)
    app.include_router(
        rankings.router, prefix="/v1", dependencies=[Depends(Access(settings.service, "read"))]
    )
    return app
