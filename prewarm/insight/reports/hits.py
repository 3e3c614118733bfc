"""Hit rate: pulls and bytes that the cache served, by site, repository and day."""

from __future__ import annotations

import polars as pl

from prewarm.insight.causes import Judged
from prewarm.insight.clocks import day
from prewarm.insight.groups import grouped
from prewarm.insight.reports import Report, share
from prewarm.insight.reports.doubts import doubts, unsized

PAYS, WASTE = 0.6, 0.2
"""A cache that serves 60 % of pulls pays; one that serves less than 20 % is waste."""

TOP = 20


def hit_rate(judged: Judged, zone: str = "UTC") -> Report:
    """hits / pulls, and bytes of hits / bytes; a pull is a hit when no part of it came from upstream."""
    frame = judged.frame
    hits = len(frame) - int(frame["miss"].sum())
    served = int(frame.filter(~pl.col("miss"))["bytes"].sum())
    total = int(frame["bytes"].sum())
    rate = share(hits, len(frame))
    return Report(
        "hit-rate",
        {
            "pulls": len(frame),
            "hits": hits,
            "hit_rate": rate,
            "highest_hit_rate": share(hits + int(frame["doubtful"].sum()), len(frame)),
            "byte_hit_rate": share(served, total),
            "bytes": total if frame["bytes"].count() else None,
            "bytes_from_cache": served if frame["bytes"].count() else None,
            "judgement": judgement(rate),
        },
        {
            "sites": _by(frame, [pl.col("site")]),
            "repositories": _by(frame, [pl.col("site"), pl.col("repository")])[:TOP],
            "groups": _by(grouped(frame, judged.groups), [pl.col("site"), pl.col("group")])[:TOP],
            "clients": _by(frame, [pl.col("site"), pl.col("client")])[:TOP],
            "days": sorted(_by(frame, [day(zone)]), key=lambda row: row["day"]),
        },
        judged.sure(),
        judged.words(),
        (*doubts(judged), *unsized(frame)),
        leads=dict.fromkeys(("sites", "repositories", "groups", "clients"), "hit_rate"),
    )


def judgement(rate: float | None) -> str:
    """What the thresholds say of a hit rate."""
    if rate is None:
        return "unknown"
    if rate >= PAYS:
        return f"the cache pays: {rate:.0%} is at least {PAYS:.0%}"
    if rate < WASTE:
        return f"the cache is waste: {rate:.0%} is less than {WASTE:.0%}"
    return f"in between: {rate:.0%}; from {PAYS:.0%} on a cache pays, below {WASTE:.0%} it is waste"


def _by(frame: pl.DataFrame, keys: list[pl.Expr]) -> list[dict[str, object]]:
    hit = ~pl.col("miss")
    return (
        frame.group_by(keys)
        .agg(
            pl.len().alias("pulls"),
            hit.sum().alias("hits"),
            hit.mean().round(6).alias("hit_rate"),
            pl.col("bytes").sum(),
            pl.col("bytes").filter(hit).sum().alias("bytes_from_cache"),
        )
        .sort("pulls", *(key.meta.output_name() for key in keys), descending=[True, *(False for _ in keys)])
        .to_dicts()
    )
