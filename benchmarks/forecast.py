"""What a forecast costs, beside what it replaces: `python -m benchmarks.forecast`.

The workload is seeded noise with the shape of a large registry: 100,000 images, six weeks of hours, about
2 % of the cells above zero. Each model runs in a process of its own, so that its peak memory is its own.
The peer is statsmodels' exponential smoothing, one model per image as it is commonly used, measured on 20
images and scaled up.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from prewarm.demand.calendars import Site
from prewarm.demand.counts import Counts
from prewarm.demand.series import Grid

IMAGES = 100_000
WEEKS = 6
DAY = range(24)


def workload(images: int = IMAGES) -> Grid:
    """Zipf-like images with a working day's rhythm, three tags a repository."""
    rng = np.random.default_rng(1)
    hours = WEEKS * 168
    pulls = int(images * hours * 0.03)
    ranks = np.minimum(rng.pareto(0.6, pulls) * images / 500, 10**7).astype(np.int64) % images
    day = np.arange(hours) % 24
    weight = 0.2 + np.exp(-0.5 * ((day - 10) / 3) ** 2)
    columns = rng.choice(hours, pulls, p=weight / weight.sum())
    counts = Counts.at(ranks, columns, np.ones(pulls), (images, hours))
    return Grid(
        site=Site("boise", "America/Boise", "US-ID"),
        images=tuple(f"docker.io/team/r{i // 3}:{i % 3}" for i in range(images)),
        repositories=(np.arange(images) // 3).astype(np.int32),
        start=datetime(2026, 3, 2, 7, tzinfo=UTC),
        counts=counts,
        observed=np.ones(hours, dtype=np.bool_),
    )


def auto(grid: Grid) -> object:
    """The default model: means, chances and a 90 % interval of a day; its own tests give the dispersion."""
    from prewarm.demand.forecasters.auto import Auto

    answers = Auto().fit(grid)
    means = answers.means(DAY)
    return answers.dispersion.probability(means), answers.dispersion.interval(means, 90)


def profile(grid: Grid) -> object:
    """The pooled profile alone: means of a day."""
    from prewarm.demand.forecasters.profile import Profile

    return Profile().forecast(grid, DAY)


def profile_with_chances(grid: Grid) -> object:
    """The same with its dispersion learnt from three earlier days, chances and a 90 % interval."""
    from prewarm.demand.distribution import TYPICAL, calibrate
    from prewarm.demand.forecasters.profile import Profile

    model = Profile()
    means = model.forecast(grid, DAY)
    dispersion = calibrate(grid, model.forecast, TYPICAL)
    return dispersion.probability(means), dispersion.interval(means, 90)


def auto_again(grid: Grid) -> object:
    """What a refresh after one more hour does: fit again, and the means of 25 hours."""
    from prewarm.demand.forecasters.auto import Auto

    return Auto().fit(grid).means(range(25))


def seasonal_naive(grid: Grid) -> object:
    """The same hour of last week."""
    from prewarm.demand.forecasters.baselines import SeasonalNaive

    return SeasonalNaive().forecast(grid, DAY)


def boosted(grid: Grid) -> object:
    """Gradient boosting on top of the profile."""
    from prewarm.demand.forecasters.boosted import Boosted

    return Boosted().forecast(grid, DAY)


def statsmodels_per_image(grid: Grid) -> object:
    """Exponential smoothing with a daily season for 20 images; the figure is scaled to all."""
    import warnings

    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    busiest = np.argsort(-grid.counts.sum(axis=1))[:20]
    warnings.simplefilter("ignore")
    forecasts: list[NDArray[np.float64]] = []
    for image in busiest:
        series = grid.counts[[image], :].toarray()[0].astype(np.float64)
        model = ETSModel(
            series, error="add", trend="add", damped_trend=True, seasonal="add", seasonal_periods=24
        )
        forecasts.append(model.fit(disp=False).forecast(24))
    return forecasts


CASES: dict[str, tuple[Callable[[Grid], object], float]] = {
    "seasonal naive": (seasonal_naive, 1),
    "auto with chances and interval": (auto, 1),
    "auto fitted again, means of 25 hours": (auto_again, 1),
    "profile": (profile, 1),
    "profile with chances and interval": (profile_with_chances, 1),
    "boosted": (boosted, 1),
    "statsmodels ETS per image (20 images, scaled)": (statsmodels_per_image, IMAGES / 20),
}


def measure(name: str) -> dict[str, float]:
    """Wall and CPU seconds of one case, and the peak memory of this process in MB."""
    case, scale = CASES[name]
    grid = workload()
    wall, cpu = time.perf_counter(), time.process_time()
    case(grid)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"wall": wall * scale, "cpu": cpu * scale, "peak": peak}


def main() -> None:
    """Every case in its own process, one line each."""
    print(f"{IMAGES:,} images x {WEEKS} weeks of hours, 24 hours ahead")
    print(f"{'':46}{'wall s':>10}{'CPU s':>10}{'peak MB':>10}")
    for name in CASES:
        command = [sys.executable, "-m", "benchmarks.forecast", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        print(f"{name:46}{found['wall']:>10,.1f}{found['cpu']:>10,.1f}{found['peak']:>10,.0f}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
    else:
        main()
