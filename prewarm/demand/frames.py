"""The analysts' door: a grid as a long pandas frame `unique_id, ds, y`, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from prewarm.demand.calendars import HOUR, Site
from prewarm.demand.series import Grid, hour_numbers, moment, repositories, sparse
from prewarm.errors import NotEnoughHistory, SettingsError

if TYPE_CHECKING:
    from datetime import datetime

    import pandas as pd
    from numpy.typing import NDArray

MAX_FRAME_ROWS = 50_000_000
MAX_HISTORY_HOURS = 10 * 366 * 24


def frame(history: Grid, zeros: bool = True) -> pd.DataFrame:
    """`history` as a long pandas frame `unique_id, ds, y`, sorted; `ds` is the start of the hour in UTC.

    With `zeros` every image has every hour, and `y` is NaN in the hours of an outage; without, only
    hours with pulls have rows. Raises SettingsError above 50 million rows: ask with `zeros=False`.
    """
    size = len(history.images) * history.hours
    if zeros and size > MAX_FRAME_ROWS:
        raise SettingsError(
            f"{len(history.images):,} images x {history.hours:,} hours are too many rows for a frame; "
            "pass zeros=False to get the hours with pulls only"
        )
    rows, columns, values = _dense(history) if zeros else _sparse(history)
    moments = pl.datetime_range(
        history.start, history.cutoff, "1h", closed="left", time_unit="us", time_zone="UTC", eager=True
    )
    names = pl.Series("unique_id", history.images, dtype=pl.String)
    return pl.DataFrame(
        {"unique_id": names.gather(rows), "ds": moments.gather(columns), "y": values}
    ).to_pandas()


def history(df: pd.DataFrame, site: Site | None = None, until: datetime | None = None) -> Grid:
    """A long frame `unique_id, ds, y` as a grid; rows that are not there are zeros.

    `ds` may be naive (then UTC) or aware. The last hour of the frame is complete, and `until` may end the
    history later (zeros after the last row) or earlier. An hour whose every `y` is NaN is an outage; a
    NaN beside numbers, a negative or infinite `y` and a missing column raise SettingsError.
    """
    site = site or Site()
    cells = _checked(df)
    if cells.is_empty():
        raise NotEnoughHistory("the frame has no rows; expected hourly counts in unique_id, ds, y")
    start = site.floor(moment(cells["ds"].min()))
    end = site.floor(moment(cells["ds"].max())) + HOUR if until is None else site.floor(until)
    hours = round((end - start) / HOUR)
    if hours > MAX_HISTORY_HOURS:
        raise SettingsError(f"ds spans {hours:,} hours, from {start:%Y-%m-%d}; expected at most ten years")
    if hours < 1:
        raise NotEnoughHistory(f"the frame begins at {start:%Y-%m-%dT%H:%MZ}, not before {until}")
    cells = hour_numbers(cells, start, hours, "ds")
    unknown = cells.group_by("hour").agg(pl.col("y").is_null().all()).filter("y")["hour"]
    if cells.filter(pl.col("y").is_null() & ~pl.col("hour").is_in(unknown.implode())).height:
        raise SettingsError("y is NaN beside numbers of the same hour; an outage is NaN for every unique_id")
    images, counts = sparse(
        cells.rename({"unique_id": "image"}).with_columns(pl.col("y").fill_null(0.0)), hours
    )
    observed = np.ones(hours, dtype=np.bool_)
    observed[unknown.to_numpy()] = False
    return Grid(site, tuple(images), repositories(images), start, counts, observed)


def _checked(df: pd.DataFrame) -> pl.DataFrame:
    """The three columns with their types; y is null where it was NaN."""
    if missing := {"unique_id", "ds", "y"} - set(df.columns):
        raise SettingsError(
            f"the frame has no column {', '.join(sorted(missing))}; expected unique_id, ds, y"
        )
    cells = pl.from_pandas(df[["unique_id", "ds", "y"]], nan_to_null=True)
    if not isinstance(cells["ds"].dtype, pl.Datetime):
        raise SettingsError(
            f"ds is {cells['ds'].dtype}, expected time stamps (pandas.to_datetime makes them)"
        )
    zone = cells["ds"].dtype.time_zone
    ds = pl.col("ds").dt.convert_time_zone("UTC") if zone else pl.col("ds").dt.replace_time_zone("UTC")
    cells = cells.select(
        pl.col("unique_id").cast(pl.String), ds.cast(pl.Datetime("us", "UTC")), pl.col("y").cast(pl.Float64)
    )
    if cells.filter((pl.col("y") < 0) | pl.col("y").is_infinite()).height:
        raise SettingsError("y holds negative or infinite counts; expected pulls per hour, 0 or more")
    if cells.filter(pl.col("unique_id").is_null() | pl.col("ds").is_null()).height:
        raise SettingsError("unique_id and ds must not be empty; one row is one image and hour")
    return cells


def _dense(history: Grid) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    images = len(history.images)
    values = history.counts.toarray()
    values[:, ~history.observed] = np.nan
    rows = np.repeat(np.arange(images), history.hours)
    return rows, np.tile(np.arange(history.hours), images), values.ravel()


def _sparse(history: Grid) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    counts = history.counts
    return counts.rows.astype(np.int64), counts.indices.astype(np.int64), counts.data
