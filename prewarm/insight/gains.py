"""What policies would have saved each repository: its own pulls, replayed; the cheap policies first.

    a site's trace ─▶ a mirror under each policy, at equal bytes ─▶ seconds waited, by repository

Policies are those of `prewarm replay`. Where no push is logged, when a tag moved is not known: then two
replays bound what a list gains, one in which each version came right after the one before it was pulled
last, and one in which it came right before its own first pull.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from prewarm.insight.costs import Cost
from prewarm.insight.mirrors import Mirror, WarmRun, passage
from prewarm.insight.policies import LONGER, NONE, PUSHED, WEEKLY, repository
from prewarm.insight.traces import Trace, micros

PREFERRED = (LONGER, PUSHED, WEEKLY)
"""Policies, the cheapest first: a setting, a webhook, a list that somebody refreshes."""

BEFORE = timedelta(minutes=1)
"""A version that is presumed late was pushed so long before its first pull."""


@dataclass(frozen=True, slots=True)
class Gain:
    """Seconds a day that a policy saves the clients of a repository; between `lo` and `hi`."""

    lo: float
    hi: float

    def document(self) -> dict[str, float]:
        return {"lo": round(self.lo, 2), "hi": round(self.hi, 2)}


@dataclass(frozen=True)
class Replayed:
    """One site's replays: what each repository waits without a policy, and gains by each."""

    waiting: Mapping[str, float]  # seconds a day, by repository
    gains: Mapping[str, Mapping[str, Gain]] = field(default_factory=dict)  # by policy, by repository
    presumed: bool = False  # pushes are not logged
    longer: timedelta | None = None  # the longer expiry that was replayed

    def of(self, repository: str) -> dict[str, Gain]:
        """What each policy gains for a repository."""
        return {name: each.get(repository, Gain(0.0, 0.0)) for name, each in self.gains.items()}


def waits(
    trace: Trace, mirror: Mirror, runs: Sequence[WarmRun], since: datetime, cost: Cost, days: float
) -> dict[str, float]:
    """Seconds a day that the clients of each repository wait for upstream, from `since` on."""
    told = passage(trace, mirror, sorted(runs, key=lambda run: run.time))
    rows = np.array(told.rows, dtype=np.int64)
    blobs, sizes = (np.array(each, dtype=np.int64) for each in (told.blobs, told.sizes))
    seconds = np.where(trace.times[rows] >= micros(since), cost.waiting(blobs, sizes), 0.0)
    by_image = np.bincount(trace.image[rows], seconds, len(trace.images))
    found: dict[str, float] = {}
    for image, waited in zip(trace.images, by_image.tolist(), strict=True):
        name = repository(image)
        found[name] = found.get(name, 0.0) + waited / days
    return found


def together(replays: Sequence[Mapping[str, Mapping[str, float]]]) -> Replayed:
    """Replays of one site under different presumptions, each the waiting by policy and repository, as one.

    `waiting` is the least of what they say: a later push never makes an unwarmed mirror's miss a hit.
    """
    first = replays[0]
    gains = {
        policy: {
            name: _between([each[NONE].get(name, 0.0) - each[policy].get(name, 0.0) for each in replays])
            for name in first[NONE]
        }
        for policy in PREFERRED
        if all(policy in each for each in replays)
    }
    return Replayed(first[NONE], gains, len(replays) > 1)


def _between(saved: Sequence[float]) -> Gain:
    return Gain(max(min(saved), 0.0), max(*saved, 0.0))


def presumed(pulls: pl.DataFrame, early: bool) -> pl.DataFrame:
    """Pushes that nobody logged, as pulls let them be presumed, in the columns of the lake's.

    `pulls` have `timestamp, image, registry, repository, tag, digest`. `early`: right after the last pull of
    what the tag stood for before; else, and for images that are new, right before the first pull.
    """
    told = pulls.drop_nulls(["image", "digest"]).sort("timestamp")
    known = pl.col("digest").shift(1).over("image")
    free = pl.col("timestamp").shift(1).over("image") + timedelta(seconds=1)
    just = pl.col("timestamp") - BEFORE
    at = pl.coalesce(free, just) if early else pl.max_horizontal(free, just)
    dated = told.with_columns(at=pl.min_horizontal(at, "timestamp"), known=known)
    changed = dated.filter((pl.col("digest") != pl.col("known")).fill_null(True))
    return changed.select(pl.col("at").alias("timestamp"), "registry", "repository", "tag", "digest")
