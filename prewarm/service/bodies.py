"""Bodies of requests: bounded before anything is made of them, and what commands have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from prewarm.pipeline.warming.plan import Request
from prewarm.service import answers
from prewarm.service.problems import problem
from prewarm.settings import Bytes, Objective
from prewarm.warming.planning import Budget

if TYPE_CHECKING:
    from datetime import datetime

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST = 1 << 20  # bytes of a command
DELIVERIES = "/v1/ingest/"  # bounded by their own route


class Bounded:
    """ASGI middleware: a body of more than LARGEST bytes is refused, whether or not it says its length."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(DELIVERIES):
            await self._app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > LARGEST:
            await problem(413, _TOO_LONG)(scope, receive, send)
            return
        taken = 0

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > LARGEST:
                return {"type": "http.disconnect"}  # nobody listens to more
            return message

        await self._app(scope, bounded, send)


_TOO_LONG = f"a body of more than {LARGEST} bytes; expected a small JSON object"


class Body(BaseModel):
    """What every command has in common: nothing but what it declares."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Wanted(Body):
    """What a plan may be asked for; as the flags of `prewarm plan`."""

    at: answers.Moment | None = Field(
        None, description="first hour to serve, with a zone: 2026-11-30T08:00Z [now]"
    )
    hours: int = Field(1, ge=1, le=744, description="hours to serve")
    top: int = Field(20, ge=1, le=10_000, description="images at most")
    max_bytes: Bytes | None = Field(None, description="bytes to add at most: 40000000000, or 40GB")
    max_pulls: int | None = Field(None, ge=0, description="images to warm at most")
    ready_by: answers.Moment | None = Field(None, description="when everything must be there")
    objective: Objective = Field("pulls", description="what is ranked by")
    model: str = Field("auto", max_length=100, description="a forecaster by name, or auto")
    holdout: float = Field(0.0, ge=0, lt=1, description="random share to withhold, to measure gains")

    def request(self, now: datetime) -> Request:
        """The same, as the pipeline takes it."""
        budget = Budget(self.top, self.max_bytes, self.max_pulls, self.ready_by)
        return Request(self.at or now, self.hours, budget, self.objective, self.model, self.holdout)
