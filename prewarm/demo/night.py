"""The night before: a plan for one office, executed for real against the in-process origin."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prewarm.demo import telling
from prewarm.demo.contents import SCALE
from prewarm.demo.origin import Origin, Served, serving
from prewarm.pipeline.warming.caches import CacheSpec
from prewarm.pipeline.warming.plan import Demand, Request, plan
from prewarm.pipeline.warming.run import RunResult, run
from prewarm.references import Reference
from prewarm.warming.contacts import Endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from prewarm.demand.calendars import Site
    from prewarm.demo.contents import Catalogue
    from prewarm.lake import Lake
    from prewarm.warming.planning import Plan


@dataclass(frozen=True, slots=True)
class Night:
    """A plan, its run, the run after it, and what proves them."""

    plan: Plan
    run: RunResult
    again: RunResult
    served: Served
    blobs: int  # files under blobs/ of the layout
    wrong: int  # ... whose content is not what their name says

    def document(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "plan": {
                "warms": len(self.plan.warms),
                "skipped": len(self.plan.skipped),
                "bytes": self.plan.bytes,
            },
            "totals": dict(self.run.totals),
            "again": dict(self.again.totals),
            "blobs_verified": self.blobs - self.wrong,
            "blobs_wrong": self.wrong,
        }


async def spend(
    lake: Lake,
    sites: Mapping[str, Site],
    site: str,
    folder: Path,
    catalogue: Catalogue,
    now: datetime,
    request: Request,
) -> Night:
    """Plan `request` for `site` as of `now`, warm the OCI layout `folder` with it, and run it again."""
    spec = CacheSpec("demo", "layout", {"path": folder}, site)
    with serving(catalogue, now) as origin:
        endpoints = [Endpoint("docker.io", origin.url)]
        planned = await plan(lake, spec, endpoints, request, now=now, demand=Demand(sites))
        first = await run(lake, spec, endpoints, planned.plan)
        served = _copied(origin)
        again = await run(lake, spec, endpoints, planned.plan)
    blobs = [path for path in (folder / "blobs" / "sha256").glob("*") if path.is_file()]
    return Night(planned.plan, first, again, served, len(blobs), sum(not _true(path) for path in blobs))


def tell(console: Console, number: int, night: Night) -> None:
    """The plan, what became of it, and the proof."""
    budget = night.plan.budget
    within = telling.size(budget.max_bytes or 0)
    note = f"the morning's {budget.top} likeliest images within {within}; this origin serves sizes 1:{SCALE}"
    telling.section(console, number, "Plan and warm", note)
    telling.table(console, ("image", "P(any)", "bytes", "outcome"), _rows(night), right=("P(any)", "bytes"))
    console.print()
    totals, again = night.run.totals, night.again.totals
    telling.say(
        console,
        f"{totals['warmed']} images in {totals['seconds']:.1f} s over HTTP into an OCI layout:"
        f" {night.served.requests} requests, {telling.size(night.served.bytes)}",
    )
    telling.say(
        console,
        f"{night.blobs} blobs hashed again, {night.wrong} wrong; a second run transferred"
        f" {telling.size(again['bytes'])}",
    )


def _rows(night: Night) -> list[Sequence[str]]:
    """One row per candidate, in rank order."""
    warms = {warm.image: warm for warm in night.plan.warms}
    skips = {skip.image: skip.reason for skip in night.plan.skipped}
    rows: list[Sequence[str]] = []
    for outcome in night.run.outcomes:
        warm = warms.get(outcome.image)
        why = outcome.error or skips.get(outcome.image)
        rows.append(
            (
                Reference.parse(outcome.image).familiar,
                f"{warm.score:.2f}" if warm else "–",
                telling.size(warm.bytes) if warm and warm.bytes is not None else "–",
                f"{outcome.state}: {why}" if why else outcome.state,
            )
        )
    return rows


def _copied(origin: Origin) -> Served:
    """What was served so far."""
    return Served(origin.served.requests, origin.served.blobs, origin.served.bytes)


def _true(path: Path) -> bool:
    return hashlib.sha256(path.read_bytes()).hexdigest() == path.name
