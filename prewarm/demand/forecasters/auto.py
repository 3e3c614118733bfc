"""The default: a few simple views of each image, averaged by how well each of them did lately.

No view is right for every image. The profile knows rhythms, the last hours know bursts, the same hour of
the last weeks knows jobs that keep their hour, a long mean knows what has no rhythm at all, and what became
of earlier tags knows what a young one will have (see `lives`). Each is asked
what it would have said at origins of the last week; an image weighs its views by their discounted Poisson
deviance there, tempered by how much burstier than Poisson it is. Images too young to tell borrow the
losses of other images of their age. (Discounted model averaging: Raftery, Kárný and Ettler, 2010.)

Then the site says what became of images like this one: by how long ago it was pulled last (in hours of
the site's own activity), how old it is, and whether a younger tag of its repository has come since. What
the average expected of such images and what came gives one factor for each such state and lead. So a tag
that was succeeded leaves within hours where the site's tags do, and a weekly job is still waited for
where jobs come back.

Some sites' demand has little more to tell than how often each image is pulled; there the average only adds
noise. So it is hedged with a plain mean: how well each of the two ranked the images at the same tests says
what part of a site's pulls the plain mean may divide. And where a baseline was still ahead by more than
chance explains, it answers instead (see `rivals`).

A thousandth of the image's plain rate is added to its mean: among the unlikely, the popular come first. Only
the busiest images are averaged, so that the cost of a large site stays that of its profile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from prewarm.demand.distribution import Dispersion, learnt
from prewarm.demand.forecasters import FLAT, Prior, rivals
from prewarm.demand.forecasters.baselines import last_hours, same_hours, weighted_mean
from prewarm.demand.forecasters.intervals import due
from prewarm.demand.forecasters.lives import YOUNG, ebbing
from prewarm.demand.forecasters.profile import (
    Fitted,
    Profile,
    bins_of_week,
    fit,
    weekly_columns,
)
from prewarm.demand.series import Grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

VIEWS = ("profile", "last hours", "last day", "last weeks", "hour of week", "hour of day", "interval", "age")
AGE = VIEWS.index("age")
# Views that say nothing of hours more than a day ahead; the long mean takes their weight.
FADING = (1, 2, AGE)
LONG = 3
HALF_LIVES = (1.5, 8.0, 168.0)  # hours, of the three plain means
WEEKLY = (0.4, 0.3, 0.2, 0.1)  # weights of the same hour of the week, the latest first
DAILY = (0.27, 0.23, 0.19, 0.17, 0.14)  # of the same hour of day, workdays and days off apart

# Hours before the cutoff at which the views are tested: at every phase of a day, and at this very hour of it.
BACK = tuple(sorted({*range(3, 169, 6), *range(24, 169, 24)}))
HORIZON = 24
LEADS = ((0, 3), (3, HORIZON))  # an image has weights for each of these stretches of leads
SPANS = ((0, 1), (1, 3), (3, 8), (8, HORIZON))  # a state has a factor for each of these
FORGET = 0.9  # a loss of yesterday weighs so much of one of today
TEMPERATURE = 3.0
BORROWED = (64.0, 64.0, 32.0, 16.0, 16.0)  # tests that the losses of its class of AGES are worth
PLAIN = 24.0  # hours, half-life of the mean that the average is hedged with
HEDGE = 0.2  # perfectly ranked hours that one was ahead by, for its odds to be e times as good
FLOOR = 0.01  # of a mean whose loss is taken
LEAST = 1e-3  # of an image's plain rate, added to its mean: without it the order among the unlikely is noise

SILENCES = (0.7, 2.0, 5.0, 12.0, 24.0, 48.0, 120.0)  # hours of activity since the last pull
AGES = (4, 24, YOUNG, 168)  # hours since the first pull
STATES = (len(SILENCES) + 1) * (len(AGES) + 1) * 2
DOUBT = 2.0  # pulls that a state's factor is shrunk towards 1 with
FACTORS = (0.02, 1.3)
RATED = 28 * 24  # hours that the plain rate is the mean of


@dataclass(frozen=True)
class Auto:
    """The default: a few simple views of each image, averaged by how well each did lately.

    The `most` busiest images are averaged, the rest have the profile.
    """

    prior: Prior = FLAT
    most: int = 2048
    name: str = "auto"

    def forecast(self, history: Grid, ahead: range) -> NDArray[np.float32]:
        """Expected pulls, images x len(ahead)."""
        return self.fit(history).means(ahead)

    def fit(self, history: Grid, before: Dispersion | None = None) -> Averaged:
        """Everything that is learnt from `history`, with how far its tests were from what came."""
        profile = fit(Profile(self.prior), history)
        rows = _busiest(profile, self.most)
        busy = history if len(rows) == len(history.images) else history.of(rows)
        activity = _activity(profile)
        tests = list(_tests(self.prior, busy, activity))
        young = np.digitize(busy.hours - busy.counts.first(), AGES)
        losses = [_losses(tests, len(busy.images), *span) for span in LEADS]
        weights = np.stack([loss.weights(young) for loss in losses])
        averages = [test.average([loss.weights(test.age) for loss in losses]) for test in tests]
        factors = np.stack([_factors(tests, averages, *span) for span in SPANS])
        said = [test.expected(average, factors) for test, average in zip(tests, averages, strict=True)]
        shares = _shares(tests, said)
        dispersion = learnt(before or self.prior.dispersion, _errors(tests, said, shares))
        return Averaged(
            profile, rows, busy, weights, factors[:, _states(busy, activity)], shares,
            _fallbacks(tests, said, shares), dispersion,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Averaged:
    """The views of one history with their weights: ready to be asked about any hours."""

    profile: Fitted
    rows: NDArray[np.int64]  # of the history, the images that are averaged
    busy: Grid  # the history of these
    weights: NDArray[np.float64]  # lead stretch x view x image
    factors: NDArray[np.float64]  # span x image
    shares: NDArray[np.float64]  # lead stretch: of the pulls, that the plain mean divides
    fallbacks: tuple[rivals.Fallback | None, ...]  # lead stretch: the baseline that answers instead
    dispersion: Dispersion

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the result should know."""
        leads = ("within three hours", "further ahead")
        told = zip(self.fallbacks, leads, strict=True)
        return tuple(fallback.note(lead) for fallback, lead in told if fallback)

    def means(self, ahead: range) -> NDArray[np.float32]:
        """Expected pulls, images x len(ahead)."""
        result = self.profile.means(ahead)
        views = _views(self.busy, ahead, result[self.rows])
        mean = np.empty((len(self.rows), len(ahead)), dtype=np.float32)
        for column, hour in enumerate(ahead):
            mean[:, column] = (self.weight(hour) * views[:, :, column]).sum(axis=0) * self.factor(hour)
        plain = weighted_mean(self.busy, PLAIN)
        mean = _hedged(mean, plain, self.shares[[_stretch(LEADS, hour) for hour in ahead]])
        mean += LEAST * last_hours(self.busy, RATED)[:, None]
        result[self.rows] = np.minimum(mean, self.profile.cap[self.rows, None])
        return self._instead(result, ahead)

    def _instead(self, result: NDArray[np.float32], ahead: range) -> NDArray[np.float32]:
        """`result` with the hours that a baseline answers; the average breaks its ties."""
        for stretch, fallback in enumerate(self.fallbacks):
            columns = [place for place, hour in enumerate(ahead) if _stretch(LEADS, hour) == stretch]
            if fallback and columns:
                said = rivals.RIVALS[fallback.name].forecast(self.profile.history, ahead)
                result[:, columns] = said[:, columns] + LEAST * result[:, columns]
        return result

    def views(self, ahead: range) -> NDArray[np.float32]:
        """What each view says of the averaged images: view x image x hour."""
        return _views(self.busy, ahead, self.profile.means(ahead)[self.rows])

    def plain(self, hour: int) -> tuple[NDArray[np.float32], float]:
        """The plain mean of the averaged images at that hour's level, and its share in `means`."""
        average = (self.weight(hour) * self.views(range(hour, hour + 1))[:, :, 0]).sum(axis=0)
        mean = (average * self.factor(hour))[:, None]
        share = float(self.shares[_stretch(LEADS, hour)])
        return _hedged(mean, weighted_mean(self.busy, PLAIN), np.ones(1))[:, 0], share

    def weight(self, hour: int) -> NDArray[np.float64]:
        """The weight of each view in the hour `hour` after the cutoff, view x image."""
        weights: NDArray[np.float64] = self.weights[_stretch(LEADS, hour)]
        if hour < HORIZON:
            return weights
        later = weights.copy()
        later[LONG] += later[list(FADING)].sum(axis=0)
        later[list(FADING)] = 0
        return later

    def factor(self, hour: int) -> NDArray[np.float64]:
        """What becomes of images in the state of each, in the hour `hour` after the cutoff."""
        factors: NDArray[np.float64] = self.factors[_stretch(SPANS, hour)]
        return factors


