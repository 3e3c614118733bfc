"""`prewarm replay`, as people and scripts call it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from tests.cli.conftest import Prewarm


@pytest.fixture
def read(prewarm: Prewarm, log: Path) -> Prewarm:
    """The command line with two weeks in its lake."""
    prewarm("ingest", str(log))
    return prewarm


def test_the_table_shows_the_rival_first_and_ends_with_a_verdict(read: Prewarm) -> None:
    """Policies, misses by cause, what was not replayed and why, and the answer."""
    ran = read("replay", "--policy", "fixed,bigger-disk", "--policy", "last-7d", "--ttl", "12h")
    assert ran.code == 0
    order = [ran.out.index(f" {name} ") for name in ("none", "fixed", "last-7d")]
    assert order == sorted(order)
    assert "misses by cause" in ran.out
    assert "not replayed: bigger-disk: a disk without limit evicts nothing (--capacity)" in ran.out
    assert "default: do not pre-warm" in ran.out


def test_json_is_one_object_with_the_promised_keys(read: Prewarm) -> None:
    """The keys of each policy, and the conditions."""
    document = read(
        "replay", "--json", "--policy", "fixed", "--capacity", "1GB", "--ttl", "none", "--at", "07:00"
    ).document
    assert list(document["policies"]) == ["none", "fixed"]
    assert (document["capacity"], document["ttl"]) == (10**9, None)
    keys = {"hit_ratio", "byte_hit_ratio", "p50", "p95", "warmed_bytes", "wasted_bytes"}
    assert keys | {"upstream_bytes", "upstream_pulls"} <= set(document["policies"]["fixed"])


def test_rows_are_for_spreadsheets(read: Prewarm) -> None:
    """A row for each policy, and for each point of the curve."""
    ran = read("replay", "--format", "csv", "--policy", "fixed", "--pareto")
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    assert [row["policy"] for row in rows] == ["none", "fixed", "none", *["fixed"] * 6]
    assert 0 <= float(rows[0]["hit_ratio"]) <= 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--capacity", "0"), 1, "capacity 0 cannot be used"),
        (("--policy", "weakly"), 1, "did you mean 'weekly'"),
        (("--since", "2026-11-10", "--until", "2026-11-09"), 1, "is not after since"),
        (("--ttl", "soon"), 2, "--ttl: 'soon' is no duration"),
        (("--at", "7"), 2, "--at '7': expected times of day such as 07:00,12:30"),
        (("--days", "weekdays"), 1, "examples: mon-fri"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(
    read: Prewarm, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """With the example of what can."""
    ran = read("replay", *arguments)
    assert ran.code == code
    assert words in ran.err
    assert "Traceback" not in ran.err


def test_a_schedule_is_replayed_as_it_is_configured(read: Prewarm, tmp_path: Path) -> None:
    """Its hours, days, budget and expiry; a flag that is given wins, and an unknown name teaches."""
    config = tmp_path / "replayed.toml"
    config.write_text(
        '[caches.office]\ndriver = "mirror"\nurl = "http://127.0.0.1:5001"\nttl = "24h"\n'
        '[schedules.morning]\ncache = "office"\ncovers = "07:30-11:00"\ntop = 1\ndays = "mon-fri"\n'
    )
    asked = ("replay", "--config", str(config), "--policy", "fixed", "--json")

    told = read(*asked, "--schedule", "morning").document
    spelt = read(*asked, "--ttl", "24h", "--at", "07:30", "--days", "mon-fri", "--top", "1").document
    longer = read(*asked, "--schedule", "morning", "--ttl", "none").document

    assert told["policies"] == spelt["policies"]
    assert (told["ttl"], longer["ttl"]) == (86400.0, None)
    assert "did you mean 'morning'" in read(*asked, "--schedule", "mornin").err
