"""What a site's models would have ranked at past moments, each from what had been logged before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl

from prewarm.demand import forecasters, ranking, series
from prewarm.errors import NotEnoughHistory
from prewarm.insight.policies import Lists
from prewarm.insight.traces import Window
from prewarm.pipeline.demand.histories import Counting, Extent, begin, demand_among, prior

if TYPE_CHECKING:
    from prewarm.demand.calendars import Site
    from prewarm.demand.forecasters import Forecaster
    from prewarm.demand.series import Grid


@dataclass(frozen=True, eq=False)
class Hindsight:
    """One site's past. `pulls` are all of its pulls, demand or not, in order of time; `outcomes` its runs."""

    site: Site
    pulls: pl.DataFrame
    outcomes: pl.DataFrame
    counting: Counting

    def rankings(
        self,
        models: Sequence[str],
        windows: Iterable[Window],
        sizes: Mapping[str, int],
        objective: str = "pulls",
        top: int = 50,
        advance: Callable[[], None] = lambda: None,
    ) -> dict[str, Lists]:
        """By model: the images of each window, best first, as known at its start.

        Empty where nothing was known by then. Raises UnknownName for a model or an objective.
        """
        loaded = {name: forecasters.load(name, prior()) for name in models}
        found: dict[str, Lists] = {name: [] for name in models}
        for start, end in windows if loaded else ():
            grid = self.known(start)
            for name, model in loaded.items():
                best = [] if grid is None else _best(model, grid, (start, end), sizes, objective, top)
                found[name].append((start, best))
            advance()
        return found

    def known(self, at: datetime) -> Grid | None:
        """The demand of the weeks before `at`, as it was known then; None when there was none."""
        before = self.pulls[: int(self.pulls["timestamp"].search_sorted(at))]
        if before.is_empty():
            return None
        last = series.moment(before.select(series.last_access(at).max()).item())
        extent = Extent(self.site.name, series.moment(before["timestamp"][0]), last)
        try:
            end = series.complete_until(extent.first, extent.last, self.site, at)
        except NotEnoughHistory:
            return None
        start = begin(self.site, extent, end)
        times = before["timestamp"]
        seen = before[int(times.search_sorted(start)) : int(times.search_sorted(min(end, at)))]
        demand, _ = demand_among(seen, self._runs(start, at), self.counting)
        grid = series.count(demand, self.site, start, end, logged=seen)
        return grid if grid.images else None

    def _runs(self, start: datetime, end: datetime) -> pl.DataFrame:
        """What runs had done by then."""
        since = start - self.counting.session_gap
        return self.outcomes.filter(pl.col("finished_at").is_between(since, end, closed="left"))


def _best(
    model: Forecaster, grid: Grid, window: Window, sizes: Mapping[str, int], objective: str, top: int
) -> list[str]:
    """The images of one window, best first."""
    answers = forecasters.fit(model, grid, prior().dispersion)
    asked = ranking.window(grid.cutoff, *window)
    expected = ranking.expect(grid.images, answers.means(asked.ahead), answers.dispersion, asked.shares)
    return [each.image for each in ranking.rank(expected, sizes, objective, top)]


def moments(
    site: Site, since: datetime, until: datetime, at: Sequence[timedelta], days: frozenset[int]
) -> list[Window]:
    """The windows from each run to the next one, at most a day: at these times of the site's days.

    None when no such time lies between `since` and `until`.
    """
    first, last = (moment.astimezone(site.zone).date() for moment in (since - timedelta(days=1), until))
    begins = []
    for step in range((last - first).days + 1):
        day = first + timedelta(days=step)
        if day.weekday() in days:
            start, _ = site.day(day)
            begins += [_at(site, start, into) for into in at]
    begins = sorted({moment for moment in begins if since <= moment < until})
    ends = [*begins[1:], until] if begins else []
    return [(start, min(end, start + timedelta(days=1))) for start, end in zip(begins, ends, strict=True)]


def _at(site: Site, start: datetime, into: timedelta) -> datetime:
    """A time of day on the site's clock, on the day that begins at `start`."""
    local = (start.astimezone(site.zone).replace(tzinfo=None) + into).replace(tzinfo=site.zone)
    return local.astimezone(start.tzinfo)
