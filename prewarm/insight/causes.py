"""Why a pull missed: exactly one cause each, and what would remove it.

    versions in order of time ─▶ served or not (`serving`) ─▶ why not ─▶ what it cost

A *version* is one digest of one image at one site; an image whose digest is not logged has one version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from prewarm.demand.selection import image_column
from prewarm.insight.costs import ASSUMED, Cost
from prewarm.insight.groups import Groups, members
from prewarm.insight.reasons import FRESH, Cause
from prewarm.insight.serving import FILLING, TTL, Evidence, Source, judge, source_of

if TYPE_CHECKING:
    from prewarm.insight.serving import Flags


CAUSES = pl.Enum([str(each) for each in Cause])
STARTS = timedelta(days=1)
"""The beginning of a log fills a modelled cache; it is not judged where the log is twice as long."""

NEW_TAGS = 3
"""Tags on so many days make a repository one that is pushed to regularly."""

# What judging needs of the lake's pulls, beside the columns that `identify` adds.
COLUMNS = (
    *("timestamp", "site", "source", "client", "registry", "repository", "tag", "digest"),
    *("kind", "blobs", "bytes", "seconds", "cache"),
)


@dataclass(frozen=True, eq=False)
class Judged:
    """Pulls with `miss`, `cause` and `wait` (seconds that the miss cost), and how all that is known.

    Only pulls of which it is known whether the cache had them are in `frame`; `unknown` counts the others,
    `beginning` those that filled a modelled cache. `doubtful` marks first pulls in a log that is too short to
    have a beginning: the cache may have held them before.
    """

    frame: pl.DataFrame
    evidence: tuple[Evidence, ...]
    unknown: int = 0
    beginning: int = 0
    groups: Groups = field(default_factory=dict)  # of clients, that somebody named

    @property
    def misses(self) -> pl.DataFrame:
        return self.frame.filter("miss")

    def between(self, since: datetime | None, until: datetime | None) -> Judged:
        """The same judgement of the pulls of `[since, until)`."""
        time = pl.col("timestamp")
        where = [time >= since] if since is not None else []
        where += [time < until] if until is not None else []
        return replace(self, frame=self.frame.filter(*where)) if where else self

    def of_clients(self, group: str | None) -> Judged:
        """The same judgement of the pulls of one group of clients; UnknownName where there is none such."""
        if group is None:
            return self
        inside = members(self.frame["client"], group, self.groups)
        theirs = pl.col("client").cast(pl.String).is_in(inside.implode(), nulls_equal=True)
        return replace(self, frame=self.frame.filter(theirs))

    def words(self) -> tuple[str, ...]:
        """How hits and misses are known, a sentence for each source."""
        return tuple(each.words for each in self.evidence)

    def sure(self) -> str:
        """`high`, `medium` or `low`: that of the weakest source."""
        order = ("high", "medium", "low")
        return max((each.sure for each in self.evidence), key=order.index, default="low")


def identify(pulls: pl.LazyFrame) -> pl.LazyFrame:
    """Add `image`, and `named`, `version` and `repo`: numbers that stand for image, version and repository.

    Pulls without a name, of tags that do not exist and checks are left out: they transfer nothing.
    """
    return (
        pulls.with_columns(image_column())
        .filter(pl.col("image").is_not_null() & (pl.col("kind") != "check").fill_null(True))
        .with_columns(
            pl.struct("site", "image").hash().alias("named"),
            pl.struct("site", "image", "digest").hash().alias("version"),
            pl.struct("site", "registry", "repository").hash().alias("repo"),
        )
    )


def judged(
    pulls: pl.DataFrame,
    pushes: pl.DataFrame | None = None,
    ttls: Mapping[str, timedelta | None] | None = None,
    cost: Cost = ASSUMED,
) -> Judged:
    """Judge pulls as `identify` gave them, the oldest ones included: they fill the cache.

    `pushes`: timestamp, image. `ttls`: what somebody declared, by site; None is a cache that keeps all.
    """
    parts: list[pl.DataFrame] = []
    evidence: list[Evidence] = []
    unknown = beginning = 0
    declared = ttls or {}
    for rows in _sources(_filled_in(pulls)):
        source = source_of(rows)
        site = rows["site"][0]
        how, misses, told = judge(source, declared.get(site, TTL), site in declared)
        caused = _caused(source, how, misses, told, pushes, cost)
        known = caused.filter("told")
        unknown += len(caused) - len(known)
        kept = _after_the_beginning(known) if how.kind == "model" else known
        beginning += len(known) - len(kept)
        doubtful = pl.lit(how.kind == "model" and len(kept) == len(caused))
        parts.append(kept.drop("told").with_columns(doubtful=doubtful & pl.col("miss")))
        evidence.append(how)
    frame = pl.concat(parts) if parts else _empty(pulls)
    return Judged(frame, tuple(evidence), unknown, beginning)


def _sources(pulls: pl.DataFrame) -> Iterator[pl.DataFrame]:
    if pulls.is_empty():
        return
    # A frame of one source is not copied.
    if pulls["site"].n_unique() == 1 and pulls["source"].n_unique() == 1:
        yield pulls
    else:
        yield from pulls.partition_by("site", "source", maintain_order=True)


def _filled_in(pulls: pl.DataFrame) -> pl.DataFrame:
    """Versions of pulls whose digest is not logged: that of the image's last pull whose digest was."""
    if not 0 < pulls["digest"].null_count() < len(pulls):
        return pulls
    known = pl.when(pl.col("digest").is_not_null()).then("version")
    return pulls.sort("timestamp").with_columns(
        pl.coalesce(known, known.forward_fill().over("named"), "version").alias("version")
    )


