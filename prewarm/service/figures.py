"""`GET /v1/figures/{name}`: the figures of the notebooks, as SVG for a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi import Query as Parameters
from pydantic import Field

from prewarm import plots
from prewarm.demand.calendars import HOUR
from prewarm.errors import SettingsError
from prewarm.lake import Lake
from prewarm.pipeline.insight.reports import Scope, report
from prewarm.references import Reference
from prewarm.service import answers
from prewarm.service.board import Held, OnBoard, versions
from prewarm.service.scorecards import Question as Scored
from prewarm.service.scorecards import scored

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from prewarm.insight.reports import Report
    from prewarm.pipeline.demand.overviews import View
    from prewarm.service.workshop import Workshop
    from prewarm.settings import Settings

    Draw = Callable[[Held, Settings, "Question"], Figure]

router = APIRouter(tags=["figures"])

Name = Literal["band", "causes", "arms", "scores"]
WEEK = 7 * 24  # hours of the past that a band shows
DAY = 24  # hours ahead that it shows
LEVEL = 90  # percent of its interval
SCORE = "capture@10"
FIGURE = answers.example({})
FIGURE[200] = {
    "description": "found",
    "content": {"image/svg+xml": {"example": '<svg xmlns="http://www.w3.org/2000/svg">…</svg>'}},
}


class Question(answers.Query):
    """What is drawn."""

    site: str | None = Field(None, max_length=200, description="needed for a band where the lake has several")
    image: str | None = Field(None, max_length=4096, description="of a band: the image")
    scheme: Literal["light", "dark"] = Field("light", description="the page that it is for")


@router.get("/figures/{name}", responses=FIGURE, response_class=Response)
def figure(
    name: Name, question: Annotated[Question, Parameters()], request: Request, held: OnBoard
) -> Response:
    """A figure as SVG, by the function of `prewarm.plots` that notebooks call.

    `band`: the last week of an image and the coming day, with the interval. `causes`: misses by cause.
    `arms`: first misses of what was warmed and of what was withheld. `scores`: every model on the lake's own
    past. Each is drawn once for each state of the lake: 503 with `Retry-After` while that takes a while.
    """
    settings: Settings = request.app.state.settings
    workshop: Workshop = request.app.state.workshop
    draw = DRAWN.get(name) or _scores(scored(request, Scored(site=question.site)))

    def made() -> bytes:
        return plots.svg(draw(held, settings, question), dark=question.scheme == "dark")

    asked = ("figure", name, question, held.state, versions(Lake.open(settings.lake)))
    return answers.reply(request, workshop.answer(asked, made), "svg", held=False)


def _scores(told: Mapping[str, Any]) -> Draw:
    """Draws what the scorecard said; that takes longest, and is made once for its route and the figure."""
    import pandas as pd

    table = pd.DataFrame.from_dict(dict(told["models"]), orient="index").sort_values(SCORE, ascending=False)
    return lambda held, settings, question: plots.scores(table, SCORE)


def _band(held: Held, settings: Settings, question: Question) -> Figure:
    if question.image is None:
        raise SettingsError("image: a band is of one image: image=postgres:16")
    view = held.overview.one(question.site)
    name = str(Reference.parse(question.image))
    row = view.place(name)
    return plots.band(_past(view, row, name), _ahead(view, row, name), name, LEVEL)


def _past(view: View, row: int, name: str) -> pd.DataFrame:
    """The last week of one image as `unique_id, ds, y` on the site's clock; NaN in an outage."""
    import pandas as pd

    grid = view.grid
    pulled = [row] if row < len(grid.images) else []  # a tag that was only pushed has no pulls
    counts = grid.counts[pulled].sum(axis=0).astype(float)
    counts[~grid.observed] = np.nan
    hours = pd.date_range(grid.start, periods=grid.hours, freq="h").tz_convert(view.site.timezone)
    return pd.DataFrame({"unique_id": name, "ds": hours, "y": counts}).tail(WEEK)


def _ahead(view: View, row: int, name: str) -> pd.DataFrame:
    """The coming day of one image, named as `prewarm.forecast` names its columns."""
    import pandas as pd

    means = view.means[[row], :DAY]
    lo, hi = view.outlook.dispersion.interval(means, LEVEL)
    model = view.outlook.model.name
    hours = pd.date_range(view.start, periods=means.shape[1], freq=HOUR).tz_convert(view.site.timezone)
    told = {model: means[0], f"{model}-lo-{LEVEL}": lo[0], f"{model}-hi-{LEVEL}": hi[0]}
    return pd.DataFrame({"unique_id": name, "ds": hours, **told})


def _causes(held: Held, settings: Settings, question: Question) -> Figure:
    return plots.report(_report("misses", settings, question))


def _arms(held: Held, settings: Settings, question: Question) -> Figure:
    return plots.report(_report("holdout", settings, question))


def _report(name: str, settings: Settings, question: Question) -> Report:
    scope = Scope(question.site, question.image)
    return report(Lake.open(settings.lake), name, scope, settings.terms(question.site))


DRAWN: dict[str, Draw] = {
    "band": _band,
    "causes": _causes,
    "arms": _arms,
}
