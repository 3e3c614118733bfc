"""The shipped artefact is read with checks: plain data, nothing is run."""

from __future__ import annotations

from typing import Any

import pytest

from prewarm.demand.forecasters import Prior
from prewarm.errors import SettingsError


def document(**changes: Any) -> dict[str, Any]:
    """A good artefact with some keys changed."""
    return Prior(version="test").document() | changes


def test_an_artefact_survives_a_round_trip() -> None:
    """What is written is what is read."""
    assert Prior.parse(document()) == Prior(version="test")


@pytest.mark.parametrize("format", [2, "1", None])
def test_an_artefact_of_another_format_is_refused(format: object) -> None:
    """A newer one is not guessed at; the message says how to get the right one."""
    with pytest.raises(SettingsError, match="make models"):
        Prior.parse(document(format=format))


@pytest.mark.parametrize(
    "changes",
    [
        {"profile": {"workday": [1.0] * 24}},
        {"profile": {"workday": [1.0] * 23, "weekend": [1.0] * 24}},
        {"profile": {"workday": [-1.0] * 24, "weekend": [1.0] * 24}},
        {"profile": {"workday": [float("nan")] * 24, "weekend": [1.0] * 24}},
        {"profile": {"workday": ["x"] * 24, "weekend": [1.0] * 24}},
        {"profile": None},
        {"dispersion": {"alpha": [0.0] * 8}},
        {"dispersion": {"alpha": [1e9] * 8}},
    ],
)
def test_a_damaged_artefact_is_refused(changes: dict[str, Any]) -> None:
    """Missing, short, negative, not a number, absurd: one line, no guess."""
    with pytest.raises(SettingsError, match="damaged"):
        Prior.parse(document(**changes))
