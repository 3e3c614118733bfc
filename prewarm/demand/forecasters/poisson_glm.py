"""Poisson regression on the clock, by statsmodels, for the busiest images; the profile for the rest.

A log-linear model per image (McCullagh and Nelder, 1989) of Fourier terms: a smooth day for workdays and
another for days off, and a level that may have moved over the last days. Like `ets` it is a reference to look
at, bounded to 20 images and four weeks of hours.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from prewarm.demand.distribution import TYPICAL, Dispersion, calibrate
from prewarm.demand.forecasters import FLAT, Prior
from prewarm.demand.forecasters.ets import HOURS, SEASON, busiest, unfitted
from prewarm.demand.forecasters.profile import Profile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from prewarm.demand.calendars import Clock
    from prewarm.demand.series import Grid

HARMONICS = 4  # of the day: a peak of three hours' width can be drawn
RIDGE = 0.5  # squared size of a coefficient that is worth one unit of log-likelihood, so that none runs away
RECENT = 72.0  # hours that the recent level looks back over
STEPS = 50


@dataclass(frozen=True)
class PoissonGLM:
    """Log-linear in Fourier terms of the day, workdays and days off apart, and in a recent level.

    An image has the profile's forecast when it is not among the `busiest`, when there are fewer than three
    days of history, and when the regression fails, which the notes of the fit tell. Forecasts above 1.5 x the
    busiest hour + 5 are cut.
    """

    prior: Prior = FLAT
    busiest: int = 20
    name: str = "poisson-glm"

    def forecast(self, history: Grid, ahead: range) -> NDArray[np.float32]:
        """Expected pulls, images x len(ahead)."""
        return self._regressed(history, TYPICAL).means(ahead)

    def fit(self, history: Grid, before: Dispersion | None = None) -> Regressed:
        """The fitted images, with the dispersion of the last days' errors."""
        return self._regressed(history, calibrate(history, self.forecast, before or self.prior.dispersion))

    def _regressed(self, history: Grid, dispersion: Dispersion) -> Regressed:
        known = history.observed[-HOURS:]
        images = busiest(history, self.busiest) if known.sum() >= 3 * SEASON else np.empty(0, np.int64)
        pulls = history.counts[images, max(0, history.hours - HOURS) :].toarray()[:, known]
        terms = _terms(history.clock(), np.arange(history.hours - 1, -1, -1.0))[-HOURS:][known]
        found = {int(image): _coefficients(terms, y) for image, y in zip(images, pulls, strict=True)}
        failed = sorted(history.images[image] for image, each in found.items() if each is None)
        caps = {int(image): float(1.5 * y.max() + 5) for image, y in zip(images, pulls, strict=True)}
        return Regressed(history, Profile(self.prior), found, caps, dispersion, unfitted(self.name, failed))


@dataclass(frozen=True, eq=False)
class Regressed:
    """The coefficients of each image (None: the regression failed), and the profile for the rest."""

    history: Grid
    profile: Profile
    coefficients: Mapping[int, NDArray[np.float64] | None]
    caps: Mapping[int, float]
    dispersion: Dispersion
    notes: tuple[str, ...]  # what a reader of the result should know

    def means(self, ahead: range) -> NDArray[np.float32]:
        """Expected pulls, images x len(ahead)."""
        means = self.profile.forecast(self.history, ahead)
        terms = _terms(self.history.clock(ahead), np.zeros(len(ahead)))
        for image, found in self.coefficients.items():
            if found is not None:
                means[image] = np.exp(np.minimum(terms @ found, np.log(self.caps[image])))
        return means


def _terms(told: Clock, age: NDArray[np.float64]) -> NDArray[np.float64]:
    """Regressors, hour x term: 1, day off, a recent level, and sines and cosines of the day for each kind.

    `age` is how many hours before the last known one each hour lies; 0 for those to come.
    """
    off = (told.weekend | told.holiday).astype(np.float64)
    angles = 2 * np.pi * np.outer(told.hour, np.arange(1, HARMONICS + 1)) / 24
    waves = np.hstack([np.sin(angles), np.cos(angles)])
    level = np.exp(-age / RECENT)
    return np.column_stack([np.ones(len(off)), off, level, waves * (1 - off)[:, None], waves * off[:, None]])


def _coefficients(terms: NDArray[np.float64], pulls: NDArray[np.floating]) -> NDArray[np.float64] | None:
    """The regression of one image, ridged; None where it fails to converge."""
    from statsmodels.genmod.families import Poisson
    from statsmodels.genmod.generalized_linear_model import GLM

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = GLM(pulls.astype(np.float64), terms, family=Poisson())
            alpha = np.full(terms.shape[1], 1 / (2 * RIDGE * len(pulls)))
            alpha[0] = 0
            found = model.fit_regularized(alpha=alpha, L1_wt=0.0, maxiter=STEPS)
        except (ValueError, np.linalg.LinAlgError, FloatingPointError):
            return None
    coefficients = np.asarray(found.params, dtype=np.float64)
    fitted = np.exp(np.clip(terms @ coefficients, -50, 50))
    honest = np.isfinite(coefficients).all() and fitted.max() <= 10 * (pulls.max() + 1)
    return coefficients if honest else None
