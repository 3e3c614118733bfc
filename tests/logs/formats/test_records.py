"""What all formats of records share: nothing they meet makes them fail, and nothing is lost in silence."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prewarm import plugins
from prewarm.logs import documents, pulls
from prewarm.logs.formats import Format, Hints, clean

GOLDENS = Path(__file__).parent.parent.parent / "goldens"
SAMPLES = {
    "kubernetes-events": "k8s-events-corev1.ndjson",
    "docker-events": "docker-events-20.10.ndjson",
    "docker-engine": "dockerd-20.10-debug.log",
    "containerd": "containerd-2.3-cri.log",
    "crio": "crio.log",
    "distribution-webhook": "distribution-webhook-v1-distribution-2.8.ndjson",
    "harbor-webhook": "harbor-webhook-default.ndjson",
    "harbor-audit": "harbor-audit-logs-api.json",
    "ecr-cloudtrail": "aws-ecr-cloudtrail.json",
    "ecr-eventbridge": "aws-ecr-eventbridge-pull-through-cache.json",
    "gcp-audit": "gcp-artifact-registry-audit.ndjson",
    "acr": "azure-acr-repository-events.ndjson",
    "quay": "quay-action-logs-api.json",
    "dockerhub-usage": "dockerhub-usage-report.csv",
}
ALL = sorted(SAMPLES)


def driver(name: str) -> Format:
    format: Format = plugins.load(plugins.FORMATS, name)
    return format


def sample(name: str) -> list[str]:
    raw = (GOLDENS / SAMPLES[name]).read_bytes()
    if documents.is_document(raw[: documents.SAMPLE]):
        raw = b"".join(documents.unroll([raw]))
    return raw.decode().splitlines()


def frame(lines: list[str]) -> pl.DataFrame:
    return pl.DataFrame({"offset": range(len(lines)), "line": lines}, schema_overrides={"line": pl.String})


def told(name: str, lines: list[str]) -> tuple[set[int], int]:
    """Which lines gave a row, and how many were set aside; the rows fit the tables."""
    parsed = driver(name).parse(frame(lines), Hints(header=lines[0] if lines else None))
    rows = pulls.collapse(pulls.sessions(parsed.accesses)) if parsed.pulls is None else parsed.pulls
    assert pulls.conform(rows).columns == list(pulls.SCHEMA)
    found = parsed.accesses if parsed.pulls is None else parsed.pulls
    return set(found["offset"]), sum(parsed.ignored.values()) + sum(parsed.malformed.values())


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=10)
@given(st.lists(st.binary(max_size=60), max_size=6))
def test_any_bytes_are_survived(name: str, raw: list[bytes]) -> None:
    """Noise beside good lines is malformed, and the good lines are read."""
    noise = [line.decode(errors="replace").replace("\n", " ") for line in raw]
    good = sample(name)
    (alone, aside), (beside, more) = told(name, good), told(name, good + noise)
    assert beside == alone
    assert more - aside == clean(frame(noise)).height


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=20)
@given(st.data())
def test_damaged_lines_are_survived(name: str, data: st.DataObject) -> None:
    """Cut anywhere, a piece of it exchanged for anything."""
    line = data.draw(st.sampled_from(sample(name)))
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(line))] * 2)))
    scrap = st.sampled_from(
        ["", '"', "null", "[]", "{}", "-1", "1e999", "9" * 30, "\\ud800", "\x1b[31m", "\0"]
    )
    damaged = line[:start] + data.draw(scrap) + line[end:]
    told(name, [damaged, line[:end], line])
    told(name, [damaged] * 70)  # as many as are not looked at one by one
    driver(name).sniff(pl.Series([damaged, line]))


@pytest.mark.parametrize("name", ALL)
def test_no_lines_are_nothing(name: str) -> None:
    """An empty chunk, and one of empty lines."""
    assert told(name, []) == (set(), 0)
    assert told(name, ["", " \r"]) == (set(), 0)
    assert driver(name).sniff(pl.Series([], dtype=pl.String)) == 0


@pytest.mark.parametrize("name", ALL)
def test_only_its_own_lines_fit(name: str) -> None:
    """Every sample fits its format whole, and none of the other formats of records."""
    lines = pl.Series(sample(name))
    shares = {other: driver(other).sniff(lines) for other in ALL}
    assert shares == dict.fromkeys(ALL, 0.0) | {name: 1.0}


@pytest.mark.parametrize("name", ALL)
def test_what_is_set_aside_shows_no_control_characters(name: str) -> None:
    """An example of a bad line is safe for terminals."""
    parsed = driver(name).parse(frame([*sample(name), "\x1b]0;gotcha\x07 {"]), Hints())
    assert sum(parsed.malformed.values()) == 1
    assert all(example.isprintable() for example in parsed.examples.values())