def _after_the_beginning(rows: pl.DataFrame) -> pl.DataFrame:
    first, last = rows["timestamp"].min(), rows["timestamp"].max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    return rows.filter(pl.col("timestamp") >= first + STARTS) if last - first >= 2 * STARTS else rows


def _caused(
    source: Source,
    how: Evidence,
    misses: Flags,
    told: Flags,
    pushes: pl.DataFrame | None,
    cost: Cost,
) -> pl.DataFrame:
    """The rows of a source with `told`, `miss`, `cause` and `wait`."""
    frame = source.frame
    cause = np.full(len(frame), -1, np.int8)
    first = _firsts(source, pushes)
    cause[np.flatnonzero(source.starts)] = first
    again = misses & ~source.starts
    cause[again] = _again(source, how, misses)[again]
    if how.kind != "nodes":  # each node fills for itself
        cause = _shared(source, misses, cause)
    cause = np.where(misses, cause, -1)
    names = list(CAUSES.categories)
    labels = pl.Series("cause", cause).replace_strict(
        range(len(names)), names, default=None, return_dtype=CAUSES
    )
    return frame.with_columns(
        labels, pl.Series("told", told), pl.Series("miss", misses), _waits(frame, how, misses, cost)
    )


def _firsts(source: Source, pushes: pl.DataFrame | None) -> np.ndarray:
    """The cause of each first pull of a version, as numbers of CAUSES, in the order of the source."""
    rows = source.frame.filter(pl.Series(source.starts)).select(
        "timestamp", "named", "repo", "image", "digest", place=pl.int_range(pl.len())
    )
    time = pl.col("timestamp")
    new_image = time == time.min().over("named")
    day = pl.when(new_image).then(time.dt.date())
    regular = day.n_unique().over("repo") - day.is_null().any().over("repo").cast(pl.Int32) >= NEW_TAGS
    known_repository = time > time.min().over("repo")
    rows = _pushed(rows, pushes)
    told = (
        pl.when(~new_image)
        .then(pl.lit(str(Cause.TAG_MOVED)))
        .when(pl.col("pushed") | (known_repository & regular))
        .then(pl.lit(str(Cause.FRESH_PUSH)))
        .otherwise(pl.lit(str(Cause.NEVER_SEEN)))
    )
    ordered = rows.select("place", told.cast(CAUSES).to_physical().cast(pl.Int8).alias("cause")).sort("place")
    return ordered["cause"].to_numpy()


