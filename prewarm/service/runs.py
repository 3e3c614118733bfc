"""`/v1/runs`: plans, executed in the background; watched while they go on, and cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi import Query as Parameters
from fastapi.responses import StreamingResponse
from pydantic import Field, model_validator

from prewarm.errors import UnknownName
from prewarm.lake import Lake
from prewarm.pipeline.warming import ledger
from prewarm.pipeline.warming.plan import kept_plan
from prewarm.pipeline.warming.schedules import due
from prewarm.service import answers
from prewarm.service.access import Grant, Granted, log_change
from prewarm.service.board import Now, lake
from prewarm.service.bodies import Wanted
from prewarm.service.plans import Question

if TYPE_CHECKING:
    from datetime import datetime

    from prewarm.pipeline.warming.plan import Request as Ask
    from prewarm.service.background import Live, Runs
    from prewarm.settings import Settings
    from prewarm.warming.planning import Plan

reads = APIRouter(tags=["runs"])
commands = APIRouter(tags=["runs"])

SUMMARY = {
    "id": "r20261130T063105-9c01d2",
    "plan": "p20261130T063105-77b0e4",
    "cache": "office",
    "site": "boise",
    "state": "running",
    "started_at": "2026-11-30T06:31:06Z",
    "finished_at": None,
    "totals": {
        "warmed": 1, "already": 0, "failed": 0, "skipped": 0, "withheld": 0, "cancelled": 0,
        "bytes": 154231873,
    },
}  # fmt: skip
OUTCOME = {
    "image": "docker.io/library/postgres:16",
    "digest": "sha256:5620f242bbc0e17478556102327e7efcf60ab48de3607c9e0ea98800841785ec",
    "state": "warmed",
    "bytes": 154231873,
    "seconds": 3.4,
    "attempts": 1,
    "error": None,
    "started_at": "2026-11-30T06:31:06Z",
    "finished_at": "2026-11-30T06:31:09Z",
}
DOCUMENT = {
    **SUMMARY,
    "by": "dashboard",
    "asked_at": "2026-11-30T06:31:05Z",
    "warms": 20,
    "running": ["docker.io/library/redis:7"],
    "error": None,
    "warnings": [],
    "outcomes": [OUTCOME],
}


class Asked(Wanted):
    """What to run: a plan by id, a schedule by name, or a cache with what to plan for."""

    plan: str | None = Field(None, max_length=100, description="execute exactly this plan of /v1/plans")
    schedule: str | None = Field(None, max_length=200, description="plan and execute what this schedule says")
    cache: str | None = Field(None, max_length=200, description="plan for this cache, and execute the plan")

    @model_validator(mode="after")
    def _one(self) -> Asked:
        names = ("plan", "schedule", "cache")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError('say what to run with one of plan, schedule or cache: {"cache": "office"}')
        more = sorted(self.model_fields_set - set(names))
        if more and given != ["cache"]:
            raise ValueError(f"{more[0]} goes with cache alone; a {given[0]} says that itself")
        return self


@reads.get("/runs", responses=answers.example({"total": 1, "limit": 50, "offset": 0, "runs": [SUMMARY]}))
def runs(question: Annotated[Question, Parameters()], request: Request, grant: Granted) -> Response:
    """Runs, the newest first: those that go on, and those of which the lake has outcomes."""
    sites = None if grant.sites is None else sorted(grant.sites)
    deep = question.limit + question.offset
    total, kept = ledger.runs(lake(request), question.cache, sites, deep, 0)
    known = {row["id"] for row in kept}
    live = [
        each.summary()
        for each in _background(request).all()
        if question.cache in (None, each.cache) and (sites is None or each.site in sites)
    ]
    fresh = {row["id"]: row for row in live}
    found = [fresh.pop(row["id"], row) for row in kept] + list(fresh.values())
    found.sort(key=lambda row: str(row["id"]), reverse=True)
    page = {
        "total": total + len([row for row in live if row["id"] not in known]),
        "limit": question.limit,
        "offset": question.offset,
    }
    body = answers.as_json({**page, "runs": found[question.offset : deep]})
    return answers.reply(request, body, held=False)


@reads.get("/runs/{id}", responses=answers.example(DOCUMENT))
def run(id: str, bare: answers.Bare, request: Request, grant: Granted) -> Response:
    """One run: its state, and what became of each image so far.

    `state` is `planning`, `running`, then `done`, `partly`, `failed`, `cancelled` or `refused` (nothing was
    tried; `error` says why). Runs of other processes are known by their outcomes alone.
    """
    live = _background(request).find(id)
    found = live.document() if live else ledger.run(lake(request), id)
    grant.check_site(found["site"])
    return answers.reply(request, answers.as_json(found), held=False)


REFUSALS = {
    403: "a page of another origin, or a token without the scope `run` or for another site",
    404: "a plan, schedule or cache that nobody knows",
    409: "another run holds the cache, or the kill switch is set",
    422: "a key that cannot be used",
}


@commands.post(
    "/runs",
    status_code=202,
    responses=answers.told(202, "begun; `Location` has the run's address", DOCUMENT, REFUSALS),
)
async def start(asked: Asked, bare: answers.Bare, request: Request, grant: Granted, now: Now) -> Response:
    """Execute a plan in the background.

    Name a `plan` that was made, a `schedule`, or a `cache` to plan for first, with the keys of
    `POST /v1/plans`. Images of registries that are not listed, and what the cache's rules forbid, are never
    asked for.
    """
    cache, work = await asyncio.to_thread(_work, request.app.state.settings, asked, now)
    grant.check_site(request.app.state.settings.cache(cache).site)
    live = _background(request).start(cache, work, grant.name)
    log_change(grant, "run begun", run=live.id, cache=cache)
    where = {"Location": f"/v1/runs/{live.id}"}
    return Response(answers.as_json(live.document()), 202, where, "application/json")


@commands.post(
    "/runs/{id}/cancel",
    status_code=202,
    responses=answers.told(
        202, "it ends soon; images that are whole stay", DOCUMENT, {404: "no run of that id goes on"}
    ),
)
async def cancel(id: str, bare: answers.Bare, request: Request, grant: Granted) -> Response:
    """End a run early, in order. A run that is over stays as it is."""
    live = _going(request, id, grant)
    if not live.over:
        live.stop()
        log_change(grant, "run cancelled", run=id, cache=live.cache)
    return Response(answers.as_json(live.document()), 202, media_type="application/json")


EVENTS = """id: 2
event: started
data: {"image":"docker.io/library/postgres:16"}

