"""Whether chances and quantiles keep their word: `python -m benchmarks.calibration [SEED …]`.

The registries of `benchmarks.accuracy`, seven days foretold a day ahead each by `auto`; few of their images
have ten pulls an hour, so four registries of busy ones stand beside them. Of P(at least one
pull), the expected calibration error over twenty bins. Of each quantile q, by how busy the image was
foretold to be, how often fewer pulls came and how often at most as many: q should lie between the two, within
two points.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.accuracy import SEEDS, registries
from prewarm.demand import evaluation, forecasters
from prewarm.demand.calendars import Site, clock
from prewarm.demand.counts import Counts
from prewarm.demand.evaluation import QUANTILES
from prewarm.demand.series import Grid
from prewarm.pipeline.demand.histories import prior

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from prewarm.demand.distribution import Dispersion

DAYS, HOURS = 7, 24
START = datetime(2026, 3, 2, tzinfo=UTC)
ACTIVITY = (0.1, 1.0, 10.0, 100.0)  # expected pulls an hour between which cells are taken together
NAMES = ("<0.1", "0.1-1", "1-10", "10-100", ">=100")
BUSY = ("office", "flat", "bursty", "steady")


def days(grid: Grid) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], Dispersion]]:
    """What came, what was expected of it, and the spread that was expected around that, by day."""
    shipped = prior()
    model = forecasters.load("auto", shipped)
    for origin in evaluation.origins(grid, DAYS, HOURS):
        known = grid.until(origin)
        rows = np.flatnonzero(np.diff(known.counts.indptr))
        answers = forecasters.fit(model, known.of(rows), shipped.dispersion)
        y = grid.counts[:, origin : origin + HOURS].toarray()[rows]
        yield y, answers.means(range(HOURS)), answers.dispersion


def busy(kind: str, seed: int, weeks: int = 5, images: int = 60) -> Grid:
    """Sixty images of 0.3 to 400 pulls an hour at their peak: days differ, images are bursty each in its way.

    `steady` is Poisson noise alone, `flat` has no working day, `bursty` has an hour in fifty with six times
    the pulls.
    """
    rng, hours, site = np.random.default_rng(seed), weeks * 168, Site("busy")
    told = clock(site, START, hours)
    peak = rng.integers(8, 15, images)[:, None]
    day = np.where(told.weekend, 0.2, 1.0) * np.exp(-0.5 * ((told.hour - peak) / 3) ** 2)
    if kind == "flat":
        day = np.broadcast_to(1 + 0.2 * np.sin(2 * np.pi * told.hour / 24), day.shape)
    rate = np.exp(rng.uniform(np.log(0.3), np.log(400), images))[:, None] * (0.15 + day)
    if kind != "steady":
        days = np.arange(hours) // 24
        rate *= np.exp(rng.normal(0, 0.25, (images, 7 * weeks)) + rng.normal(0, 0.15, 7 * weeks))[:, days]
        alpha = rng.choice([0.02, 0.1, 0.3], images)[:, None]
        rate *= rng.gamma(1 / alpha, alpha, rate.shape)
    if kind == "bursty":
        rate *= np.where(rng.random(rate.shape) < 0.02, 6, 1)
    pulls = rng.poisson(rate)
    rows, columns = np.nonzero(pulls)
    counts = Counts.at(rows, columns, pulls[rows, columns].astype(np.float64), pulls.shape)
    names = tuple(f"docker.io/team/r{image:02}:1" for image in range(images))
    return Grid(site, names, np.arange(images, dtype=np.int32), START, counts, np.ones(hours, dtype=np.bool_))


def main(seeds: tuple[int, ...]) -> None:
    """A line a registry: the error of P(at least one), then `below..at most` of each quantile by activity."""
    gaps: defaultdict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(20))
    cells: defaultdict[str, int] = defaultdict(int)
    told = np.zeros((len(NAMES), len(QUANTILES), 3))  # activity x quantile x (below, at most, cells)
    for seed in seeds:
        for name, registry in registries(seed):
            for y, mean, dispersion in days(registry.grid):
                gaps[name] += evaluation.chance_gaps(y, dispersion.probability(mean))
                cells[name] += y.size
                _add(told, y, mean, dispersion)
    print(f"expected calibration error of P(at least one pull), {DAYS} days ahead, seeds {seeds}")
    for name, gap in gaps.items():
        print(f"{name:12} {evaluation.calibration_error(gap, cells[name]):.4f}  {cells[name]:>9,} cells")
    _show("all registries", told)
    for kind in BUSY:
        told = np.zeros_like(told)
        for seed in seeds:
            for y, mean, dispersion in days(busy(kind, seed)):
                _add(told, y, mean, dispersion)
        _show(f"busy images, {kind}", told)


def _show(title: str, told: NDArray[np.float64]) -> None:
    print(f"\nshare of cells below the quantile .. at most the quantile, {title}")
    print(f"{'pulls an hour':14}" + "".join(f"{q:>16}" for q in QUANTILES) + f"{'cells':>14}")
    for activity, row in zip(NAMES, told, strict=True):
        shares = "".join(f"{b / max(n, 1):>8.3f}..{a / max(n, 1):.3f} " for b, a, n in row)
        print(f"{activity:14}{shares}{int(row[0, 2]):>14,}")


def _add(
    told: NDArray[np.float64], y: NDArray[np.float32], mean: NDArray[np.float32], spread: Dispersion
) -> None:
    activity = np.digitize(mean, ACTIVITY)
    for place, level in enumerate(QUANTILES):
        quantile = spread.quantile(mean, level)
        for kind, hit in enumerate((y < quantile, y <= quantile, np.ones(y.shape))):
            told[:, place, kind] += np.bincount(activity.ravel(), hit.ravel(), len(NAMES))


if __name__ == "__main__":
    main(tuple(int(seed) for seed in sys.argv[1:]) or SEEDS)