def _pushed(rows: pl.DataFrame, pushes: pl.DataFrame | None) -> pl.DataFrame:
    """`pushed`: whether the image was pushed within a day before."""
    if pushes is None or pushes.is_empty():
        return rows.with_columns(pushed=pl.lit(False))
    found = rows.sort("timestamp").join_asof(
        pushes.select(pl.col("image").cast(rows.schema["image"]), "timestamp", at="timestamp").sort(
            "timestamp"
        ),
        on="timestamp",
        by="image",
        strategy="backward",
        check_sortedness=False,
    )
    return found.with_columns(pushed=(pl.col("timestamp") - pl.col("at") <= FRESH).fill_null(False))


def _again(source: Source, how: Evidence, misses: Flags) -> np.ndarray:
    """The cause that each row has if it missed although its version was seen before."""
    numbers = {cause: place for place, cause in enumerate(Cause)}
    frame, times = source.frame, source.times
    everyone = np.ones(len(frame), np.bool_)
    if how.kind == "nodes":
        other = frame.select(pl.struct("version", "client").is_first_distinct()).to_series().to_numpy()
        return np.where(other, numbers[Cause.COLD_NODE], numbers[Cause.EVICTED])
    age, idle = times - source.before(misses), times - source.before(everyone)
    limit = how.ttl.total_seconds() * 1e6 if how.ttl is not None else np.inf
    if how.fitted == "idle":
        return np.full(len(frame), numbers[Cause.EVICTED])
    # Without its digest a tag that has moved shows as a miss that came too early to be a lapse.
    unnamed = frame["digest"].is_null().to_numpy()
    early = np.where(unnamed & (idle < limit / 2), numbers[Cause.TAG_MOVED], numbers[Cause.EVICTED])
    return np.where(age >= limit, numbers[Cause.TTL_LAPSED], early)


def _shared(source: Source, misses: Flags, cause: np.ndarray) -> np.ndarray:
    """A miss that waits for the same fill as the one before it has the same cause.

    The first pull of a version stands for a fill whether it missed or not: of two that begin in one second
    of the log, or whose requests interleave, the other one may have paid for it.
    """
    fills = misses | source.starts
    filled = source.before(fills)
    waits = misses & (filled >= 0) & (source.times - filled <= FILLING)
    own = np.where(fills & ~waits, np.arange(len(cause)), 0)
    return np.where(waits, cause[np.maximum.accumulate(own)], cause)


def _waits(frame: pl.DataFrame, how: Evidence, misses: Flags, cost: Cost) -> pl.Series:
    """Seconds that each miss made its client wait for upstream: measured where possible, else modelled."""
    size = frame["bytes"].fill_null(0).cast(pl.Int64).to_numpy()
    blobs = frame["blobs"].fill_null(1).cast(pl.Int64).to_numpy()
    wait = modelled = cost.waiting(blobs, size)
    if how.warmth is not None:
        seconds = frame["seconds"].fill_null(0.0).to_numpy()
        wait = np.maximum(seconds - how.warmth.seconds(size), 0.0)
    elif how.kind in ("logged", "nodes") and frame["seconds"].count():
        took = frame["seconds"].fill_null(np.nan).to_numpy()
        wait = np.where(np.isnan(took), modelled, np.maximum(took, 0.0))
    return pl.Series("wait", np.where(misses, wait, 0.0))


def _empty(pulls: pl.DataFrame) -> pl.DataFrame:
    more = {"cause": CAUSES, "miss": pl.Boolean(), "wait": pl.Float64(), "doubtful": pl.Boolean()}
    return pulls.clear().with_columns(pl.lit(None, dtype).alias(name) for name, dtype in more.items())
