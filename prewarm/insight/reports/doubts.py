"""What reports cannot say: where hits and misses are a guess, and where bytes or durations are not logged."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

    from prewarm.insight.causes import Judged


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


def unsized(frame: pl.DataFrame) -> tuple[str, ...]:
    """What is missing where pulls have no bytes."""
    return ("bytes: none are logged",) if len(frame) and not frame["bytes"].count() else ()


def untimed(frame: pl.DataFrame) -> tuple[str, ...]:
    """What is missing where pulls have no durations."""
    if frame.is_empty() or frame["seconds"].count():
        return ()
    return (
        "durations: none are logged; waiting is modelled as 80 ms a round trip and 100 Mbit/s from upstream",
    )
