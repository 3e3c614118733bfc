"""`GET /v1/caches`: where warm images land."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from prewarm.service import answers
from prewarm.service.access import Granted

if TYPE_CHECKING:
    from prewarm.settings import Settings

router = APIRouter(tags=["caches"])

ROW = {
    "name": "office",
    "driver": "mirror",
    "site": "boise",
    "upstream": "docker.io",
    "schedules": ["morning"],
}


@router.get("/caches", responses=answers.example({"total": 1, "caches": [ROW]}))
def caches(bare: answers.Bare, request: Request, grant: Granted) -> Response:
    """Every configured cache: its driver, whose demand it serves, which schedules warm or maintain it."""
    settings: Settings = request.app.state.settings
    rows = [
        {
            "name": name,
            "driver": section.driver,
            "site": section.site,
            "upstream": section.upstream,
            "schedules": sorted(each for each, kept in settings.schedules.items() if kept.cache == name),
        }
        for name, section in sorted(settings.caches.items())
        if grant.sites is None or section.site in grant.sites
    ]
    return answers.reply(request, answers.as_json({"total": len(rows), "caches": rows}), held=False)
