"""Plans and runs as the lake remembers them, the newest first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from prewarm.errors import UnknownName
from prewarm.warming.executor import STATES, Outcome, state_of

if TYPE_CHECKING:
    from prewarm.lake import Lake

RECENT = 5  # that a refusal names


def plans(
    lake: Lake, cache: str | None, sites: Sequence[str] | None, limit: int, offset: int
) -> tuple[int, list[dict[str, Any]]]:
    """How many plans there are, and `limit` of them: id, cache, site and when each was made."""
    columns = ["id", "created_at", "cache", "site"]
    found = lake.read("plans", *_of(cache, sites), columns=columns).sort("created_at", "id", descending=True)
    return found.height, found.slice(offset, limit).to_dicts()


def runs(
    lake: Lake, cache: str | None, sites: Sequence[str] | None, limit: int, offset: int
) -> tuple[int, list[dict[str, Any]]]:
    """How many runs left outcomes, and `limit` of them, as `summary` has them."""
    counts = [(pl.col("state") == state).sum().alias(state) for state in STATES]
    found = (
        lake.scan("outcomes")
        .filter(pl.col("state").is_in(STATES), *_of(cache, sites))  # what was taken out again is no run
        .group_by("run", "plan", "cache", "site")
        .agg(
            *counts,
            pl.col("bytes").sum(),
            pl.col("started_at").min(),
            pl.col("finished_at").max(),
        )
        .sort("run", descending=True)  # an id begins with its time
        .collect()
    )
    return found.height, [_summary(row) for row in found.slice(offset, limit).to_dicts()]


def run(lake: Lake, id: str) -> dict[str, Any]:
    """One run with its outcomes, in the order in which they ended; UnknownName names the last ones."""
    rows = lake.read("outcomes", pl.col("run") == id)
    if rows.is_empty():
        recent = lake.read("outcomes", columns=["run"]).unique().sort("run").tail(RECENT)
        raise UnknownName("run", id, recent["run"].to_list())
    outcomes = rows.sort("finished_at", nulls_last=True).to_dicts()
    counts = {str(state): sum(row["state"] == state for row in outcomes) for state in STATES}
    told = {**outcomes[0], **counts, "bytes": sum(row["bytes"] or 0 for row in outcomes)}
    told["started_at"] = _edge(min, outcomes, "started_at")
    told["finished_at"] = _edge(max, outcomes, "finished_at")
    kept = [name for name in Outcome.__dataclass_fields__ if name in outcomes[0]]
    return {**_summary(told), "outcomes": [{name: row[name] for name in kept} for row in outcomes]}


def places(lake: Lake, image: str, sites: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The caches into which runs have brought an image, as each was left last; what was evicted is not there.

    `expires_at` is when the cache lets go of it, where it says so.
    """
    kept = ("warmed", "already", "evicted")
    last = (
        lake.read("outcomes", pl.col("image") == image, pl.col("state").is_in(kept), *_of(None, sites))
        .sort("finished_at")
        .unique("cache", keep="last", maintain_order=True)
        .filter(pl.col("state") != "evicted")
    )
    filled = lake.read("warmed", pl.col("image") == image).sort("filled_at").unique("cache", keep="last")
    told = last.select("cache", "site", "driver", "digest", "finished_at", "run").join(
        filled.select("cache", "expires_at"), on="cache", how="left"
    )
    return told.sort("cache").to_dicts()


def _summary(row: dict[str, Any]) -> dict[str, Any]:
    """A run in a list: whose, when, its state and totals."""
    counts = {str(state): int(row[state]) for state in STATES}
    return {
        "id": row["run"],
        "plan": row["plan"],
        "cache": row["cache"],
        "site": row["site"],
        "state": state_of(counts),
        "started_at": row["started_at"],
        "finished_at": row["finished_at"],
        "totals": {**counts, "bytes": row["bytes"]},
    }


def _edge(pick: Any, rows: list[dict[str, Any]], name: str) -> datetime | None:
    found: datetime | None = pick((row[name] for row in rows if row[name] is not None), default=None)
    return found


def _of(cache: str | None, sites: Sequence[str] | None) -> list[pl.Expr]:
    where = [] if cache is None else [pl.col("cache") == cache]
    return where if sites is None else [*where, pl.col("site").is_in(list(sites))]
