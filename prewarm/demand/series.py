"""The hour grid of one site: images x hours; gaps are zeros, outages are missing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from prewarm.demand.calendars import HOUR, Clock, Site, clock
from prewarm.demand.counts import Counts
from prewarm.demand.selection import image_column
from prewarm.errors import NotEnoughHistory

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEEK = 168
LAST_MINUTES = timedelta(minutes=10)  # an hour that was logged into these was logged to its end

# The outage rule (see `observed_hours`).
_INCREDIBLE = 30.0
_NEVER_SILENT = 3


@dataclass(frozen=True, eq=False)
class Grid:
    """Pulls per image and hour of one site.

    `counts` is sparse, images x hours. Column t covers `[start + t h, start + (t + 1) h)`; `start` is aware
    UTC, aligned to the site's own clock (so 08:00 in Mumbai begins a column).
    `observed[t]` is False where the site logged nothing because of an outage: those hours are
    unknown, not zero. `repositories[i]` numbers the repository of image i.
    """

    site: Site
    images: tuple[str, ...]
    repositories: NDArray[np.int32]
    start: datetime
    counts: Counts
    observed: NDArray[np.bool_]

    @property
    def hours(self) -> int:
        return self.counts.hours

    @property
    def cutoff(self) -> datetime:
        """End of the last hour in the grid: nothing after it is known."""
        return self.start + self.hours * HOUR

    def clock(self, ahead: range | None = None) -> Clock:
        """The site's clock over the grid's own hours, or over the hours `ahead` of the cutoff."""
        if ahead is None:
            return clock(self.site, self.start, self.hours)
        return clock(self.site, self.cutoff + ahead.start * HOUR, len(ahead))

    def until(self, hours: int) -> Grid:
        """The first `hours` hours of this grid: what was known at an earlier cutoff, same images."""
        return Grid(
            self.site,
            self.images,
            self.repositories,
            self.start,
            self.counts[:, :hours],
            self.observed[:hours],
        )

    def of(self, rows: NDArray[np.int64]) -> Grid:
        """This grid with some of its images, by row."""
        return Grid(
            self.site,
            tuple(self.images[row] for row in rows),
            self.repositories[rows],
            self.start,
            self.counts[rows],
            self.observed,
        )


def complete_until(first: datetime, last: datetime, site: Site, at: datetime | None = None) -> datetime:
    """End of the last complete hour that `site` has logged before `at`, given what was known then.

    `first` and `last` are the times of the first and the last access before `at` of the site's pulls, demand
    or not. The hour of the last one is complete when it is over at `at` and its log went on into its last
    ten minutes; else its log may not have been read to its end. Only when it is the first hour as well (a log
    of a few minutes) is it taken as it is, being all that is known. Raises NotEnoughHistory when nothing was
    complete before `at`.
    """
    begin, current = site.floor(first), site.floor(last)
    told = at is not None and last >= current + HOUR - LAST_MINUTES
    end = max(current + HOUR if told else current, begin + HOUR)
    if at is not None:
        end = min(end, site.floor(at))
    if end <= begin:
        raise NotEnoughHistory(
            f"site {site.name!r} has no complete hour before {at:%Y-%m-%dT%H:%MZ}; its log begins at "
            f"{first:%Y-%m-%dT%H:%MZ}, so ask for a time at least an hour later"
        )
    return end


def grid(
    demand: pl.DataFrame, site: Site, until: datetime | None = None, logged: pl.DataFrame | None = None
) -> Grid:
    """Count `demand` (pulls, see `prewarm.demand.selection`) per image and hour up to the cutoff.

    `until` is a moment after which nothing may be known; `logged` are all pulls of the site, which tell where
    its log ends and when it was silent (default: `demand` itself). Raises NotEnoughHistory when nothing was
    logged, or nothing before `until`.
    """
    logged = demand if logged is None else logged
    if logged.is_empty():
        raise NotEnoughHistory(
            f"site {site.name!r} has logged no pulls yet; read a log first, for example: "
            "prewarm ingest /var/log/registry/access.log"
        )
    first = moment(logged["timestamp"].min())
    known = logged if until is None else logged.filter(pl.col("timestamp") < until)
    last = first if known.is_empty() else moment(known.select(last_access(until).max()).item())
    return count(demand, site, first, complete_until(first, last, site, until), logged)


def last_access(until: datetime | None = None) -> pl.Expr:
    """When each pull was last heard of, before `until` where one is given."""
    end = pl.max_horizontal("timestamp", "until")
    return end if until is None else pl.min_horizontal(end, pl.lit(until - timedelta(microseconds=1)))


def count(
    demand: pl.DataFrame, site: Site, start: datetime, end: datetime, logged: pl.DataFrame | None = None
) -> Grid:
    """Count the pulls of `demand` per image and hour, from the hour of `start` to `end` (an hour's start).

    Rows before and after are dropped, their order does not matter, and every row is one pull. Images are in
    the order of their names. `logged` are all pulls of the site, which tell when it was silent.
    """
    hours = -((start - end) // HOUR)  # whole hours back from the end: a zone may have moved by half an hour
    start = end - hours * HOUR
    images, counts = sparse(_cells(demand, start, hours), hours)
    heard = (demand if logged is None else logged).select("timestamp")
    activity = np.bincount(hour_numbers(heard, start, hours, "timestamp")["hour"].to_numpy(), minlength=hours)
    observed = observed_hours(activity, clock(site, start, hours))
    return Grid(site, tuple(images), repositories(images), start, counts, observed)


def sparse(cells: pl.DataFrame, hours: int) -> tuple[pl.Series, Counts]:
    """Rows `image, hour, y` as the sorted names of the images and their counts, images x hours.

    Rows come in any order; those of one image and hour are added up.
    """
    images = cells["image"].unique().sort()
    rows = cells["image"].cast(pl.Enum(images)).to_physical().to_numpy()
    return images, Counts.at(rows, cells["hour"].to_numpy(), cells["y"].to_numpy(), (len(images), hours))


def repositories(images: pl.Series) -> NDArray[np.int32]:
    """A number per image, equal for images of one repository (registry and path)."""
    names = images.str.replace(r"@.*$", "").str.replace(r":[^:/]*$", "")
    return np.asarray(names.rank("dense").cast(pl.Int32).to_numpy() - 1, dtype=np.int32)


def observed_hours(activity: NDArray[np.int64], told: Clock) -> NDArray[np.bool_]:
    """Which hours are known: all but outages. `activity` counts everything the site logged, per hour.

    A run of hours without any line is an outage when the site's own other weeks make the silence
    incredible: over the run's hours that are no holidays, the medians of the same hours of the other
    weeks add up to at least 30 lines, and at least three of those hours were never silent in any of
    them. It takes two weeks of history to say so; before that every silence is taken for zeros. So a
    quiet night, a holiday of the calendar and a weekly job that did not run are zeros, and a collector
    that died at noon of a working day is an outage.
    """
    observed = np.ones(len(activity), dtype=np.bool_)
    if len(activity) < 2 * WEEK:
        return observed
    slots = told.hour_of_week
    for begin, end in _silences(activity):
        run = np.zeros(len(activity), dtype=np.bool_)
        run[begin:end] = True
        expected = [
            (np.median(other), other.min())
            for slot in slots[run & ~told.holiday]
            if (other := activity[(slots == slot) & ~run & ~told.holiday]).size
        ]
        if (
            sum(median for median, _ in expected) >= _INCREDIBLE
            and sum(least > 0 for _, least in expected) >= _NEVER_SILENT
        ):
            observed[run] = False
    return observed


def hour_numbers(rows: pl.DataFrame, start: datetime, hours: int, column: str) -> pl.DataFrame:
    """`rows` with the number of their `hour` after `start`; those outside the grid are dropped."""
    elapsed = (pl.col(column) - pl.lit(start)).dt.total_microseconds()
    numbered = rows.with_columns((elapsed // 3_600_000_000).alias("hour"))
    return numbered.filter(pl.col("hour").is_between(0, hours - 1))


def moment(value: object) -> datetime:
    """A time stamp out of a frame, in UTC."""
    if not isinstance(value, datetime):
        raise TypeError(f"expected a time stamp, got {value!r}")
    return value.astimezone(UTC)


def _cells(pulls: pl.DataFrame, start: datetime, hours: int) -> pl.DataFrame:
    """Pulls as `image, hour, y` for the hours 0 … `hours` - 1 after `start`, each by itself."""
    image = pl.col("image") if "image" in pulls.columns else image_column()
    cells = hour_numbers(pulls.select("timestamp", image), start, hours, "timestamp").drop_nulls("image")
    return cells.select("image", "hour", y=pl.lit(1, pl.UInt32))


def _silences(activity: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Runs of zeros as (begin, end)."""
    edges = np.diff(np.concatenate([[0], (activity == 0).astype(np.int8), [0]]))
    return list(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True))
