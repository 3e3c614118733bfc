"""How well forecasts rank, beside the baselines: `python -m benchmarks.accuracy [SEED …]`.

The shipped synthetic workload's generator (three offices) and the seven registries of `benchmarks.regimes`,
each with seeds that nothing was tuned on. A model sees the hours before an origin and the images pulled until
then. `with pushes` is `auto` told of the tags that were pushed before the origin, too. `oracle` knows the
rate that the counts were drawn around, births included, which nobody can; `of known` only that of images
pulled before, `of pushed` that of images pulled or pushed before.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from benchmarks.regimes import REGIMES, Registry
from models.build import grids
from prewarm.demand import evaluation, forecasters
from prewarm.demand.calendars import HOUR
from prewarm.demand.distribution import Dispersion
from prewarm.demand.evaluation import Tally
from prewarm.demand.forecasters import Prior, fit
from prewarm.demand.forecasters.baselines import BASELINES
from prewarm.demand.newborn import newborns
from prewarm.demo.workload import busy
from prewarm.pipeline.demand.histories import prior

SEEDS = (41, 42)
MODELS = ("auto", "profile", *BASELINES)
LEADS = ((1, 112), (24, 14))  # hours of a window, windows: two weeks
TOP = 10


def registries(seed: int) -> Iterator[tuple[str, Registry]]:
    """Every registry of one seed, by name."""
    for name, make in REGIMES.items():
        yield name, make(seed)
    for grid in grids(busy(seed)):
        yield grid.site.name, Registry(grid, np.empty((0, 0)))


def measure(registry: Registry, hours: int, windows: int, tallies: defaultdict[str, Tally]) -> None:
    """Add what each model, and the oracle where the true rate is known, foretold of one registry."""
    shipped = prior()
    loaded = {model: forecasters.load(model, shipped) for model in MODELS}
    grid = registry.grid
    at = evaluation.origins(grid, windows, hours)
    own = {model: tallies[model] for model in loaded}
    evaluation.score(loaded, grid, at, hours, shipped.dispersion, own, time.perf_counter)
    for origin in at:
        if registry.rate.size:
            _oracles(registry, origin, hours, shipped.dispersion, tallies)
        if registry.pushes.height:
            _with_pushes(registry, origin, hours, shipped, tallies["with pushes"])


def _oracles(
    registry: Registry, origin: int, hours: int, spread: Dispersion, tallies: defaultdict[str, Tally]
) -> None:
    """Rank one window by the true rate: of all, of those pulled before, of those pushed before, too."""
    grid, ahead = registry.grid, slice(origin, origin + hours)
    y = grid.counts[:, ahead].toarray()
    rate = registry.rate[:, ahead].astype(np.float32)
    pulled = np.diff(grid.until(origin).counts.indptr) > 0
    names = set(_pushed_before(registry, origin)["image"])
    pushed = pulled | np.array([image in names for image in grid.images])
    tallies["oracle"].add(y, rate, spread)
    tallies["of known"].add(y, rate * pulled[:, None], spread)
    tallies["of pushed"].add(y, rate * pushed[:, None], spread)


def _with_pushes(registry: Registry, origin: int, hours: int, shipped: Prior, tally: Tally) -> None:
    """Score `auto` on one window with the tags that were pushed before it, as the product ranks them."""
    grid, history = registry.grid, registry.grid.until(origin)
    rows = np.flatnonzero(np.diff(history.counts.indptr))
    known = history.of(rows)
    answers = fit(forecasters.load("auto", shipped), known, shipped.dispersion)
    born = newborns(known, _pushed_before(registry, origin))
    place = {image: row for row, image in enumerate(grid.images)}
    never = [image for image in born.images if image not in place]  # pushed, and pulled by nobody to the end
    place |= {image: len(place) + row for row, image in enumerate(never)}
    y = grid.counts[:, origin : origin + hours].toarray()
    y = np.vstack([y, np.zeros((len(never), hours), dtype=y.dtype)])
    mean = np.zeros(y.shape, dtype=np.float32)
    mean[rows] = answers.means(range(hours))
    mean[[place[image] for image in born.images]] = born.means(range(hours))
    tally.add(y, mean, answers.dispersion)


def _pushed_before(registry: Registry, origin: int) -> pl.DataFrame:
    return registry.pushes.filter(pl.col("timestamp") < registry.grid.start + origin * HOUR)


def main(seeds: tuple[int, ...]) -> None:
    """One table a lead: registries are columns, `recall capture` of each model over the hours with pulls."""
    for hours, windows in LEADS:
        found: defaultdict[str, defaultdict[str, Tally]] = defaultdict(
            lambda: defaultdict(lambda: Tally((TOP,)))
        )
        for seed in seeds:
            for name, registry in registries(seed):
                measure(registry, hours, windows, found[name])
        print(f"\nrecall@{TOP} and capture@{TOP}, {windows} windows of {hours} h, seeds {seeds}")
        print(f"{'':16}" + "".join(f"{name:>13}" for name in found))
        print(
            f"{'hours with pulls':16}"
            + "".join(f"{_hours(tallies['auto']):>13}" for tallies in found.values())
        )
        for model in (*MODELS, "with pushes", "of known", "of pushed", "oracle"):
            print(
                f"{model:16}" + "".join(_cell(tallies.get(model)) for tallies in found.values()), flush=True
            )
        print(f"{'auto - baseline':16}" + "".join(_nearest(tallies) for tallies in found.values()))


def _hours(tally: Tally) -> int:
    """How many hours were scored: in the others nobody pulled."""
    return int(np.isfinite(tally.capture[TOP]).sum())


def _nearest(tallies: Mapping[str, Tally]) -> str:
    """How far the baseline that comes nearest is behind in capture, and the least of its 95 % interval."""
    gap, low, _ = min(evaluation.difference(tallies["auto"], tallies[name], TOP) for name in BASELINES)
    return f"{gap:>+8.2f} {low:+.2f}".rjust(13)


def _cell(tally: Tally | None) -> str:
    if tally is None:
        return f"{'':>13}"
    scores = tally.document()
    return f"{scores[f'recall@{TOP}']:>8.2f} {scores[f'capture@{TOP}']:.2f}"


if __name__ == "__main__":
    main(tuple(int(seed) for seed in sys.argv[1:]) or SEEDS)