@dataclass(frozen=True, eq=False)
class _Test:
    """What the views would have said at an earlier origin, and what came."""

    views: NDArray[np.float32]  # view x image x hour
    plain: NDArray[np.float32]  # by image
    pulls: NDArray[np.float32]  # image x hour; 0 where it is not known
    known: NDArray[np.bool_]  # hour: no outage
    there: NDArray[np.bool_]  # image: pulled before the origin
    age: NDArray[np.int64]  # image: class of AGES
    state: NDArray[np.int64]
    discount: float
    day: int  # before the cutoff, that the test lies in
    rivals: dict[str, NDArray[np.float64]]  # how well each baseline ranked, by hour

    def average(self, weights: list[NDArray[np.float64]]) -> NDArray[np.float32]:
        """The average of the views by the weights of each stretch of leads, image x hour."""
        mean = np.empty(self.pulls.shape, dtype=np.float32)
        for weight, (begin, end) in zip(weights, LEADS, strict=True):
            part = self.views[:, :, begin:end]
            np.einsum("vi,vih->ih", weight.astype(np.float32), part, out=mean[:, begin:end])
        return np.maximum(mean, np.float32(1e-4))

    def expected(self, average: NDArray[np.float32], factors: NDArray[np.float64]) -> NDArray[np.float32]:
        """What the average would have said with what became of such images, image x hour."""
        spans = [_stretch(SPANS, hour) for hour in range(average.shape[1])]
        return average * factors.astype(np.float32)[:, self.state][spans].T


