"""Whether a tag still means what the cache has: how often each tag moves, by the digests it was seen with.

The log shows a tag now and then, so a move is known to lie between two sightings, and two moves between them
look like one. Rates are those of a Poisson process with such gaps (EM; Dempster, Laird and Rubin, 1977) and
shrunk as in `forecasters.profile`: tag -> repository -> site, each link worth half a move. The chance that a
Gamma-distributed rate brings a move within T days is 1 - (days / (days + T)) ** moves.

Tags are rebuilt at night, or when work begins, which a rate does not know. So the chance is mixed with how
often the tag moved over the very same hours of its last two weeks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isnan
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from prewarm.demand.selection import image_column
from prewarm.demand.series import repositories

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORTH = 0.5  # moves that a link of the chain is worth as a prior
USUAL = 1 / 30  # moves a day of a tag, where a site shows hardly anything
ROUNDS = 15  # of the EM
ALIKE = 14  # days whose same hours are looked at
DOUBT = 4.0  # such days that the rate is worth
SUPERSEDED = 0.9  # of a digest's sightings are before its successor's first one; stragglers keep it by digest
_DAY = timedelta(days=1) / timedelta(microseconds=1)
_NAME = ("registry", "repository", "tag", "digest")


@dataclass(frozen=True, eq=False)
class Staleness:
    """What is known of the tags of one site; times are days since 1970, NaN where nothing is known."""

    place: dict[str, int]  # of each image in the arrays
    known: NDArray[np.float64]  # when the tag was last known to mean what the cache has
    moved: NDArray[np.bool_]  # it was seen with another digest since
    since: NDArray[np.float64]  # first sighting
    moves: NDArray[np.float64]  # of the tag's rate: moves, and the days that they took
    days: NDArray[np.float64]
    gaps: _Gaps

    def chances(self, images: Sequence[str], at: datetime) -> list[float | None]:
        """P(the tag's digest at `at` is not the one that the site's cache had last), by image.

        1 where another digest was seen since, 0 for an image by digest, None where no digest tells. Where the
        site never pulled the tag: since the tag was seen last.
        """
        rows = np.fromiter((self.place.get(image, -1) for image in images), np.int64, len(images))
        there = np.flatnonzero(rows >= 0)
        told = np.full(len(images), np.nan)
        told[there] = self._chances(rows[there], _days(at))
        told[[place for place, image in enumerate(images) if "@" in image]] = 0
        return [None if isnan(chance) else chance for chance in told.tolist()]

    def _chances(self, rows: NDArray[np.int64], at: float) -> NDArray[np.float64]:
        begin = self.known[rows]
        rate = -np.expm1(-self.moves[rows] * np.log1p(np.maximum(at - begin, 0) / self.days[rows]))
        came, seen = self.gaps.alike(rows, begin, at, self.since[rows])
        chance = np.where(begin < at, (came + DOUBT * rate) / (seen + DOUBT), 0 * begin)
        return np.where(self.moved[rows], 1.0, chance)


@dataclass(frozen=True, eq=False)
class _Gaps:
    """Where moves lie: between `begin` and `end` (days since 1970), of the image `row`; in order of rows."""

    row: NDArray[np.int64]
    begin: NDArray[np.float64]
    end: NDArray[np.float64]

    def alike(
        self, rows: NDArray[np.int64], begin: NDArray[np.float64], end: float, since: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """On how many of the last days `rows` moved between the hours of `begin` and `end`, and of how many.

        A move lies anywhere in its gap. Days whose hours were not all seen do not count.
        """
        first, last = np.searchsorted(self.row, rows), np.searchsorted(self.row, rows, side="right")
        lengths = last - first
        asked = np.repeat(np.arange(len(rows)), lengths)
        moves = np.arange(len(asked)) + np.repeat(first - (lengths.cumsum() - lengths), lengths)
        came, seen = np.zeros(len(rows)), np.zeros(len(rows))
        for back in range(1, ALIKE + 1):
            inside = np.minimum(self.end[moves], end - back) - np.maximum(
                self.begin[moves], begin[asked] - back
            )
            width = self.end[moves] - self.begin[moves]
            share = np.where(width > 0, inside / np.where(width > 0, width, 1), inside >= 0)
            known = (begin - back >= since) & (end - back <= begin)
            came += np.minimum(np.bincount(asked, np.clip(share, 0, 1), len(rows)), 1) * known
            seen += known
        return came, seen


def sightings(pulls: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """With which digests the tags of one site were seen: `image, digest, first, late, last, had`.

    One row for each tag and digest, null where a pull of the tag did not tell. `late` is when nine tenths of
    the sightings were over, `had` when the cache had it for the last time: a check stores nothing. What runs
    brought or found (`outcomes`) is seen, too.
    """
    seen = pl.when(pl.col("status") == "ok", pl.col("kind").ne_missing("local")).then("timestamp")
    asked = pulls.select(*_NAME, seen=seen, had=pl.when(pl.col("kind").ne_missing("check")).then(seen))
    tags = (
        asked.group_by(_NAME)
        .agg(pl.col("seen").min().alias("first"), pl.col("seen").max().alias("last"), pl.col("had").max())
        .filter(pl.col("tag").is_not_null(), pl.col("first").is_not_null())
    )
    named = (
        tags.join(_overlapping(asked, tags), on=_NAME, how="left")
        .with_columns(pl.coalesce("late", "last").alias("late"))
        .select(image_column(), "digest", "first", "late", "last", "had")
    )
    return (
        pl.concat([named, _found(outcomes)])
        .drop_nulls("image")
        .group_by("image", "digest")
        .agg(pl.col("first").min(), pl.col("late", "last", "had").max())
    )


def _overlapping(asked: pl.DataFrame, tags: pl.DataFrame) -> pl.DataFrame:
    """The `late` of digests that were still seen when another of their tag was; the others need none."""
    told = tags.drop_nulls("digest").sort(*_NAME[:3], "first")
    several = told.filter(pl.col("last") >= pl.col("first").shift(-1).over(_NAME[:3])).select(_NAME)
    return (
        asked.join(several, on=_NAME)
        .group_by(_NAME)
        .agg(pl.col("seen").quantile(SUPERSEDED, "nearest").alias("late"))
    )


def _found(outcomes: pl.DataFrame) -> pl.DataFrame:
    """What runs saw of tags, as `sightings` has it."""
    there = pl.col("state").is_in(["warmed", "already"]) & ~pl.col("image").str.contains("@", literal=True)
    time = pl.col("finished_at")
    return outcomes.filter(there & pl.col("digest").is_not_null() & time.is_not_null()).select(
        "image", "digest", *(time.alias(name) for name in ("first", "late", "last", "had"))
    )


def staleness(images: Sequence[str], seen: pl.DataFrame, pushes: pl.DataFrame, until: datetime) -> Staleness:
    """What `seen` (see `sightings`) and `pushes` (`timestamp, image, digest`) tell of the tags of `images`.

    `until` is the end of what the site has logged. A tag whose pushes are in the log has moved with these
    alone; one without a digest counts as a move. Where a site shows no digest at two times, nothing is known.
    """
    place = {image: row for row, image in enumerate(images)}
    numbers = pl.DataFrame(
        {"image": images, "row": range(len(images))}, schema={"image": pl.String, "row": pl.Int64}
    )
    pulled = _numbered(seen, numbers, ("first", "late", "last", "had"))
    pushed = _numbered(pushes, numbers, ("timestamp",)).sort("row", "timestamp")
    tags = _tags(pulled, pushed, numbers, _days(until))
    gaps = _gaps(pulled, pushed)
    family = repositories(numbers["image"])
    moves, days = _rates(gaps, tags["exposure"].to_numpy(), family)
    told = bool(gaps.row.size) or bool(tags["exposure"].sum())
    known = tags["known"].to_numpy() if told else np.full(len(images), np.nan)
    return Staleness(place, known, tags["moved"].to_numpy(), tags["since"].to_numpy(), moves, days, gaps)


def _numbered(rows: pl.DataFrame, numbers: pl.DataFrame, times: Sequence[str]) -> pl.DataFrame:
    """`rows` of the images that are asked about, with their `row`; times in days since 1970."""
    days = [pl.col(name).dt.epoch("us").cast(pl.Float64) / _DAY for name in times]
    return rows.join(numbers, on="image").select("row", "digest", *days)


def _tags(pulled: pl.DataFrame, pushed: pl.DataFrame, numbers: pl.DataFrame, until: float) -> pl.DataFrame:
    """By tag: `since, known, moved, exposure` (see `Staleness`; days between the first and last sighting)."""
    told = pl.col("digest").is_not_null()
    by_pulls = pulled.group_by("row").agg(
        had=pl.col("had").max(),
        digest=pl.col("digest").get(pl.col("had").fill_null(-1).arg_max()),
        newest=pl.col("digest").filter(told).get(pl.col("last").filter(told).arg_max()),
        first=pl.col("first").filter(told).min(),
        last=pl.col("last").filter(told).max(),
    )
    by_pushes = pushed.group_by("row").agg(
        begun=pl.col("timestamp").first(), pushed=pl.col("timestamp").last(), meant=pl.col("digest").last()
    )
    both = numbers.join(by_pulls, on="row", how="left").join(by_pushes, on="row", how="left").sort("row")
    since = pl.min_horizontal("first", "begun")
    end = (
        pl.when(pl.col("pushed").is_not_null())
        .then(pl.max_horizontal(pl.lit(until), "pushed"))
        .otherwise("last")
    )
    other = pl.col("newest").ne_missing(pl.col("digest")) & (pl.col("last") > pl.col("had"))
    replaced = (pl.col("pushed") > pl.col("had")) & (
        pl.col("meant").is_null() | pl.col("digest").is_null() | (pl.col("meant") != pl.col("digest"))
    )
    return both.select(
        since=since.fill_null(np.nan),
        known=pl.max_horizontal("had", pl.when(~other | pl.col("had").is_null()).then(end)).fill_null(np.nan),
        moved=(pl.col("digest").is_not_null() & other).fill_null(False) | replaced.fill_null(False),
        exposure=(end - since).fill_null(0.0),
    )


def _gaps(pulled: pl.DataFrame, pushed: pl.DataFrame) -> _Gaps:
    """Between which sightings tags have moved."""
    begun = pl.col("first").min().alias("seen")
    first_seen = pulled.group_by("row").agg(begun)
    before = pl.col("digest").shift(1).over("row")
    moves = pushed.with_columns(before.alias("before"), nth=pl.int_range(pl.len()).over("row")).join(
        first_seen, on="row", how="left"
    )
    again = (
        pl.when(pl.col("nth") == 0)
        .then(pl.col("seen") < pl.col("timestamp"))
        .otherwise(
            pl.col("digest").is_null() | pl.col("before").is_null() | (pl.col("digest") != pl.col("before"))
        )
    )
    exact = moves.filter(again).select("row", begin="timestamp", end="timestamp")
    inferred = (
        pulled.drop_nulls("digest")
        .join(pushed, on="row", how="anti")
        .sort("row", "first", "digest")
        .with_columns(pl.col("late", "last").shift(1).over("row").name.prefix("its_"))
        .filter(pl.col("its_late") < pl.col("first"))
        .select("row", begin=pl.min_horizontal("its_last", "first"), end="first")
    )
    found = pl.concat([exact, inferred]).sort("row", "begin")
    return _Gaps(*(found[name].to_numpy() for name in ("row", "begin", "end")))


def _rates(
    gaps: _Gaps, exposure: NDArray[np.float64], family: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Moves and days of each tag's rate, with what it borrows from its repository and its site."""
    width = gaps.end - gaps.begin
    days = np.full(len(exposure), WORTH / USUAL)
    moves = np.full(len(exposure), WORTH)
    for _ in range(ROUNDS):
        likely = (moves / days)[gaps.row] * width
        # At least one: the mean of a Poisson variable that is not 0.
        came = np.where(likely > 1e-9, likely / -np.expm1(-np.maximum(likely, 1e-9)), 1.0)
        counted = np.bincount(gaps.row, came, len(exposure))
        site = (counted.sum() + WORTH) / (exposure.sum() + WORTH / USUAL)
        kin = (np.bincount(family, counted) + WORTH) / (np.bincount(family, exposure) + WORTH / site)
        moves, days = counted + WORTH, exposure + WORTH / kin[family]
    return moves, days


def _days(moment: datetime) -> float:
    return moment.timestamp() / 86_400
