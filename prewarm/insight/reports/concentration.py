"""Concentration: how few images carry the pulls, over the day and by hour."""

from __future__ import annotations

import polars as pl

from prewarm.insight.clocks import hour
from prewarm.insight.reports import Report, Row

SHARE = 0.8
TOP = 20
BUSINESS = (8, 17)  # first and last hour of the day that people work in


def concentration(pulls: pl.LazyFrame, zone: str = "UTC") -> Report:
    """The fewest images that make 80 % of the pulls; `pulls` are as `causes.identify` gave them."""
    counted = pulls.group_by("named", hour(zone)).len("pulls").collect(engine="streaming")
    names = pulls.group_by("named").agg(pl.col("site", "image").first())
    totals = counted.group_by("named").agg(pl.col("pulls").sum()).sort("pulls", "named", descending=True)
    all_pulls = int(totals["pulls"].sum())
    business = (
        counted.filter(pl.col("hour").is_between(*BUSINESS)).group_by("named").agg(pl.col("pulls").sum())
    )
    few, few_at_work = fewest(totals), fewest(business)
    top = totals.head(TOP)
    named = names.filter(pl.col("named").is_in(top["named"].implode())).collect(engine="streaming")
    return Report(
        "concentration",
        {
            "pulls": all_pulls,
            "images": len(totals),
            "images_for_80_percent": few,
            "images_for_80_percent_of_business_hours": few_at_work,
            "share_of_top_10": round(totals.head(10)["pulls"].sum() / all_pulls, 6) if all_pulls else None,
        },
        {"top": _top(top.join(named, on="named", how="left"), all_pulls), "hours": _hours(counted)},
        cannot_say=() if all_pulls else ("nothing: the period holds no pull that transfers an image",),
    )


def fewest(totals: pl.DataFrame, part: float = SHARE) -> int:
    """How many of the busiest images make `part` of the `pulls`; 0 without any."""
    ordered = totals.sort("pulls", descending=True)["pulls"].cum_sum()
    return int((ordered < part * ordered[-1]).sum()) + 1 if len(ordered) else 0


def _top(rows: pl.DataFrame, total: int) -> list[Row]:
    ordered = rows.sort("pulls", "image", descending=[True, False])
    part = pl.col("pulls") / total
    return (
        ordered.select(
            pl.int_range(1, pl.len() + 1).alias("rank"), "site", "image", "pulls",
            part.round(6).alias("share"), part.cum_sum().round(6).alias("together"),
        ).to_dicts()
    )  # fmt: skip


def _hours(counted: pl.DataFrame) -> list[Row]:
    return [
        {
            "hour": each,
            "pulls": int(rows["pulls"].sum()),
            "images": len(rows),
            "images_for_80_percent": fewest(rows),
        }
        for (each,), rows in sorted(counted.partition_by("hour", as_dict=True).items())
    ]
