"""`GET /v1/sites`: which sites there are, how far they are known, when their next peak comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import APIRouter, Request, Response

from prewarm.demand.calendars import HOUR
from prewarm.service import answers
from prewarm.service.access import Grant, Granted
from prewarm.service.board import Held, OnBoard

if TYPE_CHECKING:
    from prewarm.pipeline.demand.overviews import View

router = APIRouter(tags=["sites"])

EXAMPLE = answers.example(
    {
        "at": "2026-11-30T06:31:00Z",
        "total": 1,
        "sites": [
            {
                "site": "boise",
                "timezone": "America/Boise",
                "first": "2026-10-05T13:02:11Z",
                "last": "2026-11-30T06:30:40Z",
                "cutoff": "2026-11-30T06:00:00Z",
                "pulls": 17176,
                "images": 214,
                "demand": 9046,
                "set_aside": {"check": 8121},
                "peak": {"time": "2026-11-30T15:00:00Z", "mean": 28.9},
                "unknown": None,
            }
        ],
    }
)


@router.get("/sites", responses=EXAMPLE)
def sites(bare: answers.Bare, request: Request, held: OnBoard, grant: Granted) -> Response:
    """Every site of the lake: its clock, what was logged, and the busiest hour of the coming day.

    `unknown` says why a site cannot be forecast; its other numbers are then null. A token of some sites is
    told of those.
    """
    body = held.answer(("sites", grant.sites), lambda: _body(held, grant))
    return answers.reply(request, body, held=grant.sites is None)


def _body(held: Held, grant: Grant) -> bytes:
    overview = held.overview
    known = {*overview.views, *overview.unknown}
    names = sorted(known if grant.sites is None else known & grant.sites)
    found = [
        {"site": name, "pulls": overview.pulls.get(name, 0), **_told(overview.views.get(name)),
         "unknown": overview.unknown.get(name)}
        for name in names
    ]  # fmt: skip
    return answers.as_json({"at": overview.at, "total": len(found), "sites": found})


def _told(view: View | None) -> dict[str, Any]:
    if view is None:
        nothing = ("timezone", "first", "last", "cutoff", "images", "demand", "set_aside", "peak")
        return dict.fromkeys(nothing)
    return {
        "timezone": view.site.timezone,
        "first": view.extent.first,
        "last": view.extent.last,
        "cutoff": view.grid.cutoff,
        "images": len(view.grid.images),
        "demand": int(view.grid.counts.sum()),
        "set_aside": view.outlook.history.set_aside,
        "peak": _peak(view),
    }


def _peak(view: View) -> dict[str, Any]:
    """The busiest of the coming 24 hours."""
    coming = view.means[:, :24].sum(axis=0)
    busiest = int(np.argmax(coming))
    return {"time": view.start + busiest * HOUR, "mean": float(coming[busiest])}
