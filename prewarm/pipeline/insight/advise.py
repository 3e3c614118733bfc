"""The verb `advise`: a strategy for each repository of the lake, with its evidence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from prewarm.demand.calendars import Site
from prewarm.errors import NotEnoughHistory
from prewarm.insight.advice import advise as judge
from prewarm.insight.advice import strategies
from prewarm.insight.gains import PREFERRED, Replayed, presumed, together
from prewarm.insight.policies import FACTOR, LONGER, NONE
from prewarm.insight.reports.doubts import doubts
from prewarm.insight.serving import TTL
from prewarm.pipeline.demand.histories import extents
from prewarm.pipeline.insight.replay import gathered, staged
from prewarm.pipeline.insight.reports import TERMS, Material, Scope, Terms
from prewarm.pipeline.insight.whatif import WhatIf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prewarm.insight.causes import Judged
    from prewarm.lake import Lake
    from prewarm.pipeline.demand.histories import Extent


@dataclass(frozen=True, eq=False)
class Advice:
    """A row for each repository of a site, most to gain first, and how all that is known."""

    repositories: list[dict[str, Any]]
    sure: str
    evidence: tuple[str, ...]
    cannot_say: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """What `prewarm advise --json` prints."""
        return {
            "repositories": self.repositories,
            "strategies": strategies(self.repositories),
            "sure": self.sure,
            "evidence": list(self.evidence),
            "cannot_say": list(self.cannot_say),
        }


EVERYTHING = Scope()


def advise(lake: Lake, scope: Scope = EVERYTHING, terms: Terms = TERMS) -> Advice:
    """Advice from all that the scope names; its gains are replayed over the second half of each site's log.

    Raises UnknownName for a site, NotEnoughHistory for a lake without pulls, LakeError when it is unreadable.
    """
    found = extents(lake, scope.site)
    judged = Material(lake, scope, terms).judged(scope)
    unsaid = list(doubts(judged))
    replays: dict[str, Replayed] = {}
    for extent in found:
        try:
            replays[extent.site] = _replayed(
                lake, extent, scope, terms, _kept(judged, extent.site, terms.ttls)
            )
        except NotEnoughHistory as error:
            unsaid.append(f"gains by replay: {error}")
    unsaid += _unsaid(replays, judged)
    if scope.group is not None:
        unsaid.append("gains of a group of clients: they are replayed for all clients of the site")
    if len(found) == 1:
        unsaid.append("replicas, edges and pushes to several sites: the lake holds the pulls of one site")
    rows = judge(judged, terms.quota, {each.site: terms.zone_of(each.site) for each in found}, replays)
    return Advice(rows, judged.sure(), judged.words(), tuple(unsaid))


def _replayed(lake: Lake, extent: Extent, scope: Scope, terms: Terms, ttl: timedelta | None) -> Replayed:
    """What the cheap policies gain each repository of a site."""
    asked = WhatIf(ttl=ttl, since=scope.since, until=scope.until, site=extent.site, policies=())
    read = gathered(lake, Site(extent.site, terms.zone_of(extent.site)), extent, asked)
    catalogue = lake.read("images")
    names = [NONE, *(name for name in PREFERRED if name != LONGER or ttl is not None)]
    if len(read.pushes):
        found = together([staged(read, asked, read.pushes, catalogue).waits(names)])
    else:
        bounds = [presumed(read.demand, early) for early in (False, True)]
        found = together([staged(read, asked, pushes, catalogue).waits(names) for pushes in bounds])
    return found if ttl is None else replace(found, longer=FACTOR * ttl)


def _kept(judged: Judged, site: str, declared: Mapping[str, timedelta | None]) -> timedelta | None:
    """How long the site's cache keeps a fill: as declared, as read off the log, else as by default."""
    if site in declared:
        return declared[site]
    told = [each for each in judged.evidence if each.site == site]
    fitted = [each.ttl for each in told if each.fitted == "ttl" and each.ttl is not None]
    if fitted:
        return min(fitted)
    logged = bool(told) and all(each.kind in ("logged", "durations") for each in told)
    return None if logged else TTL  # where hits are known and nothing lapsed, it keeps


def _unsaid(replays: Mapping[str, Replayed], judged: Judged) -> list[str]:
    """What the replays leave open."""
    said = []
    if any(each.presumed for each in replays.values()):
        said.append(
            "when tags moved: no push is logged, so a gain by replay is a range, from each version pushed "
            "just before its first pull to just after the last pull of the one before; webhooks tell"
        )
    if any(each.fitted == "idle" for each in judged.evidence):
        said.append("what a bigger disk gains: its size is not known; say prewarm replay --capacity 200GB")
    if any(each.kind == "nodes" for each in judged.evidence):
        said.append("gains on nodes: a replay has one cache for each site; say prewarm replay --scope cold")
    return said
