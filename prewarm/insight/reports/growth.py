"""Growth: how much distinct content the pulls ask for, how much of it images share, how fast tags move."""

from __future__ import annotations

import polars as pl

from prewarm.insight.clocks import day
from prewarm.insight.reports import Report, Row, share


def growth(pulls: pl.LazyFrame, catalogue: pl.DataFrame, zone: str = "UTC") -> Report:
    """`pulls` as `causes.identify` gave them; `catalogue`: image, digest, layers (lists of digest and bytes).

    A version's size is that of the catalogue, else the most bytes that one pull of it took.
    """
    versions = (
        pulls.group_by("version")
        .agg(
            pl.col("named", "image", "digest").first(), pl.col("bytes").max(), day(zone).min(),
            pl.col("timestamp").min(), pl.len().alias("pulls"),
        )
        .collect(engine="streaming")
        .sort("timestamp")
    )  # fmt: skip
    fresh = versions.with_columns(first=pl.col("named").is_first_distinct())
    days = _days(fresh)
    known = (
        versions.join(catalogue, on=["image", "digest"], how="inner") if len(catalogue) else versions.clear()
    )
    unsaid = ["what is deleted or evicted: the bytes are those asked for, not those that lie on a disk"]
    if versions["bytes"].null_count():
        unsaid.append(f"sizes: {versions['bytes'].null_count():,} of {len(versions):,} versions have none")
    if known.is_empty():
        unsaid.append("sharing between images: the catalogue knows no layers of them; a plan learns them")
    if versions["digest"].null_count():
        unsaid.append("moves of tags whose digest is not logged")
    return Report(
        "growth",
        {
            "images": versions["named"].n_unique(),
            "versions": len(versions),
            "bytes": int(versions["bytes"].sum()) if versions["bytes"].count() else None,
            "pulled_once": len(versions.filter(pl.col("pulls") == 1)),
            "new_versions_per_day": share(
                sum(row["new_versions"] for row in days[1:]), max(len(days) - 1, 0)
            ),
            "moved_tags_per_day": share(sum(row["moved_tags"] for row in days[1:]), max(len(days) - 1, 0)),
            "bytes_per_day": share(sum(row["new_bytes"] or 0 for row in days[1:]), max(len(days) - 1, 0)),
            **_shared(known),
        },
        {"days": days},
        cannot_say=tuple(unsaid)
        if len(versions)
        else ("anything: no pull of the period transfers an image",),
    )


def _days(fresh: pl.DataFrame) -> list[Row]:
    daily = (
        fresh.group_by("day")
        .agg(
            pl.len().alias("new_versions"),
            (~pl.col("first")).sum().alias("moved_tags"),
            pl.col("bytes").sum().alias("new_bytes"),
        )
        .sort("day")
    )
    return daily.with_columns(pl.col("new_bytes").cum_sum().alias("bytes")).to_dicts()


def _shared(known: pl.DataFrame) -> dict[str, float | int | None]:
    """Bytes of the layers of catalogued versions, each image's own and each layer once."""
    if known.is_empty():
        return {"catalogued_bytes": None, "unique_bytes": None, "shared_share": None}
    layers = known.select(pl.col("layers").explode()).unnest("layers")
    total, unique = int(layers["bytes"].sum()), int(layers.unique("digest")["bytes"].sum())
    return {"catalogued_bytes": total, "unique_bytes": unique, "shared_share": share(total - unique, total)}
