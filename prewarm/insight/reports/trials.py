"""What runs tried, and what became of it: outcomes beside the pulls of the hours that they were for."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

LASTS = timedelta(hours=24)
"""The hours that a run without a plan is taken to be for."""

WARMED = ("warmed", "already", "failed", "cancelled")
"""What a run set out to warm, however it went; an image that the plan knew to be held was never tried."""


def trials(outcomes: pl.DataFrame, windows: pl.DataFrame) -> pl.DataFrame:
    """One row for each image that a run warmed or withheld, with its `arm` and its window `[start, end)`.

    `windows`: plan, start, end. Both arms of a run have the same window: from when all was done, but not
    before the window of its plan, to the end of that.
    """
    tried = pl.col("started_at").is_not_null() & pl.col("state").is_in(WARMED)
    arm = pl.when(tried).then(pl.lit("warmed")).when(pl.col("state") == "withheld").then(pl.lit("withheld"))
    done = pl.col("finished_at").max().over("run")
    start = pl.max_horizontal(done, "start")
    return (
        outcomes.join(windows, on="plan", how="left")
        .with_columns(arm.alias("arm"), start.alias("start"), pl.coalesce("end", done + LASTS).alias("end"))
        .filter(
            pl.col("arm").is_not_null() & pl.col("start").is_not_null() & (pl.col("start") < pl.col("end"))
        )
        .with_row_index("trial")
    )


def followed(tried: pl.DataFrame, pulls: pl.DataFrame) -> pl.DataFrame:
    """The trials, with `pulls`, `misses`, `wait` and `seconds` (a list) of their windows, and the first.

    `pulls` are judged ones. `first_miss` is null where nobody pulled.
    """
    texts = pl.col("image", "site").cast(pl.String)
    wanted = pulls.filter(pl.col("image").is_in(tried["image"].unique().implode()))
    pairs = (
        tried.select("trial", "image", "start", "end", ours_at="site")
        .join(wanted.select(texts, "timestamp", "miss", "wait", "seconds"), on="image")
        .filter(
            (pl.col("ours_at").is_null() | (pl.col("ours_at") == pl.col("site")))
            & (pl.col("timestamp") >= pl.col("start"))
            & (pl.col("timestamp") < pl.col("end"))
        )
        .sort("timestamp")
    )
    told = pairs.group_by("trial").agg(
        pl.len().alias("pulls"),
        pl.col("miss").sum().alias("misses"),
        pl.col("wait").sum(),
        pl.col("timestamp").first().alias("first"),
        pl.col("miss").first().alias("first_miss"),
        pl.col("seconds").drop_nulls().alias("took"),
    )
    counts = pl.col("pulls", "misses").fill_null(0)
    return (
        tried.join(told, on="trial", how="left")
        .with_columns(counts, pl.col("wait").fill_null(0.0))
        .sort("trial")
    )
