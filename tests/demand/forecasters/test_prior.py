"""The shipped artefact is read with checks: plain data, nothing is run."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from prewarm.demand.forecasters import Prior
from prewarm.errors import SettingsError


def document(**changes: Any) -> dict[str, Any]:
    """A good artefact with some keys changed, by somebody who knows how to sign it."""
    changed = Prior(version="test").document() | changes
    body = json.dumps({key: changed[key] for key in changed if key != "sha256"}, sort_keys=True)
    return changed | {"sha256": hashlib.sha256(body.encode()).hexdigest()}


def test_an_artefact_survives_a_round_trip() -> None:
    """What is written is what is read."""
    assert Prior.parse(document()) == Prior(version="test")


@pytest.mark.parametrize("format", [3, 1, "2", None])
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
        {"dispersion": {"alpha": [0.0] * 9}},
        {"dispersion": {"alpha": [0.3] * 8}},
        {"dispersion": {"alpha": [1e9] * 9}},
    ],
)
def test_a_damaged_artefact_is_refused(changes: dict[str, Any]) -> None:
    """Missing, short, negative, not a number, absurd: one line, no guess."""
    with pytest.raises(SettingsError, match="damaged"):
        Prior.parse(document(**changes))


@pytest.mark.parametrize(
    "changes", [{"version": "2026.12"}, {"sha256": "0" * 64}, {"sha256": None}, {"more": 1}]
)
def test_an_artefact_that_was_changed_is_refused(changes: dict[str, Any]) -> None:
    """Its numbers may all be possible, and still not be those that were shipped."""
    with pytest.raises(SettingsError, match=r"its contents are not those of its sha256.*make models"):
        Prior.parse(document() | changes)


def test_the_shipped_artefact_is_what_its_seeds_give(tmp_path: Path) -> None:
    """`make models` writes the file that is there, whoever runs it; its version names the data."""
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, root / "models" / "build.py", tmp_path], check=True, cwd=root)
    rebuilt, shipped = ((folder / "prior.json").read_text() for folder in (tmp_path, root / "models"))
    assert rebuilt == shipped
    assert json.loads(shipped)["version"].startswith("2026.11+")
