"""`GET /v1/forecasts`: what each coming hour will bring, with intervals."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi import Query as Parameters
from pydantic import Field, field_validator

from prewarm.demand.calendars import HOUR
from prewarm.errors import SettingsError
from prewarm.references import Reference
from prewarm.service import answers
from prewarm.service.board import Held, Now, OnBoard

if TYPE_CHECKING:
    from prewarm.pipeline.demand.overviews import View

router = APIRouter(tags=["forecast"])

COLUMNS = ("image", "time", "mean", "probability", "level", "lo", "hi")
_ROW = ("docker.io/library/postgres:16", "2026-11-30T07:00:00Z", 4.8, 0.95, 90, 0.0, 10.0)
EXAMPLE = answers.example(
    {
        "site": "boise",
        "model": "profile",
        "cutoff": "2026-11-30T06:00:00Z",
        "total": 24,
        "limit": 50,
        "offset": 0,
        "rows": [dict(zip(COLUMNS, _ROW, strict=True))],
    },
    ",".join(COLUMNS),
)


class Question(answers.Paged):
    """The query of a forecast."""

    image: str | None = Field(
        None, max_length=4096, description="one image; without it, the likeliest ones first"
    )
    site: str | None = Field(None, max_length=200, description="needed where the lake has several")
    hours: int = Field(24, ge=1, le=192, description="hours from the one that is running")
    level: Annotated[list[int], Field(min_length=1, max_length=5)] = Field(
        [90], description="percents of the intervals; may be repeated"
    )

    @field_validator("level")
    @classmethod
    def percents(cls, level: list[int]) -> list[int]:
        """Sane central intervals."""
        if not all(0 < percent < 100 for percent in level):
            raise ValueError("expected percents from 1 to 99, such as 90")
        return sorted(set(level))


@router.get("/forecasts", responses=EXAMPLE)
def forecasts(
    question: Annotated[Question, Parameters()], request: Request, held: OnBoard, now: Now
) -> Response:
    """Expected pulls, P(at least one) and central intervals, per image and hour."""
    key = (question.model_dump_json(), now.replace(second=0, microsecond=0))
    return answers.reply(request, held.answer(key, lambda: _body(held, question, now)), question.format)


def _body(held: Held, question: Question, now: datetime) -> bytes:
    view = held.overview.one(question.site)
    ahead = _ahead(view, question.hours, now)
    images = _images(view, ahead, question.image)
    each = len(ahead) * len(question.level)
    first, last = question.offset // each, -(-(question.offset + question.limit) // each)
    rows = list(_rows(view, images[first:last], ahead, question.level))
    rows = rows[question.offset - first * each :][: question.limit]
    if question.format == "csv":
        return answers.as_csv(COLUMNS, rows)
    return answers.as_json(
        {
            "site": view.site.name,
            "model": view.outlook.model.name,
            "cutoff": view.grid.cutoff,
            "total": each * len(images),
            "limit": question.limit,
            "offset": question.offset,
            "rows": rows,
        }
    )


def _ahead(view: View, hours: int, now: datetime) -> range:
    """The hours from the one that is running; the overview of the hour before may still stand."""
    running = int((view.site.floor(now) - view.grid.cutoff) // HOUR)
    first = max(view.ahead.start, min(running, view.ahead.stop - 1))
    if first + hours > view.ahead.stop:
        raise SettingsError(f"hours: {hours} is more than is held; expected 1 to {view.ahead.stop - first}")
    return range(first, first + hours)


def _images(view: View, ahead: range, image: str | None) -> list[int]:
    """Rows of the means: the one image, or all, most expected pulls first."""
    if image is not None:
        return [view.place(str(Reference.parse(image)))]
    order: list[int] = np.argsort(-view.hours(ahead).sum(axis=1), kind="stable").tolist()
    return order


def _rows(view: View, images: list[int], ahead: range, level: list[int]) -> Iterator[dict[str, Any]]:
    means = view.hours(ahead)[images]
    likely = view.outlook.dispersion.probability(means)
    bands = {percent: view.outlook.dispersion.interval(means, percent) for percent in level}
    times = [view.grid.cutoff + hour * HOUR for hour in ahead]
    for place, row in enumerate(images):
        for hour, moment in enumerate(times):
            for percent, (lo, hi) in bands.items():
                yield {
                    "image": view.outlook.images[row],
                    "time": moment,
                    "mean": float(means[place, hour]),
                    "probability": float(likely[place, hour]),
                    "level": percent,
                    "lo": float(lo[place, hour]),
                    "hi": float(hi[place, hour]),
                }
