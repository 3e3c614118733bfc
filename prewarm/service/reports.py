"""`GET /v1/reports`, `/v1/reports/{name}`, `/v1/advice` and `/v1/assessment`: what happened, what to do."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Request, Response
from fastapi import Query as Parameters
from pydantic import Field

from prewarm.insight.reports import NAMES, Name
from prewarm.lake import Lake
from prewarm.pipeline.insight.advise import advise
from prewarm.pipeline.insight.assess import assess_lake
from prewarm.pipeline.insight.reports import Scope, report
from prewarm.service import answers
from prewarm.service.board import versions

if TYPE_CHECKING:
    from prewarm.service.workshop import Workshop
    from prewarm.settings import Settings

router = APIRouter(tags=["reports"])

REPORT = answers.example(
    {
        "report": "misses", "site": "boise", "image": None, "since": None, "until": None, "group": None,
        "pulls": 2814, "misses": 511, "miss_rate": 0.181592, "wait_seconds": 6101.2,
        "causes": [
            {"cause": "tag moved", "misses": 171, "share": 0.334638, "wait_seconds": 2280.1,
             "remedy": "a forecast can remove it"},
        ],
        "sure": "low", "evidence": [], "cannot_say": [], "before": None, "change": None,
    },
    "cause,misses,share,wait_seconds,remedy",
)  # fmt: skip
ADVICE = answers.example(
    {
        "repositories": [
            {"site": "boise", "repository": "docker.io/acme/api", "strategy": "replicate on push",
             "why": "108 fresh pushes were waited for, under tags nobody can foresee",
             "saving": {"seconds_per_day": 39.2}},
        ],
        "strategies": {"replicate on push": 1}, "sure": "low", "evidence": [], "cannot_say": [],
    },
    "site,repository,strategy,why",
)  # fmt: skip


ASSESSMENT = answers.example(
    {
        "verdict": "pays", "why": ["a list of the 20 images most pulled would save 81.4 s of 103.9 s a day"],
        "sure": "medium", "top_n": 20, "for": {"hours": [8, 9]}, "saving": {"share_of_waiting": 0.78},
        "traffic": {"pulls": 9046}, "hit_rate": 0.818408, "miss_rate": 0.181592,
        "causes": {"tag moved": {"misses": 171, "share": 0.334638, "remedy": "a forecast can remove it"}},
        "cannot_say": [],
    }
)  # fmt: skip


class Assessed(answers.Query):
    """Which traffic is judged."""

    site: str | None = Field(None, max_length=200, description="one site; without it, all together")


class Question(answers.Query):
    """What is asked about."""

    site: str | None = Field(None, max_length=200, description="one site; without it, all together")
    image: str | None = Field(None, max_length=4096, description="one image, or all tags of a repository")
    since: answers.Moment | None = Field(None, description="first moment; compares with the period before")
    until: answers.Moment | None = Field(None, description="the moment after the last")
    group: str | None = Field(
        None, max_length=200, description="one group of clients: its name, or a network"
    )
    format: answers.Form = Field("json", description="csv gives the rows of the main table alone")

    @property
    def scope(self) -> Scope:
        return Scope(self.site, self.image, self.since, self.until, self.group)


@router.get("/reports", responses=answers.example({"reports": list(NAMES)}))
def names(bare: answers.Bare, request: Request) -> Response:
    """The reports there are."""
    return answers.reply(request, answers.as_json({"reports": list(NAMES)}), held=False)


@router.get("/reports/{name}", responses=REPORT)
def reports(name: Name, question: Annotated[Question, Parameters()], request: Request) -> Response:
    """One report: its figures, its tables, how sure it is, and what it cannot say.

    With `since` each figure has its `change` against the period of the same length before.
    """

    def made(lake: Lake, settings: Settings) -> bytes:
        found = report(lake, name, question.scope, settings.terms(question.site))
        if question.format == "json":
            return answers.as_json(found.document())
        return answers.as_csv(found.main[0], found.main)

    return _answer(request, (name, question), question.format, made)


@router.get("/advice", responses=ADVICE)
def advice(question: Annotated[Question, Parameters()], request: Request) -> Response:
    """A strategy for each repository: why, what it saves, what to set, what would change the advice."""

    def made(lake: Lake, settings: Settings) -> bytes:
        found = advise(lake, question.scope, settings.terms(question.site))
        if question.format == "json":
            return answers.as_json(found.document())
        return answers.as_csv(("site", "repository", "strategy", "why"), found.repositories)

    return _answer(request, ("advice", question), question.format, made)


@router.get("/assessment", responses=ASSESSMENT)
def assessment(question: Annotated[Assessed, Parameters()], request: Request) -> Response:
    """Does pre-warming pay at this site? The verdict of `prewarm assess`, on the pulls of the lake.

    `verdict` is `pays`, `fix this first` or `does not pay`; `why` says what it rests on, `causes` why pulls
    missed and what removes such misses.
    """

    def made(lake: Lake, settings: Settings) -> bytes:
        return answers.as_json(
            assess_lake(lake, Scope(question.site), settings.terms(question.site)).document()
        )

    return _answer(request, ("assessment", question), "json", made)


def _answer(
    request: Request, key: Hashable, form: answers.Form, make: Callable[[Lake, Settings], bytes]
) -> Response:
    """Made from the lake on the workshop's thread, and kept for as long as the lake stays the same."""
    settings: Settings = request.app.state.settings
    workshop: Workshop = request.app.state.workshop
    lake = Lake.open(settings.lake)
    body = workshop.answer((key, versions(lake)), lambda: make(lake, settings))
    return answers.reply(request, body, form, held=False)
