"""Which strategy suits which repository: what its traffic was like, and rules that read like sentences.

    judged pulls ─▶ Traits, one for each repository of a site ─▶ RULES, the first that holds is the advice

A rule says when it holds, why, what it would save, and what would change it. Numbers are in LIMITS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from prewarm.insight.causes import Cause, Judged
from prewarm.insight.reports.savings import HUB, WINDOW


@dataclass(frozen=True, slots=True)
class Limits:
    """Where the rules draw their lines."""

    waiting: float = 5.0  # seconds a day that are worth a moving part
    most: float = 0.5  # of a repository's waiting, for a cause to be the reason
    fills: int = 3  # misses that are a habit
    idle: timedelta = timedelta(days=30)
    huge: int = 1_000_000_000  # bytes: starts that read little of it need not wait for it
    large: int = 500_000_000
    rare: float = 0.5  # pulls a day
    steady: float = 2.0
    together: timedelta = timedelta(minutes=30)  # sites that pull a version within this pull it at once
    regions: int = 3  # sites that make a replica in each worth it
    once: float = 0.8  # of versions, pulled once and never again
    patches: float = 0.1  # of a repository's pulls that a patch tag has, to be in use
    throttled: float = 0.1  # of a site's upstream pulls in spent quota windows


LIMITS = Limits()

CACHE_TAG = r"(?i)^(?:build)?cache$|[-_.](?:build)?cache$|^(?:build)?cache[-_.]"
CACHE_REPOSITORY = r"(?i)(?:^|[/_-])(?:build)?cache$"
PATCH = r"^v?(\d+\.\d+)\.\d+((?:-[0-9a-z.-]+)?)$"


@dataclass(frozen=True, slots=True)
class Traits:
    """What one repository's traffic at one site was like."""

    site: str
    repository: str  # with its registry
    registry: str
    days: float  # that the site's log covers
    pulls: int
    clients: int
    images: int
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
    first_timers: int  # misses that were a client's only one of a version
    torn_tags: int  # days on which clients got different contents under one tag
    patches: tuple[str, ...]  # tags in use that differ by their patch number only
    throttled: float  # of the site's upstream pulls in spent quota windows, this repository's
    evicted: bool  # whether the site's cache evicts at all

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

    def mostly(self, *causes: Cause) -> bool:
        """Whether these causes are a habit, cost something, and are most of the waiting."""
        seconds = self.waiting(*causes)
        worth = seconds >= LIMITS.waiting and seconds >= LIMITS.most * self.wait
        return worth and self.missed(*causes) >= LIMITS.fills


@dataclass(frozen=True, slots=True)
class Rule:
    """One strategy: when traffic calls for it, and in which words."""

    strategy: str
    when: Callable[[Traits], bool]
    why: Callable[[Traits], str]
    saves: Callable[[Traits], Mapping[str, float]]
    unless: str  # what would change the advice
    apply: str  # what to set or do


def _seconds(*causes: Cause) -> Callable[[Traits], Mapping[str, float]]:
    return lambda t: {"seconds_per_day": round(t.waiting(*causes), 2)}


LISTED = (Cause.TAG_MOVED, Cause.COLD_NODE)

