"""Exponential smoothing per series, by statsmodels, for the busiest images; the profile for the rest.

Classical models lose to the pooled profile on hourly pulls and cost a thousand times as much, so this is a
reference to look at and to compare with, not the engine. It is bounded: 20 images, four weeks of hours,
60 steps of the optimiser each.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from prewarm.demand.distribution import TYPICAL, Dispersion, calibrate
from prewarm.demand.forecasters import FLAT, Prior
from prewarm.demand.forecasters.profile import Profile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from prewarm.demand.series import Grid

HOURS = 4 * 168
SEASON = 24
STEPS = 60


@dataclass(frozen=True)
class ETS:
    """Error, trend (damped) and daily season, additive, on the root of the counts.

    The root steadies the variance of counts (Anscombe, 1948). An image takes the profile's forecast when it
    is not among the `busiest`, when there are fewer than three days of history, and when the optimiser fails,
    which the notes of the fit tell. Forecasts above 1.5 x the busiest hour + 5 are cut.
    """

    prior: Prior = FLAT
    busiest: int = 20
    name: str = "ets"

    def forecast(self, history: Grid, ahead: range) -> NDArray[np.float32]:
        """Expected pulls, images x len(ahead)."""
        return self._smoothed(history, TYPICAL).means(ahead)

    def fit(self, history: Grid, before: Dispersion | None = None) -> Smoothed:
        """The fitted series, with the dispersion of the last days' errors."""
        return self._smoothed(history, calibrate(history, self.forecast, before or self.prior.dispersion))

    def _smoothed(self, history: Grid, dispersion: Dispersion) -> Smoothed:
        images = busiest(history, self.busiest) if history.hours >= 3 * SEASON else np.empty(0, np.int64)
        series = {int(image): _filled(history, int(image)) for image in images}
        fitted = {image: _fitted(values) for image, values in series.items()}
        caps = {image: float(1.5 * values.max() + 5) for image, values in series.items()}
        failed = sorted(history.images[image] for image, found in fitted.items() if found is None)
        return Smoothed(history, Profile(self.prior), fitted, caps, dispersion, unfitted(self.name, failed))


@dataclass(frozen=True, eq=False)
class Smoothed:
    """The series that were fitted (None: the optimiser failed), and the profile for the rest."""

    history: Grid
    profile: Profile
    fitted: Mapping[int, Any]
    caps: Mapping[int, float]
    dispersion: Dispersion
    notes: tuple[str, ...]  # what a reader of the result should know

    def means(self, ahead: range) -> NDArray[np.float32]:
        """Expected pulls, images x len(ahead)."""
        means = self.profile.forecast(self.history, ahead)
        for image, found in self.fitted.items():
            if found is None or not len(ahead):
                continue
            forecast = _forecast(found, ahead)
            if np.isfinite(forecast).all():
                means[image] = np.clip(forecast, 0, self.caps[image])
        return means


def unfitted(model: str, failed: Sequence[str]) -> tuple[str, ...]:
    """What a reader should know of the images that `model` could not be fitted to; nothing without any."""
    if not failed:
        return ()
    return (f"{model} could not be fitted to {len(failed)} images ({failed[0]}, …), which have the profile",)


def busiest(history: Grid, count: int) -> NDArray[np.int64]:
    """The images with most pulls in the hours that are read; ties by name."""
    totals = history.counts[:, -HOURS:].sum(axis=1)
    order = np.lexsort((np.asarray(history.images), -totals))[:count]
    return order[totals[order] > 0]


def _filled(history: Grid, image: int) -> NDArray[np.float64]:
    """The image's last hours, those of an outage filled with the hour of day's mean."""
    first = max(0, history.hours - HOURS)
    series = history.counts[[image], first:].toarray()[0].astype(np.float64)
    observed, hour = history.observed[first:], history.clock().hour[first:]
    known = np.bincount(hour[observed], minlength=24)
    sums = np.bincount(hour[observed], series[observed], minlength=24)
    return np.where(observed, series, (sums / np.maximum(known, 1))[hour])


def _fitted(series: NDArray[np.float64]) -> Any:
    """One fitted series; None where the optimiser fails. Its warnings are of no use to a reader."""
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    model = ETSModel(
        np.sqrt(series),
        error="add",
        trend="add",
        damped_trend=True,
        seasonal="add",
        seasonal_periods=SEASON,
        initialization_method="heuristic" if len(series) >= 5 * SEASON else "estimated",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = model.fit(maxiter=STEPS, disp=False)
        except (ValueError, np.linalg.LinAlgError):
            return None
        return found if np.isfinite(found.forecast(1)).all() else None


def _forecast(fitted: Any, ahead: range) -> NDArray[np.float64]:
    """Expected pulls of one series: the squared root, and the variance around it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = np.asarray(fitted.forecast(ahead.stop), dtype=np.float64)[ahead.start :]
    return np.asarray(np.maximum(root, 0) ** 2 + float(np.var(fitted.resid)), dtype=np.float64)
