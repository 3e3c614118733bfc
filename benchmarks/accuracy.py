"""How well forecasts rank, beside the baselines: `python -m benchmarks.accuracy [SEED …]`.

The shipped synthetic workload's generator (three offices) and the five registries of `benchmarks.regimes`,
each with seeds that nothing was tuned on. A model sees the hours before an origin and the images pulled until
then. `oracle` knows the rate that the counts were drawn around, births included, which nobody can.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import numpy as np

from benchmarks.regimes import REGIMES, Registry
from models.build import grids
from prewarm.demand import evaluation, forecasters
from prewarm.demand.evaluation import Tally
from prewarm.demand.forecasters.baselines import BASELINES
from prewarm.demo.workload import busy
from prewarm.pipeline.histories import prior

SEEDS = (41, 42)
MODELS = ("auto", "profile", *BASELINES)
LEADS = ((1, 24), (24, 5))  # hours of a window, windows
TOP = 10


def registries(seed: int) -> Iterator[tuple[str, Registry]]:
    """Every registry of one seed, by name."""
    for name, make in REGIMES.items():
        yield name, make(seed)
    for grid in grids(busy(seed)):
        yield grid.site.name, Registry(grid, np.empty((0, 0)))


def measure(name: str, registry: Registry, hours: int, windows: int) -> dict[str, tuple[float, float]]:
    """recall@10 and capture@10 by model, and of the oracle where the true rate is known."""
    shipped = prior()
    loaded = {model: forecasters.load(model, shipped) for model in MODELS}
    tallies = {model: Tally((TOP,)) for model in loaded}
    grid = registry.grid
    at = evaluation.origins(grid, windows, hours)
    evaluation.score(loaded, grid, at, hours, shipped.dispersion, tallies, time.perf_counter)
    found = {model: _pair(tally) for model, tally in tallies.items()}
    if registry.rate.size:
        perfect = Tally((TOP,))
        for origin in at:
            ahead = slice(origin, origin + hours)
            y = grid.counts[:, ahead].toarray()
            perfect.add(y, registry.rate[:, ahead].astype(np.float32), shipped.dispersion)
        found["oracle"] = _pair(perfect)
    return found


def main(seeds: tuple[int, ...]) -> None:
    """One table a lead: registries are columns, `recall capture` of each model."""
    for hours, windows in LEADS:
        table: dict[str, dict[str, list[tuple[float, float]]]] = {}
        for seed in seeds:
            for name, registry in registries(seed):
                for model, pair in measure(name, registry, hours, windows).items():
                    table.setdefault(model, {}).setdefault(name, []).append(pair)
        names = list(table["auto"])
        print(f"\nrecall@{TOP} and capture@{TOP}, {windows} windows of {hours} h, seeds {seeds}")
        print(f"{'':16}" + "".join(f"{name:>13}" for name in names))
        for model, cells in table.items():
            print(f"{model:16}" + "".join(_cell(cells.get(name)) for name in names), flush=True)


def _pair(tally: Tally) -> tuple[float, float]:
    scores = tally.document()
    return scores[f"recall@{TOP}"] or 0.0, scores[f"capture@{TOP}"] or 0.0


def _cell(pairs: list[tuple[float, float]] | None) -> str:
    if not pairs:
        return f"{'':>13}"
    recall, capture = np.mean(pairs, axis=0)
    return f"{recall:>8.2f} {capture:.2f}"


if __name__ == "__main__":
    main(tuple(int(seed) for seed in sys.argv[1:]) or SEEDS)
