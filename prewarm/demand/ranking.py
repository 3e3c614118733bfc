"""Forecasts become a ranking: the images of a window, best first, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from prewarm.demand.calendars import HOUR
from prewarm.demand.forecasters.auto import VIEWS, Averaged
from prewarm.demand.forecasters.profile import Fitted, Profile, fit, weekly_columns
from prewarm.demand.newborn import HORIZON, WAITING
from prewarm.errors import UnknownName

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from prewarm.demand.distribution import Dispersion
    from prewarm.demand.forecasters import Answers, Prior
    from prewarm.demand.newborn import Newborns
    from prewarm.demand.series import Grid
    from prewarm.demand.staleness import Staleness

OBJECTIVES = ("pulls", "any-pull", "bytes")


@dataclass(frozen=True, slots=True)
class Ranked:
    """One image of a ranking. `bytes` is its size, None where nobody knows it."""

    rank: int
    image: str
    mean: float  # expected pulls in the window
    probability: float  # P(at least one pull in the window)
    bytes: int | None
    score: float  # of the objective
    p_stale: float | None = None  # P(its tag has moved since the cache had it last); None: nobody knows


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time on a grid: hours ahead of its cutoff, and the share of each that the window covers.

    A window that does not begin on the site's hour covers parts of its first and last one.
    """

    ahead: range
    shares: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Expected:
    """What one site expects of each image in a window: mean pulls and P(at least one)."""

    images: tuple[str, ...]
    mean: NDArray[np.float64]
    probability: NDArray[np.float64]


