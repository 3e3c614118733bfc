"""Latency: how long cold and warm pulls take, where the time goes, and when."""

from __future__ import annotations

import numpy as np
import polars as pl

from prewarm.insight.causes import Judged
from prewarm.insight.clocks import hour
from prewarm.insight.groups import grouped
from prewarm.insight.reports import Report, Row
from prewarm.insight.reports.doubts import doubts

TOP = 20
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
MOST_FITTED = 200_000  # cold pulls that the split into round trips and bytes is fitted on


def latency(judged: Judged, zone: str = "UTC") -> Report:
    """Quantiles of the seconds of cold and of warm pulls, and cold ones split into round trips and bytes."""
    frame = judged.frame.filter(pl.col("seconds").is_not_null())
    if frame.is_empty():
        said = ("durations: the sources log none, so no pull's seconds are known", *doubts(judged))
        return Report("latency", {"timed": 0}, {}, judged.sure(), judged.words(), said)
    cold = frame.filter("miss")
    summary = {"timed": len(frame)} | _flat("cold", cold) | _flat("warm", frame.filter(~pl.col("miss")))
    return Report(
        "latency",
        summary | split(cold),
        {
            "hours": _by(frame, [hour(zone)], by="hour"),
            "repositories": _by(frame, [pl.col("site"), pl.col("repository")])[:TOP],
            "groups": _by(grouped(frame, judged.groups), [pl.col("site"), pl.col("group")])[:TOP],
        },
        judged.sure(),
        judged.words(),
        (
            *doubts(judged),
            "single layers: a lake keeps pulls; the time of each request is in the log alone",
        ),
        leads={"repositories": "cold_p50", "groups": "cold_p50"},
    )


def _flat(which: str, rows: pl.DataFrame) -> dict[str, float | int | None]:
    told: dict[str, float | int | None] = {f"{which}_pulls": len(rows)}
    for name, level in QUANTILES.items():
        value = rows["seconds"].quantile(level, "linear")
        told[f"{which}_{name}"] = None if value is None else round(value, 4)
    return told


def split(cold: pl.DataFrame) -> dict[str, float | None]:
    """seconds = round_trip x (2 + blobs) + bytes / bandwidth, by least squares with neither below zero."""
    rows = cold.drop_nulls(["bytes", "blobs"]).head(MOST_FITTED)
    nothing = {"round_trip_seconds": None, "bytes_per_second": None, "round_trip_share": None}
    if len(rows) < 10 or rows["bytes"].n_unique() < 3:
        return dict(nothing)
    trips, size = (rows["blobs"] + 2).to_numpy().astype(float), rows["bytes"].to_numpy().astype(float)
    seconds = rows["seconds"].to_numpy()
    (trip, slope), *_ = np.linalg.lstsq(np.column_stack([trips, size / 1e6]), seconds, rcond=None)
    if trip < 0:
        trip, slope = 0.0, float((size / 1e6) @ seconds / ((size / 1e6) @ (size / 1e6)))
    if slope < 0:
        trip, slope = float(trips @ seconds / (trips @ trips)), 0.0
    total = float((trip * trips + slope * size / 1e6).sum())
    return {
        "round_trip_seconds": round(float(trip), 4),
        "bytes_per_second": round(1e6 / slope) if slope > 0 else None,
        "round_trip_share": round(float((trip * trips).sum()) / total, 4) if total else None,
    }


def _by(frame: pl.DataFrame, keys: list[pl.Expr], by: str = "cold_seconds") -> list[Row]:
    cold = pl.col("seconds").filter("miss")
    warm = pl.col("seconds").filter(~pl.col("miss"))
    found = frame.group_by(keys).agg(
        pl.len().alias("pulls"),
        cold.len().alias("cold_pulls"),
        cold.sum().round(3).alias("cold_seconds"),
        cold.quantile(0.5, "linear").round(4).alias("cold_p50"),
        cold.quantile(0.95, "linear").round(4).alias("cold_p95"),
        warm.quantile(0.5, "linear").round(4).alias("warm_p50"),
        warm.quantile(0.95, "linear").round(4).alias("warm_p95"),
    )
    rest = [key.meta.output_name() for key in keys]
    return found.sort(by, *rest, descending=[by == "cold_seconds", *(False for _ in rest)]).to_dicts()
