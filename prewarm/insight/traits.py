"""What each repository's traffic at each site was like: the facts that `advice` judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from prewarm.insight.causes import Judged
from prewarm.insight.clocks import hour
from prewarm.insight.reasons import Cause
from prewarm.insight.reports.savings import HUB, WINDOW

TOGETHER = timedelta(minutes=30)  # sites that pull a version within this pull it at once
IN_USE = 0.1  # of a repository's pulls, for a patch tag to be in use

CACHE_TAG = r"(?i)^(?:build)?cache$|[-_.](?:build)?cache$|^(?:build)?cache[-_.]"
CACHE_REPOSITORY = r"(?i)(?:^|[/_-])(?:build)?cache$"
PATCH = r"^v?(\d+\.\d+)\.\d+((?:-[0-9a-z.-]+)?)$"


@dataclass(frozen=True, slots=True)
class Traits:
    """What one repository's traffic at one site was like."""

    site: str
    repository: str  # with its registry
    days: float  # that the site's log covers
    pulls: int
    versions: int
    pulled_once: int  # versions of one pull, not of the last day
    size: int  # bytes of the largest pull
    misses: int
    waits: Mapping[str, float]  # seconds, by cause
    counts: Mapping[str, int]  # misses, by cause
    idle: timedelta  # since the last pull, when the log ended
    sites: int  # that pull the repository
    at_once: int  # versions that several sites pulled within minutes
    shared: int  # versions that several sites pulled
    cache_pulls: int  # of BuildKit cache references
    cache_tag: str | None  # the one pulled most
    first_timers: int  # misses that were a client's only one of a version
    torn_tags: int  # days on which clients got different contents under one tag
    patches: tuple[str, ...]  # tags in use that differ by their patch number only
    throttled: float  # of the site's upstream pulls in spent quota windows, this repository's
    evicted: bool  # whether the site's cache evicts at all
    longer: timedelta | None = None  # the longer expiry that was replayed
    peak: int = 8  # hour of the day, on the site's clock, in which most is waited, else pulled

    @property
    def wait(self) -> float:
        """Seconds of waiting a day."""
        return sum(self.waits.values()) / self.days

    @property
    def pace(self) -> float:
        """Pulls a day."""
        return self.pulls / self.days

    def waiting(self, *causes: Cause) -> float:
        """Seconds of waiting a day for these causes."""
        return sum(self.waits.get(str(cause), 0.0) for cause in causes) / self.days

    def missed(self, *causes: Cause) -> int:
        return sum(self.counts.get(str(cause), 0) for cause in causes)


def traits_of(judged: Judged, quota: int = 100, zones: Mapping[str, str] | None = None) -> list[Traits]:
    """The traits of every repository of every site; `zones` are the clocks of sites, else UTC."""
    if judged.frame.is_empty():
        return []
    texts = judged.frame.with_columns(pl.col("site", "registry", "repository", "tag").cast(pl.String))
    frame = texts.with_columns(
        (pl.col("registry").fill_null(HUB) + "/" + pl.col("repository")).alias("name"),
        pl.col("timestamp").dt.date().alias("day"),
    )
    key = ["site", "name"]
    found = _plain(frame)
    for more in (
        _by_cause(frame),
        _versions(frame),
        _torn(frame),
        _patches(frame),
        _throttled(frame, quota),
        _peak(frame, zones or {}),
    ):
        found = found.join(more, on=key, how="left")
    found = found.join(_across(frame), on="name", how="left")
    spans = frame.group_by("site").agg(
        pl.col("timestamp").min().alias("begin"),
        pl.col("timestamp").max().alias("end"),
        (pl.col("cause") == str(Cause.EVICTED)).any().fill_null(False).alias("evicted"),
    )
    return [_traits(row) for row in found.join(spans, on="site").sort(key).iter_rows(named=True)]


def _traits(row: Mapping[str, Any]) -> Traits:
    begin, end, last = row["begin"], row["end"], row["last"]
    assert isinstance(begin, datetime)
    causes = row["causes"] or []
    return Traits(
        site=row["site"],
        repository=row["name"],
        days=max((end - begin) / timedelta(days=1), 1.0),
        pulls=row["pulls"],
        versions=row["versions"],
        pulled_once=row["pulled_once"] or 0,
        size=row["size"] or 0,
        misses=row["misses"],
        waits={each["cause"]: each["wait"] for each in causes},
        counts={each["cause"]: each["count"] for each in causes},
        idle=end - last,
        sites=row["sites"],
        at_once=row["at_once"] or 0,
        shared=row["shared"] or 0,
        cache_pulls=row["cache_pulls"],
        cache_tag=row["cache_tag"],
        first_timers=row["first_timers"] or 0,
        torn_tags=row["torn"] or 0,
        patches=tuple(row["patches"] or ()),
        throttled=row["throttled"] or 0.0,
        evicted=bool(row["evicted"]),
        peak=row["peak"],
    )


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    cache = pl.col("tag").str.contains(CACHE_TAG) | pl.col("repository").str.contains(CACHE_REPOSITORY)
    return frame.group_by("site", "name").agg(
        pl.len().alias("pulls"),
        pl.col("version").n_unique().alias("versions"),
        pl.col("bytes").max().alias("size"),
        pl.col("miss").sum().alias("misses"),
        pl.col("timestamp").max().alias("last"),
        cache.fill_null(False).sum().alias("cache_pulls"),
        pl.col("tag").filter(cache.fill_null(False)).mode().sort().first().alias("cache_tag"),
    )


