"""The verb `scorecard`: every model on the lake's own past, beside the baselines it has to beat."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from prewarm.demand import evaluation, forecasters
from prewarm.demand.calendars import Site
from prewarm.demand.evaluation import Tally, difference, rounded
from prewarm.demand.forecasters.baselines import BASELINES
from prewarm.errors import NotEnoughHistory, SettingsError
from prewarm.pipeline.demand.histories import DEMAND, Counting, declared, extents, history, prior

if TYPE_CHECKING:
    from prewarm.lake import Lake

TOPS = (5, 10, 50)
MAX_ORIGINS = 500
MODELS = ("auto", "profile")


@dataclass(frozen=True, eq=False)
class Scorecard:
    """The tallies by model, and how far the first model is from each of the others."""

    hours: int
    origins: int  # in all sites together
    sites: tuple[str, ...]
    tallies: Mapping[str, Tally]
    main: int  # the N of top-N by which the best is chosen

    @property
    def best(self) -> str:
        """The model that captures most at the main N; ties by the order asked for."""
        scores = {
            name: tally.document()[f"capture@{self.main}"] or 0.0 for name, tally in self.tallies.items()
        }
        return max(scores, key=lambda name: scores[name])

    def document(self) -> dict[str, Any]:
        """What `prewarm scorecard --json` prints. `against`: the first model minus each other, with 95 %.

        `fallbacks`: windows in which a baseline answered for a model, see `demand.forecasters.rivals`.
        """
        first, *others = self.tallies
        against = {
            name: dict(
                zip(
                    (f"capture@{self.main}", "lo", "hi"),
                    (rounded(v) for v in difference(self.tallies[first], self.tallies[name], self.main)),
                    strict=True,
                )
            )
            for name in others
        }
        return {
            "hours": self.hours,
            "origins": self.origins,
            "sites": list(self.sites),
            "models": {name: tally.document() for name, tally in self.tallies.items()},
            "best": self.best,
            "against": against,
            "fallbacks": {
                name: dict(tally.fallbacks) for name, tally in self.tallies.items() if tally.fallbacks
            },
            "verdict": self.verdict,
        }

    @property
    def verdict(self) -> str:
        """How far the first model is from the best baseline, in a sentence."""
        first = next(iter(self.tallies))
        rivals = {name: tally for name, tally in self.tallies.items() if name in BASELINES and name != first}
        if not rivals:
            return f"{first} has nothing to be compared with"
        gaps = {name: difference(self.tallies[first], tally, self.main) for name, tally in rivals.items()}
        name, (gap, lo, hi) = min(gaps.items(), key=lambda item: item[1][0])
        if not np.isfinite(gap):
            return "no hour had a pull, so there is nothing to compare"
        word = "better than" if lo > 0 else "worse than" if hi < 0 else "not to be told from"
        return (
            f"{first} is {word} the best baseline, {name}: capture@{self.main} {gap:+.3f} "
            f"(95 % of redrawn days: {lo:+.3f} to {hi:+.3f})"
        )


def scorecard(
    lake: Lake,
    sites: Mapping[str, Site],
    at: datetime | None = None,
    hours: int = 24,
    origins: int = 7,
    models: Sequence[str] = MODELS,
    top: Sequence[int] = TOPS,
    site: str | None = None,
    *,
    default: Site | None = None,
    counting: Counting = DEMAND,
) -> Scorecard:
    """Score `models`, and every baseline, over the last `origins` windows of `hours` hours of each site.

    Each window is forecast from the hours before it. Raises NotEnoughHistory when no site has two days,
    UnknownName for a model, SettingsError for numbers out of range.
    """
    _check(hours, origins, top)
    shipped = prior()
    loaded = {name: forecasters.load(name, shipped) for name in dict.fromkeys((*models, *BASELINES))}
    tallies = {name: Tally(tuple(top)) for name in loaded}
    scored = 0
    names: list[str] = []
    for extent in extents(lake, site):
        grid = history(lake, declared(sites, extent.site, default), extent, at, counting).grid
        windows = evaluation.origins(grid, origins, hours)
        done = evaluation.score(loaded, grid, windows, hours, shipped.dispersion, tallies, time.perf_counter)
        if done:
            scored, names = scored + done, [*names, extent.site]
    if not scored:
        raise NotEnoughHistory(
            f"no site has logged {hours} hours and a day before them, so there is no outcome to compare with"
        )
    return Scorecard(hours, scored, tuple(names), tallies, sorted(top)[len(top) // 2])


def _check(hours: int, origins: int, top: Sequence[int]) -> None:
    if not 1 <= hours <= 168:
        raise SettingsError(f"hours {hours} cannot be scored; expected 1 to 168, such as 24")
    if not 1 <= origins <= MAX_ORIGINS:
        raise SettingsError(f"origins {origins} cannot be used; expected 1 to {MAX_ORIGINS}, such as 7")
    if not top or not all(1 <= n <= 10_000 for n in top):
        raise SettingsError(f"top {tuple(top)!r} cannot be used; expected numbers of images, such as 5,10,50")
