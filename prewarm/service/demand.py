"""`GET /v1/demand` and `/v1/rhythm`: what was pulled, hour by hour and by the hour of the week."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi import Query as Parameters
from pydantic import Field

from prewarm.demand import patterns
from prewarm.demand.calendars import HOUR
from prewarm.references import Reference
from prewarm.service import answers
from prewarm.service.board import Held, OnBoard

if TYPE_CHECKING:
    from prewarm.pipeline.demand.overviews import View

router = APIRouter(tags=["demand"])

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
COLUMNS = ("time", "pulls")
LATELY = timedelta(days=7)

DEMAND = answers.example(
    {
        "site": "boise",
        "image": None,
        "total": 168,
        "limit": 50,
        "offset": 0,
        "rows": [{"time": "2026-11-23T15:00:00Z", "pulls": 29}],
    },
    "time,pulls",
)
RHYTHM = answers.example(
    {
        "site": "boise",
        "image": None,
        "timezone": "America/Boise",
        "weekdays": list(WEEKDAYS),
        "pulls_an_hour": [[0.0] * 24] * 7,
    },
    "weekday,hour,pulls_an_hour",
)


class Hours(answers.Paged):
    """The query of past demand."""

    image: str | None = Field(None, max_length=4096, description="one image; without it, all together")
    site: str | None = Field(None, max_length=200, description="needed where the lake has several")
    since: answers.Moment | None = Field(None, description="first hour [a week before the last known one]")
    until: answers.Moment | None = Field(None, description="the moment after the last hour")
    limit: int = Field(1000, ge=1, le=2000, description="rows at most")


class Week(answers.Query):
    """The query of a rhythm."""

    image: str | None = Field(None, max_length=4096, description="one image; without it, all together")
    site: str | None = Field(None, max_length=200, description="needed where the lake has several")
    format: answers.Form = Field("json", description="csv gives the rows alone")


@router.get("/demand", responses=DEMAND)
def demand(question: Annotated[Hours, Parameters()], request: Request, held: OnBoard) -> Response:
    """Pulls per hour of the last eight weeks; null in the hours of an outage."""
    body = held.answer(question, lambda: _demand(held, question))
    return answers.reply(request, body, question.format)


@router.get("/rhythm", responses=RHYTHM)
def rhythm(question: Annotated[Week, Parameters()], request: Request, held: OnBoard) -> Response:
    """Mean pulls an hour, weekday by hour of day on the site's clock, without holidays."""
    body = held.answer(question, lambda: _rhythm(held, question))
    return answers.reply(request, body, question.format)


def _demand(held: Held, question: Hours) -> bytes:
    view, image = _asked(held, question.site, question.image)
    first, last = _span(view, question.since, question.until)
    grid = view.grid
    rows = slice(None) if image is None else [view.row(image)]
    counts = grid.counts[rows].sum(axis=0)
    found = [
        {"time": grid.start + hour * HOUR, "pulls": int(counts[hour]) if grid.observed[hour] else None}
        for hour in range(first, last)
    ]
    if question.format == "csv":
        return answers.as_csv(COLUMNS, question.page(found))
    pages = {"total": len(found), "limit": question.limit, "offset": question.offset}
    return answers.as_json({"site": view.site.name, "image": image, **pages, "rows": question.page(found)})


def _rhythm(held: Held, question: Week) -> bytes:
    view, image = _asked(held, question.site, question.image)
    table = patterns.rhythm(view.grid, image).tolist()
    if question.format == "csv":
        rows: list[dict[str, Any]] = [
            {"weekday": day, "hour": hour, "pulls_an_hour": "" if pulls != pulls else pulls}
            for day, hours in zip(WEEKDAYS, table, strict=True)
            for hour, pulls in enumerate(hours)
        ]
        return answers.as_csv(("weekday", "hour", "pulls_an_hour"), rows)
    site = {"site": view.site.name, "image": image, "timezone": view.site.timezone}
    return answers.as_json({**site, "weekdays": WEEKDAYS, "pulls_an_hour": table})


def _asked(held: Held, site: str | None, image: str | None) -> tuple[View, str | None]:
    """The site's view and the canonical name of an image that it knows."""
    view = held.overview.one(site)
    if image is None:
        return view, None
    return view, view.grid.images[view.row(str(Reference.parse(image)))]


def _span(view: View, since: datetime | None, until: datetime | None) -> tuple[int, int]:
    """Hours of the grid that begin in `[since, until)`."""
    grid = view.grid
    begin, end = since or grid.cutoff - LATELY, until or grid.cutoff
    first, last = (-int((grid.start - moment) // HOUR) for moment in (begin, end))
    return max(0, first), max(0, min(grid.hours, last))
