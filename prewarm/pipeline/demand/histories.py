"""The lake's pulls as the hour grids of its sites: what forecasts, figures and reports start from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from prewarm.demand import series
from prewarm.demand.calendars import Site
from prewarm.demand.forecasters import Prior
from prewarm.demand.selection import KINDS, SESSION_GAP, TOOLS, demand_pulls, image_column
from prewarm.demand.staleness import sightings
from prewarm.errors import NotEnoughHistory, UnknownName

if TYPE_CHECKING:
    from prewarm.demand.series import Grid
    from prewarm.lake import Lake

WEEKS = 8  # of pulls that are read; the models look back five and calibrate on the last days

_NAME = ("registry", "repository", "tag", "digest")
COLUMNS = ["timestamp", "until", "site", "client", "user", "agent", "kind", "bytes", "status", *_NAME]


@dataclass(frozen=True, slots=True)
class Counting:
    """What counts as demand (the settings' `[demand]`)."""

    kinds: Sequence[str] = KINDS
    ignore: Sequence[str] = TOOLS
    session_gap: timedelta = SESSION_GAP


DEMAND = Counting()


@dataclass(frozen=True, eq=False)
class History:
    """The demand of one site up to its cutoff, and what was set aside on the way."""

    grid: Grid
    sizes: dict[str, int]  # image -> bytes, where known
    seen: pl.DataFrame  # with which digests tags were seen, see `staleness.sightings`
    set_aside: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Extent:
    """The first and the last access of one site's pulls: of all, or of those before a time `at`."""

    site: str
    first: datetime
    last: datetime


def extents(lake: Lake, site: str | None = None) -> list[Extent]:
    """Every site that the lake has pulls of, or the one asked for, by name.

    Raises NotEnoughHistory when the lake holds no pull, UnknownName for a site that it does not know.
    """
    last = pl.max_horizontal("timestamp", "until").max().alias("last")
    found = [
        Extent(*row)
        for row in lake.scan("pulls")
        .group_by("site")
        .agg(pl.col("timestamp").min().alias("first"), last)
        .sort("site")
        .collect()
        .iter_rows()
    ]
    if not found:
        raise NotEnoughHistory(
            f"the lake at {lake.shown} holds no pulls to learn from; read a log first, for example: "
            "prewarm ingest /var/log/registry/access.log"
        )
    if site is not None and site not in {extent.site for extent in found}:
        raise UnknownName("site", site, [extent.site for extent in found])
    return [extent for extent in found if site in (None, extent.site)]


def known_at(lake: Lake, extent: Extent, at: Sequence[datetime]) -> list[Extent]:
    """The extent as it was before each of these times: pulls of later hours tell nothing of it.

    Before the first pull nothing was known; the extent is then the first pull alone.
    """
    before = [pl.col("timestamp") < pl.lit(moment) for moment in at]
    found = (
        lake.scan("pulls")
        .filter(pl.col("site") == extent.site)
        .select(
            series.last_access(moment).filter(known).max().alias(str(place))
            for place, (moment, known) in enumerate(zip(at, before, strict=True))
        )
        .collect()
    )
    return [replace(extent, last=last or extent.first) for last in (found.row(0) if at else ())]


def declared(sites: Mapping[str, Site], name: str, default: Site | None = None) -> Site:
    """The site called `name`; one that nobody declared keeps the clock of `default` (UTC)."""
    return sites.get(name) or replace(default or Site(), name=name)


def history(
    lake: Lake, site: Site, extent: Extent, at: datetime | None = None, counting: Counting = DEMAND
) -> History:
    """The demand of `site` over the weeks before its cutoff; raises NotEnoughHistory as the cutoff does.

    Nothing that was logged at `at` or later takes part: with later pulls in the lake the answer is the same.
    """
    known = extent if at is None else known_at(lake, extent, [at])[0]
    return history_until(
        lake, site, known, series.complete_until(known.first, known.last, site, at), at, counting
    )


def history_until(
    lake: Lake,
    site: Site,
    extent: Extent,
    end: datetime,
    at: datetime | None = None,
    counting: Counting = DEMAND,
) -> History:
    """The demand of `site` over the weeks before the cutoff `end`, as it was known at `at`."""
    start = begin(site, extent, end)
    pulls = read_pulls(lake, site.name, start, end if at is None else min(end, at))
    outcomes = read_outcomes(lake, start, end, counting)
    demand, aside = demand_among(pulls, outcomes, counting)
    grid = series.count(demand, site, start, end, logged=pulls)
    here = pl.col("site").is_null() | (pl.col("site") == site.name)
    over = pl.col("finished_at") < (end if at is None else min(end, at))
    return History(grid, _sizes(lake, demand), sightings(pulls, outcomes.filter(here, over)), aside)


def begin(site: Site, extent: Extent, end: datetime) -> datetime:
    """Where the history before the cutoff `end` begins."""
    return max(site.floor(extent.first), end - timedelta(weeks=WEEKS))


def read_pulls(
    lake: Lake, site: str, start: datetime, end: datetime, more: Sequence[str] = ()
) -> pl.DataFrame:
    """All pulls of `site` in `[start, end)`: the columns that tell whether they are demand, and `more`."""
    return lake.read("pulls", *_between(site, start, end), columns=[*COLUMNS, *more])


def read_outcomes(lake: Lake, start: datetime, end: datetime, counting: Counting) -> pl.DataFrame:
    """What runs did around `[start, end)`: they account for some of the pulls."""
    return lake.read(
        "outcomes", pl.col("finished_at") >= start - counting.session_gap, pl.col("started_at") < end
    )


def demand_among(
    pulls: pl.DataFrame, outcomes: pl.DataFrame, counting: Counting
) -> tuple[pl.DataFrame, dict[str, int]]:
    """The demand among `pulls`, and what was set aside."""
    return demand_pulls(pulls, outcomes, counting.kinds, counting.ignore, counting.session_gap)


def pushes(lake: Lake, until: datetime) -> pl.DataFrame:
    """`timestamp, site, image, digest` of the tags that a log saw pushed in the weeks before `until`."""
    return (
        lake.scan("pushes")
        .filter(
            pl.col("tag").is_not_null(),
            pl.col("timestamp") < until,
            pl.col("timestamp") >= until - timedelta(weeks=WEEKS),
        )
        .select("timestamp", "site", image_column(), "digest")
        .collect()
    )


def prior() -> Prior:
    """The shipped model artefact: inside the wheel, or `models/` of a checkout."""
    inside = resources.files("prewarm") / "data" / "models" / "prior.json"
    if inside.is_file():
        return Prior.parse(_document(inside.read_bytes()))
    return Prior.parse(_document((Path(__file__).parents[3] / "models" / "prior.json").read_bytes()))


def _document(text: bytes) -> Mapping[str, Any]:
    document = json.loads(text)
    return document if isinstance(document, dict) else {}


def _between(site: str, start: datetime, end: datetime) -> tuple[pl.Expr, ...]:
    """Pulls of `site` in `[start, end)`; the dates let whole partitions be passed over."""
    return (
        pl.col("date").is_between(start.date(), end.date()),
        pl.col("site") == site,
        pl.col("timestamp") >= start,
        pl.col("timestamp") < end,
    )


def _sizes(lake: Lake, demand: pl.DataFrame) -> dict[str, int]:
    """Bytes by image: from the image catalogue, else the largest pull that was logged."""
    logged = demand.group_by("image").agg(pl.col("bytes").max()).drop_nulls()
    catalogue = (
        lake.scan("images")
        .select(image_column(), "bytes", "checked_at")
        .drop_nulls("bytes")
        .sort("checked_at")
        .group_by("image")
        .agg(pl.col("bytes").last())
        .collect()
    )
    return dict(logged.iter_rows()) | dict(catalogue.iter_rows())
