"""The verb `report`: what happened, from the lake's pulls and outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl

from prewarm.demand.selection import TOOLS, image_column, matching
from prewarm.errors import UnknownName
from prewarm.insight.causes import COLUMNS, Judged, identify, judged
from prewarm.insight.groups import Groups, members
from prewarm.insight.reports import NAMES, Report
from prewarm.insight.reports.concentration import concentration
from prewarm.insight.reports.growth import growth
from prewarm.insight.reports.hits import hit_rate
from prewarm.insight.reports.holdout import holdout
from prewarm.insight.reports.latency import latency
from prewarm.insight.reports.misses import misses
from prewarm.insight.reports.savings import savings
from prewarm.insight.reports.trials import followed, trials
from prewarm.insight.reports.warmed import warmed
from prewarm.pipeline.demand.histories import extents
from prewarm.pipeline.logs.pulls import is_image

if TYPE_CHECKING:
    from prewarm.lake import Lake

OWN = "prewarm/"
KEY = ["timestamp", "client", "repository", "tag"]
"""What tells a pull from others, for contents that a lake does not keep."""


@dataclass(frozen=True)
class Scope:
    """What a report is asked about; `since` and `until` are aware, None is where the lake begins and ends."""

    site: str | None = None
    image: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    group: str | None = None  # of clients: a name of the settings, or a network

    def earlier(self) -> Scope | None:
        """The period of the same length before; None without a beginning, or where no calendar has it."""
        if self.since is None or self.until is None:
            return None
        try:
            return replace(self, since=self.since - (self.until - self.since), until=self.since)
        except OverflowError:
            return None


@dataclass(frozen=True)
class Terms:
    """What the settings say that reports need."""

    zone: str = "UTC"
    ttls: Mapping[str, timedelta | None] = field(default_factory=dict)  # by site, where declared
    ignore: Sequence[str] = TOOLS
    egress_per_gb: float = 0.0
    quota: int = 100  # pulls that docker.io grants in six hours
    groups: Groups = field(default_factory=dict)  # of clients: networks by name
    zones: Mapping[str, str] = field(default_factory=dict)  # by site, where declared

    def zone_of(self, site: str) -> str:
        """The time zone of one site, also in a report of several."""
        return self.zones.get(site, self.zone)


TERMS = Terms()


def report(lake: Lake, name: str, scope: Scope = Scope(), terms: Terms = TERMS) -> Report:
    """One report, beside that of the period before where the scope has a beginning.

    Raises UnknownName for a report, a site or a group of clients that does not exist, NotEnoughHistory for a
    lake without pulls, InvalidReference for an image that is none, LakeError when the lake cannot be read.
    """
    if name not in MAKERS:
        raise UnknownName("report", name, NAMES)
    found = extents(lake, scope.site)
    if scope.since is not None and scope.until is None:
        scope = replace(scope, until=max(each.last for each in found) + timedelta(microseconds=1))
    material = Material(lake, scope, terms)
    made = MAKERS[name](material, scope)
    before = scope.earlier()
    if before is not None and _logged(before, min(each.first for each in found)):
        made = made.beside(MAKERS[name](material, before))
    return replace(made, scope=asdict(scope))


class Material:
    """What reports are made of, read once for a period and the one before it.

    `told` names, by KEY, what pulls without a digest obtained (column `contents`).
    """

    def __init__(
        self, lake: Lake, scope: Scope, terms: Terms = TERMS, told: pl.DataFrame | None = None
    ) -> None:
        self._told = told
        self.lake = lake
        self.terms = terms
        self._scope = scope
        self._judged: Judged | None = None

    def pulls(self, scope: Scope) -> pl.LazyFrame:
        """Transfers that the scope names, with `image`, `named`, `version` and `repo`."""
        where = [] if scope.since is None else [pl.col("date") >= scope.since.date(), _time() >= scope.since]
        where += [] if scope.until is None else [pl.col("date") <= scope.until.date(), _time() < scope.until]
        rows = identify(self._scan().filter(*where, self._mine(scope))).filter(~_use())
        if scope.group is None:
            return rows
        everyone = self._scan().select("client").unique().collect(engine="streaming")["client"]
        inside = members(everyone, scope.group, self.terms.groups)
        return rows.filter(pl.col("client").is_in(inside.implode(), nulls_equal=True))

    def judged(self, scope: Scope) -> Judged:
        """Hits and misses of the scope, as all pulls before it let them be told."""
        if self._judged is None:
            found = judged(self._rows(), self.pushes(), self.terms.ttls)
            self._judged = replace(found, groups=self.terms.groups).of_clients(scope.group)
        return self._judged.between(scope.since, scope.until)

    def _rows(self) -> pl.DataFrame:
        """All pulls until the scope ends; texts as numbers of what they say, of which there are few."""
        until = self._scope.until
        where = [] if until is None else [pl.col("date") <= until.date(), _time() < until]
        rows = identify(self._scan().filter(*where, self._mine(self._scope))).drop("date")
        return rows.with_columns(pl.col(pl.String).cast(pl.Categorical)).collect(engine="streaming")

    def pushes(self) -> pl.DataFrame:
        """What was pushed when, by image."""
        rows = self.lake.scan("pushes").select("timestamp", image_column())
        return rows.filter(pl.col("image").is_not_null()).collect()

    def trials(self, scope: Scope) -> pl.DataFrame:
        """What runs warmed and withheld in the scope, with the pulls that followed."""
        rows = self.lake.read("outcomes")
        plans = self.lake.read("plans", columns=["id", "document"])
        tried = trials(rows, _windows(plans))
        where = [] if scope.since is None else [pl.col("start") >= scope.since]
        where += [] if scope.until is None else [pl.col("start") < scope.until]
        where += [] if scope.site is None else [pl.col("site").is_null() | (pl.col("site") == scope.site)]
        where += [] if scope.image is None else [pl.col("image").is_in(self._images(scope).implode())]
        return followed(tried.filter(*where) if where else tried, self.judged(self._scope).frame)

    def _images(self, scope: Scope) -> pl.Series:
        return self.judged(scope).frame["image"].unique()

    def catalogue(self) -> pl.DataFrame:
        """Layers by image and digest."""
        rows = self.lake.scan("images").select(image_column(), "digest", "layers")
        return rows.collect().unique(["image", "digest"], keep="last", maintain_order=True)

    def _scan(self) -> pl.LazyFrame:
        """Pulls of the people behind the caches: not ours, not of tools, and of tags that exist."""
        rows = self.lake.scan("pulls")
        agents = rows.select(pl.col("agent").unique()).collect(engine="streaming")["agent"]
        aside = [
            *matching(agents, self.terms.ignore),
            *agents.filter(agents.str.starts_with(OWN).fill_null(False)),
        ]
        ok = (pl.col("status") != "missed").fill_null(True)
        told = ~pl.col("agent").is_in(aside) if aside else pl.lit(True)
        kept = rows.filter(ok & told.fill_null(True)).select(*COLUMNS, "date")
        if self._told is None:
            return kept
        named = kept.join(self._told.lazy(), on=KEY, how="left", nulls_equal=True)
        return named.with_columns(pl.coalesce("digest", "contents").alias("digest")).drop("contents")

    def _mine(self, scope: Scope) -> pl.Expr:
        asked = pl.lit(True) if scope.site is None else pl.col("site") == scope.site
        return asked if scope.image is None else asked & is_image(scope.image)


def _logged(scope: Scope, first: datetime) -> bool:
    """Whether a lake that begins with `first` knows nearly all of a period."""
    assert scope.since is not None
    assert scope.until is not None
    return first - scope.since <= (scope.until - scope.since) / 20


def _time() -> pl.Expr:
    return pl.col("timestamp")


def _windows(plans: pl.DataFrame) -> pl.DataFrame:
    """`plan, start, end`: the hours that each plan was for."""
    time = pl.Datetime("us", "UTC")
    document = pl.col("document")
    return plans.select(
        pl.col("id").alias("plan"),
        *(
            document.str.json_path_match(f"$.window.{edge}").str.to_datetime(
                "%+", time_unit="us", time_zone="UTC", strict=False
            ).cast(time).alias(edge)
            for edge in ("start", "end")
        ),
    ).unique("plan", keep="last")  # fmt: skip


def _use() -> pl.Expr:
    return (pl.col("kind") == "local").fill_null(False)


Maker = Callable[[Material, Scope], Report]

MAKERS: dict[str, Maker] = {
    "misses": lambda material, scope: misses(material.judged(scope), material.terms.zone),
    "hit-rate": lambda material, scope: hit_rate(material.judged(scope), material.terms.zone),
    "latency": lambda material, scope: latency(material.judged(scope), material.terms.zone),
    "savings": lambda material, scope: savings(
        material.judged(scope), material.trials(scope), material.terms.egress_per_gb, material.terms.quota
    ),
    "warmed": lambda material, scope: warmed(material.trials(scope), material.judged(scope)),
    "holdout": lambda material, scope: holdout(material.trials(scope), material.judged(scope)),
    "growth": lambda material, scope: growth(
        material.pulls(scope), material.catalogue(), material.terms.zone
    ),
    "concentration": lambda material, scope: concentration(material.pulls(scope), material.terms.zone),
}
