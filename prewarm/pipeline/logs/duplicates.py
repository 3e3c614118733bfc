"""Pulls that the lake knows already, because another log of the same registry told of them."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from prewarm.lake import Snapshot
from prewarm.logs.settling import LONGEST
from prewarm.references import DEFAULT_REGISTRY

FAMILIES = {"app": 1, "access": 2}
"""Which line of a request a log holds: the registry's own, an access line, or the sum of both."""

ALL = "file-families"
"""Under this name: the sum of the families of all files that were ever read."""

TOLERANCE = timedelta(seconds=1)
"""How far the stamps of one request may be apart, its duration left out (`accesses.merge_requests`)."""

TOLD = ("timestamp", "site", "client", "registry", "repository", "tag", "digest", "status", "seconds")


def name_of(file: int) -> str:
    """Under this name: the families of a file's lines."""
    return f"file-{file:x}-families"


def families_of(accesses: pl.DataFrame) -> int:
    """The families that lines are of, as their sum."""
    return sum(FAMILIES.get(name, 0) for name in accesses["family"].unique())


def read_before(files: list[int], snapshot: Snapshot) -> dict[int, int]:
    """The families of files, as far as they were committed."""
    return {file: snapshot.progress(name_of(file)) or 0 for file in files}


def opposite_of(families: int) -> list[int]:
    """The families of files that may tell of what files of `families` told."""
    return [sum(FAMILIES.values()) - family for family in FAMILIES.values() if families & family]


def by_key(rows: pl.DataFrame, told: pl.DataFrame) -> pl.Series:
    """Which of `rows` share a native id with one of `told`; both have `keys`."""
    keys = told["keys"].explode().unique()
    return rows["keys"].list.eval(pl.element().is_in(keys.implode())).list.any().fill_null(False)


def by_request(rows: pl.DataFrame, told: pl.DataFrame) -> pl.Series:
    """Which of `rows` are one of `told`, each of which stands for one of them at most.

    Both have the columns TOLD and `families`. They are one when site, client, image and status agree, the
    first requests are as close as the two lines of a request are, and one comes from the application's
    log, the other from an access log. An access log that does not name its registry agrees with any.
    """
    pairs = _named(rows.with_row_index("row")).join(
        _named(told.with_row_index("row")),
        on=["site", "client", "status", "name", "version"],
        suffix="_told",
        nulls_equal=True,
    )
    one = pl.col("families").is_in(list(FAMILIES.values()))
    opposite = one & (pl.col("families") + pl.col("families_told") == sum(FAMILIES.values()))
    unnamed = pl.when(pl.col("families") == FAMILIES["access"]).then("registry").otherwise("registry_told")
    same_registry = (pl.col("registry") == pl.col("registry_told")) | (unnamed == DEFAULT_REGISTRY)
    candidates = pairs.filter(opposite, same_registry, _near()).sort("timestamp", "timestamp_told", "row")
    taken, known = set(), set()
    for row, other in candidates.select("row", "row_told").iter_rows():
        if row not in known and other not in taken:
            known.add(row)
            taken.add(other)
    return pl.Series([row in known for row in range(len(rows))], dtype=pl.Boolean)


def _named(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(
        name=pl.col("repository").str.strip_prefix("library/"), version=pl.coalesce("tag", "digest")
    )


def _near() -> pl.Expr:
    """Whether an access stamp (the start) and an application stamp (the end) may be of one request."""
    later = pl.col("timestamp") - pl.col("timestamp_told")
    later = pl.when(pl.col("families") == FAMILIES["app"]).then(later).otherwise(-later)
    took = pl.max_horizontal("seconds", "seconds_told").fill_null(0).clip(0, LONGEST.total_seconds())
    return (later >= -TOLERANCE) & (later <= TOLERANCE + pl.duration(microseconds=took * 1_000_000))