def _peak(frame: pl.DataFrame, zones: Mapping[str, str]) -> pl.DataFrame:
    """The hour of most waiting on the site's clock; of most pulls where nobody waits."""
    sites = frame.partition_by("site", as_dict=True).items()
    told = pl.concat([part.with_columns(hour(zones.get(str(site), "UTC"))) for (site,), part in sites])
    hours = told.group_by("site", "name", "hour").agg(pl.col("wait").sum(), pl.len())
    ordered = hours.sort("wait", "len", "hour", descending=[True, True, False])
    return ordered.group_by("site", "name").agg(pl.col("hour").first().cast(pl.Int64).alias("peak"))


def _by_cause(frame: pl.DataFrame) -> pl.DataFrame:
    missed = frame.filter("miss").group_by("site", "name", pl.col("cause").cast(pl.String))
    counted = missed.agg(pl.col("wait").sum(), pl.len().alias("count"))
    return counted.group_by("site", "name").agg(pl.struct("cause", "wait", "count").alias("causes"))


def _versions(frame: pl.DataFrame) -> pl.DataFrame:
    """Versions that were pulled once, before the last day; misses that were a client's only one."""
    ended = frame["timestamp"].max()
    by_version = frame.group_by("site", "name", "version").agg(pl.len(), pl.col("timestamp").max())
    once = (pl.col("len") == 1) & (pl.col("timestamp") < pl.lit(ended) - timedelta(days=1))
    by_client = (
        frame.filter("miss").group_by("site", "name", "version", "client").len().filter(pl.col("len") == 1)
    )
    alone = by_client.group_by("site", "name").len("first_timers")
    return (
        by_version.group_by("site", "name")
        .agg(once.sum().alias("pulled_once"))
        .join(alone, on=["site", "name"], how="left")
    )


def _torn(frame: pl.DataFrame) -> pl.DataFrame:
    """Days on which one tag gave different contents, a later one and again an earlier one aside."""
    tagged = frame.filter(pl.col("tag").is_not_null() & pl.col("digest").is_not_null())
    daily = tagged.group_by("site", "name", "tag", "day").agg(
        pl.col("digest").n_unique().alias("digests"), pl.col("client").n_unique().alias("clients")
    )
    torn = daily.filter((pl.col("digests") > 1) & (pl.col("clients") > 1))
    return torn.group_by("site", "name").agg(pl.col("day").n_unique().alias("torn"))


def _patches(frame: pl.DataFrame) -> pl.DataFrame:
    """Tags in use that differ by their patch number only, of the last week."""
    ended = frame["timestamp"].max()
    recent = frame.filter(pl.col("timestamp") >= pl.lit(ended) - timedelta(days=7))
    tags = (
        recent.group_by("site", "name", "tag")
        .len("n")
        .with_columns(
            (pl.col("n") / pl.col("n").sum().over("site", "name")).alias("part"),
            pl.col("tag").str.replace(PATCH, "${1}${2}").alias("minor"),
        )
    )
    used = tags.filter(pl.col("tag").str.contains(PATCH) & (pl.col("part") >= IN_USE))
    beside = used.filter(pl.len().over("site", "name", "minor") > 1)
    return beside.group_by("site", "name").agg(pl.col("tag").sort().alias("patches"))


def _throttled(frame: pl.DataFrame, quota: int) -> pl.DataFrame:
    """The share of a site's upstream pulls, in windows in which docker.io's quota ran out."""
    upstream = frame.filter("miss" & (pl.col("registry").fill_null(HUB) == HUB)).with_columns(
        pl.col("timestamp").dt.truncate(WINDOW).alias("window")
    )
    spent = upstream.filter(pl.len().over("site", "window") > quota)
    return (
        spent.group_by("site", "name")
        .len("n")
        .select("site", "name", (pl.col("n") / pl.col("n").sum().over("site")).alias("throttled"))
    )


def _across(frame: pl.DataFrame) -> pl.DataFrame:
    """How many sites pull a repository, and its versions: at several sites, and there within minutes."""
    firsts = frame.group_by("name", "image", "digest", "site").agg(pl.col("timestamp").min())
    versions = firsts.group_by("name", "image", "digest").agg(
        pl.col("site").n_unique().alias("at"),
        (pl.col("timestamp").sort().get(1, null_on_oob=True) - pl.col("timestamp").min()).alias("lag"),
    )
    several = pl.col("at") > 1
    told = versions.group_by("name").agg(
        several.sum().alias("shared"), (several & (pl.col("lag") <= TOGETHER)).sum().alias("at_once")
    )
    return told.join(frame.group_by("name").agg(pl.col("site").n_unique().alias("sites")), on="name")
