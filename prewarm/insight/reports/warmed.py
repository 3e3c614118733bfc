"""Warmed: what each run brought, whether it was used and in time, and what was waste."""

from __future__ import annotations

import polars as pl

from prewarm.insight.causes import Judged
from prewarm.insight.reports import Report, share
from prewarm.insight.reports.doubts import doubts


def warmed(told: pl.DataFrame, judged: Judged) -> Report:
    """precision = warmed images that were pulled in their window / warmed images.

    `told` are trials as `followed` gave them.
    """
    brought = told.filter(pl.col("state") == "warmed")
    used = pl.col("pulls") > 0
    rows = (
        told.filter(pl.col("arm") == "warmed")
        .group_by("run", "cache")
        .agg(
            pl.col("started_at").min().alias("started"),
            pl.col("finished_at").max().alias("finished"),
            pl.len().alias("tried"),
            (pl.col("state") == "warmed").sum().alias("warmed"),
            (pl.col("state") == "already").sum().alias("already"),
            pl.col("state").is_in(["failed", "cancelled"]).sum().alias("failed"),
            ((pl.col("state") == "warmed") & used).sum().alias("used"),
            pl.col("bytes").sum(),
            pl.col("bytes").filter(~used).sum().alias("wasted_bytes"),
            pl.col("pulls").sum(),
            pl.col("misses").sum(),
        )
        .with_columns((pl.col("used") / pl.col("warmed")).fill_nan(None).round(4).alias("precision"))
        .sort("started", "run")
    )
    transferred, wasted = int(rows["bytes"].sum()), int(rows["wasted_bytes"].sum())
    nothing = () if len(rows) else ("anything: no run of the period has warmed an image",)
    return Report(
        "warmed",
        {
            "runs": len(rows),
            "warmed": len(brought),
            "already": int(rows["already"].sum()),
            "failed": int(rows["failed"].sum()),
            "used": len(brought.filter(used)),
            "precision": share(len(brought.filter(used)), len(brought)),
            "bytes": transferred,
            "wasted_bytes": wasted,
            "waste_rate": share(wasted, transferred),
        },
        {"runs_in_order": rows.to_dicts()},
        judged.sure(),
        judged.words(),
        (
            *nothing,
            *doubts(judged),
            "evictions that a run caused, and the mirror's latency during it: no log ties them to the run",
            "pulls after an image's window: they are not counted as uses",
        ),
    )
