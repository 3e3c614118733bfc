"""A hierarchical Gamma-Poisson profile, times how busy the image has been lately.

Every image has a rhythm (hour of day x workday or weekend, then hour of week), but few have enough pulls to
show it. So rates are shrunk along a chain, each link the prior of the next, worth a fixed number of pulls:

    all images of the site -> repository -> image, hour of day x day type -> image, hour of week

and the result is scaled by the image's level over the last hours. A busy image speaks for itself, a rare one
borrows from its repository, a new repository from its site, a new site from the shipped prior.

The Gamma-Poisson posterior mean (pulls + k m) / (hours + k), for a prior of mean m worth k hours, is
textbook (Gelman et al., Bayesian Data Analysis, section 2.6); the pseudo-count k = nu (1/m + phi) makes
it worth nu (1 + phi m) pulls. Hours of outages and holidays weigh nothing; exposure starts at an image's
first pull, so that being new is not being rare.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from prewarm.demand.forecasters import FLAT, Prior
from prewarm.demand.series import WEEK, Grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from prewarm.demand.calendars import Clock
    from prewarm.demand.counts import Counts

EPS = 1e-4
BINS = 48  # hour of day, then 24 more for the weekend
CHUNK = 1024  # images at a time: bounds memory whatever the size of the site, and fits a core's cache
RATIO_RANGE = (0.05, 12.0)
CAP_HOURS = 28 * 24
PRIOR_HOURS = 2 * WEEK  # the shipped prior has faded out by then


@dataclass(frozen=True)
class Profile:
    """A hierarchical Gamma-Poisson profile, times how busy the image has been lately.

    Its fields are the model's few parameters, tuned on other data than is reported.
    `weeks` of history are read. Hours of week forget with `week_decay` (weeks), hours of day with `day_decay`
    (days), the level with `level_decay` (hours). `strengths` are the pulls that the global, the repository's
    and the image's profile are worth as priors, `phi` makes them worth more for busy images. `level_pulls`
    is the strength of the repository's rate, `ratio_pulls` and `ratio_power` temper the recent level.
    """

    prior: Prior = FLAT
    weeks: int = 5
    week_decay: float = 2.0
    day_decay: float = 14.0
    level_decay: float = 20.0
    strengths: tuple[float, float, float] = (0.5, 12.0, 12.0)
    phi: float = 0.1
    level_pulls: float = 6.0
    ratio_pulls: float = 0.5
    ratio_power: float = 0.75
    name: str = "profile"

    def forecast(self, history: Grid, ahead: range) -> NDArray[np.float32]:
        """Expected pulls, images x len(ahead); a holiday has the rhythm of the weekend's last day."""
        return fit(self, history).means(ahead)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A profile fitted to one history: what is shared by images, and enough to finish any of them."""

    model: Profile
    history: Grid
    window: Window
    shape: NDArray[np.float64]  # global profile by bin, mean 1 over a week
    site_rate: float  # pulls an hour of the median image
    repository_rate: NDArray[np.float64]  # by repository
    repository_shape: NDArray[np.float64]  # repository x bin
    level: NDArray[np.float64]  # pulls an hour by image
    cap: NDArray[np.float32]  # no forecast is above it

    def means(self, ahead: range) -> NDArray[np.float32]:
        """Expected pulls, images x len(ahead)."""
        columns = weekly_columns(self.history.clock(ahead))
        result = np.empty((len(self.history.images), len(ahead)), dtype=np.float32)
        for rows in _chunks(len(result)):
            week = self.hour_of_week(rows, self.hour_of_day(rows))
            mu = np.take(week, columns, axis=1) * self.ratio(rows, week)[:, None]
            result[rows] = np.minimum(mu, self.cap[rows, None])
        return result

    def borrowed(self, rows: slice) -> NDArray[np.float32]:
        """What the image borrows: its level in the rhythm of its repository (image x bin)."""
        shape = self.repository_shape[self.history.repositories[rows]]
        return np.maximum(self.level[rows, None] * shape, EPS).astype(np.float32)

    def hour_of_day(self, rows: slice) -> NDArray[np.float32]:
        """Pulls an hour by image and bin."""
        prior = self.borrowed(rows)
        pulls, hours = self.window.by_bin(rows)
        return np.maximum(self._shrink(pulls, hours, prior, self.model.strengths[1]), EPS)

    def hour_of_week(self, rows: slice, daily: NDArray[np.float32]) -> NDArray[np.float32]:
        """Pulls an hour by image and hour of week, before the recent level."""
        pulls, hours = self.window.by_hour_of_week(rows)
        prior = np.take(daily, self.window.bin_of_slot, axis=1)  # daily[:, …] would lie in memory by column
        return self._shrink(pulls, hours, prior, self.model.strengths[2])

    def ratio(self, rows: slice, week: NDArray[np.float32]) -> NDArray[np.float32]:
        """How busy the image has been over its last hours, beside what its profile expected then."""
        pulls, expected = self.window.recent(rows, week)
        c = self.model.ratio_pulls
        ratio = ((pulls + c) / (expected + c)) ** self.model.ratio_power
        return np.clip(ratio, *RATIO_RANGE).astype(np.float32)

    def _shrink(
        self, pulls: NDArray[np.float32], hours: NDArray[np.float32], prior: NDArray[np.float32], nu: float
    ) -> NDArray[np.float32]:
        extra = np.float32(nu * self.model.phi)
        shrunk = prior * extra  # in place from here on: these tables are large
        shrunk += nu
        shrunk += pulls
        exposure = nu / prior
        exposure += extra
        exposure += hours
        shrunk /= exposure
        return shrunk


@dataclass(frozen=True, eq=False)
class Window:
    """The hours a profile reads, and their weights: sums over any images are one pass over their pulls."""

    counts: Counts  # of the hours of the window
    first: NDArray[np.int64]  # first hour with a pull; the window's length if there is none
    bin_of_slot: NDArray[np.int64]  # hour of week -> bin
    slots: NDArray[np.int64]  # hour -> hour of week
    daily: NDArray[np.float64]  # weight of each hour
    bin_hours: NDArray[np.float32]  # first hour x bin: exposure of an image first seen then
    weekly: NDArray[np.float64]
    slot_hours: NDArray[np.float32]
    lately: NDArray[np.float64]  # 0 but for the last hours
    recent_hours: NDArray[np.float32]

    def by_bin(self, rows: slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weighted pulls and hours, image x bin."""
        pulls = self.counts[rows].grouped(self.bin_of_slot[self.slots], self.daily, BINS)
        return pulls, self.bin_hours[self.first[rows]]

    def by_hour_of_week(self, rows: slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weighted pulls and hours, image x hour of week."""
        return self.counts[rows].grouped(self.slots, self.weekly, WEEK), self.slot_hours[self.first[rows]]

    def recent(
        self, rows: slice, week: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weighted pulls of the last hours, and what the profile `week` expected of them."""
        pulls = (self.counts[rows] @ self.lately).astype(np.float32)
        expected = np.einsum("ik,ik->i", self.recent_hours[self.first[rows]], week)
        return pulls, expected


def fit(model: Profile, history: Grid) -> Fitted:
    """Everything that needs all images at once: the global and the repositories' profiles, the levels."""
    window = read(model, history)
    pulls, hours = window.by_bin(slice(None))
    shape = _global_shape(model, history, pulls, hours)
    total = pulls.sum(axis=1, dtype=np.float64)
    expected = hours @ shape
    site_rate = float(np.median((total + 0.1) / (expected + 24))) if len(total) else EPS
    a = model.level_pulls
    rate = (_by_repository(history, total) + a) / (
        _by_repository(history, expected) + a / max(site_rate, EPS)
    )
    prior = np.maximum(rate[history.repositories], EPS)
    level = (total + a) / (expected + a / prior)
    nu = model.strengths[0]
    exposure = _by_repository(history, hours * level[:, None])
    return Fitted(
        model=model,
        history=history,
        window=window,
        shape=shape,
        site_rate=site_rate,
        repository_rate=rate,
        repository_shape=(_by_repository(history, pulls) + nu * shape) / (exposure + nu),
        level=level,
        cap=1.5 * _peak(history) + 5,
    )


def read(model: Profile, history: Grid) -> Window:
    """The last `weeks` of `history` with the weights of the model; outages and holidays weigh 0."""
    hours = min(history.hours, model.weeks * WEEK)
    counts = history.counts[:, history.hours - hours :]
    told = history.clock()
    known = history.observed[history.hours - hours :] & ~told.holiday[history.hours - hours :]
    slots = told.hour_of_week[history.hours - hours :]
    bin_of_slot = bins_of_week(history)
    age = np.arange(hours, 0, -1) - 1.0
    recent = np.where(age < WEEK, np.exp(-age / model.level_decay), 0) * known
    weekly = np.exp(-(age // WEEK) / model.week_decay) * known
    daily = np.exp(-age / (24 * model.day_decay)) * known
    return Window(
        counts=counts,
        first=counts.first(),
        bin_of_slot=bin_of_slot,
        slots=slots,
        daily=daily,
        bin_hours=_exposure(bin_of_slot[slots], daily, BINS),
        weekly=weekly,
        slot_hours=_exposure(slots, weekly, WEEK),
        lately=recent,
        recent_hours=_exposure(slots, recent, WEEK),
    )


def bins_of_week(history: Grid) -> NDArray[np.int64]:
    """The bin of each hour of the week, by the weekend of the history's site."""
    slots = np.arange(WEEK)
    return slots % 24 + 24 * np.isin(slots // 24, list(history.site.weekend))


def weekly_columns(told: Clock) -> NDArray[np.int64]:
    """The hour of week whose rhythm each hour follows: a holiday follows the last day of the weekend."""
    return np.where(told.holiday, told.rest_day * 24 + told.hour, told.hour_of_week)


def _global_shape(
    model: Profile, history: Grid, pulls: NDArray[np.float32], hours: NDArray[np.float32]
) -> NDArray[np.float64]:
    """The site's profile by bin, mean 1 over a week; the shipped prior fills in while history is short.

    An image weighs by the root of its pulls, so that the busiest does not speak for all.
    """
    prior = np.array(model.prior.workday + model.prior.weekend)
    level = (pulls.sum(axis=1) + 0.5) / (hours.sum(axis=1) + 24)
    weight = np.sqrt(pulls.sum(axis=1, dtype=np.float64))
    relative = (pulls + 0.5 * level[:, None]) / (hours + 0.5) / level[:, None]
    own = weight @ relative / weight.sum() if weight.any() else prior
    seen = hours.max(axis=0, initial=0)
    borrowed = 2.0 * max(0.0, 1 - history.hours / PRIOR_HOURS)
    shape = np.where(
        seen + borrowed > 0, (seen * own + borrowed * prior) / np.maximum(seen + borrowed, EPS), own
    )
    per_week = np.bincount(bins_of_week(history), minlength=BINS)
    return np.asarray(shape * WEEK / (per_week @ shape), dtype=np.float64)


def _exposure(column: NDArray[np.int64], weight: NDArray[np.float64], columns: int) -> NDArray[np.float32]:
    """Row f: the weighted hours per column from hour f to the end; the last row is zero."""
    table = np.zeros((len(column) + 1, columns), dtype=np.float64)
    table[np.arange(len(column)), column] = weight
    return table[::-1].cumsum(axis=0)[::-1].astype(np.float32)


def _by_repository(history: Grid, values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Sums over the images of each repository, of one value an image or of a row of them."""
    height, width = int(history.repositories.max(initial=-1)) + 1, values[:1].size
    cells = history.repositories[:, None] * np.int64(width) + np.arange(width)
    sums = np.bincount(cells.ravel(), values.ravel(), height * width).reshape(height, *values.shape[1:])
    return np.asarray(sums, dtype=np.float64)


def _peak(history: Grid) -> NDArray[np.float32]:
    """The busiest hour of the last 28 days, by image."""
    return history.counts[:, max(0, history.hours - CAP_HOURS) :].peak()


def _chunks(images: int) -> list[slice]:
    return [slice(begin, begin + CHUNK) for begin in range(0, images, CHUNK)]
