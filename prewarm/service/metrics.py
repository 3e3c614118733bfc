"""`GET /metrics`: what Prometheus scrapes (text exposition format 0.0.4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from prewarm import __version__
from prewarm.errors import PrewarmError
from prewarm.lake import Lake
from prewarm.service.board import Now, board
from prewarm.service.measures import Measure, measure

if TYPE_CHECKING:
    from prewarm.pipeline.demand.overviews import Overview
    from prewarm.service.feeding import Feed
    from prewarm.service.workshop import Workshop
    from prewarm.settings import Settings

router = APIRouter(tags=["metrics"])

Sample = tuple[Mapping[str, str], float]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name, its type, its help, and a sample for each set of labels."""

    name: str
    kind: str
    help: str
    samples: Iterable[Sample]


@router.get("/metrics", responses={200: {"content": {"text/plain": {}}}})
def metrics(request: Request, now: Now) -> Response:
    """How far logs are read, what is expected, what runs did, and how the service is doing."""
    families = [*_service(request), *_deliveries(request.app.state.feed)]
    with suppress(PrewarmError):  # prewarm_ready says so
        overview = board(request).read().overview
        families += _lake(overview, now)
        families += _measured(_measures(request, [view.site.name for view in overview.views.values()], now))
    body = "".join(_lines(family) for family in families)
    return Response(body, media_type="text/plain; version=0.0.4; charset=utf-8")


def _deliveries(feed: Feed) -> list[Family]:
    taken = [({"source": s, "result": r}, n) for (s, r), n in sorted(feed.taken.items())]
    return [
        Family("prewarm_deliveries_total", "counter", "Records delivered, by what became of them.", taken),
        Family(
            "prewarm_inbox_bytes",
            "gauge",
            "Bytes that were acknowledged and wait for the lake.",
            [({}, feed.waiting)],
        ),
        Family(
            "prewarm_feed_ready",
            "gauge",
            "1 while logs and deliveries can be read into the lake.",
            [({}, float(feed.trouble is None))],
        ),
    ]


def _service(request: Request) -> list[Family]:
    asked: Counter[tuple[str, int]] = request.app.state.requests
    trouble = board(request).trouble
    return [
        Family("prewarm_build_info", "gauge", "1, with the version.", [({"version": __version__}, 1)]),
        Family("prewarm_ready", "gauge", "1 while the lake can be read.", [({}, float(trouble is None))]),
        Family(
            "prewarm_http_requests_total",
            "counter",
            "Requests answered, by route and status.",
            [({"route": route, "status": str(status)}, n) for (route, status), n in sorted(asked.items())],
        ),
    ]


def _lake(overview: Overview, now: datetime) -> list[Family]:
    views = overview.views.values()
    age = (now - overview.at).total_seconds()
    return [
        Family("prewarm_forecast_age_seconds", "gauge", "Age of the forecast in memory.", [({}, age)]),
        Family(
            "prewarm_pulls_total",
            "counter",
            "Pulls in the lake, of any kind.",
            [({"site": site}, count) for site, count in overview.pulls.items()],
        ),
        Family(
            "prewarm_ingest_lag_seconds",
            "gauge",
            "Time since the last access that was read.",
            [({"site": v.site.name}, (now - v.extent.last).total_seconds()) for v in views],
        ),
        Family(
            "prewarm_images",
            "gauge",
            "Images with demand in the last eight weeks.",
            [({"site": v.site.name}, len(v.grid.images)) for v in views],
        ),
        Family(
            "prewarm_expected_pulls",
            "gauge",
            "Pulls expected in the coming 24 hours.",
            [({"site": v.site.name}, float(v.means[:, :24].sum())) for v in views],
        ),
        Family(
            "prewarm_run_outcomes_total",
            "counter",
            "Outcomes of runs, by cache and state.",
            [({"cache": d.cache, "state": d.state}, d.count) for d in overview.done],
        ),
        Family(
            "prewarm_warmed_bytes_total",
            "counter",
            "Bytes that runs transferred.",
            [({"cache": cache}, count) for cache, count in _bytes(overview).items()],
        ),
    ]


def _measures(request: Request, sites: list[str], now: datetime) -> list[Measure]:
    """As of this hour, or of the last one that was measured."""
    settings: Settings = request.app.state.settings
    workshop: Workshop = request.app.state.workshop
    hour = now.replace(minute=0, second=0, microsecond=0)

    def made(before: list[Measure] | None) -> list[Measure]:
        return measure(Lake.open(settings.lake), settings, sites, now, before or ())

    return workshop.latest("measures", (hour, tuple(sites)), made) or []


def _measured(measures: list[Measure]) -> list[Family]:
    return [
        Family(
            "prewarm_hit_ratio",
            "gauge",
            "Share of the last day's pulls that the cache served, as of the hour.",
            [({"site": m.site}, m.hit_ratio) for m in measures if m.hit_ratio is not None],
        ),
        Family(
            "prewarm_seconds_saved_total",
            "counter",
            "Seconds of waiting that warmed images saved, modelled from their bytes.",
            [({"site": m.site}, m.seconds_saved) for m in measures],
        ),
        Family(
            "prewarm_wasted_bytes_total",
            "counter",
            "Bytes that runs transferred of images that nobody pulled in their hours.",
            [({"site": m.site}, m.wasted_bytes) for m in measures],
        ),
    ]


def _bytes(overview: Overview) -> Counter[str]:
    total: Counter[str] = Counter()
    for done in overview.done:
        total[done.cache] += done.bytes or 0
    return total


def _lines(family: Family) -> str:
    head = f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n"
    return head + "".join(
        f"{family.name}{_labels(labels)} {value:.12g}\n" for labels, value in family.samples
    )


def _labels(labels: Mapping[str, str]) -> str:
    told = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{told}}}" if told else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
