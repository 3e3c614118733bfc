"""`/livez` and `/readyz`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from prewarm.errors import PrewarmError
from prewarm.service.board import board
from prewarm.service.problems import problem

router = APIRouter(tags=["health"])

NOT_READY = {
    "description": "no ranking can be answered yet: the lake is empty, unreadable or being looked at",
    "content": {
        "application/problem+json": {
            "example": {
                "type": "NotEnoughHistory",
                "title": "the lake at ./lake holds no pulls to learn from; read a log first, for example",
                "status": 503,
                "detail": "the lake at ./lake holds no pulls to learn from; read a log first, for example: "
                "prewarm ingest /var/log/registry/access.log",
            }
        }
    },
}


@router.get("/livez")
def livez() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: NOT_READY})
def readyz(request: Request) -> JSONResponse:
    """A ranking can be answered. Until then 503, and the detail says what is missing."""
    try:
        board(request).read()
    except PrewarmError as reason:
        return problem(503, str(reason), kind=type(reason).__name__, headers={"Retry-After": "5"})
    return JSONResponse({"status": "ok"})
