"""Accesses become sessions: what one client asks of one repository without a long pause.

Columns `site` and `source` are optional in accesses.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl

from prewarm.references import DEFAULT_REGISTRY

__all__ = ["GAP", "IDENTITY", "canonical", "family", "sessions"]

GAP = timedelta(seconds=60)
OWN_AGENT = "prewarm/"  # what we warm is never demand

IDENTITY = ("site", "source", "client", "user", "registry", "repository")
"""What a session is of, beside the family of its agent."""


def sessions(accesses: pl.DataFrame, gap: timedelta = GAP) -> pl.DataFrame:
    """The accesses that can make pulls, each with its session.

    Kept are GETs and HEADs of manifests and blobs of a repository, except our own. Registry and
    repository become canonical (`docker.io` where none was logged, `library/` there). Added are
    `session` (UInt32, dense), `session_until`, `session_offset` (the offset of its first line),
    `turn` (UInt32: the order of the rows, by session and time), and when the request was `asked`
    and `done`, since one log stamps the start and another the end.

    A session holds what one client (site, source, client, user, first word of the agent) asks of
    one repository with no idle gap longer than `gap`.
    """
    requests = _with_times(canonical(_relevant(accesses.rechunk())))
    order = _order(requests)
    who = order["who"]
    ordered = _in_order(requests.drop("family_of_agent"), order["row"])
    another = (who != who.shift(1)).fill_null(True)
    idle = ordered["asked"] - _latest(ordered["done"], another).shift(1)
    starts = another | (idle > gap).fill_null(False)
    return ordered.with_columns(
        (starts.cum_sum() - 1).cast(pl.UInt32).alias("session"),
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("turn"),
    ).with_columns(
        pl.col("done").max().over("session").alias("session_until"),
        pl.col("offset").min().over("session").alias("session_offset"),
    )


def _order(requests: pl.DataFrame) -> pl.DataFrame:
    """`who` asked, as a number, and the `row` of each request, by client, then time, then offset."""
    keys = requests.select(
        # Of 64 bits: 10^6 clients collide once in 10^7 logs.
        who=pl.struct(*IDENTITY, "family_of_agent").hash(),
        asked=pl.col("asked").to_physical(),
        offset=pl.col("offset").fill_null(0),
    )
    row = np.lexsort([keys[name].to_numpy() for name in ("offset", "asked", "who")])
    alike = keys[row].select(pl.all_horizontal(pl.all() == pl.all().shift(1)))
    if alike.to_series().any():  # lines without a place of their own
        tie = requests.select(pl.struct("method", "reference", "status", "bytes").hash()).to_series()
        row = np.lexsort([tie.to_numpy(), *(keys[name].to_numpy() for name in ("offset", "asked", "who"))])
    return pl.DataFrame({"who": keys["who"][row], "row": row})


def _in_order(requests: pl.DataFrame, row: pl.Series) -> pl.DataFrame:
    """The rows of `requests` by number; what no row tells, as most logs leave columns, is not moved."""
    untold = [column.name for column in requests if column.null_count() == len(column)]
    nothing = [pl.lit(None, requests.schema[name]).alias(name) for name in untold]
    return requests.drop(untold)[row].with_columns(nothing).select(requests.columns)


def _latest(done: pl.Series, another: pl.Series) -> pl.Series:
    """When the last of all requests so far of the same client ended; `another` marks its first one."""
    earlier = (done < done.shift(1)) & ~another
    if not earlier.any():  # as in every log without durations
        return done
    of_one = pl.DataFrame({"done": done, "one": another.cum_sum()})
    return of_one.select(pl.col("done").cum_max().over("one")).to_series()


def _relevant(accesses: pl.DataFrame) -> pl.DataFrame:
    missing = [
        pl.lit(None, pl.String).alias(name) for name in ("site", "source") if name not in accesses.columns
    ]
    untold = pl.col("method").is_null() & (pl.col("family") == "event")
    return accesses.with_columns(missing).filter(
        pl.col("object").is_in(["manifest", "blob"]),
        pl.col("method").is_in(["GET", "HEAD"]) | untold,
        pl.col("repository").is_not_null(),
        pl.col("timestamp").is_not_null(),
        ~pl.col("agent").str.starts_with(OWN_AGENT).fill_null(False),
    )


def canonical(accesses: pl.DataFrame) -> pl.DataFrame:
    """`accesses` with canonical `registry` and `repository`, and the `family_of_agent`."""
    elsewhere = pl.col("registry").is_not_null() & (pl.col("registry") != "index.docker.io")
    registry = pl.when(elsewhere).then("registry").otherwise(pl.lit(DEFAULT_REGISTRY))
    named = accesses.with_columns(
        registry.alias("registry"), _families(accesses["agent"]).alias("family_of_agent")
    )
    short = pl.col("registry").eq(DEFAULT_REGISTRY) & ~pl.col("repository").str.contains("/", literal=True)
    official = named.select(short.fill_null(False)).to_series()
    if not official.any():
        return named
    whole = pl.when(official).then("library/" + pl.col("repository")).otherwise("repository")
    return named.with_columns(whole.alias("repository"))


def _families(agents: pl.Series) -> pl.Series:
    """The family of each agent, cut once from each of the few there are."""
    number = agents.cast(pl.Categorical(pl.Categories.random())).to_physical()
    distinct = pl.DataFrame({"agent": agents, "number": number}).filter(number.is_first_distinct())
    few = distinct.drop_nulls("number").sort("number")["agent"]
    return few.to_frame().select(family(pl.col("agent"))).to_series().gather(number)


def family(agent: pl.Expr) -> pl.Expr:
    """The first word of a user agent, before a slash or blank: one client's versions are one family."""
    return agent.str.splitn("/", 2).struct.field("field_0").str.splitn(" ", 2).struct.field("field_0")


def _with_times(accesses: pl.DataFrame) -> pl.DataFrame:
    """When each request began and ended: application logs stamp the end, access logs the start."""
    took = pl.duration(microseconds=(pl.col("seconds").fill_null(0) * 1e6).cast(pl.Int64))
    at_end = pl.col("family") == "app"
    return accesses.with_columns(
        pl.when(at_end).then(pl.col("timestamp") - took).otherwise("timestamp").alias("asked"),
        pl.when(at_end).then("timestamp").otherwise(pl.col("timestamp") + took).alias("done"),
    )
