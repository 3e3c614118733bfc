"""Clients that fetch everything: bulk mirrors and scanners that no list knows, told by what they ask for.

A crawl shows in one hour of one client: many images, each about once, many more than other clients ask for
in their busiest hour. Many clients behind one address ask for the same images again and again, and a
cluster's nodes all ask for as many: neither is a crawl.
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

TIMES = 5
"""A crawl asks for at least so many times the images of a usual client's busiest hour."""

MANY = 50
"""Images in an hour that are a crawl, where that is so much more than usual."""

NEARLY_ALL = (10, 0.75)
"""So are fewer (at least so many), when they are this share of all the images of the site."""

OTHERS = 2
"""At least so many other clients tell what is usual."""

PHASES = (timedelta(0), timedelta(minutes=30))
"""Where hours begin, so that a crawl across the hour is seen whole."""

_WHO = ("site", "client", "user", "agent")


def crawling(pulls: pl.DataFrame) -> pl.Series:
    """Which of `pulls` (timestamp, site, client, user, agent, image) are part of a crawl.

    With an hour that is one go the hours beside it of the same client: a crawl begins and ends somewhere in
    an hour. Pulls without a client or an image never are.
    """
    if pulls["image"].n_unique() < NEARLY_ALL[0]:
        return pl.repeat(False, len(pulls), dtype=pl.Boolean, eager=True)
    known = pulls.select(
        *("site", "client", "user", "image", "timestamp"),
        agent=pl.col("agent").str.extract(r"^([^/\s]*)").str.to_lowercase(),
    )
    told = pulls["client"].is_not_null() & pulls["image"].is_not_null()
    return told & (_within(known, PHASES[0]) | _within(known, PHASES[1]))


def _within(pulls: pl.DataFrame, phase: timedelta) -> pl.Series:
    """Which pulls are in an hour that is a crawl, or beside one, when hours begin at `phase`."""
    named = pulls.with_columns(hour=(pl.col("timestamp") + phase).dt.truncate("1h")).drop("timestamp")
    crawls = _judged(named.drop_nulls(["client", "image"])).filter("crawl")
    beside = pl.concat(
        crawls.select(*_WHO, pl.col("hour").dt.offset_by(shift)) for shift in ("-1h", "0h", "1h")
    )
    marked = named.join(
        beside.unique().with_columns(crawl=pl.lit(True)),
        on=[*_WHO, "hour"],
        how="left",
        nulls_equal=True,
        maintain_order="left",
    )
    return marked["crawl"].fill_null(False)


def _judged(pulls: pl.DataFrame) -> pl.DataFrame:
    """One row for each client and hour: how many `images`, how many `pulls`, and whether it is a `crawl`."""
    hours = pulls.group_by(*_WHO, "hour").agg(images=pl.col("image").n_unique(), pulls=pl.len())
    busiest = hours.group_by(_WHO).agg(most=pl.col("images").max())
    usual = busiest.group_by("site").agg(
        usual=pl.col("most").quantile(0.5, "lower"), others=pl.len().cast(pl.Int64) - 1
    )
    held = pulls.group_by("site").agg(held=pl.col("image").n_unique())
    least, share = NEARLY_ALL
    wide = (pl.col("images") >= MANY) | (
        (pl.col("images") >= least) & (pl.col("images") >= share * pl.col("held"))
    )
    return (
        hours.join(usual, on="site", nulls_equal=True)
        .join(held, on="site", nulls_equal=True)
        .with_columns(
            crawl=wide
            & (pl.col("others") >= OTHERS)
            & (pl.col("images") >= TIMES * pl.col("usual"))
            & (pl.col("pulls") < 2 * pl.col("images"))
        )
    )
