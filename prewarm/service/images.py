"""`GET /v1/images` and `/v1/images/{image}`: what each site pulls, and all that is known of one image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Request, Response
from fastapi import Query as Parameters
from pydantic import Field

from prewarm.demand.calendars import HOUR
from prewarm.errors import UnknownName
from prewarm.pipeline.demand.forecast import explanation
from prewarm.pipeline.warming.catalogue import portrait
from prewarm.pipeline.warming.ledger import places
from prewarm.references import Reference
from prewarm.service import answers
from prewarm.service.board import Held, OnBoard, lake

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from prewarm.lake import Lake
    from prewarm.pipeline.demand.overviews import View
    from prewarm.service.workshop import Workshop

router = APIRouter(tags=["images"])

COLUMNS = ("site", "image", "pulls", "last", "bytes")
_ROW = ("boise", "docker.io/library/postgres:16", 341, "2026-11-30T06:00:00Z", 154231873)
EXAMPLE = answers.example(
    {"total": 214, "limit": 50, "offset": 0, "images": [dict(zip(COLUMNS, _ROW, strict=True))]},
    ",".join(COLUMNS),
)


PORTRAIT = answers.example(
    {
        "image": "docker.io/library/postgres:16",
        "sites": [
            {"site": "boise", "timezone": "America/Boise", "pulls": 341, "last": "2026-11-30T06:00:00Z",
             "expected": 12.4, "rank": 1,
             "why": {"image": "docker.io/library/postgres:16", "time": "2026-11-30T15:00:00Z",
                     "model": "auto", "mean": 2.5, "links": [], "ratio": 1.01, "views": [], "factor": 0.71,
                     "plain": None}}
        ],
        "catalogue": {
            "digest": "sha256:5620f242bbc0e17478556102327e7efcf60ab48de3607c9e0ea98800841785ec",
            "media_type": "application/vnd.oci.image.index.v1+json", "platform": "linux/amd64",
            "bytes": 154231873, "layers": [{"digest": "sha256:0f5c…", "bytes": 29126484}],
            "checked_at": "2026-11-30T06:31:00Z",
        },
        "caches": [
            {"cache": "office", "site": "boise", "driver": "mirror", "digest": "sha256:5620…",
             "finished_at": "2026-11-30T06:31:09Z", "run": "r20261130T063105-9c01d2",
             "expires_at": "2026-12-07T06:31:09Z"}
        ],
        "tags": [{"image": "docker.io/library/postgres:15", "pulls": 96, "last": "2026-11-29T17:00:00Z"}],
    }
)  # fmt: skip
KIN = 50  # tags that a portrait lists


class Place(answers.Query):
    """Where an image is looked at."""

    site: str | None = Field(None, max_length=200, description="one site; without it, every site")


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


@router.get("/images/{image:path}", responses=PORTRAIT)
def image(
    image: Annotated[str, Path(max_length=4096)],
    question: Annotated[Place, Parameters()],
    request: Request,
    held: OnBoard,
) -> Response:
    """One image: its demand at each site, its sizes and layers, the other tags, and where it is warm.

    `why` is how the mean of the busiest of the coming hours comes about, as `prewarm rank --explain` has it,
    `catalogue` what the manifest said when a plan asked for it last (null before that), `caches` those that
    runs have left it in.
    """
    name = str(Reference.parse(image))
    views = held.overview.chosen(question.site)
    workshop: Workshop = request.app.state.workshop
    asked = ("image", name, question.site, held.state)
    body = workshop.answer(asked, lambda: _portrait(lake(request), views, name, question.site))
    return answers.reply(request, body, held=False)


def _portrait(lake: Lake, views: Sequence[View], image: str, site: str | None) -> bytes:
    found = [told for view in views if (told := _demand(view, image)) is not None]
    catalogue, warm = portrait(lake, Reference.parse(image)), places(lake, image, site and [site])
    kin = _kin(views, image)
    if not found and not kin and not warm and catalogue is None:
        for view in views:
            view.row(image)  # its refusal names others
    return answers.as_json(
        {"image": image, "sites": found, "catalogue": catalogue, "caches": warm, "tags": kin[:KIN]}
    )


def _demand(view: View, image: str) -> dict[str, Any] | None:
    """How often one site pulled it, and what the coming day will bring; None where nothing is known of it."""
    try:
        row = view.place(image)
    except UnknownName:
        return None
    coming = view.means[:, :24].sum(axis=1)
    hour = view.ahead.start + int(np.argmax(view.means[row, :24]))
    pulled = row < len(view.grid.images)
    return {
        "site": view.site.name,
        "timezone": view.site.timezone,
        "pulls": int(view.grid.counts[[row]].sum()) if pulled else 0,
        "last": _last(view, row) if pulled else None,
        "expected": float(coming[row]),
        "rank": int((coming > coming[row]).sum()) + 1,
        "why": asdict(explanation(view.outlook, image, hour)),
    }


def _kin(views: Sequence[View], image: str) -> list[dict[str, Any]]:
    """The other tags of its repository, most pulled first."""
    repository = Reference.parse(image).name
    pulls = Counter[str]()
    last: dict[str, datetime | None] = {}
    for view in views:
        totals = _totals(view)
        for row, name in enumerate(view.grid.images):
            if name != image and name.startswith(repository) and name[len(repository) :][:1] in (":", "@"):
                pulls[name] += int(totals[row])
                last[name] = max(filter(None, (last.get(name), _last(view, row))), default=None)
    return [{"image": name, "pulls": count, "last": last[name]} for name, count in pulls.most_common()]


def _totals(view: View) -> NDArray[np.float64]:
    return view.grid.counts.sum(axis=1)


def _row(held: Held, view: View, row: int, pulls: int) -> dict[str, Any]:
    image = view.grid.images[row]
    known = held.overview.sizes.get(image)
    return {
        "site": view.site.name,
        "image": image,
        "pulls": pulls,
        "last": _last(view, row),
        "bytes": known,
    }


def _last(view: View, row: int) -> datetime | None:
    """Start of the last hour with a pull."""
    grid = view.grid
    hours = grid.counts.indices[grid.counts.indptr[row] : grid.counts.indptr[row + 1]]
    return grid.start + int(hours.max()) * HOUR if len(hours) else None
