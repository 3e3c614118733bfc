"""`/v1/pause` and `/v1/resume`: the kill switch."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from prewarm.pipeline.warming import switch
from prewarm.service import answers
from prewarm.service.access import Granted, log_change
from prewarm.service.board import Now, lake
from prewarm.service.bodies import Body

reads = APIRouter(tags=["kill switch"])
commands = APIRouter(tags=["kill switch"])

PAUSED = {"paused": True, "since": "2026-11-30T06:31:00Z", "by": "localhost", "why": "the uplink is full"}
RUNNING = {"paused": False, "since": None, "by": None, "why": None}
REFUSALS = {403: "a page of another origin, or a token without the scope `run` or of some sites alone"}


class Why(Body):
    """Why nothing should warm."""

    why: str | None = Field(None, max_length=switch.MAX_TEXT, description="for whoever finds it paused")


@reads.get("/pause", responses=answers.example(PAUSED))
def paused(bare: answers.Bare, request: Request) -> Response:
    """Whether the kill switch is set, since when, by whom and why."""
    return answers.reply(request, answers.as_json(_document(switch.paused(lake(request)))), held=False)


@commands.post("/pause", responses=answers.told(200, "nothing warms now", PAUSED, REFUSALS))
def pause(
    bare: answers.Bare, request: Request, grant: Granted, now: Now, asked: Why | None = None
) -> dict[str, Any]:
    """Set the kill switch: nothing warms until it is resumed, by whatever process and after any restart.

    Runs that go on end within a second, with what is done; forecasts, plans and ingest go on.
    """
    grant.check_site(None)
    made = switch.pause(lake(request), now, grant.name, asked.why if asked else None)
    log_change(grant, "paused", why=made.why)
    return _document(made)


@commands.post("/resume", responses=answers.told(200, "warming may begin again", RUNNING, REFUSALS))
def resume(bare: answers.Bare, request: Request, grant: Granted) -> dict[str, Any]:
    """Unset the kill switch."""
    grant.check_site(None)
    if switch.resume(lake(request)) is not None:
        log_change(grant, "resumed")
    return _document(None)


def _document(found: switch.Pause | None) -> dict[str, Any]:
    return {"paused": found is not None, **asdict(found or switch.Pause())}
