"""What only reports know of a lake, for `/metrics`: measured beside the service, once an hour."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from prewarm.errors import PrewarmError
from prewarm.pipeline.insight.reports import Scope, report

if TYPE_CHECKING:
    from prewarm.lake import Lake
    from prewarm.settings import Settings

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Measure:
    """One site: what its cache served of a day's pulls, and what runs have brought since the lake began."""

    site: str
    hit_ratio: float | None  # None where nothing was pulled
    seconds_saved: float
    wasted_bytes: int


def measure(lake: Lake, settings: Settings, sites: Iterable[str], now: datetime) -> list[Measure]:
    """The sites that have pulls, as `report hit-rate` and `report savings` tell of them."""
    found = []
    for site in sites:
        terms = settings.terms(site)
        with suppress(PrewarmError):  # a site without pulls has nothing to measure
            saved = report(lake, "savings", Scope(site), terms).summary
            rate = report(lake, "hit-rate", Scope(site, since=now - DAY, until=now), terms).summary[
                "hit_rate"
            ]
            found.append(Measure(site, rate, saved["seconds_saved"], saved["wasted_bytes"]))
    return found