def _tests(prior: Prior, busy: Grid, activity: NDArray[np.float64]) -> Iterator[_Test]:
    """Tests of the last week, each from the hours before its origin, the latest first."""
    first = busy.counts.first()
    for back in BACK:
        origin = busy.hours - back
        if origin < HORIZON or not busy.images:
            return
        before, ahead = busy.until(origin), range(min(HORIZON, back))
        known = busy.observed[origin : origin + len(ahead)]
        pulls = np.asarray(busy.counts[:, origin : origin + len(ahead)].toarray(), dtype=np.float32) * known
        yield _Test(
            views=_views(before, ahead, Profile(prior).forecast(before, ahead)),
            plain=weighted_mean(before, PLAIN),
            pulls=pulls,
            known=known,
            there=first < origin,
            age=np.digitize(origin - first, AGES),
            state=_states(before, activity),
            discount=FORGET ** (back / 24),
            day=(back - 1) // 24,
            rivals=rivals.scores(before, ahead, pulls, first < origin),
        )


def _views(history: Grid, ahead: range, profile: NDArray[np.float32]) -> NDArray[np.float32]:
    """What every view of VIEWS expects, view x image x hour."""
    past, future = history.clock(), history.clock(ahead)
    flat = [weighted_mean(history, half_life) for half_life in HALF_LIVES]
    at_work = history.observed & ~past.holiday
    rest = past.weekend | past.holiday
    by_day = same_hours(
        history, past.hour + 24 * rest, future.hour + 24 * (future.weekend | future.holiday),
        history.observed, DAILY,
    )  # fmt: skip
    by_week = same_hours(history, past.hour_of_week, weekly_columns(future), at_work, WEEKLY)
    return np.stack(
        [
            profile,
            *(np.repeat(mean[:, None], len(ahead), axis=1) for mean in flat),
            by_week,
            by_day,
            due(history, ahead, flat[-1]),
            ebbing(history, ahead, flat[-1]),
        ]
    )


