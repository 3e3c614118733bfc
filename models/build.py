"""Rebuild the shipped prior from the seeded synthetic workload: `make models`.

Writes `models/prior.json` (plain data, no code in it) with two things that a registry's own log cannot say
while it is short: the rhythm of a day, and how much burstier than Poisson pulls are at each level of demand.
See `models/README.md`, the card.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prewarm.demand.calendars import Site
from prewarm.demand.distribution import ALPHA_RANGE, EDGES, FLOOR, Dispersion
from prewarm.demand.forecasters import Prior
from prewarm.demand.forecasters.profile import BINS, Profile, fit
from prewarm.demand.selection import KINDS
from prewarm.demand.series import Grid, count
from prewarm.demo.workload import Workload, busy

SEEDS = (101, 102, 103)  # none of them is a sample's or a test's
ORIGINS = range(1, 15)  # days before the end, each forecast from the hours before it
LEAST = 0.05  # of a multiple: no hour of a day is impossible
FEW = 500  # cells that a bucket needs to speak for itself
TYPICAL = 0.3  # alpha of a bucket that the workload does not reach
VERSION = "2026.11"


def main(folder: Path) -> None:
    """Fit and write; equal seeds give equal files."""
    sites = [grid for seed in SEEDS for grid in grids(busy(seed))]
    shape = np.mean([fit(Profile(), grid).shape for grid in sites], axis=0)
    shape = np.maximum(np.concatenate([smooth(shape[:24]), smooth(shape[24:BINS])]), LEAST).round(4)
    prior = Prior(tuple(shape[:24].tolist()), tuple(shape[24:BINS].tolist()), dispersion(sites), VERSION)
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
    """alpha per bucket: maximum likelihood of a negative binomial around the profile's own forecasts."""
    parts = [errors(grid, grid.hours - 24 * day) for grid in sites for day in ORIGINS]
    mu, y = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    buckets = np.digitize(mu, EDGES)
    alphas = [alpha(mu[buckets == bucket], y[buckets == bucket]) for bucket in range(len(EDGES) + 1)]
    return Dispersion(EDGES, tuple(round(TYPICAL if known is None else known, 4) for known in alphas))


def errors(grid: Grid, origin: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The profile's means and the pulls of the day from `origin`, image by image and hour by hour."""
    mu = Profile().forecast(grid.until(origin), range(24)).astype(np.float64).ravel()
    return np.maximum(mu, FLOOR), grid.counts[:, origin : origin + 24].toarray().astype(np.float64).ravel()


def alpha(mu: NDArray[np.float64], y: NDArray[np.float64]) -> float | None:
    """alpha of y ~ NB2(c mu, alpha); None with too few cells to say, or no pull among them."""
    from statsmodels.discrete.discrete_model import NegativeBinomial

    if len(y) < FEW or y.sum() < 50:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = NegativeBinomial(y, np.ones((len(y), 1)), loglike_method="nb2", offset=np.log(mu))
        fitted = model.fit(disp=False, maxiter=200)
    return float(np.clip(fitted.params[1], *ALPHA_RANGE))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
