"""What several reports say alike: how hits are known, and what a log without sizes cannot tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from prewarm.insight.causes import Judged


def hour(zone: str) -> pl.Expr:
    """Hour of the day on the clock of `zone`."""
    return pl.col("timestamp").dt.convert_time_zone(zone).dt.hour().alias("hour")


def words(judged: Judged) -> tuple[str, ...]:
    """How hits and misses are known, a sentence for each source."""
    return tuple(each.words for each in judged.evidence)


def doubts(judged: Judged) -> tuple[str, ...]:
    """What the judgement cannot say."""
    found: list[str] = []
    frame = judged.frame
    if frame.is_empty():
        return ("nothing: no pull of the period is known to have been served or not",)
    if doubtful := int(frame["doubtful"].sum()):
        found.append(
            f"{doubtful:,} misses are first pulls in a log of less than two days: the cache may have "
            "held them, so these are the most misses there can have been; "
            "read more days, or log hits or durations"
        )
    if judged.beginning:
        found.append(
            "the first day of each source only fills the modelled cache: "
            f"{judged.beginning:,} pulls of it are not judged"
        )
    if judged.unknown:
        found.append(f"of {judged.unknown:,} pulls it is not logged whether the cache had them")
    if any(each.kind == "model" for each in judged.evidence):
        found.append("evictions: a modelled cache never runs full; log hits or durations to see them")
    unnamed = int(frame["digest"].null_count())
    if unnamed > len(frame) / 20 and any(each.kind == "model" for each in judged.evidence):
        found.append(
            f"the digest of {unnamed / len(frame):.0%} of the pulls is not logged: "
            "tags that moved look like hits there"
        )
    return tuple(found)


def sizes(frame: pl.DataFrame) -> tuple[str, ...]:
    """What is missing where bytes or durations are not logged."""
    found: list[str] = []
    if not len(frame):
        return ()
    if not frame["bytes"].count():
        found.append("bytes: none are logged")
    if not frame["seconds"].count():
        found.append(
            "durations: none are logged; waiting is modelled as 80 ms a round trip and "
            "100 Mbit/s from upstream"
        )
    return tuple(found)
