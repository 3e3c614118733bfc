"""The verb `advise`: a strategy for each repository of the lake, with its evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prewarm.insight.advice import advise as judge
from prewarm.insight.advice import strategies
from prewarm.insight.reports.doubts import doubts
from prewarm.pipeline.demand.histories import extents
from prewarm.pipeline.insight.reports import TERMS, Material, Scope, Terms

if TYPE_CHECKING:
    from prewarm.lake import Lake


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
    """Advice from all that the scope names.

    Raises UnknownName for a site, NotEnoughHistory for a lake without pulls, LakeError when it is unreadable.
    """
    found = extents(lake, scope.site)
    judged = Material(lake, scope, terms).judged(scope)
    unsaid = list(doubts(judged))
    if len(found) == 1:
        unsaid.append("replicas, edges and pushes to several sites: the lake holds the pulls of one site")
    return Advice(judge(judged, terms.quota), judged.sure(), judged.words(), tuple(unsaid))
