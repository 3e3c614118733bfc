"""Every sample log gives the accesses and pulls that its golden lists."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from prewarm import plugins
from prewarm.logs import pulls
from prewarm.logs.formats import Hints, Parsed, detect

GOLDENS = Path(__file__).parent.parent / "goldens"
SAMPLES = sorted(path.name for path in GOLDENS.glob("*.log"))
READABLE = [name for name in SAMPLES if "tty" not in name]


def same(want: dict[str, Any], got: dict[str, Any], tolerance: float) -> bool:
    """Whether `got` has what `want` asks; a key that `want` lacks is not part of the contract."""
    for key, value in want.items():
        found = got.get(key)
        if key == "optional":
            continue
        if key == "timestamp":
            fits = abs((value - found).total_seconds()) <= tolerance
        elif isinstance(value, dict):
            fits = found in value["any"]
        elif key == "seconds" and value is not None:
            fits = found is not None and abs(value - found) < 1e-6
        elif key == "key":
            fits = value in (found or "")
        else:
            fits = found == value
        if not fits:
            return False
    return True


def unmatched(
    wanted: list[dict[str, Any]], got: list[dict[str, Any]], tolerance: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What of `wanted` (optional entries aside) and of `got` has no partner."""
    rest, missing = list(got), []
    for want in sorted(wanted, key=lambda entry: -len(entry)):
        partner = next((row for row in rest if same(want, row, tolerance)), None)
        if partner is not None:
            rest.remove(partner)
        elif not want.get("optional"):
            missing.append(want)
    return missing, rest


def read_golden(name: str) -> dict[str, Any]:
    golden: dict[str, Any] = json.loads((GOLDENS / "expected" / f"{name}.json").read_text())
    for entry in [*golden["accesses"], *golden["pulls"]]:
        entry["timestamp"] = datetime.fromisoformat(entry["timestamp"])
    return golden


def lines_of(name: str) -> pl.DataFrame:
    lines = (GOLDENS / name).read_text().removesuffix("\n").split("\n")
    return pl.DataFrame({"offset": range(len(lines)), "line": lines})


def parse(name: str) -> Parsed:
    lines = lines_of(name)
    return detect(lines["line"]).parse(lines, Hints())


def as_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return list(frame.iter_rows(named=True))


@pytest.mark.parametrize("name", READABLE)
def test_format_is_detected_by_content(name: str) -> None:
    """Detection looks at lines only and finds the family that the golden names."""
    assert detect(lines_of(name)["line"]).name == read_golden(name)["format"]


@pytest.mark.parametrize("name", READABLE)
def test_accesses_are_those_of_the_golden(name: str) -> None:
    """After merging, one access stands for one request, with the fields that were logged."""
    golden, parsed = read_golden(name), parse(name)
    got = as_rows(pulls.merge_requests(parsed.accesses))
    assert unmatched(golden["accesses"], got, golden.get("tolerance", 0.000002)) == ([], [])


@pytest.mark.parametrize("name", READABLE)
def test_pulls_are_those_of_the_golden(name: str) -> None:
    """Sessions collapse into the pulls that the clients made."""
    golden, parsed = read_golden(name), parse(name)
    got = as_rows(pulls.collapse(pulls.sessions(pulls.merge_requests(parsed.accesses))))
    assert unmatched(golden["pulls"], got, max(1, golden.get("tolerance", 0))) == ([], [])


@pytest.mark.parametrize("name", READABLE)
def test_malformed_lines_are_counted(name: str) -> None:
    """Lines that fit no grammar are counted, and every line is an access, ignored or malformed."""
    golden, parsed = read_golden(name), parse(name)
    assert sum(parsed.malformed.values()) == golden["malformed"]
    accounted = parsed.accesses.height + sum(parsed.ignored.values()) + sum(parsed.malformed.values())
    assert accounted == golden["lines"]


def test_lines_without_a_time_give_no_accesses() -> None:
    """A log written for a terminal has seconds since start only; no time is invented."""
    parsed = plugins.load(plugins.FORMATS, "distribution").parse(
        lines_of("distribution-tty-relative-time.log"), Hints()
    )
    assert parsed.accesses.is_empty()
    assert sum(parsed.malformed.values()) == 1
