"""Every sample log gives the accesses and pulls that its golden lists."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from prewarm import plugins
from prewarm.errors import UnreadableInput
from prewarm.logs import detection, documents, pulls, wrappers
from prewarm.logs.formats import Hints, Parsed, header_of, registered

GOLDENS = Path(__file__).parent.parent / "goldens"
SAMPLES = sorted(path.stem for path in (GOLDENS / "expected").glob("*.json"))
TIMELESS = ["distribution-tty-relative-time.log", "nginx-no-timestamp-timed_combined.log"]
READABLE = [name for name in SAMPLES if name not in TIMELESS]
OUR_NAMES = {  # where they differ from those of a golden (ADR 11)
    "quay-nginx-access.log": "quay-nginx",
    "wrapper-syslog.log": "harbor-proxy",
    "wrapper-prefixes.log": ("prefix",),
    "wrapper-journald-short.txt": ("syslog",),
}


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
    raw = (GOLDENS / name).read_bytes()
    if documents.is_document(raw[: documents.SAMPLE]):
        raw = b"".join(documents.unroll([raw]))
    lines = raw.decode().removesuffix("\n").split("\n")
    return pl.DataFrame({"offset": range(len(lines)), "line": lines})


@dataclass(frozen=True)
class Told:
    """How a sample was read, and what it said."""

    format: str
    wrappers: tuple[str, ...]
    lines: pl.DataFrame  # as the format saw them
    parsed: Parsed


@cache
def read(name: str) -> Told:
    lines, assume = lines_of(name), read_golden(name).get("assume", {})
    written = datetime.fromisoformat(assume["mtime"]) if "mtime" in assume else None
    hints = Hints(assume.get("timezone", "UTC"), written=written)
    format, chain = detection.detect(lines["line"], hints, registered())
    inner = wrappers.inside(lines, chain, hints, format)
    return Told(
        format.name, chain, inner, format.parse(inner, replace(hints, header=header_of(inner["line"])))
    )


def pulls_of(parsed: Parsed) -> list[dict[str, Any]]:
    """Finished pulls, or what requests collapse into; uses of what was there already are none."""
    if parsed.pulls is None:
        return as_rows(pulls.collapse(pulls.sessions(pulls.merge_requests(parsed.accesses))))
    return as_rows(pulls.conform(parsed.pulls).filter(pl.col("kind").ne_missing("local")))


def one_by_one(wanted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """An entry that stands for several pulls, as often."""
    return [
        {key: value for key, value in entry.items() if key != "count"}
        for entry in wanted
        for _ in range(entry.get("count", 1))
    ]


def as_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return list(frame.iter_rows(named=True))


@pytest.mark.parametrize("name", READABLE)
def test_format_is_detected_by_content(name: str) -> None:
    """Detection looks at lines only and finds the family and the wrapper that the golden names."""
    told, golden, ours = read(name), read_golden(name), OUR_NAMES.get(name)
    chain = (golden["wrapper"],) if golden["wrapper"] else ()
    assert told.format == (ours if isinstance(ours, str) else golden["format"])
    assert told.wrappers == (ours if isinstance(ours, tuple) else chain)


@pytest.mark.parametrize("name", READABLE)
def test_accesses_are_those_of_the_golden(name: str) -> None:
    """After merging, one access stands for one request, with the fields that were logged."""
    golden, parsed = read_golden(name), read(name).parsed
    logged = parsed.accesses.filter(pl.col("family").ne_missing("event"))
    got = as_rows(pulls.merge_requests(logged))
    assert unmatched(golden["accesses"], got, golden.get("tolerance", 0.000002)) == ([], [])


@pytest.mark.parametrize("name", READABLE)
def test_pulls_are_those_of_the_golden(name: str) -> None:
    """Sessions collapse into the pulls that the clients made."""
    golden, parsed = read_golden(name), read(name).parsed
    wanted, tolerance = one_by_one(golden["pulls"]), max(1, golden.get("tolerance", 0))
    assert unmatched(wanted, pulls_of(parsed), tolerance) == ([], [])


@pytest.mark.parametrize("name", READABLE)
def test_malformed_lines_are_counted(name: str) -> None:
    """Lines that fit no grammar are counted, and every line is told of, ignored or malformed."""
    golden, parsed = read_golden(name), read(name).parsed
    ignored, malformed = sum(parsed.ignored.values()), sum(parsed.malformed.values())
    assert golden["malformed"] in (malformed, None)
    told = parsed.accesses if parsed.pulls is None else parsed.pulls
    assert golden["lines"] in (lines_of(name).height, None)
    assert told["offset"].n_unique() + ignored + malformed == read(name).lines["offset"].n_unique()


@pytest.mark.parametrize("name", TIMELESS)
def test_lines_without_a_time_are_refused(name: str) -> None:
    """No time is invented: neither by detection, nor where the format was named."""
    lines = lines_of(name)
    with pytest.raises(UnreadableInput, match="no time"):
        detection.detect(lines["line"], Hints(), registered())
    parsed = plugins.load(plugins.FORMATS, read_golden(name)["format"]).parse(lines, Hints())
    assert parsed.accesses.is_empty()
    assert sum(parsed.malformed.values()) + sum(parsed.ignored.values()) == lines.height
