"""What analysts call to try models, their own too, on a frame's own past: rolling origins, pandas frames."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl

from prewarm.demand import evaluation, forecasters, frames
from prewarm.demand.calendars import HOUR, Site
from prewarm.demand.evaluation import Tally
from prewarm.demand.forecasters import Forecaster
from prewarm.demand.forecasters.baselines import BASELINES
from prewarm.errors import NotEnoughHistory, SettingsError
from prewarm.pipeline.demand.histories import prior
from prewarm.pipeline.demand.scorecard import MAX_ORIGINS, TOPS

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from prewarm.demand.series import Grid

Models = Sequence[str] | Mapping[str, Any]


def cross_validation(
    df: pd.DataFrame, h: int = 24, n_windows: int = 7, models: Models = ("auto",), site: Site | None = None
) -> pd.DataFrame:
    """What each model would have said of the last `n_windows` windows of `h` hours, beside what came.

    Returns `unique_id, ds, cutoff, y`, and for each model `<model>`, its mean, and `<model>-any`, its P(at
    least one pull); `y` is NaN in an outage. A window tells of the images that were pulled before it.
    `models` as in `evaluate`.
    """
    grid, windows = _windows(df, h, n_windows, site)
    loaded = _loaded(models)
    parts = [_window(grid, origin, h, loaded) for origin in windows if grid.until(origin).counts.data.size]
    if not parts:
        raise _too_short(h)
    return pl.concat(parts).to_pandas()


def evaluate(
    df: pd.DataFrame,
    h: int = 24,
    n_windows: int = 7,
    models: Models = ("auto",),
    top: Sequence[int] = TOPS,
    site: Site | None = None,
) -> pd.DataFrame:
    """Score `models`, and every baseline, as `prewarm scorecard` does: a row a model, a column a score.

    `models` are names, or a mapping of names to forecasters of the contract (`forecast(history, ahead)`)
    or to scikit-learn regressors, which learn what `boosted` learns: the ratio of the pulls to the profile.
    `df` is a long frame `unique_id, ds, y`. Raises SettingsError for what cannot be used, UnknownName for a
    name, NotEnoughHistory for a frame without a day before its last `h` hours.

    >>> prewarm.evaluate(lake.demand(), models={"mine": RandomForestRegressor()})
    """
    grid, windows = _windows(df, h, n_windows, site)
    loaded = _loaded(models) | _loaded([name for name in BASELINES if name not in models])
    tallies = {name: Tally(tuple(top)) for name in loaded}
    if not evaluation.score(loaded, grid, windows, h, prior().dispersion, tallies, time.perf_counter):
        raise _too_short(h)
    rows = [{"model": name} | tally.document() for name, tally in tallies.items()]
    return pl.DataFrame(rows, infer_schema_length=None).to_pandas().set_index("model")


def _windows(df: pd.DataFrame, h: int, n_windows: int, site: Site | None) -> tuple[Grid, list[int]]:
    if not 1 <= h <= 168:
        raise SettingsError(f"h {h} cannot be scored; expected 1 to 168 hours, such as 24")
    if not 1 <= n_windows <= MAX_ORIGINS:
        raise SettingsError(f"n_windows {n_windows} cannot be used; expected 1 to {MAX_ORIGINS}, such as 7")
    grid = frames.history(df, site)
    return grid, evaluation.origins(grid, n_windows, h)


def _loaded(models: Models) -> dict[str, Forecaster]:
    given = models if isinstance(models, Mapping) else {name: name for name in models}
    return {name: _forecaster(name, model) for name, model in given.items()}


def _forecaster(name: str, model: Any) -> Forecaster:
    from prewarm.demand.forecasters.boosted import Boosted

    found: Any = model if hasattr(model, "forecast") else None
    if isinstance(model, str):
        found = forecasters.load(model, prior())
    elif found is None and hasattr(model, "fit") and hasattr(model, "predict"):
        found = Boosted(prior(), name=name, estimator=model)
    if found is not None:
        return cast("Forecaster", found)
    raise SettingsError(
        f"model {name!r} is a {type(model).__name__}; expected a name such as 'auto', an object with "
        "forecast(history, ahead), or a scikit-learn regressor"
    )


def _window(grid: Grid, origin: int, h: int, models: Mapping[str, Forecaster]) -> pl.DataFrame:
    """The rows of one window; the models see nothing of it."""
    known = grid.until(origin)
    rows = np.flatnonzero(np.diff(known.counts.indptr))
    y = grid.counts[:, origin : origin + h].toarray()[rows].astype(np.float64)
    y[:, ~grid.observed[origin : origin + h]] = np.nan
    said: dict[str, NDArray[np.floating]] = {}
    for name, model in models.items():
        answers = forecasters.fit(model, known.of(rows), prior().dispersion)
        means = answers.means(range(h))
        said |= {name: means.ravel(), f"{name}-any": answers.dispersion.probability(means).ravel()}
    cutoff = grid.start + origin * HOUR
    times = pl.Series([cutoff + hour * HOUR for hour in range(h)] * len(rows), dtype=pl.Datetime("us", "UTC"))
    names = np.repeat(np.array(grid.images, dtype=object)[rows], h)
    hours = pl.DataFrame({"unique_id": names, "ds": times}, schema_overrides={"unique_id": pl.String})
    return hours.with_columns(
        pl.lit(cutoff, pl.Datetime("us", "UTC")).alias("cutoff"),
        pl.Series("y", y.ravel()),
        *(pl.Series(name, values) for name, values in said.items()),
    )


def _too_short(h: int) -> NotEnoughHistory:
    return NotEnoughHistory(
        f"the frame has no day with pulls before its last {h} hours; expected a week or more"
    )