RULES: tuple[Rule, ...] = (
    Rule(
        "delete",
        lambda t: t.idle >= LIMITS.idle and t.pulls >= 2,
        lambda t: f"nobody has pulled it for {t.idle.days} days",
        lambda t: {"bytes": t.size * t.versions},
        "a pull, or a release that still needs it",
        "prewarm prune, or the registry's own retention",
    ),
    Rule(
        "move off the rate-limited upstream",
        lambda t: t.throttled >= LIMITS.throttled,
        lambda t: f"{t.throttled:.0%} of the upstream pulls in windows in which docker.io's quota ran out",
        lambda t: {"upstream_pulls_per_day": round(t.misses / t.days, 2)},
        "a higher quota (log in), or fewer misses",
        "copy it into a registry of your own: a cache with driver = \"replica\"",
    ),
    Rule(
        "keep the BuildKit cache warm",
        lambda t: t.cache_pulls >= LIMITS.fills and t.cache_pulls > t.pulls / 2 and t.wait >= LIMITS.waiting,
        lambda t: f"builds import it {t.cache_pulls / t.days:.1f} times a day; they wait {t.wait:,.0f} s",
        lambda t: {"seconds_per_day": round(t.wait, 2)},
        "builds that stop importing it",
        "always = [\"<repository>:<cache tag>\"] in the cache's section",
    ),
    Rule(
        "lazy loading (eStargz)",
        lambda t: t.size >= LIMITS.huge and t.mostly(Cause.COLD_NODE) and t.first_timers > t.misses / 2,
        lambda t: f"{t.size / 1e9:.1f} GB reach {t.missed(Cause.COLD_NODE) / t.days:.1f} cold nodes a day",
        _seconds(Cause.COLD_NODE),
        "starts that read most of the image; no log tells which files are read",
        "convert it (nerdctl image convert --estargz) and warm its prefetch landmark only",
    ),
    Rule(
        "replicate on push",
        lambda t: t.mostly(Cause.FRESH_PUSH) or (t.at_once >= LIMITS.fills and t.at_once >= t.versions / 2),
        lambda t: (
            f"{t.at_once} of {t.versions} versions were pulled at several sites within minutes"
            if t.at_once >= LIMITS.fills and t.at_once >= t.versions / 2
            else f"{t.missed(Cause.FRESH_PUSH)} fresh pushes were waited for, under tags nobody can foresee"
        ),
        _seconds(Cause.FRESH_PUSH, Cause.TAG_MOVED, Cause.NEVER_SEEN),
        "pushes that nobody pulls",
        "a cache with driver = \"replica\", run by the push's webhook",
    ),
    Rule(
        "raise the TTL",
        lambda t: t.mostly(Cause.TTL_LAPSED),
        lambda t: f"{t.missed(Cause.TTL_LAPSED)} misses of what the cache had, and whose TTL had lapsed",
        _seconds(Cause.TTL_LAPSED),
        "a disk that is full",
        "proxy.ttl of the mirror, and ttl of its section here",
    ),
    Rule(
        "pre-warm",
        lambda t: t.mostly(*LISTED, Cause.EVICTED),
        lambda t: (
            f"{t.missed(*LISTED, Cause.EVICTED)} misses of known images: moved tags, cold nodes, evictions; "
            f"{t.wait:,.0f} s of waiting a day"
        ),
        _seconds(*LISTED, Cause.EVICTED),
        "a hit rate that stays high without it (report holdout)",
        "a schedule with covers = the busy hours",
    ),
    Rule(
        "CDN edge",
        lambda t: (
            t.size >= LIMITS.large and t.pace <= LIMITS.rare and t.sites >= 2 and t.misses >= LIMITS.fills
        ),
        lambda t: f"{t.size / 1e9:.1f} GB, {t.pace:.2f} pulls a day here, {t.sites} sites: rare, large, far",
        lambda t: {"seconds_per_day": round(t.wait, 2)},
        "more pulls (then a replica), or one site",
        "a cache with driver = \"mirror\" whose url is the edge",
    ),
    Rule(
        "regional replica",
        lambda t: (
            t.sites >= LIMITS.regions and t.pace >= LIMITS.steady and t.shared >= t.versions / 2
            and t.wait >= LIMITS.waiting and t.misses >= LIMITS.fills
        ),
        lambda t: f"{t.sites} sites pull it steadily, {t.shared} of {t.versions} versions at several of them",
        lambda t: {"seconds_per_day": round(t.wait, 2)},
        "sites that pull different versions",
        "a cache with driver = \"replica\" in each region",
    ),
    Rule(
        "lower the TTL",
        lambda t: t.evicted and t.versions >= 10 and t.pulled_once >= LIMITS.once * t.versions,
        lambda t: f"{t.pulled_once} of {t.versions} versions were pulled once only, and the disk is full",
        lambda t: {"bytes": t.size * t.pulled_once},
        "a disk with room",
        "a mirror of its own with a short ttl, or never = [\"<repository>:*\"] for warming",
    ),
    Rule(
        "consolidate base images",
        lambda t: len(t.patches) >= 2,
        lambda t: f"{', '.join(t.patches)} are in use side by side and differ by their patch only",
        lambda t: {"bytes": t.size * (len(t.patches) - 1)},
        "a reason to keep the older patch",
        "FROM the newest of them everywhere",
    ),
    Rule(
        "pin by digest",
        lambda t: t.torn_tags >= LIMITS.fills,
        lambda t: f"on {t.torn_tags} days clients got different contents under one tag",
        lambda t: {},
        "a tag that is meant to move under running clients",
        "name@sha256:… in deployments, moved by a bot",
    ),
    Rule(
        "pull-through only",
        lambda t: True,
        lambda t: f"{1 - t.misses / max(t.pulls, 1):.0%} of its pulls hit; people wait {t.wait:,.1f} s a day",
        lambda t: {"seconds_per_day": 0.0},
        "misses of known images in busy hours",
        "nothing",
    ),
)  # fmt: skip


