"""`/v1/plans`: what a cache should hold, decided and kept, not executed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi import Query as Parameters
from fastapi.responses import JSONResponse
from pydantic import Field

from prewarm.pipeline.warming import ledger
from prewarm.pipeline.warming.documents import to_document
from prewarm.pipeline.warming.plan import kept_plan
from prewarm.pipeline.warming.plan import plan as decide
from prewarm.service import answers
from prewarm.service.access import Granted, log_change
from prewarm.service.board import Now, lake
from prewarm.service.bodies import Wanted

if TYPE_CHECKING:
    from prewarm.settings import Settings

reads = APIRouter(tags=["plans"])
commands = APIRouter(tags=["plans"])

_WARM = {
    "image": "docker.io/library/postgres:16",
    "digest": "sha256:5620f242bbc0e17478556102327e7efcf60ab48de3607c9e0ea98800841785ec",
    "bytes": 154231873,
    "score": 0.95,
    "reason": "expected 4.8 pulls",
    "rank": 1,
}
DOCUMENT = {
    "id": "p20261130T063100-3f9a1c",
    "cache": "office",
    "site": "boise",
    "created_at": "2026-11-30T06:31:00Z",
    "window": {"start": "2026-11-30T07:00:00Z", "end": "2026-11-30T08:00:00Z"},
    "budget": {"top": 20, "max_bytes": 40000000000, "max_pulls": None, "ready_by": None},
    "model": "auto",
    "objective": "pulls",
    "bytes": 154231873,
    "warms": [_WARM],
    "skipped": [],
    "withheld": [],
    "meta": {"platforms": "linux/amd64"},
    "warnings": [],
}
LISTED = {key: DOCUMENT[key] for key in ("id", "created_at", "cache", "site")}


class Question(answers.Query):
    """A page of a list, the newest first."""

    cache: str | None = Field(None, max_length=200, description="of this cache alone")
    limit: int = Field(50, ge=1, le=1000, description="rows at most")
    offset: int = Field(0, ge=0, le=10_000_000, description="rows to pass over")


class Asked(Wanted):
    """What to plan for."""

    cache: str = Field(max_length=200, description="one of the settings' [caches.NAME]")


@reads.get("/plans", responses=answers.example({"total": 1, "limit": 50, "offset": 0, "plans": [LISTED]}))
def plans(question: Annotated[Question, Parameters()], request: Request, grant: Granted) -> Response:
    """Plans that the lake keeps, the newest first."""
    sites = None if grant.sites is None else sorted(grant.sites)
    total, found = ledger.plans(lake(request), question.cache, sites, question.limit, question.offset)
    page = {"total": total, "limit": question.limit, "offset": question.offset}
    return answers.reply(request, answers.as_json({**page, "plans": found}), held=False)


@reads.get("/plans/{id}", responses=answers.example(DOCUMENT))
def plan(id: str, bare: answers.Bare, request: Request, grant: Granted) -> Response:
    """One plan, as `prewarm plan --json` prints it."""
    found = kept_plan(lake(request), id)
    grant.check_site(found.site)
    return answers.reply(request, answers.as_json(to_document(found)), held=False)


REFUSALS = {
    403: "a page of another origin, or a token without the scope `run` or for another site",
    404: "a cache or model that nobody knows",
    409: "the lake holds nothing to learn from yet",
    422: "a key that cannot be used",
    429: "another plan is being made: come back after `Retry-After` seconds",
    502: "nobody who was asked what the cache holds has answered",
}


@commands.post(
    "/plans",
    status_code=201,
    responses=answers.told(201, "planned; `Location` has the plan's address", DOCUMENT, REFUSALS),
)
def make(asked: Asked, bare: answers.Bare, request: Request, grant: Granted, now: Now) -> JSONResponse:
    """Plan what a cache should hold and keep the plan; nothing is transferred.

    `POST /v1/runs` with its id executes it.
    """
    settings: Settings = request.app.state.settings
    spec = settings.cache_spec(asked.cache)
    grant.check_site(spec.site)
    with _one_at_a_time(request.app.state.planning):
        made = asyncio.run(
            decide(
                lake(request),
                spec,
                settings.endpoints(),
                asked.request(now),
                now=now,
                demand=settings.demand_of_sites(),
            )
        )
    log_change(grant, "planned", plan=made.plan.id, cache=asked.cache)
    where = {"Location": f"/v1/plans/{made.plan.id}"}
    return JSONResponse(made.document(), 201, headers=where)


@contextmanager
def _one_at_a_time(lock: threading.Lock) -> Iterator[None]:
    if not lock.acquire(blocking=False):
        raise HTTPException(429, "another plan is being made", {"Retry-After": "5"})
    try:
        yield
    finally:
        lock.release()