def window(cutoff: datetime, begin: datetime, end: datetime) -> Window:
    """The hours after `cutoff` that `[begin, end)` touches; both must be at `cutoff` or later."""
    first = (begin - cutoff) // HOUR
    last = -((cutoff - end) // HOUR)
    edges = [cutoff + hour * HOUR for hour in range(first, last)]
    shares = [(min(end, edge + HOUR) - max(begin, edge)) / HOUR for edge in edges]
    return Window(range(first, last), np.array(shares, dtype=np.float64))


def expect(
    images: tuple[str, ...], means: NDArray[np.float32], dispersion: Dispersion, shares: NDArray[np.float64]
) -> Expected:
    """Hours become one window: means add up, and P(≥1) = 1 - Π (1 - p), hours taken as independent.

    `means` is images x hours; an hour of which the window covers a share counts by it.
    """
    log_none = np.log1p(-np.minimum(dispersion.probability(means).astype(np.float64), 1 - 1e-12))
    return Expected(images, means.astype(np.float64) @ shares, -np.expm1(log_none @ shares))


def together(sites: Sequence[Expected]) -> Expected:
    """Several sites as one: means add up, and no pull anywhere is no pull at every site."""
    images = sorted({image for site in sites for image in site.images})
    place = {image: row for row, image in enumerate(images)}
    mean, log_none = np.zeros(len(images)), np.zeros(len(images))
    for site in sites:
        rows = np.fromiter((place[image] for image in site.images), np.int64, len(site.images))
        mean[rows] += site.mean
        log_none[rows] += np.log1p(-np.minimum(site.probability, 1 - 1e-12))
    return Expected(tuple(images), mean, -np.expm1(log_none))


def rank(
    expected: Expected, sizes: Mapping[str, int], objective: str = "pulls", top: int = 50
) -> list[Ranked]:
    """The `top` images by `objective`; ties by mean, then by name.

    `pulls`: expected pulls, for caches where every pull pays. `any-pull`: P(at least one), where only the
    first one does. `bytes`: expected pulls x the image's `sizes`; an image of unknown size counts as one of
    median size. UnknownName for another objective.
    """
    score = _score(expected, sizes, objective)
    wanted = _best(score, top)
    order = sorted(wanted, key=lambda i: (-score[i], -expected.mean[i], expected.images[i]))[:top]
    return [
        Ranked(
            rank=place,
            image=expected.images[i],
            mean=float(expected.mean[i]),
            probability=float(expected.probability[i]),
            bytes=sizes.get(expected.images[i]),
            score=float(score[i]),
        )
        for place, i in enumerate(order, start=1)
    ]


def aged(ranking: Sequence[Ranked], sites: Sequence[Staleness], at: datetime) -> list[Ranked]:
    """The ranking with `p_stale` at `at`; of several sites that where the tag is likeliest to have moved."""
    images = [ranked.image for ranked in ranking]
    told = zip(*(site.chances(images, at) for site in sites), strict=True)
    likeliest = [max((chance for chance in each if chance is not None), default=None) for each in told]
    return [replace(ranked, p_stale=chance) for ranked, chance in zip(ranking, likeliest, strict=True)]


def _score(expected: Expected, sizes: Mapping[str, int], objective: str) -> NDArray[np.float64]:
    if objective == "pulls":
        return expected.mean
    if objective == "any-pull":
        return expected.probability
    if objective != "bytes":
        raise UnknownName("objective", objective, OBJECTIVES)
    known = [sizes[image] for image in expected.images if image in sizes]
    median = float(np.median(known)) if known else 1.0
    weights = np.array([sizes.get(image, median) for image in expected.images], dtype=np.float64)
    return np.asarray(expected.mean * weights, dtype=np.float64)


def _best(score: NDArray[np.float64], top: int) -> list[int]:
    """Rows that may be among the `top`: all that reach the top-th score, ties included."""
    if not 0 < top < len(score):
        return list(range(len(score))) if top > 0 else []
    least = np.partition(score, len(score) - top)[len(score) - top]
    return np.flatnonzero(score >= least).tolist()


@dataclass(frozen=True, slots=True)
class Link:
    """One step of an explanation: what it is, and the pulls an hour it says on its own."""

    step: str
    value: float
    note: str


@dataclass(frozen=True, slots=True)
class View:
    """What a simple model says: the pulls that it expects, and its weight for this image."""

    name: str
    mean: float
    weight: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an image has the mean it has, in the hour that begins at `time`.

    The last link times `ratio` is what the profile expects. `auto` averages it with other `views`, and
    multiplies by `factor`: what became of images in its state; where a `plain` mean told the site's images
    apart better, that has a weight beside the rest. `mean` is what `model` says, as ranked.
    An image that was pushed and not pulled yet has another chain, and its last link is the mean.
    """

    image: str
    time: datetime
    links: tuple[Link, ...]
    ratio: float
    mean: float
    model: str = "profile"
    views: tuple[View, ...] = ()
    factor: float = 1.0
    plain: View | None = None
    waited: int | None = None  # hours since its push, of an image that nobody has pulled yet


def explain(grid: Grid, model: str, answers: Answers, prior: Prior, image: str, hour: int) -> Explanation:
    """How one image comes to its mean by `answers`, in the hour `hour` after the cutoff.

    The chain is the profile's: global → repository → image → hour of day → hour of week, then the recent
    level. UnknownName for an image that the site has never pulled.
    """
    row = _row(grid, image)
    fitted = answers.profile if isinstance(answers, Averaged) else fit(Profile(prior), grid)
    links, ratio = _chain(fitted, row, hour)
    averaged = _averaged(answers, row, hour) if isinstance(answers, Averaged) else ((), 1.0, None)
    mean = float(answers.means(range(hour, hour + 1))[row, 0])
    return Explanation(image, grid.cutoff + hour * HOUR, links, ratio, mean, model, *averaged)


def explain_newborn(
    born: Newborns, model: str, cutoff: datetime, image: str, hour: int
) -> Explanation | None:
    """The same for an image that was pushed and never pulled; None when it was not pushed either."""
    time = cutoff + hour * HOUR
    if image in born.forgotten:
        gone = Link("pushed", 0.0, f"nobody pulled it within {WAITING} hours of its push: not waited for")
        return Explanation(image, time, (gone,), 1.0, 0.0, model, waited=WAITING)
    if image not in born.images:
        return None
    row = born.images.index(image)
    mean = float(born.means(range(hour, hour + 1))[row, 0])
    usual = float(born.usual[row, hour]) if hour < HORIZON else 0.0
    links = (
        Link("earlier tags", usual, "what earlier tags of its repository had so long after their first pull"),
        Link("waiting", mean, "corrected by what came of tags that nobody had pulled for as long"),
    )
    return Explanation(image, time, links, 1.0, mean, model, waited=int(born.waited[row]))


def _averaged(answers: Averaged, row: int, hour: int) -> tuple[tuple[View, ...], float, View | None]:
    """The views of one image with their weights, its factor, its plain mean; none if it is not averaged."""
    if row not in answers.rows:
        return (), 1.0, None
    place = int(np.searchsorted(answers.rows, row))
    means = answers.views(range(hour, hour + 1))[:, place, 0]
    weights = answers.weight(hour)[:, place]
    views = [View(*each) for each in zip(VIEWS, means.tolist(), weights.tolist(), strict=True)]
    plain, share = answers.plain(hour)
    return tuple(views), float(answers.factor(hour)[place]), View("plain mean", float(plain[place]), share)


def _chain(fitted: Fitted, row: int, hour: int) -> tuple[tuple[Link, ...], float]:
    """The links of the profile, and the recent level."""
    grid = fitted.history
    rows = slice(row, row + 1)
    told = grid.clock(range(hour, hour + 1))
    slot = int(weekly_columns(told)[0])
    at = int(fitted.window.bin_of_slot[slot])
    daily = fitted.hour_of_day(rows)
    week = fitted.hour_of_week(rows, daily)
    links = (
        Link("site", fitted.site_rate * fitted.shape[at], "the median image at this hour of day"),
        Link(
            "repository",
            float(
                fitted.repository_rate[grid.repositories[row]]
                * fitted.repository_shape[grid.repositories[row], at]
            ),
            "a typical image of its repository at this hour of day",
        ),
        Link("image", float(fitted.borrowed(rows)[0, at]), "its own level in the repository's rhythm"),
        Link("hour of day", float(daily[0, at]), f"its own {told.day_type[0]} at {told.hour[0]:02}:00"),
        Link("hour of week", float(week[0, slot]), "its own weekday and hour"),
    )
    return links, float(fitted.ratio(rows, week)[0])


def _row(grid: Grid, image: str) -> int:
    try:
        return grid.images.index(image)
    except ValueError:
        raise UnknownName("image", image, _near(grid.images, image)) from None


def _near(images: tuple[str, ...], image: str) -> list[str]:
    """A few names of the same repository, to teach with; a site may have 100,000."""
    name = image.rpartition(":")[0].rpartition("/")[2] or image
    return [known for known in images if name in known][:10] or list(images[:10])
