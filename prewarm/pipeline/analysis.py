"""What analysts call from a notebook: the lake and the models as pandas frames.

Frames speak Nixtla's grammar: `unique_id, ds, y`, and `<model>`, `<model>-lo-90`, `<model>-hi-90`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from prewarm.demand import forecasters, frames, ranking
from prewarm.demand.calendars import HOUR, Site
from prewarm.errors import SettingsError
from prewarm.lake import Lake
from prewarm.logs.files import Source
from prewarm.pipeline.demand import forecast as verbs
from prewarm.pipeline.demand.histories import DEMAND, Counting, declared, extents, history, prior
from prewarm.pipeline.demand.outlooks import MAX_HOURS
from prewarm.pipeline.insight import reports
from prewarm.pipeline.insight.advise import advise
from prewarm.pipeline.insight.assess import assess as assess_logs
from prewarm.pipeline.insight.replay import replay as replayed
from prewarm.pipeline.insight.whatif import POLICIES, ReplayResult, WhatIf
from prewarm.quantities import parse_bytes, parse_duration

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from prewarm.demand.distribution import Dispersion
    from prewarm.demand.series import Grid
    from prewarm.insight.assessment import Assessment
    from prewarm.insight.reports import Report


@dataclass(frozen=True)
class Study:
    """A lake, seen by an analyst; `sites` and `default` are the clocks that its sites live by."""

    lake: Lake
    sites: Mapping[str, Site] = field(default_factory=dict)
    default: Site = field(default_factory=Site)
    counting: Counting = DEMAND

    def site_names(self) -> list[str]:
        """Every site that the lake has pulls of."""
        return [extent.site for extent in extents(self.lake)]

    def site(self, name: str | None = None) -> Site:
        """One site with its clock; without a name the only one, else SettingsError names them."""
        known = [extent.site for extent in extents(self.lake, name)]
        if len(known) > 1:
            raise SettingsError(f"the lake has several sites ({', '.join(known)}); pass site={known[0]!r}")
        return declared(self.sites, known[0], self.default)

    def demand(self, site: str | None = None, at: datetime | None = None, zeros: bool = True) -> pd.DataFrame:
        """Demand of one site as `unique_id, ds, y`: the last eight weeks before its cutoff, or before `at`.

        `y` is NaN in the hours of an outage. With `zeros=False` only hours with pulls have rows.
        """
        place = self.site(site)
        (extent,) = extents(self.lake, place.name)
        return frames.frame(history(self.lake, place, extent, at, self.counting).grid, zeros)

    def pulls(self, site: str | None = None) -> pd.DataFrame:
        """Every pull, as the lake keeps it (README: the pulls table)."""
        where = [] if site is None else [pl.col("site") == site]
        return self.lake.read("pulls", *where).to_pandas()

    def outcomes(self) -> pd.DataFrame:
        """What runs did, image by image."""
        return self.lake.read("outcomes").to_pandas()

    def plans(self) -> pd.DataFrame:
        """The plans that were made; `document` is each as JSON."""
        return self.lake.read("plans").to_pandas()

    def rank(
        self,
        at: datetime,
        hours: int = 1,
        top: int = 50,
        site: str | None = None,
        objective: str = "pulls",
        model: str = "auto",
    ) -> pd.DataFrame:
        """`rank, image, mean, probability, bytes, score, p_stale` of the window `[at, at + hours)`."""
        result = verbs.rank(
            self.lake, self.sites, [at], hours, top, site, objective, model,
            default=self.default, counting=self.counting,
        )  # fmt: skip
        return _ranked(result.ranking)

    def report(
        self,
        name: str,
        site: str | None = None,
        image: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        group: str | None = None,
    ) -> Report:
        """A report by name, such as misses: `.summary`, `.frame()` for its tables, `.cannot_say`."""
        scope = reports.Scope(site, image, since, until, group)
        return reports.report(self.lake, name, scope, self._terms(site))

    def advice(self, site: str | None = None) -> pd.DataFrame:
        """A row for each repository: `site, repository, strategy, why, saving, apply, unless` and more."""
        found = advise(self.lake, reports.Scope(site), self._terms(site))
        return pl.DataFrame(found.repositories, infer_schema_length=None).to_pandas()

    def replay(
        self,
        policies: Sequence[str] | None = None,
        site: str | None = None,
        capacity: int | str | None = None,
        ttl: timedelta | str | None = "168h",
        max_bytes: int | str | None = None,
        **asked: Any,
    ) -> ReplayResult:
        """What each of `policies` would have been: see `prewarm.replay`."""
        question = WhatIf(
            policies=POLICIES if policies is None else policies,
            site=site,
            capacity=None if capacity is None else parse_bytes(capacity),
            ttl=None if ttl is None else parse_duration(ttl),
            max_bytes=None if max_bytes is None else parse_bytes(max_bytes),
            **asked,
        )
        return replayed(self.lake, self.sites, question, default=self.default, counting=self.counting)

    def _terms(self, site: str | None) -> reports.Terms:
        place = self.sites.get(site or "", self.default)
        return reports.Terms(place.timezone, ignore=self.counting.ignore)


def assess(*paths: str | Path, timezone: str = "UTC") -> Assessment:
    """Does pre-warming pay? Judge logs without a lake: `.verdict`, `.why`, `.misses.frame()`, `.document()`.

    >>> prewarm.assess("/var/log/nginx/mirror.log").verdict
    """
    source = Source("log", tuple(map(str, paths)), timezone=timezone)
    return assess_logs([source], reports.Terms(timezone))


def replay(lake: Study, policies: Sequence[str] | None = None, **asked: Any) -> ReplayResult:
    """Replay a lake's pulls through a simulated mirror under `policies`, as `prewarm replay` does.

    `asked` are `site, capacity ("200GB"), ttl ("168h"), max_bytes, since, until, top, at, days, scope,
    objective, quota, pareto, latency, bandwidth` (`WhatIf`). The result has `frame()`, `misses()`, `pareto()`
    and `business()`, pandas frames all of them, and `document()`.

    >>> prewarm.replay(lake, ["fixed", "auto"], capacity="200GB").frame()
    """
    return lake.replay(policies, **asked)


def open(
    path: str | Path = "./lake",
    sites: Mapping[str, Site] | None = None,
    timezone: str = "UTC",
    holidays: str | None = None,
) -> Study:
    """A lake to study. Sites that are not in `sites` live by `timezone` and `holidays`.

    >>> lake = prewarm.open("./lake", timezone="America/Boise", holidays="US-ID")
    >>> lake.demand()
    """
    return Study(Lake.open(path), sites or {}, Site("default", timezone, holidays))


def forecast(
    df: pd.DataFrame,
    h: int,
    level: Sequence[int] = (),
    model: str = "auto",
    site: Site | None = None,
) -> pd.DataFrame:
    """Forecast the `h` hours after a long frame `unique_id, ds, y` (hours without a row are zeros).

    Returns `unique_id, ds, <model>, probability`, and `<model>-lo-90`, `<model>-hi-90` for a level of 90.
    The last hour of the frame is the last known one; `site` gives the clock (UTC). Raises SettingsError for
    frames, `h` and levels that cannot be used, UnknownName for the model.
    """
    if not all(0 < percent < 100 for percent in level):
        raise SettingsError(f"level {tuple(level)!r} cannot be used; expected percents such as 80, 90")
    grid, name, means, dispersion = _fitted(df, h, model, site)
    columns = {name: means.ravel(), "probability": dispersion.probability(means).ravel()}
    for percent in level:
        lo, hi = dispersion.interval(means.ravel(), percent)
        columns |= {f"{name}-lo-{percent}": lo, f"{name}-hi-{percent}": hi}
    times = [grid.cutoff + hour * HOUR for hour in range(h)]
    return pl.DataFrame(
        {
            "unique_id": np.repeat(np.array(grid.images, dtype=object), h),
            "ds": pl.Series(times * len(grid.images), dtype=pl.Datetime("us", "UTC")),
            **columns,
        },
        schema_overrides={"unique_id": pl.String},
    ).to_pandas()


def rank(
    df: pd.DataFrame,
    h: int = 1,
    top: int = 50,
    objective: str = "pulls",
    model: str = "auto",
    site: Site | None = None,
    sizes: Mapping[str, int] | None = None,
) -> pd.DataFrame:
    """The `top` images of the `h` hours after a long frame, taken as one window.

    Returns `rank, image, mean, probability, bytes, score`; `sizes` (bytes by image) serve the objective
    `bytes`. Raises as `forecast` does.
    """
    grid, _, means, dispersion = _fitted(df, h, model, site)
    expected = ranking.expect(grid.images, means, dispersion, np.ones(h))
    return _ranked(ranking.rank(expected, sizes or {}, objective, top))


def _fitted(
    df: pd.DataFrame, h: int, model: str, site: Site | None
) -> tuple[Grid, str, NDArray[np.float32], Dispersion]:
    if not 1 <= h <= MAX_HOURS:
        raise SettingsError(f"h {h} cannot be used; expected 1 to {MAX_HOURS} hours, such as 24")
    shipped = prior()
    grid = frames.history(df, site)
    chosen = forecasters.load(model, shipped)
    answers = forecasters.fit(chosen, grid, shipped.dispersion)
    return grid, chosen.name, answers.means(range(h)), answers.dispersion


def _ranked(rows: Sequence[ranking.Ranked]) -> pd.DataFrame:
    columns = {
        "rank": pl.Int64,
        "image": pl.String,
        "mean": pl.Float64,
        "probability": pl.Float64,
        "bytes": pl.Int64,
        "score": pl.Float64,
        "p_stale": pl.Float64,
    }
    return pl.DataFrame(
        [[getattr(row, name) for name in columns] for row in rows], schema=columns, orient="row"
    ).to_pandas()