@dataclass(frozen=True, eq=False)
class _Losses:
    """How far each view was off over one stretch of leads."""

    own: NDArray[np.float64]  # view x image, discounted
    pooled: NDArray[np.float64]  # view x class of AGES, the mean of a test of such an image
    spread: NDArray[np.float64]  # image: how much burstier than Poisson it is, around its best view

    def weights(self, age: NDArray[np.int64]) -> NDArray[np.float64]:
        """Weights of the views for images of these ages, view x image; columns add up to 1."""
        loss = self.own + np.array(BORROWED)[age] * self.pooled[:, age]
        loss[AGE, age > AGES.index(YOUNG)] = np.inf  # it tells nothing of them
        temperature = 2 * TEMPERATURE * np.maximum(1, self.spread)
        weights = np.exp(-(loss - loss.min(axis=0)) / temperature)
        return np.asarray(weights / weights.sum(axis=0), dtype=np.float64)


def _losses(tests: list[_Test], images: int, begin: int, end: int) -> _Losses:
    """The losses of the views over the leads `begin` to `end`."""
    loss = np.zeros((len(VIEWS), images))
    excess, expected = np.ones(loss.shape), np.ones(loss.shape)
    pooled = np.zeros((len(VIEWS), len(AGES) + 1))
    tested = np.zeros(len(AGES) + 1)
    for test in tests:
        hours = np.flatnonzero(test.known[begin:end]) + begin
        views, pulls = np.maximum(test.views[:, :, hours], FLOOR), test.pulls[:, hours]
        weight = test.discount * test.there
        own = _deviance(pulls, views).sum(axis=2) * weight
        loss += own
        excess += ((pulls - views) ** 2).sum(axis=2) * weight
        expected += views.sum(axis=2) * weight
        tested += np.bincount(test.age, test.there, len(tested))
        for view in range(len(VIEWS)):
            pooled[view] += np.bincount(test.age, own[view], len(tested))
    return _Losses(loss, pooled / np.maximum(tested, 1), (excess / expected).min(axis=0))


def _deviance(pulls: NDArray[np.float32], means: NDArray[np.float32]) -> NDArray[np.float32]:
    """Poisson deviance of each cell; means are above 0."""
    logs = np.where(pulls > 0, pulls, 1) / means
    return np.asarray(2 * (pulls * np.log(logs) * (pulls > 0) - (pulls - means)), dtype=np.float32)


def _factors(
    tests: list[_Test], averages: list[NDArray[np.float32]], begin: int, end: int
) -> NDArray[np.float64]:
    """Pulls that came of what the average expected, by state; busy cells weigh less, being bursty."""
    came, expected = np.zeros(STATES), np.zeros(STATES)
    for test, average in zip(tests, averages, strict=True):
        mean, pulls = average[:, begin:end], test.pulls[:, begin:end]
        trust = test.known[begin:end] * test.discount / (1 + 0.5 * mean) * test.there[:, None]
        came += np.bincount(test.state, (trust * pulls).sum(axis=1), STATES)
        expected += np.bincount(test.state, (trust * mean).sum(axis=1), STATES)
    return np.clip((came + DOUBT) / (expected + DOUBT), *FACTORS)


def _shares(tests: list[_Test], said: list[NDArray[np.float32]]) -> NDArray[np.float64]:
    """The share of the pulls that the plain mean may divide, by stretch of leads; an eighth untested.

    The average has chosen its weights on these very tests, so a tie goes to it.
    """
    gain = np.zeros(len(LEADS))
    for test, mean in zip(tests, said, strict=True):
        pulls = test.pulls[test.there]
        better = rivals.sampled(pulls, test.plain[test.there, None]) - rivals.sampled(pulls, mean[test.there])
        gain += [test.discount * np.nansum(better[begin:end]) for begin, end in LEADS]
    return np.asarray(1 / (1 + len(VIEWS) * np.exp(-np.clip(gain / HEDGE, -50, 50))), dtype=np.float64)


