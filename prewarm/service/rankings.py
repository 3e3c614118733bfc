"""`GET /v1/rankings`: the top images of a window, or of each hour of a day."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi import Query as Parameters
from pydantic import Field

from prewarm.errors import SettingsError
from prewarm.lake import Lake
from prewarm.pipeline.demand import forecast
from prewarm.service import answers
from prewarm.service.board import Now, OnBoard, versions

if TYPE_CHECKING:
    from prewarm.pipeline.demand.forecast import RankResult
    from prewarm.pipeline.demand.overviews import Overview
    from prewarm.service.workshop import Workshop
    from prewarm.settings import Settings

router = APIRouter(tags=["ranking"])

DEEPEST = 100_000  # images that a ranking is kept for, so that pages come from one computation
COLUMNS = ("at", "rank", "image", "mean", "probability", "bytes", "score", "p_stale")

_ROW = {
    "rank": 1,
    "image": "docker.io/library/postgres:16",
    "mean": 4.8,
    "probability": 0.95,
    "bytes": 154231873,
    "score": 4.8,
    "p_stale": 0.02,
}
EXAMPLE = answers.example(
    {
        "at": "2026-11-30T07:00:00Z",
        "hours": 1,
        "site": "boise",
        "model": "profile",
        "objective": "pulls",
        "total": 214,
        "ranking": [_ROW],
        "limit": 50,
        "offset": 0,
        "cutoffs": {"boise": "2026-11-30T06:00:00Z"},
        "warnings": [],
    },
    "at,rank,image,mean,probability,bytes,score,p_stale",
)


class Question(answers.Paged):
    """The query of a ranking; unknown parameters are refused."""

    site: str | None = Field(None, max_length=200, description="one site; without it, all sites together")
    at: answers.Moment | None = Field(
        None, description="start of the window, with a zone: 2026-11-30T08:00Z [now]"
    )
    day: date | None = Field(None, description="all hours of this day on the site's clock, instead of `at`")
    hours: int = Field(1, ge=1, le=744, description="length of the window")
    offset: int = Field(0, ge=0, le=DEEPEST, description="images to pass over")
    objective: Literal["pulls", "any-pull", "bytes"] = Field("pulls", description="what is ranked by")
    model: str = Field("auto", max_length=100, description="a forecaster by name, or auto")

    @property
    def plain(self) -> bool:
        """Whether it asks for one window by the default model."""
        return self.day is None and self.model == "auto"


@router.get("/rankings", responses=EXAMPLE)
def rankings(
    question: Annotated[Question, Parameters()], request: Request, held: OnBoard, now: Now
) -> Response:
    """Rank the images of a window by expected pulls.

    Windows of the coming days are answered from memory. A past `at`, a `day` or a model by name is computed
    from the lake, once for each of its states: 503 with `Retry-After` while that takes longer than a few
    seconds.
    """
    if question.day and (question.at or question.hours != 1):
        raise SettingsError("day: ranks all 24 hours of a day; leave out at and hours")
    at = (question.at or _next_minute(now)).astimezone(UTC)
    held.overview.chosen(question.site)  # an unknown site is refused before anything is computed
    if question.plain and held.overview.reaches(at, question.hours, question.site):
        body = held.answer((question, at), lambda: _held(held.overview, question, at))
        return answers.reply(request, body, question.format)
    result = _computed(request, question, at)
    body = _body(result, question, len(result.ranking))
    return answers.reply(request, body, question.format, held=False)


def _next_minute(now: datetime) -> datetime:
    """Now, to the minute, so that one answer serves many; never earlier than what was logged just now."""
    return now.replace(second=0, microsecond=0) + timedelta(minutes=1)


def _held(overview: Overview, question: Question, at: datetime) -> bytes:
    deep = question.offset + question.limit
    result = overview.rank(at, question.hours, question.site, question.objective, deep)
    return _body(result, question, overview.count(question.site))


def _computed(request: Request, question: Question, at: datetime) -> RankResult:
    workshop: Workshop = request.app.state.workshop
    settings: Settings = request.app.state.settings
    when = question.day or at
    asked = (
        versions(Lake.open(settings.lake)),
        question.site,
        when,
        question.hours,
        question.objective,
        question.model,
    )
    return workshop.answer(asked, lambda: _made(settings, question, when))


def _made(settings: Settings, question: Question, when: datetime | date) -> RankResult:
    lake, sites = Lake.open(settings.lake), settings.declared_sites()
    known: dict[str, Any] = {"default": settings.default_site(), "counting": settings.counting()}
    wanted = (question.site, question.objective, question.model)
    if isinstance(when, datetime):
        return forecast.rank(lake, sites, [when], question.hours, DEEPEST, *wanted, **known)
    return forecast.rank_day(lake, sites, when, DEEPEST, *wanted, **known)


def _body(result: RankResult, question: Question, total: int) -> bytes:
    if question.format == "json":
        return answers.as_json(_document(result, question, total))
    rows = [
        {"at": answer.at, **asdict(ranked)}
        for answer in result.answers
        for ranked in question.page(list(answer.ranking))
    ]
    return answers.as_csv(COLUMNS, rows)


def _document(result: RankResult, question: Question, total: int) -> dict[str, Any]:
    shared = {
        "hours": result.hours,
        "site": result.site,
        "model": result.model,
        "objective": result.objective,
    }
    found = [
        {
            "at": answer.at,
            **shared,
            "total": total,
            "ranking": [asdict(ranked) for ranked in question.page(list(answer.ranking))],
        }
        for answer in result.answers
    ]
    body = found[0] if question.day is None else {**shared, "day": question.day, "answers": found}
    pages = {"limit": question.limit, "offset": question.offset}
    return {**body, **pages, "cutoffs": result.cutoffs, "warnings": list(result.warnings)}
