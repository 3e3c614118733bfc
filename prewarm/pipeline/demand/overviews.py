"""An overview: every site's demand and what its coming days will bring, held in memory for many questions."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from prewarm.demand import ranking
from prewarm.demand.calendars import HOUR, Site
from prewarm.errors import NotEnoughHistory, SettingsError, UnknownName
from prewarm.pipeline.demand.forecast import RankResult, answer, largest, one
from prewarm.pipeline.demand.histories import DEMAND, Counting, Extent, declared, extents
from prewarm.pipeline.demand.outlooks import Outlook, Question, check_reach, outlook, standing_in
from prewarm.pipeline.logs import clocks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from prewarm.demand.ranking import Expected
    from prewarm.demand.series import Grid
    from prewarm.lake import Lake

HORIZON = 24 * 8  # hours ahead that are held
FEWEST = 25  # ... even of a lake of very many images: a day, from any minute of an hour
CELLS = 20_000_000  # images x hours that are held of one site: 80 MB


@dataclass(frozen=True, eq=False)
class View:
    """One site: its demand up to its cutoff, and the expected pulls of the hours `ahead` of it."""

    extent: Extent
    outlook: Outlook
    ahead: range  # hours after the cutoff that `means` holds
    means: NDArray[np.float32]  # images x len(ahead); those of the grid first

    @property
    def grid(self) -> Grid:
        return self.outlook.history.grid

    @property
    def site(self) -> Site:
        return self.grid.site

    @property
    def start(self) -> datetime:
        """Start of the first hour that is held."""
        return self.grid.cutoff + self.ahead.start * HOUR

    @property
    def end(self) -> datetime:
        """End of the last hour that is held."""
        return self.grid.cutoff + self.ahead.stop * HOUR

    def reaches(self, at: datetime, hours: int) -> bool:
        """Whether all of `[at, at + hours)` is held."""
        begin = standing_in(self.extent, self.site, at)
        return self.start <= begin and begin + hours * HOUR <= self.end

    def expected(self, at: datetime, hours: int) -> Expected:
        """What `[at, at + hours)` brings; it must be within reach."""
        begin = standing_in(self.extent, self.site, at)
        asked = ranking.window(self.grid.cutoff, begin, begin + hours * HOUR)
        means = self.hours(asked.ahead)
        return ranking.expect(self.outlook.images, means, self.outlook.dispersion, asked.shares)

    def hours(self, ahead: range) -> NDArray[np.float32]:
        """Expected pulls of hours after the cutoff that are held, images x len(ahead)."""
        return self.means[:, ahead.start - self.ahead.start : ahead.stop - self.ahead.start]

    def place(self, image: str) -> int:
        """The row of `image` in `means`: of one that was pulled, or pushed lately; else UnknownName."""
        born = self.outlook.newborns.images
        return len(self.grid.images) + born.index(image) if image in born else self.row(image)

    def row(self, image: str) -> int:
        """The row of `image` in `grid.counts` and `means`; UnknownName with others of its repository."""
        images = self.grid.images
        place = bisect_left(images, image)
        if place < len(images) and images[place] == image:
            return place
        repository = image.partition("@")[0].rpartition(":")[0]
        kin = [each for each in images if each.startswith(f"{repository}:")][:5]
        raise UnknownName(f"image at site {self.site.name!r}", image, kin or images[:5])


@dataclass(frozen=True, slots=True)
class Done:
    """What runs did to one cache: how many outcomes of this state, and the bytes that they transferred."""

    cache: str
    state: str
    count: int
    bytes: int


@dataclass(frozen=True, eq=False)
class Overview:
    """All sites of a lake as they were known `at` that moment."""

    at: datetime
    views: Mapping[str, View]  # by site
    unknown: Mapping[str, str] = field(default_factory=dict)  # sites with nothing to forecast, and why
    pulls: Mapping[str, int] = field(default_factory=dict)  # by site, of any kind
    done: Sequence[Done] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    warnings: Mapping[str, Sequence[str]] = field(default_factory=dict)  # by site

    def chosen(self, site: str | None = None) -> list[View]:
        """The view of one site, or all of them. Raises UnknownName; NotEnoughHistory where there is none."""
        if site is None:
            return list(self.views.values())
        if site in self.unknown:
            raise NotEnoughHistory(self.unknown[site])
        if site not in self.views:
            raise UnknownName("site", site, {*self.views, *self.unknown})
        return [self.views[site]]

    def one(self, site: str | None = None) -> View:
        """The view of one site; without a name that of the only one, else SettingsError names them."""
        if site is None and len(self.views) > 1:
            names = sorted(self.views)
            raise SettingsError(f"site: the lake has several ({', '.join(names)}); pick one: site={names[0]}")
        return self.chosen(site)[0]

    def count(self, site: str | None = None) -> int:
        """How many images a ranking has."""
        asked = self.chosen(site)
        if len(asked) == 1:
            return len(asked[0].grid.images)
        return len({image for view in asked for image in view.grid.images})

    def reaches(self, at: datetime, hours: int, site: str | None = None) -> bool:
        """Whether a ranking of this window can be answered from here."""
        return at >= self.at and all(view.reaches(at, hours) for view in self.chosen(site))

    def rank(self, at: datetime, hours: int, site: str | None, objective: str, top: int) -> RankResult:
        """As `prewarm.pipeline.demand.forecast.rank` from what is held; the window must be within reach."""
        asked = self.chosen(site)
        expected = one([view.expected(at, hours) for view in asked])
        rows = ranking.rank(expected, self.sizes, objective, top)
        return RankResult(
            hours=hours,
            site=site,
            model=asked[0].outlook.model.name,
            objective=objective,
            answers=(answer(at, rows, [view.outlook.tags for view in asked]),),
            cutoffs={view.site.name: view.grid.cutoff for view in asked},
            warnings=tuple(word for view in asked for word in self.warnings[view.site.name]),
        )


def overview(
    lake: Lake,
    sites: Mapping[str, Site],
    at: datetime,
    *,
    default: Site | None = None,
    counting: Counting = DEMAND,
) -> Overview:
    """Look at every site of the lake with the default model, as it is known `at` that moment.

    Raises NotEnoughHistory when no site has demand to forecast, LakeError when the lake cannot be read.
    """
    views: dict[str, View] = {}
    unknown: dict[str, str] = {}
    for extent in extents(lake):
        try:
            views[extent.site] = _view(
                lake, declared(sites, extent.site, default), extent, at, Question(counting=counting)
            )
        except (NotEnoughHistory, SettingsError) as error:
            unknown[extent.site] = str(error)
    if not views:
        raise NotEnoughHistory(next(iter(unknown.values())))
    found = [view.outlook for view in views.values()]
    return Overview(
        at=at,
        views=views,
        unknown=unknown,
        pulls=_pulls(lake),
        done=_done(lake),
        sizes=largest(each.history.sizes for each in found),
        warnings={name: clocks.warnings(lake, [name], sites, default) for name in views},
    )


def _view(lake: Lake, place: Site, extent: Extent, at: datetime, question: Question) -> View:
    check_reach(extent, at)
    known, asked = outlook(lake, place, extent, at, question)
    first = int((place.floor(asked) - known.cutoff) // HOUR)
    images = len(known.history.grid.images)
    ahead = range(first, first + max(FEWEST, min(HORIZON, CELLS // images)))
    return View(extent, known, ahead, known.means(ahead))


def _pulls(lake: Lake) -> dict[str, int]:
    return dict(lake.scan("pulls").group_by("site").agg(pl.len()).sort("site").collect().iter_rows())


def _done(lake: Lake) -> list[Done]:
    counted = (
        lake.scan("outcomes")
        .group_by("cache", "state")
        .agg(pl.len(), pl.col("bytes").sum())
        .sort("cache", "state")
        .collect()
    )
    return [Done(*row) for row in counted.iter_rows()]
