"""Lines whose clock was wrong: kept as they are, and told.

Logs are written in the order of time, but for lines of long requests. Three things give a wrong clock away:
a time after the file was last written, a time before there were registries, and a line far from those
around it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl

FAR = timedelta(hours=1)
"""How far off a time may be: a long download is logged late, and a file grows while it is read."""

NEIGHBOURS = 16
"""Lines on either side whose median tells the time around a line; one of them may be wrong itself."""

FIRST = datetime(2013, 1, 1, tzinfo=UTC)
"""There were no registries of images before."""

AHEAD = "a time after its file was written"
EARLY = "a time before 2013, when there were no registries"
APART = "a time far from its neighbours"

_IN_ORDER = ("app", "access")  # families that write a line when something happens


def of(accesses: pl.DataFrame, written: datetime | None) -> pl.DataFrame:
    """`offset` and `skewed`, the reason, of those accesses of one chunk whose time cannot be right.

    `accesses` are in the order of their lines; `written`: when their file was last written. What is in
    order is not doubted, however long it was quiet in between.
    """
    times = accesses.select("offset", "family", pl.col("timestamp").alias("at")).drop_nulls("at")
    doubts = [(pl.col("at") < FIRST, EARLY)]
    if written is not None:
        doubts.append((pl.col("at") > written + FAR, AHEAD))
    told = times.with_columns(
        pl.coalesce(pl.when(doubt).then(pl.lit(why)) for doubt, why in doubts).alias("skewed")
    )
    logged = told.filter(pl.col("family").is_in(_IN_ORDER))
    if logged.select((pl.col("at").diff() < -FAR).any()).item():  # in order: none is apart
        apart = _apart(logged).select("offset", pl.lit(APART).alias("apart"))
        told = told.join(apart.unique("offset"), on="offset", how="left", maintain_order="left").with_columns(
            pl.coalesce("skewed", "apart").alias("skewed")
        )
    return told.filter(pl.col("skewed").is_not_null()).select("offset", "skewed")


def _apart(logged: pl.DataFrame) -> pl.DataFrame:
    """Lines ahead of those before and after them, or behind them; a step that lasts is another day.

    Neighbours that are hours apart themselves tell nothing.
    """
    at = pl.col("at").cast(pl.Int64)
    far = FAR // timedelta(microseconds=1)
    before, close_before = _around(at.shift(1), far)
    after, close_after = (each.reverse() for each in _around(at.reverse().shift(1), far))
    ahead = (at > before + far) & (at > after + far)
    behind = (at < before - far) & (at < after - far)
    return logged.filter((ahead | behind) & close_before & close_after)


def _around(at: pl.Expr, far: int) -> tuple[pl.Expr, pl.Expr]:
    """The median of the last NEIGHBOURS, and whether the middle half of them is together."""
    quarter, half, most = (
        at.rolling_quantile(part, "nearest", NEIGHBOURS, min_samples=1) for part in (0.25, 0.5, 0.75)
    )
    return half, most - quarter <= far
