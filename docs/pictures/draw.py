"""The pictures of `docs/reports.md`: `python docs/pictures/draw.py` writes them again.

Read is the shipped log of one synthetic office, which tells neither hits nor durations nor runs. For the
pictures these are made up, with a fixed seed: what its pulls would have met at a mirror that keeps for a
week, how long they would have taken, and a run each morning at six of the last week's twenty busiest images,
a tenth of which it withholds.
"""

from __future__ import annotations

import random
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl

from prewarm import plots
from prewarm.demand.selection import image_column
from prewarm.demo import samples
from prewarm.insight.causes import identify, judged
from prewarm.insight.costs import ASSUMED, OFFICE
from prewarm.insight.reports import NAMES
from prewarm.lake import Lake
from prewarm.logs.files import Source
from prewarm.pipeline.insight.reports import Scope, Terms, report
from prewarm.pipeline.logs.ingest import ingest
from prewarm.tables import OUTCOMES

HERE = Path(__file__).parent
OFFICE_NAME, ZONE = "boise", "America/Boise"
SCORED = timedelta(days=14)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
KEY = ["timestamp", "client", "repository", "tag"]


def lived(folder: Path) -> Lake:
    """The office's pulls, with what they would have met and taken, and runs beside them."""
    read = Lake.open(folder / "read")
    log = str(samples.workload() / f"{OFFICE_NAME}.log.gz")
    ingest(read, [Source("mirror", (log,), OFFICE_NAME, "docker.io")])
    pulls = (
        read.read("pulls")
        .filter(pl.col("kind") != "check")
        .sort("timestamp")
        .unique(KEY, maintain_order=True)
    )
    runs = _runs(pulls)
    lake = Lake.open(folder / "lived")
    lake.append("pulls", _met(pulls, runs).drop("date", "file", "batch"))
    lake.append("outcomes", runs)
    return lake


def _met(pulls: pl.DataFrame, runs: pl.DataFrame) -> pl.DataFrame:
    """Hits, misses and seconds: a miss of the model is a hit where a run had brought the version that day."""
    told = judged(identify(pulls.lazy()).collect()).frame.select(*KEY, "image", "miss")
    warmed = runs.filter(pl.col("state") == "warmed").select(
        "image", day=pl.col("finished_at").dt.date(), warm=True
    )
    named = told.with_columns(day=pl.col("timestamp").dt.date()).join(warmed, on=["image", "day"], how="left")
    cold = named.with_columns(cold=pl.col("miss") & pl.col("warm").is_null()).select(*KEY, "cold")
    dice = random.Random(1)
    noise = pl.Series([dice.lognormvariate(0, 0.25) for _ in range(len(pulls))])
    blobs, size = pl.col("blobs").fill_null(1), pl.col("bytes").fill_null(0)
    local = OFFICE.local_round_trip * (2 + blobs) + size / OFFICE.local_bandwidth
    away = ASSUMED.round_trip * (2 + blobs) + size / ASSUMED.bandwidth
    return (
        pulls.join(cold, on=KEY, how="left", maintain_order="left")
        .with_columns(pl.col("cold").fill_null(False))
        .with_columns(
            cache=pl.when("cold").then(pl.lit("miss")).otherwise(pl.lit("hit")),
            seconds=(local + pl.when("cold").then(away).otherwise(0.0)) * noise,
        )
        .drop("cold")
    )


def _runs(pulls: pl.DataFrame) -> pl.DataFrame:
    """A run at six each morning of the last two weeks."""
    named = pulls.with_columns(image_column())
    last, dice, rows = named["timestamp"].max(), random.Random(2), []
    for day in range(SCORED.days):
        at = (last - (SCORED.days - day) * DAY).replace(hour=13, minute=0, second=0, microsecond=0)
        week = named.filter(pl.col("timestamp").is_between(at - 7 * DAY, at))
        busy = (
            week.group_by("image").agg(pl.len(), pl.col("bytes").max()).sort("len", "image", descending=True)
        )
        for image, _, size in busy.head(20).iter_rows():
            kept = dice.random() < 0.1
            rows.append(_outcome(image, size or 0, f"run{day}", at, "withheld" if kept else "warmed"))
    return pl.DataFrame(rows, schema=dict(OUTCOMES))


def _outcome(image: str, size: int, run: str, at: Any, state: str) -> dict[str, Any]:
    known = {
        "image": image, "run": run, "cache": "mirror", "site": OFFICE_NAME, "state": state,
        "bytes": size if state == "warmed" else 0, "started_at": at, "finished_at": at + HOUR / 6,
    }  # fmt: skip
    return {name: known.get(name) for name in OUTCOMES}


def main() -> None:
    """One SVG for each report."""
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "prewarm"  # the same bytes each time
    with tempfile.TemporaryDirectory() as folder:
        lake = lived(Path(folder))
        last = lake.read("pulls", columns=["timestamp"])["timestamp"].max()
        for name in NAMES:
            figure = plots.report(report(lake, name, Scope(since=last - SCORED), Terms(zone=ZONE)))
            figure.savefig(HERE / f"{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
