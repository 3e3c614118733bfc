"""`GET /v1/rankings`: the top images of a window, or of each hour of a day."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from prewarm.errors import SettingsError
from prewarm.lake import Lake
from prewarm.pipeline import forecast

if TYPE_CHECKING:
    from prewarm.pipeline.forecast import Answer, RankResult
    from prewarm.settings import Settings

router = APIRouter(tags=["ranking"])

DEEPEST = 100_000  # images that a ranking is kept for, so that pages come from one computation


class Question(BaseModel):
    """The query of a ranking; unknown parameters are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    site: str | None = Field(None, max_length=200, description="one site; without it, all sites together")
    at: AwareDatetime | None = Field(
        None, description="start of the window, with a zone: 2026-11-30T08:00Z [now]"
    )
    day: date | None = Field(None, description="all hours of this day on the site's clock, instead of `at`")
    hours: int = Field(1, ge=1, le=744, description="length of the window")
    limit: int = Field(50, ge=1, le=1000)
    offset: int = Field(0, ge=0, le=DEEPEST)
    objective: Literal["pulls", "any-pull", "bytes"] = "pulls"
    model: str = Field("auto", max_length=100)


@router.get("/rankings")
def rankings(question: Annotated[Question, Query()], request: Request, response: Response) -> dict[str, Any]:
    """Rank the images of a window by expected pulls.

    Answers come from whatever the lake holds now; the same question is computed once for each state of
    the lake.
    """
    settings: Settings = request.app.state.settings
    if question.day and (question.at or question.hours != 1):
        raise SettingsError("day: ranks all 24 hours of a day; leave out at and hours")
    version = Lake.open(settings.lake).snapshot("pulls").version
    at = question.at or _next_minute(datetime.now(UTC))
    result = _computed(request.app.state.rankings, question, at.astimezone(UTC), version)
    response.headers["Cache-Control"] = "private, max-age=15"
    return _document(result, question)


def computer(settings: Settings) -> Any:
    """A function from what decides a ranking to the ranking; the last few are kept."""

    @lru_cache(maxsize=64)
    def compute(
        version: int | None,
        site: str | None,
        at: datetime | None,
        day: date | None,
        hours: int,
        objective: str,
        model: str,
    ) -> RankResult:
        lake, sites = Lake.open(settings.lake), settings.declared_sites()
        asked: dict[str, Any] = {"default": settings.default_site(), "counting": settings.counting()}
        if day is not None:
            return forecast.rank_day(lake, sites, day, DEEPEST, site, objective, model, **asked)
        moments = [at or datetime.now(UTC)]
        return forecast.rank(lake, sites, moments, hours, DEEPEST, site, objective, model, **asked)

    return compute


def _next_minute(now: datetime) -> datetime:
    """Now, to the minute, so that one answer serves many; never earlier than what was logged just now."""
    return now.replace(second=0, microsecond=0) + timedelta(minutes=1)


def _computed(compute: Any, question: Question, at: datetime, version: int | None) -> RankResult:
    moment = None if question.day else at
    result: RankResult = compute(
        version, question.site, moment, question.day, question.hours, question.objective, question.model
    )
    return result


def _document(result: RankResult, question: Question) -> dict[str, Any]:
    shared = {
        "hours": result.hours,
        "site": result.site,
        "model": result.model,
        "objective": result.objective,
    }
    pages = {"limit": question.limit, "offset": question.offset}
    answers = [{"at": answer.at, **shared, **_page(answer, question)} for answer in result.answers]
    body = answers[0] if question.day is None else {**shared, "day": question.day, "answers": answers}
    return {**body, **pages, "cutoffs": result.cutoffs, "warnings": list(result.warnings)}


def _page(answer: Answer, question: Question) -> dict[str, Any]:
    page = answer.ranking[question.offset : question.offset + question.limit]
    return {"total": len(answer.ranking), "ranking": [asdict(ranked) for ranked in page]}
