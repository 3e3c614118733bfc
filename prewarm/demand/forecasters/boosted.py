"""Gradient boosting over all images, by scikit-learn, on top of the profile.

It learns the ratio of the pulls to the profile's mean, weighted by that mean, from features of the very hour
that is forecast. The plain Poisson loss explodes on counts with rare bursts (a mean of 10⁶ where the busiest
hour had 5·10³); the ratio form, capped, does not. Training rows are the last days, each forecast from the
hours before it, at most `rows` of them, drawn with a fixed seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csc_array

from prewarm.demand.forecasters import FLAT, Prior
from prewarm.demand.forecasters.baselines import latest
from prewarm.demand.forecasters.profile import Profile
from prewarm.demand.series import WEEK

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from prewarm.demand.calendars import Clock
    from prewarm.demand.series import Grid

LEAST = 1e-3  # of a mean that a ratio is taken to
MAX_RATIO = 50.0  # of a training row: one burst must not own a leaf
MONTH = 28 * 24
FEATURES = 15


@dataclass(frozen=True)
class Boosted:
    """Histogram gradient boosting in ratio-to-profile form, never above 8 x the profile + 5.

    With less than a week and three days of history, or nothing pulled in these days, it is the profile.
    `estimator` is another scikit-learn regressor to take in the place of its own; it is cloned, never fitted.
    """

    prior: Prior = FLAT
    origins: int = 7
    rows: int = 150_000
    iterations: int = 120
    name: str = "boosted"
    estimator: Any = None

    def forecast(self, history: Grid, ahead: range) -> NDArray[np.float32]:
        """Expected pulls, images x len(ahead)."""
        profile = Profile(self.prior)
        means = profile.forecast(history, ahead)
        trained = self._train(profile, history)
        if trained is None or not means.size:
            return means
        state, everyone = _state(history), np.arange(len(history.images))
        for column, hour in enumerate(ahead):
            ratio = trained.predict(_features(state, hour, means[:, column], everyone))
            boosted = np.clip(ratio, 0, None) * np.maximum(means[:, column], LEAST)
            means[:, column] = np.minimum(boosted, np.minimum(8 * means[:, column] + 5, state.cap))
        return means

    def _train(self, profile: Profile, history: Grid) -> Any:
        """A fitted regressor; None when there is too little to learn from."""
        samples = [
            _samples(profile, history, history.hours - 24 * day, self.rows // self.origins, day)
            for day in range(1, self.origins + 1)
            if history.hours - 24 * day >= WEEK
        ]
        if len(samples) < 3:
            return None
        x, y, mean = (np.concatenate(parts) for parts in zip(*samples, strict=True))
        if not y.any():
            return None
        return self._fitted(x, np.minimum(y / mean, MAX_RATIO), mean)

    def _fitted(self, x: NDArray[np.float32], ratio: NDArray[np.float32], weight: NDArray[np.float32]) -> Any:
        from sklearn.base import clone
        from sklearn.utils.validation import has_fit_parameter

        model = self._trees() if self.estimator is None else clone(self.estimator)
        weights = {"sample_weight": weight} if has_fit_parameter(model, "sample_weight") else {}
        return model.fit(x, ratio, **weights)

    def _trees(self) -> Any:
        from sklearn.ensemble import HistGradientBoostingRegressor

        return HistGradientBoostingRegressor(
            loss="poisson",
            learning_rate=0.08,
            max_iter=self.iterations,
            max_leaf_nodes=15,
            min_samples_leaf=200,
            l2_regularization=1.0,
            early_stopping=False,
            random_state=0,
        )


@dataclass(frozen=True, eq=False)
class _State:
    """What is known of every image at the cutoff, whatever the hour asked for."""

    history: Grid
    by_hour: csc_array  # the counts, quick to take columns from
    past: Clock
    recent: NDArray[np.float32]  # image x (mean of 6, 24, 168 hours, hours since last, age)
    family: NDArray[np.float32]  # mean of the last 24 hours over the repository
    cap: NDArray[np.float32]

    def hour(self, column: int) -> NDArray[np.float32]:
        """Pulls of one hour, by image; zeros for a column before the history (-1)."""
        if column < 0:
            return np.zeros(len(self.history.images), dtype=np.float32)
        return np.asarray(self.by_hour[:, [column]].toarray(), dtype=np.float32).ravel()


def _state(history: Grid) -> _State:
    images, hours = history.counts.shape
    means = [_mean(history, span) for span in (6, 24, WEEK)]
    age = np.minimum(hours - history.counts.first(), MONTH)
    since = np.minimum(hours - 1 - history.counts.last(), MONTH)
    family = np.bincount(history.repositories, means[1]) if images else np.zeros(0)
    peak = history.counts[:, -MONTH:].peak()
    return _State(
        history=history,
        by_hour=history.counts.to_scipy().tocsc(),
        past=history.clock(),
        recent=np.column_stack([*means, since, age]).astype(np.float32),
        family=family[history.repositories].astype(np.float32),
        cap=(1.5 * peak + 5).astype(np.float32),
    )


def _features(
    state: _State, hour: int, mean: NDArray[np.float32], rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Features of the images `rows` for the hour `hour` after the cutoff, from hours before it only."""
    past, future = state.past, state.history.clock(range(hour, hour + 1))
    observed = state.history.observed
    weekly = latest(past.hour_of_week, observed, future.hour_of_week)[0]
    daily = latest(past.hour, observed, future.hour)[0]
    same = np.flatnonzero((past.hour == future.hour[0]) & observed)[-7:]
    same_hour = np.asarray(state.by_hour[:, same].sum(axis=1)).ravel() / max(same.size, 1)
    calendar = [future.hour[0], future.weekday[0], future.weekend[0], future.holiday[0], min(hour, 23)]
    return np.column_stack(
        [
            np.log(mean[rows] + LEAST),
            state.hour(int(weekly))[rows],
            state.hour(int(daily))[rows],
            same_hour[rows],
            state.recent[rows],
            state.family[rows],
            np.tile(np.array(calendar, dtype=np.float32), (len(rows), 1)),
        ]
    ).astype(np.float32)


def _samples(
    profile: Profile, history: Grid, origin: int, rows: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Features, pulls and profile means of one day, as it looked at its beginning.

    Images are drawn in the order of their names, so that the order of the grid does not matter.
    """
    before = history.until(origin)
    means = np.maximum(profile.forecast(before, range(24)), LEAST)
    state = _state(before)
    known = np.flatnonzero(state.recent[:, 4] > 0)
    known = known[np.argsort(np.asarray(history.images)[known])]
    outcome = history.counts[:, origin : origin + 24].to_scipy().tocsc()
    rng = np.random.default_rng(seed)
    share = min(max(1, rows // 24), len(known))
    x, y, mean = [], [], []
    for hour in np.flatnonzero(history.observed[origin : origin + 24]).tolist():
        drawn = known[np.sort(rng.choice(len(known), share, replace=False))]
        x.append(_features(state, hour, means[:, hour], drawn))
        y.append(outcome[:, [hour]].toarray().ravel()[drawn])
        mean.append(means[drawn, hour])
    if not x:
        return np.empty((0, FEATURES), np.float32), np.empty(0, np.float32), np.empty(0, np.float32)
    return np.concatenate(x), np.concatenate(y), np.concatenate(mean)


def _mean(history: Grid, span: int) -> NDArray[np.float32]:
    """Mean pulls over the last `span` hours, by image."""
    recent = history.counts[:, -span:]
    return np.asarray(recent.sum(axis=1) / max(recent.shape[1], 1), dtype=np.float32)
