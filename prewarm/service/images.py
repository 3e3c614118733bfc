"""`GET /v1/images`: what each site pulls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi import Query as Parameters
from pydantic import Field

from prewarm.demand.calendars import HOUR
from prewarm.service import answers
from prewarm.service.board import Held, OnBoard

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from prewarm.pipeline.demand.overviews import View

router = APIRouter(tags=["images"])

COLUMNS = ("site", "image", "pulls", "last", "bytes")
_ROW = ("boise", "docker.io/library/postgres:16", 341, "2026-11-30T06:00:00Z", 154231873)
EXAMPLE = answers.example(
    {"total": 214, "limit": 50, "offset": 0, "images": [dict(zip(COLUMNS, _ROW, strict=True))]},
    ",".join(COLUMNS),
)


class Question(answers.Paged):
    """The query of a list of images."""

    site: str | None = Field(None, max_length=200, description="one site; without it, every site")
    contains: str | None = Field(None, max_length=200, description="a part of the image's name")


@router.get("/images", responses=EXAMPLE)
def images(question: Annotated[Question, Parameters()], request: Request, held: OnBoard) -> Response:
    """Images with demand in the last eight weeks, most pulled first.

    `last` is the start of the last hour with a pull, `bytes` the size where it is known.
    """
    body = held.answer(question, lambda: _body(held, question))
    return answers.reply(request, body, question.format)


def _body(held: Held, question: Question) -> bytes:
    views = held.overview.chosen(question.site)
    found = [
        (pulls, view, row)
        for view in views
        for row, pulls in enumerate(_totals(view))
        if question.contains is None or question.contains in view.grid.images[row]
    ]
    found.sort(key=lambda each: (-each[0], each[1].site.name, each[2]))
    rows = [_row(held, view, row, int(pulls)) for pulls, view, row in question.page(found)]
    if question.format == "csv":
        return answers.as_csv(COLUMNS, rows)
    pages = {"total": len(found), "limit": question.limit, "offset": question.offset}
    return answers.as_json({**pages, "images": rows})


def _totals(view: View) -> NDArray[np.float64]:
    return view.grid.counts.sum(axis=1)


def _row(held: Held, view: View, row: int, pulls: int) -> dict[str, Any]:
    grid = view.grid
    hours = grid.counts.indices[grid.counts.indptr[row] : grid.counts.indptr[row + 1]]
    last = grid.start + int(hours.max()) * HOUR if len(hours) else None
    image = grid.images[row]
    known = held.overview.sizes.get(image)
    return {"site": view.site.name, "image": image, "pulls": pulls, "last": last, "bytes": known}
