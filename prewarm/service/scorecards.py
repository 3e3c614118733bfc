"""`GET /v1/scorecard`: how good each model would have been on the lake's own past."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi import Query as Parameters
from pydantic import Field

from prewarm.lake import Lake
from prewarm.pipeline.demand.scorecard import scorecard as make
from prewarm.service import answers
from prewarm.service.board import OnBoard, versions

if TYPE_CHECKING:
    from prewarm.service.workshop import Workshop
    from prewarm.settings import Settings

router = APIRouter(tags=["scorecard"])

EXAMPLE = answers.example(
    {
        "hours": 24,
        "origins": 7,
        "sites": ["boise"],
        "models": {"auto": {"capture@10": 0.71}, "last-7d": {"capture@10": 0.62}},
        "best": "auto",
        "against": {"last-7d": {"capture@10": 0.09, "lo": 0.05, "hi": 0.13}},
    }
)


class Question(answers.Query):
    """What is scored."""

    site: str | None = Field(None, max_length=200, description="one site; without it, all together")
    hours: int = Field(24, ge=1, le=168, description="length of the windows")
    origins: int = Field(7, ge=1, le=56, description="windows of each site, the last ones")


@router.get("/scorecard", responses=EXAMPLE)
def scorecard(question: Annotated[Question, Parameters()], request: Request, held: OnBoard) -> Response:
    """The default models beside every baseline, as `prewarm scorecard --json` prints it.

    It takes a while: 503 with `Retry-After` until it is there, once for each state of the lake.
    """
    held.overview.chosen(question.site)  # an unknown site is refused before anything is computed
    return answers.reply(request, answers.as_json(scored(request, question)), held=False)


def scored(request: Request, question: Question) -> dict[str, Any]:
    """The scorecard's document, made on the workshop's thread; HTTPException 503 while that takes a while."""
    workshop: Workshop = request.app.state.workshop
    settings: Settings = request.app.state.settings

    def score() -> dict[str, Any]:
        return make(
            Lake.open(settings.lake),
            settings.declared_sites(),
            hours=question.hours,
            origins=question.origins,
            site=question.site,
            default=settings.default_site(),
            counting=settings.counting(),
        ).document()

    asked = ("scorecard", versions(Lake.open(settings.lake)), question.site, question.hours, question.origins)
    return workshop.answer(asked, score)
