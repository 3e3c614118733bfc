"""What only reports know of a lake, for `/metrics`: measured beside the service, once an hour."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from prewarm.errors import NotEnoughHistory, UnknownName
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


def measure(
    lake: Lake, settings: Settings, sites: Iterable[str], now: datetime, before: Iterable[Measure] = ()
) -> list[Measure]:
    """The sites that have pulls, as `report hit-rate` and `report savings` tell of them.

    Reports value all runs anew, as fast as upstream has been by now, and may come to less than `before`:
    then that stands, since counters only go up.
    """
    told = {each.site: each for each in before}
    found = []
    for site in sites:
        terms = settings.terms(site)
        with suppress(NotEnoughHistory, UnknownName):  # a site without pulls has nothing to measure
            saved = report(lake, "savings", Scope(site), terms).summary
            rate = report(lake, "hit-rate", Scope(site, since=now - DAY, until=now), terms).summary[
                "hit_rate"
            ]
            last = told.get(site, Measure(site, None, 0.0, 0))
            seconds = max(saved["seconds_saved"], last.seconds_saved)
            found.append(Measure(site, rate, seconds, max(saved["wasted_bytes"], last.wasted_bytes)))
    return found