def _fallbacks(
    tests: list[_Test], said: list[NDArray[np.float32]], shares: NDArray[np.float64]
) -> tuple[rivals.Fallback | None, ...]:
    """The baseline that answers instead of the average, by stretch of leads."""
    ours = [
        rivals.sampled(test.pulls[test.there], mean[test.there])
        for test, mean in zip(tests, _blended(tests, said, shares), strict=True)
    ]
    return tuple(
        rivals.fallback(
            np.concatenate([score[begin:end] for score in ours]),
            rivals.together(
                [{name: score[begin:end] for name, score in test.rivals.items()} for test in tests]
            ),
            np.concatenate(
                [np.full(len(score[begin:end]), test.day) for test, score in zip(tests, ours, strict=True)]
            ),
        )
        if tests
        else None
        for begin, end in LEADS
    )


def _blended(
    tests: list[_Test], said: list[NDArray[np.float32]], shares: NDArray[np.float64]
) -> Iterator[NDArray[np.float32]]:
    """What the hedged average would have said at each test, image x hour; 0 for images not there."""
    for test, average in zip(tests, said, strict=True):
        share = shares[[_stretch(LEADS, hour) for hour in range(average.shape[1])]]
        yield _hedged(average * test.there[:, None], test.plain * test.there, share)


def _hedged(
    mean: NDArray[np.floating], plain: NDArray[np.float32], shares: NDArray[np.float64]
) -> NDArray[np.float32]:
    """`shares` (by hour) of each hour's pulls divided as the plain mean says, the rest as they were."""
    total = plain.sum(dtype=np.float64)
    if not total:
        return mean.astype(np.float32)
    level = mean.sum(axis=0, dtype=np.float64) * shares / total
    return np.asarray(mean * (1 - shares) + plain[:, None] * level, dtype=np.float32)


def _errors(
    tests: list[_Test], said: list[NDArray[np.float32]], shares: NDArray[np.float64]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """(mean, pulls) of the known cells of each test, for the dispersion."""
    for test, blended in zip(tests, _blended(tests, said, shares), strict=True):
        mean = blended.astype(np.float64)
        cells = np.broadcast_to(test.known & test.there[:, None], mean.shape)
        yield np.maximum(mean[cells], FLOOR), test.pulls[cells].astype(np.float64)


def _activity(profile: Fitted) -> NDArray[np.float64]:
    """The site's activity before each hour of its history, in hours of mean activity; one item more."""
    history = profile.history
    slots = bins_of_week(history)[weekly_columns(history.clock())]
    return np.concatenate([[0.0], np.cumsum(profile.shape[slots] * history.observed)])


def _states(history: Grid, activity: NDArray[np.float64]) -> NDArray[np.int64]:
    """The state of each image at the end of `history`: silence, age, and whether it was succeeded."""
    first, last = history.counts.first(), history.counts.last()
    silence = np.digitize(activity[history.hours] - activity[last + 1], SILENCES)
    age = np.digitize(history.hours - first, AGES)
    newest = np.full(int(history.repositories.max(initial=-1)) + 1, -1, dtype=np.int64)
    np.maximum.at(newest, history.repositories, np.where(last >= 0, first, -1))
    succeeded = newest[history.repositories] > last
    return np.asarray((silence * (len(AGES) + 1) + age) * 2 + succeeded, dtype=np.int64)


def _busiest(profile: Fitted, most: int) -> NDArray[np.int64]:
    """The images that are expected or were seen most lately, in the order of the history; ties by name."""
    history = profile.history
    if len(history.images) <= most:
        return np.arange(len(history.images))
    busy = profile.means(range(HORIZON)).sum(axis=1) + HORIZON * (
        weighted_mean(history, HALF_LIVES[1]) + last_hours(history, 7 * 24)
    )
    # They mostly come in order, which Python's sort makes use of.
    by_name = sorted(range(len(busy)), key=history.images.__getitem__)
    names = np.empty(len(busy), dtype=np.int64)
    names[by_name] = np.arange(len(busy))
    return np.sort(np.lexsort((names, -busy))[:most])


def _stretch(spans: tuple[tuple[int, int], ...], hour: int) -> int:
    """The span that holds `hour`; the last one for later hours."""
    return next((place for place, (_, end) in enumerate(spans) if hour < end), len(spans) - 1)
