"""`/livez` and `/readyz`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from prewarm.lake import Lake
from prewarm.service.problems import problem

router = APIRouter(tags=["health"])


@router.get("/livez")
def livez() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "the lake holds no pulls yet"}})
def readyz(request: Request) -> JSONResponse:
    """The lake can be read and holds pulls, so that a ranking can be answered."""
    lake = Lake.open(request.app.state.settings.lake)
    if not lake.exists("pulls"):
        return problem(503, "the lake holds no pulls yet: run prewarm ingest")
    return JSONResponse({"status": "ok"})
