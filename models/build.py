"""Rebuild the shipped prior from the seeded synthetic workload: `make models`.

Writes `models/prior.json` (plain data, no code in it) with two things that a registry's own log cannot say
while it is short: the rhythm of a day, and how much burstier than Poisson pulls are at each level of demand.
See `models/README.md`, the card.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prewarm.demand.calendars import Site
from prewarm.demand.distribution import EDGES, TYPICAL, Dispersion, learnt, recent_errors
from prewarm.demand.forecasters import Prior
from prewarm.demand.forecasters.profile import BINS, Profile, fit
from prewarm.demand.selection import KINDS
from prewarm.demand.series import Grid, count
from prewarm.demo.workload import Workload, busy

SEEDS = (101, 102, 103)  # none of them is a sample's or a test's
DAYS = 14  # before the end, each forecast from the hours before it
FEW = 500  # cells that a bucket needs to speak for itself
LEAST = 0.05  # of a multiple: no hour of a day is impossible
VERSION = "2026.11"


def main(folder: Path) -> None:
    """Fit and write; equal seeds give equal files."""
    sites = [grid for seed in SEEDS for grid in grids(busy(seed))]
    shape = np.mean([fit(Profile(), grid).shape for grid in sites], axis=0)
    shape = np.maximum(np.concatenate([smooth(shape[:24]), smooth(shape[24:BINS])]), LEAST).round(4)
    version = f"{VERSION}+{digest(sites)}"
    prior = Prior(tuple(shape[:24].tolist()), tuple(shape[24:BINS].tolist()), dispersion(sites), version)
    text = json.dumps(prior.document(), indent=1) + "\n"
    (folder / "prior.json").write_text(text, encoding="utf-8")


def smooth(day: NDArray[np.float64]) -> NDArray[np.float64]:
    """A day's rhythm, blurred by an hour: the minute of one office's night build is no law."""
    return np.asarray(0.25 * np.roll(day, 1) + 0.5 * day + 0.25 * np.roll(day, -1), dtype=np.float64)


def grids(load: Workload) -> Iterator[Grid]:
    """The demand of each office, on its own clock."""
    pulls = pl.DataFrame(
        [(pull.time, pull.site, pull.image, pull.kind) for pull in load.pulls],
        schema={
            "timestamp": pl.Datetime("us", "UTC"),
            "site": pl.String,
            "image": pl.String,
            "kind": pl.String,
        },
        orient="row",
    )
    for office in load.offices:
        logged = pulls.filter(site=office.name)
        demand = logged.filter(pl.col("kind").is_in(list(KINDS)))
        site = Site(office.name, office.timezone, office.holidays)
        yield count(demand, site, load.start, site.floor(load.end), logged)


def dispersion(sites: list[Grid]) -> Dispersion:
    """alpha per bucket, by the errors of the profile's own forecasts; typical where there are too few."""
    cells = [each for grid in sites for each in recent_errors(grid, Profile().forecast, DAYS)]
    means = np.concatenate([mu for mu, _ in cells])
    told = np.bincount(np.digitize(means, EDGES), minlength=len(EDGES) + 1) >= FEW
    alpha = np.where(told, learnt(TYPICAL, cells).alpha, TYPICAL.alpha)
    return Dispersion(EDGES, tuple(alpha.round(4).tolist()))


def digest(sites: list[Grid]) -> str:
    """Of all that was learnt from: who was pulled how often, in which hour, at which site."""
    seen = hashlib.sha256()
    for grid in sites:
        counts = grid.counts
        seen.update(repr((grid.site, grid.images, grid.start)).encode())
        for cells in (counts.indptr, counts.indices, counts.data):
            seen.update(np.ascontiguousarray(cells, dtype="<f8").tobytes())
    return seen.hexdigest()[:12]


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
