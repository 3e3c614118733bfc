"""Tags that were pushed and not pulled yet: what is expected of them, from what became of earlier ones.

A build tag lives for hours, so by the time its own pulls could teach anything it is over. Its repository
teaches: how many pulls earlier tags had in the hours after their first one, corrected by what came of the
site's earlier pushes that had waited as long. (Gamma-Poisson means, as in `forecasters.profile`.)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from prewarm.demand.series import hour_numbers, repositories

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from prewarm.demand.series import Grid

WAITING = 24  # hours that a tag is waited for
HORIZON = 24  # hours ahead that anything is said of
SPANS = (0, 1, 3, 8, HORIZON)  # leads are taken together between these
NEVER = WAITING + HORIZON
WORTH = 3.0  # tags that the site's mean is worth to a repository
DOUBT = 2.0  # pulls that a correction is shrunk towards 1 with
MOST = 5000  # pushes that are learnt from, the latest


@dataclass(frozen=True, eq=False)
class Newborns:
    """Images that wait for their first pull, and the pulls that each hour after the cutoff may bring.

    `usual` is what earlier tags of the repository had in those hours of their life; `curve` is that,
    corrected by what came of tags that had waited as long. `forgotten` were pushed too long ago to be
    waited for.
    """

    images: tuple[str, ...] = ()
    curve: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, HORIZON)))  # image x hour ahead
    usual: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, HORIZON)))  # image x hour ahead
    waited: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # hours since the push
    forgotten: tuple[str, ...] = ()

    def means(self, ahead: range) -> NDArray[np.float32]:
        """Expected pulls, images x len(ahead); nothing more than a day ahead."""
        result = np.zeros((len(self.images), len(ahead)), dtype=np.float32)
        for place, hour in enumerate(ahead):
            if hour < HORIZON:
                result[:, place] = self.curve[:, hour]
        return result


@dataclass(frozen=True, eq=False)
class _Lives:
    """Images by repository, with their pulls in every hour after their birth, as far as that is known."""

    repository: NDArray[np.int64]
    known: NDArray[np.int64]  # hours
    waited: NDArray[np.int64]  # hours from birth to the first pull; NEVER without one
    pulls: NDArray[np.float32]  # image x hour of life

    def came(self, age: int, begin: int, end: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Pulls and known hours between two leads of the images that nobody had pulled at this age."""
        hours = np.arange(age + begin, age + end)
        cells = (hours < self.known[:, None]) & (self.waited >= age)[:, None]
        return (self.pulls[:, hours] * cells).sum(axis=1, dtype=np.float64), cells.sum(axis=1)


def newborns(history: Grid, pushes: pl.DataFrame) -> Newborns:
    """What `pushes` (`timestamp, image`) have brought that `history` has no pull of.

    Pushes may be later than the cutoff, where the hours since are known in part. A tag that was pulled
    before its first push has moved, and was not born.
    """
    tags = pushes.group_by("image").agg(pl.col("timestamp").min()).sort("timestamp", "image").tail(MOST)
    told = hour_numbers(tags, history.start, history.hours + WAITING, "timestamp").sort("image")
    hour, names = told["hour"].to_numpy(), told["image"].to_list()
    place = {image: row for row, image in enumerate(history.images)}
    rows = np.array([place.get(name, -1) for name in names], dtype=np.int64)
    family = _families(history, names)
    waiting = np.flatnonzero((rows < 0) & (hour >= history.hours - WAITING))
    forgotten = tuple(names[image] for image in np.flatnonzero((rows < 0) & (hour < history.hours - WAITING)))
    if not waiting.size:
        return Newborns(forgotten=forgotten)
    seen = history.counts.first()
    moved = (rows >= 0) & (np.append(seen, 0)[rows] < hour)
    pushed = _lives(history, rows[~moved], hour[~moved], family[len(history.images) :][~moved])
    first = np.flatnonzero((seen >= WAITING) & (seen < history.hours))
    pulled = _lives(history, first, seen[first], family[first])
    usual = _usual(history, family[: len(history.images)], int(family.max()) + 1)
    ages = history.hours - hour[waiting]
    curve, before = np.zeros((2, len(waiting), HORIZON))
    for age in np.unique(ages).tolist():
        (lives, rates), later = _rates(pulled, pushed, usual, max(age, 0)), max(-age, 0)
        own = family[len(history.images) :][waiting[ages == age]]
        curve[ages == age, later:] = rates[own, : HORIZON - later]
        before[ages == age, later:] = lives[own, : HORIZON - later]
    images = tuple(names[image] for image in waiting.tolist())
    return Newborns(images, curve, before, np.maximum(ages, 0), forgotten)


def _families(history: Grid, names: list[str]) -> NDArray[np.int64]:
    """The number of the repository of the images of the history, then of `names`."""
    numbers = repositories(pl.Series([*history.images, *names], dtype=pl.String))
    return numbers.astype(np.int64)


def _lives(
    history: Grid, rows: NDArray[np.int64], born: NDArray[np.int64], repository: NDArray[np.int64]
) -> _Lives:
    """The lives of images born in these hours; row -1 is an image that was never pulled."""
    pulls = np.zeros((len(rows), NEVER), dtype=np.float32)
    there = np.flatnonzero(rows >= 0)
    pulls[there] = history.counts[rows[there]].since(born[there], NEVER)
    waited = np.where(pulls.any(axis=1), (pulls > 0).argmax(axis=1), NEVER)
    return _Lives(repository, np.clip(history.hours - born, 0, NEVER), waited, pulls)


def _usual(history: Grid, family: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Pulls an hour of an image, by repository; of the site's where none of its images is known."""
    total = np.bincount(family, history.counts.sum(axis=1), count)
    images = np.bincount(family, minlength=count)
    site = total.sum() / max(images.sum(), 1)
    return np.where(images > 0, total / np.maximum(images, 1), site) / max(history.hours, 1)


def _rates(
    pulled: _Lives, pushed: _Lives, images: NDArray[np.float64], age: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pulls an hour, repository x hour ahead: of tags after their first pull, and of those still waiting.

    The second have waited `age` hours for their first one. `images` is what any image of the repository has:
    all there is to go by where no birth was seen.
    """
    count = len(images)
    lives, rates = np.zeros((2, count, HORIZON))
    for begin, end in pairwise(SPANS):
        pulls, hours = pulled.came(0, begin, end)
        worth = WORTH * (end - begin)
        site = (pulls.sum() + worth * images) / (hours.sum() + worth)
        own = np.bincount(pulled.repository, pulls, count) + worth * site
        usual = own / (np.bincount(pulled.repository, hours, count) + worth)
        pulls, hours = pushed.came(age, begin, end)
        expected = usual[pushed.repository] * hours
        ratio = (pulls.sum() + DOUBT) / (expected.sum() + DOUBT)
        came = np.bincount(pushed.repository, pulls, count) + DOUBT * ratio
        rate = usual * came / (np.bincount(pushed.repository, expected, count) + DOUBT)
        lives[:, begin:end] = usual[:, None]
        rates[:, begin:end] = rate[:, None]
    return lives, rates
