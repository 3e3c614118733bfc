"""Savings: what the cache saves, and what warming adds to that; nothing is credited twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from prewarm.insight.causes import Judged
from prewarm.insight.costs import ASSUMED
from prewarm.insight.reports import Report
from prewarm.insight.reports.doubts import doubts, unsized, untimed
from prewarm.insight.reports.latency import split

HUB = "docker.io"
WINDOW = "6h"  # of Docker Hub's pull quota
GB = 1e9


def savings(judged: Judged, told: pl.DataFrame, price: float, quota: int) -> Report:
    """`told` are trials as `followed` gave them; `price` is of 10^9 bytes, `quota` of docker.io in 6 h."""
    frame = judged.frame
    hits = frame.filter(~pl.col("miss"))
    from_cache = int(hits["bytes"].sum())
    warming = _warming(told, frame)
    wasted = warming["wasted_bytes"]
    windows = _windows(frame)
    summary: dict[str, Any] = {
        "seconds_saved": warming["seconds"],
        "hours_saved": round(warming["seconds"] / 3600, 3),
        "upstream_fetches_moved": warming["fetches"],
        "warmed_bytes": warming["bytes"],
        "wasted_bytes": wasted,
        "wasted_cost": round(wasted / GB * price, 2),
        "cache_bytes": from_cache,
        "cache_egress_saved": round(from_cache / GB * price, 2),
        "upstream_pulls": int(frame["miss"].sum()),
        "upstream_pulls_avoided": len(hits),
        "quota": quota,
        "quota_windows": len(windows),
        "quota_windows_spent_without_cache": len(windows.filter(pl.col("pulls") > quota)),
        "quota_windows_spent_with_cache": len(windows.filter(pl.col("upstream_pulls") > quota)),
    }
    fullest = windows.sort("pulls", "start", descending=[True, False]).head(20)
    return Report(
        "savings",
        summary,
        {"docker_hub": fullest.to_dicts(), "images": _images(warming["each"])},
        judged.sure(),
        judged.words(),
        _unsaid(judged, told, price),
    )


def _warming(told: pl.DataFrame, frame: pl.DataFrame) -> Mapping[str, Any]:
    """What runs brought: the first pull of each image they transferred would have fetched it; later ones not.

    An image that was there already was not transferred, and one that missed all the same saved nothing.
    """
    brought = told.filter((pl.col("state") == "warmed") & (pl.col("bytes") > 0))
    useful = brought.filter((pl.col("pulls") > 0) & ~pl.col("first_miss").fill_null(True))
    # Of runs whose windows overlap the last one brought what the pull then met.
    useful = useful.sort("finished_at").unique(["cache", "image", "first"], keep="last", maintain_order=True)
    trip, rate = _speed(frame)
    seconds = trip * 3 + pl.col("bytes") / rate
    each = useful.select("image", "bytes", "pulls", seconds.round(3).alias("seconds_saved"))
    return {
        "seconds": round(float(each["seconds_saved"].sum()), 3),
        "fetches": len(useful),
        "bytes": int(brought["bytes"].sum()),
        "wasted_bytes": int(brought.filter(pl.col("pulls") == 0)["bytes"].sum()),
        "each": each,
    }


def _speed(frame: pl.DataFrame) -> tuple[float, float]:
    """Seconds of a round trip and bytes a second from upstream: of the period's own misses, else assumed."""
    measured = split(frame.filter("miss" & pl.col("seconds").is_not_null()))
    trip, rate = measured["round_trip_seconds"], measured["bytes_per_second"]
    return (trip, rate) if trip is not None and rate is not None else (ASSUMED.round_trip, ASSUMED.bandwidth)


def _windows(frame: pl.DataFrame) -> pl.DataFrame:
    """Pulls from Docker Hub in each six hours: all of them, and those that went there."""
    of_hub = frame.filter(pl.col("registry").fill_null(HUB) == HUB)
    start = pl.col("timestamp").dt.truncate(WINDOW).alias("start")
    return (
        of_hub.group_by(start)
        .agg(pl.len().alias("pulls"), pl.col("miss").sum().alias("upstream_pulls"))
        .sort("start")
    )


def _images(each: pl.DataFrame) -> list[dict[str, Any]]:
    saved = each.group_by("image").agg(
        pl.len().alias("fetches"),
        pl.col("pulls").sum(),
        pl.col("bytes").sum(),
        pl.col("seconds_saved").sum().round(3),
    )
    return saved.sort("seconds_saved", "image", descending=[True, False]).head(20).to_dicts()


def _unsaid(judged: Judged, told: pl.DataFrame, price: float) -> tuple[str, ...]:
    found = [*doubts(judged), *unsized(judged.frame), *untimed(judged.frame)]
    if told.is_empty():
        found.append("savings of warming: no run of the period has warmed an image")
    if not price:
        found.append("money: no price is set; for example costs.egress_per_gb = 0.09")
    found.append(
        "egress saved by warming: it fetches what a client would have fetched, only earlier, so there is none"
    )
    found.append(
        "seconds saved are modelled from the bytes that runs transferred; `report holdout` measures them"
    )
    return tuple(found)
