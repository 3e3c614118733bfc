"""Misses by cause: every miss has exactly one, and what would remove it."""

from __future__ import annotations

import polars as pl

from prewarm.insight.causes import Judged
from prewarm.insight.clocks import hour
from prewarm.insight.groups import grouped
from prewarm.insight.reasons import REMEDIES, Cause, Remedy
from prewarm.insight.reports import Report, Row, share
from prewarm.insight.reports.doubts import doubts, unsized, untimed

TOP = 20  # images that a report names

NOT_KEPT = (
    "outage and quota: a lake keeps no refused requests; `prewarm assess LOG` counts them from the log itself"
)


def misses(judged: Judged, zone: str = "UTC", refused: dict[str, int] | None = None) -> Report:
    """Causes of misses, the images and the hours that miss most.

    `refused` are misses by cause (`outage`, `quota`) that left no pull, where somebody counted them.
    """
    frame = judged.misses
    counted = dict(frame.group_by(pl.col("cause").cast(pl.String)).len().iter_rows())
    waited = dict(frame.group_by(pl.col("cause").cast(pl.String)).agg(pl.col("wait").sum()).iter_rows())
    for cause, count in (refused or {}).items():
        counted[cause] = counted.get(cause, 0) + count
    total = sum(counted.values())
    causes = [_cause(cause, counted, waited, total) for cause in Cause]
    by_remedy = [
        {"remedy": str(remedy), "misses": sum(row["misses"] for row in causes if row["remedy"] == remedy)}
        for remedy in Remedy
    ]
    pulls = len(judged.frame) + sum((refused or {}).values())
    return Report(
        "misses",
        {
            "pulls": pulls,
            "misses": total,
            "miss_rate": share(total, pulls),
            "wait_seconds": round(float(frame["wait"].sum()), 3),
        },
        {
            "causes": causes,
            "remedies": [row | {"share": share(row["misses"], total)} for row in by_remedy],
            "images": _images(frame),
            "groups": _groups(judged),
            "hours": _hours(judged.frame, zone),
        },
        judged.sure(),
        judged.words(),
        (
            *doubts(judged),
            *unsized(judged.frame),
            *untimed(judged.frame),
            *(() if refused is not None else (NOT_KEPT,)),
        ),
        leads={"causes": "misses", "images": "misses", "groups": "miss_rate"},
    )


def _cause(cause: Cause, counted: dict[str, int], waited: dict[str, float], total: int) -> Row:
    count = counted.get(cause, 0)
    return {
        "cause": str(cause),
        "misses": count,
        "share": share(count, total) or 0.0,
        "wait_seconds": round(waited.get(cause, 0.0), 3),
        "remedy": str(REMEDIES[cause]),
    }


def _images(frame: pl.DataFrame) -> list[Row]:
    """The images whose misses cost most, and the cause of most of them."""
    found = (
        frame.group_by("site", "image")
        .agg(
            pl.len().alias("misses"),
            pl.col("wait").sum().round(3).alias("wait_seconds"),
            pl.col("cause").cast(pl.String).mode().sort().first().alias("cause"),
        )
        .sort("wait_seconds", "misses", "image", descending=[True, True, False])
    )
    return found.head(TOP).to_dicts()


def _groups(judged: Judged) -> list[Row]:
    """Who misses: groups of clients, those first that wait longest, and the cause of most of their misses."""
    missed = pl.col("cause").cast(pl.String).filter("miss")
    found = (
        grouped(judged.frame, judged.groups)
        .group_by("site", "group")
        .agg(
            pl.len().alias("pulls"),
            pl.col("miss").sum().alias("misses"),
            pl.col("miss").mean().round(6).alias("miss_rate"),
            pl.col("wait").sum().round(3).alias("wait_seconds"),
            missed.mode().sort().first().alias("cause"),
        )
        .sort("wait_seconds", "pulls", "group", descending=[True, True, False])
    )
    return found.head(TOP).to_dicts()


def _hours(frame: pl.DataFrame, zone: str) -> list[Row]:
    return (
        frame.group_by(hour(zone))
        .agg(
            pl.len().alias("pulls"),
            pl.col("miss").sum().alias("misses"),
            pl.col("wait").sum().round(3).alias("wait_seconds"),
        )
        .sort("hour")
        .to_dicts()
    )
