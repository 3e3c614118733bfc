"""Reading the shipped samples gives what was really pulled when they were captured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.commands import Prewarm

SAMPLES = Path(__file__).parents[1] / "data" / "samples"
CAPTURED = sorted(path.stem for path in SAMPLES.glob("distribution-*.log"))
COMPARED = ("client", "repository", "kind", "status", "blobs")


def test_every_view_was_captured() -> None:
    """The four views of a mirror's log are there, each with its truth."""
    assert CAPTURED == [
        "distribution-access",
        "distribution-docker-logs",
        "distribution-json",
        "distribution-text",
    ]
    assert all((SAMPLES / f"{name}.pulls.json").exists() for name in CAPTURED)


@pytest.mark.parametrize("name", CAPTURED)
def test_a_captured_log_gives_what_was_pulled(name: str, tmp_path: Path) -> None:
    """Pull by pull: client, image, kind, number of blobs, and the digest where the log can say it."""
    truth = json.loads((SAMPLES / f"{name}.pulls.json").read_text())
    prewarm = Prewarm(tmp_path)

    summary = prewarm.ok("ingest", SAMPLES / f"{name}.log", "--registry", "docker.io")
    rows = sorted(prewarm.ok("pulls")["pulls"], key=lambda row: row["timestamp"])

    assert summary["malformed"] == 0
    assert _comparable(rows) == _comparable(truth)
    for row, pulled in zip(_ordered(rows), _ordered(truth), strict=True):
        assert row["agent"].startswith(pulled["agent"] + "/")
        assert pulled["tag"] in (None, row["tag"])
        assert pulled["digest"] in (None, row["digest"])


@pytest.mark.parametrize("name", CAPTURED)
def test_a_captured_log_names_no_place(name: str) -> None:
    """Only loopback addresses and the neutral kernel are in it."""
    text = (SAMPLES / f"{name}.log").read_text()

    assert "kernel/6.1.0-28-amd64" in text
    assert "/tmp/" not in text
    assert "/root" not in text


def _comparable(pulls: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [tuple(_fields(pull)) for pull in _ordered(pulls)]


def _fields(pull: dict[str, Any]) -> list[Any]:
    """A missed tag has neither kind nor blobs that mean anything."""
    fields = {name: pull[name] for name in COMPARED}
    if pull["status"] == "missed":
        fields |= {"kind": None, "blobs": None}
    return list(fields.values())


def _ordered(pulls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By client and repository, and within them as it happened."""
    return sorted(pulls, key=lambda pull: (pull["client"], pull["repository"]))
