"""A site's history with a model and the errors it has been making: ready to be asked about any hours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from prewarm.demand import forecasters, ranking
from prewarm.demand.calendars import HOUR, Site
from prewarm.demand.newborn import Newborns, newborns
from prewarm.demand.series import complete_until
from prewarm.demand.staleness import Staleness, staleness
from prewarm.errors import NotEnoughHistory, SettingsError
from prewarm.pipeline.demand.histories import (
    DEMAND,
    Counting,
    Extent,
    History,
    history_until,
    known_at,
    prior,
    pushes,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from prewarm.demand.distribution import Dispersion
    from prewarm.demand.forecasters import Answers, Forecaster
    from prewarm.demand.ranking import Expected
    from prewarm.lake import Lake

MAX_HOURS = 24 * 62
MAX_AHEAD = 24 * 366 * 5
TOGETHER = 24 * 8  # hours that windows of one cutoff may span to be forecast in one go


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of every site: by which model, and what counts as demand."""

    model: str = "auto"
    counting: Counting = DEMAND


@dataclass(frozen=True, eq=False)
class Outlook:
    """One site at one cutoff."""

    history: History
    model: Forecaster
    answers: Answers  # of the model, on this history
    tags: Staleness
    newborns: Newborns = field(default_factory=Newborns)  # pushed, and never pulled

    @property
    def images(self) -> tuple[str, ...]:
        """All images that `means` has rows of."""
        return (*self.history.grid.images, *self.newborns.images)

    @property
    def cutoff(self) -> datetime:
        return self.history.grid.cutoff

    @property
    def dispersion(self) -> Dispersion:
        return self.answers.dispersion

    @property
    def notes(self) -> tuple[str, ...]:
        """What the model says of itself: images that it had to leave to another."""
        return tuple(getattr(self.answers, "notes", ()))

    def means(self, ahead: range) -> NDArray[np.float32]:
        """Expected pulls, images x len(ahead)."""
        means = self.answers.means(ahead)
        return np.concatenate([means, self.newborns.means(ahead)]) if self.newborns.images else means

    def expected(self, moments: Sequence[datetime], hours: int) -> Mapping[datetime, Expected]:
        """What each window `[T, T + hours)` brings, for moments in order of time."""
        windows = {moment: ranking.window(self.cutoff, moment, moment + hours * HOUR) for moment in moments}
        span = range(windows[moments[0]].ahead.start, windows[moments[-1]].ahead.stop)
        shared = self.means(span) if len(span) <= TOGETHER else None
        images = self.images
        return {
            moment: ranking.expect(
                images,
                self.means(asked.ahead)
                if shared is None
                else shared[:, asked.ahead.start - span.start : asked.ahead.stop - span.start],
                self.dispersion,
                asked.shares,
            )
            for moment, asked in windows.items()
        }


def outlook(
    lake: Lake, site: Site, extent: Extent, at: datetime, question: Question
) -> tuple[Outlook, datetime]:
    """What may be known of `site` at `at`, and the moment that stands in for it (see `standing_in`).

    Raises NotEnoughHistory when nothing is known.
    """
    ((known, asked),) = outlooks(lake, site, extent, [at], question)
    return known, asked[at]


def outlooks(
    lake: Lake,
    site: Site,
    extent: Extent,
    at: Sequence[datetime],
    question: Question,
    until: datetime | None = None,
) -> list[tuple[Outlook, dict[datetime, datetime]]]:
    """The moments of `at` by the outlook that may answer them: what was known just before each of them.

    Each comes with the moment that stands in for it (see `standing_in`), mostly itself. With `until` nothing
    after it is known to any.
    """
    moments = sorted(set(at))
    limits = [moment if until is None else min(moment, until) for moment in moments]
    by_limit = dict(zip(distinct := sorted(set(limits)), known_at(lake, extent, distinct), strict=True))
    groups: dict[tuple[datetime, datetime], dict[datetime, datetime]] = {}
    for moment, limit in zip(moments, limits, strict=True):
        known, asked = by_limit[limit], standing_in(by_limit[limit], site, moment)
        cutoff = complete_until(known.first, known.last, site, limit if asked == moment else asked)
        groups.setdefault((cutoff, min(limit, cutoff)), {})[moment] = asked
    return [
        (
            _outlook(
                history_until(lake, site, extent, cutoff, limit, question.counting),
                question,
                pushes(lake, min(min(asked), until or min(asked))),
            ),
            asked,
        )
        for (cutoff, limit), asked in groups.items()
    ]


def _outlook(past: History, question: Question, pushed: pl.DataFrame) -> Outlook:
    if not past.grid.images:
        site = past.grid.site.name
        aside = ", ".join(f"{count} {reason}" for reason, count in past.set_aside.items()) or "none at all"
        raise NotEnoughHistory(
            f"site {site!r} has no demand before {past.grid.cutoff:%Y-%m-%dT%H:%MZ}; its pulls were set "
            f"aside ({aside}), see `prewarm pulls --site {site}`"
        )
    shipped = prior()
    model = forecasters.load(question.model, shipped)
    answers = forecasters.fit(model, past.grid, shipped.dispersion)
    born = newborns(past.grid, pushed.filter(pl.col("site") == past.grid.site.name))
    tags = staleness((*past.grid.images, *born.images), past.seen, pushed, past.grid.cutoff)
    return Outlook(past, model, answers, tags, born)


def standing_in(extent: Extent, site: Site, at: datetime) -> datetime:
    """`at`; or the next hour's start when all that was known at `at` lies in the very hour that holds it.

    A log of a few minutes then speaks of the coming hour, instead of of nothing.
    """
    begin = site.floor(extent.first)
    return begin + HOUR if at > extent.first and site.floor(at) == begin else at


def check_hours(hours: int, at: Sequence[datetime]) -> None:
    """Refuse windows that make no sense: SettingsError."""
    if not 1 <= hours <= MAX_HOURS:
        raise SettingsError(f"hours {hours} cannot be used; expected 1 to {MAX_HOURS}, such as 24")
    if not at:
        raise SettingsError("no time was given; expected at least one, such as 2026-11-30T08:00Z")
    for moment in at:
        if moment.tzinfo is None:
            raise SettingsError(f"{moment.isoformat()} has no time zone; expected 2026-11-30T08:00Z")


def check_reach(extent: Extent, at: datetime) -> None:
    """Refuse moments that no log can speak of: SettingsError."""
    if (at - extent.last) / HOUR > MAX_AHEAD:
        raise SettingsError(
            f"{at:%Y-%m-%dT%H:%MZ} is more than five years after the last pull of site {extent.site!r} "
            f"({extent.last:%Y-%m-%d}); ask for a time nearer to it"
        )
