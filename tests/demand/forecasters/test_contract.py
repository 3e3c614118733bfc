"""The contract of the forecaster plug point, over every built-in."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from prewarm.demand import forecasters
from prewarm.demand.forecasters import Forecaster
from prewarm.errors import UnknownName
from tests.contracts import FORECASTER_CHECKS


@pytest.mark.parametrize("check", FORECASTER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", forecasters.names())
def test_forecaster_keeps_the_contract(name: str, check: Callable[[Forecaster], None]) -> None:
    """Each promise of the plug point, by each driver."""
    check(forecasters.load(name))


@pytest.mark.parametrize("name", forecasters.names())
def test_forecaster_says_the_name_it_is_loaded_by(name: str) -> None:
    """What results call a model is what `--model` takes."""
    assert forecasters.load(name).name == name


def test_auto_is_the_profile_and_says_so() -> None:
    """`auto` names the model that it chose."""
    assert forecasters.load("auto").name == "profile"


def test_an_unknown_forecaster_names_the_known_ones() -> None:
    """A typo is answered with the nearest name."""
    with pytest.raises(UnknownName, match="no forecaster called 'profil'; did you mean 'profile'"):
        forecasters.load("profil")