id: 3
event: outcome
data: {"image":"docker.io/library/postgres:16","state":"warmed","bytes":154231873,"seconds":3.4}
"""


@reads.get(
    "/runs/{id}/events",
    response_class=StreamingResponse,
    responses={
        200: {"description": "server-sent events", "content": {"text/event-stream": {"example": EVENTS}}},
        404: {"description": "no run of that id was begun by this service"},
    },
)
async def events(
    id: str,
    bare: answers.Bare,
    request: Request,
    grant: Granted,
    last_event_id: Annotated[str, Header(max_length=20, include_in_schema=False)] = "0",
) -> StreamingResponse:
    """What happens in a run, as it happens (server-sent events): `plan`, `started`, `outcome`, `end`.

    After `end` the stream ends. `Last-Event-ID` resumes after that event.
    """
    live = _going(request, id, grant)
    after = int(last_event_id) if last_event_id.isdecimal() else 0
    told = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_stream(live, after), media_type="text/event-stream", headers=told)


async def _stream(live: Live, after: int) -> AsyncIterator[bytes]:
    async for told in live.watch(after):
        if told is None:
            yield b": still running\n\n"
        else:
            number, what, about = told
            yield f"id: {number}\nevent: {what}\ndata: ".encode() + answers.as_json(about) + b"\n\n"


def _work(settings: Settings, asked: Asked, now: datetime) -> tuple[str, Plan | Ask]:
    """Which cache, and what to do with it."""
    if asked.plan is not None:
        plan = kept_plan(Lake.open(settings.lake), asked.plan)
        settings.cache(plan.cache)  # it may have gone since
        return plan.cache, plan
    if asked.schedule is not None:
        when, site = settings.when(asked.schedule)
        return settings.schedule(asked.schedule).cache, due(when, site, now)
    assert asked.cache is not None
    return asked.cache, asked.request(now)


def _going(request: Request, id: str, grant: Grant) -> Live:
    live = _background(request).find(id)
    if live is None:
        raise UnknownName("run of this service", id, [each.id for each in _background(request).all()[:5]])
    grant.check_site(live.site)
    return live


def _background(request: Request) -> Runs:
    found: Runs = request.app.state.runs
    return found
