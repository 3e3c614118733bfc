"""The contract of the forecaster plug point, over every built-in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from prewarm.demand import forecasters
from prewarm.demand.forecasters import Forecaster, Prior
from prewarm.demand.series import Grid
from prewarm.errors import UnknownName
from tests.contracts import FORECASTER_CHECKS, forecaster_contract


@pytest.mark.parametrize("check", FORECASTER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", forecasters.names())
def test_forecaster_keeps_the_contract(name: str, check: Callable[[Forecaster], None]) -> None:
    """Each promise of the plug point, by each driver."""
    check(forecasters.load(name))


@pytest.mark.parametrize("name", forecasters.names())
def test_forecaster_says_the_name_it_is_loaded_by(name: str) -> None:
    """What results call a model is what `--model` takes."""
    assert forecasters.load(name).name == name


def test_the_default_is_a_forecaster_like_any_other() -> None:
    """`auto` is the name that results and `--model` use."""
    assert forecasters.load(forecasters.DEFAULT).name == "auto"


def test_an_unknown_forecaster_names_the_known_ones() -> None:
    """A typo is answered with the nearest name."""
    with pytest.raises(UnknownName, match="no forecaster called 'profil'; did you mean 'profile'"):
        forecasters.load("profil")


class Yesterday:
    """A third party's model, written from the contract alone: the mean of the last observed day."""

    name = "yesterday"

    def __init__(self, prior: Prior) -> None:
        self.prior = prior

    def forecast(self, history: Grid, ahead: range) -> NDArray[np.float32]:
        """The same for every hour."""
        known = np.flatnonzero(history.observed)[-24:]
        weights = np.zeros(history.hours)
        weights[known] = 1 / max(known.size, 1)
        mean = history.counts @ weights
        return np.repeat(np.asarray(mean, dtype=np.float32)[:, None], len(ahead), axis=1)


class Doubling(Yesterday):
    """A careless one: it writes into the history it was given."""

    def forecast(self, history: Grid, ahead: range) -> NDArray[np.float32]:
        """Right the first time."""
        history.counts.data[:] *= 2
        return super().forecast(history, ahead)


def test_a_third_partys_model_can_keep_the_contract() -> None:
    """Nothing in the contract is about our own models."""
    forecaster_contract(Yesterday)


def test_the_contract_catches_a_model_that_spoils_its_history() -> None:
    """A promise that is broken is told."""
    with pytest.raises(AssertionError):
        forecaster_contract(Doubling)
