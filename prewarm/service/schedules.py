"""`/v1/schedules`: what is begun by itself, and when; paused and resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from prewarm.service import answers
from prewarm.service.access import Granted, log_change
from prewarm.service.board import Now
from prewarm.service.timetables import rows

if TYPE_CHECKING:
    from prewarm.service.clockwork import Clockwork
    from prewarm.settings import Settings

reads = APIRouter(tags=["schedules"])
commands = APIRouter(tags=["schedules"])

ROW = {
    "name": "morning",
    "verb": "run",
    "cache": "office",
    "mode": "warm",
    "timezone": "America/Boise",
    "paused": False,
    "next": "2026-11-30T13:30:00Z",
    "last": "2026-11-27T13:30:02Z",
    "what": "begun: run",
    "run": "r20261127T133002-9c01d2",
    "problem": None,
}
REFUSALS = {
    403: "a page of another origin, or a token without the scope `run` or for another site",
    404: "a schedule that nobody configured",
}


@reads.get("/schedules", responses=answers.example({"total": 1, "schedules": [ROW]}))
def schedules(bare: answers.Bare, request: Request, grant: Granted, now: Now) -> Response:
    """Every schedule: when it begins next, what it did last, whether it is paused."""
    shown = [
        row
        for row in rows(request.app.state.settings, _clockwork(request).agenda, now)
        if grant.sites is None or _site(request, row["cache"]) in grant.sites
    ]
    return answers.reply(request, answers.as_json({"total": len(shown), "schedules": shown}), held=False)


@commands.post("/schedules/{name}/pause", responses=answers.told(200, "it waits", ROW, REFUSALS))
def pause(name: str, bare: answers.Bare, request: Request, grant: Granted, now: Now) -> dict[str, Any]:
    """Pause a schedule: nothing is begun by it, also after a restart, until it is resumed.

    What falls due meanwhile is left out. `prewarm run --schedule` by hand is not bound by it.
    """
    return _set(name, True, request, grant, now)


@commands.post("/schedules/{name}/resume", responses=answers.told(200, "it goes on", ROW, REFUSALS))
def resume(name: str, bare: answers.Bare, request: Request, grant: Granted, now: Now) -> dict[str, Any]:
    """Let a schedule go on, with what is due next."""
    return _set(name, False, request, grant, now)


def _set(name: str, paused: bool, request: Request, grant: Granted, now: Now) -> dict[str, Any]:
    settings: Settings = request.app.state.settings
    grant.check_site(_site(request, settings.schedule(name).cache))
    agenda = _clockwork(request).agenda
    agenda.pause(name, paused)
    log_change(grant, "schedule paused" if paused else "schedule resumed", schedule=name)
    return next(row for row in rows(settings, agenda, now) if row["name"] == name)


def _site(request: Request, cache: str) -> str | None:
    settings: Settings = request.app.state.settings
    section = settings.caches.get(cache)
    return section.site if section else None


def _clockwork(request: Request) -> Clockwork:
    found: Clockwork = request.app.state.clockwork
    return found