def advise(judged: Judged, quota: int = 100) -> list[dict[str, Any]]:
    """One row for each repository of a site, most to gain first: strategy, why, saving, what else."""
    rows = [_advice(traits) for traits in traits_of(judged, quota)]
    gains = {(row["site"], row["repository"]): row["saving"].get("seconds_per_day", 0.0) for row in rows}
    return sorted(
        rows, key=lambda row: (-gains[row["site"], row["repository"]], row["site"], row["repository"])
    )


def matching(traits: Traits) -> list[Rule]:
    """Every rule that holds, in the order of preference; the last one always does."""
    return [rule for rule in RULES if rule.when(traits)]


def _advice(traits: Traits) -> dict[str, Any]:
    first, *others = matching(traits)
    return {
        "site": traits.site,
        "repository": traits.repository,
        "strategy": first.strategy,
        "why": first.why(traits),
        "saving": dict(first.saves(traits)),
        "apply": first.apply,
        "unless": first.unless,
        "also": [
            {"strategy": rule.strategy, "why": rule.why(traits)} for rule in others if rule is not RULES[-1]
        ],
        "pulls": traits.pulls,
        "misses": traits.misses,
        "wait_seconds_per_day": round(traits.wait, 2),
    }


# ------------------------------------------------------------------ traits


def traits_of(judged: Judged, quota: int = 100) -> list[Traits]:
    """The traits of every repository of every site."""
    if judged.frame.is_empty():
        return []
    texts = judged.frame.with_columns(pl.col("site", "registry", "repository", "tag").cast(pl.String))
    frame = texts.with_columns(
        (pl.col("registry").fill_null(HUB) + "/" + pl.col("repository")).alias("name"),
        pl.col("timestamp").dt.date().alias("day"),
    )
    key = ["site", "name"]
    found = _plain(frame)
    for more in (_by_cause(frame), _versions(frame), _torn(frame), _patches(frame), _throttled(frame, quota)):
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
        registry=row["registry"] or HUB,
        days=max((end - begin) / timedelta(days=1), 1.0),
        pulls=row["pulls"],
        clients=row["clients"],
        images=row["images"],
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
        first_timers=row["first_timers"] or 0,
        torn_tags=row["torn"] or 0,
        patches=tuple(row["patches"] or ()),
        throttled=row["throttled"] or 0.0,
        evicted=bool(row["evicted"]),
    )


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    cache = pl.col("tag").str.contains(CACHE_TAG) | pl.col("repository").str.contains(CACHE_REPOSITORY)
    return frame.group_by("site", "name").agg(
        pl.col("registry").first(),
        pl.len().alias("pulls"),
        pl.col("client").n_unique().alias("clients"),
        pl.col("named").n_unique().alias("images"),
        pl.col("version").n_unique().alias("versions"),
        pl.col("bytes").max().alias("size"),
        pl.col("miss").sum().alias("misses"),
        pl.col("timestamp").max().alias("last"),
        cache.fill_null(False).sum().alias("cache_pulls"),
    )


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
    used = tags.filter(pl.col("tag").str.contains(PATCH) & (pl.col("part") >= LIMITS.patches))
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
        several.sum().alias("shared"), (several & (pl.col("lag") <= LIMITS.together)).sum().alias("at_once")
    )
    return told.join(frame.group_by("name").agg(pl.col("site").n_unique().alias("sites")), on="name")


def strategies(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many repositories each strategy suits."""
    found: dict[str, int] = {}
    for row in rows:
        found[row["strategy"]] = found.get(row["strategy"], 0) + 1
    return found
