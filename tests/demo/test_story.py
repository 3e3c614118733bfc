"""The whole story, told once to a string."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from prewarm.demo import samples, story
from prewarm.demo.mornings import FOUR, NOBODY, ORACLE, OURS, WEEKLY
from prewarm.errors import SettingsError
from prewarm.lake import Lake


@dataclass(frozen=True)
class Told:
    """What the story said, returned and left behind."""

    text: str
    document: dict[str, Any]
    lake: Path


def console(text: io.StringIO) -> Console:
    return Console(file=text, width=110, highlight=False)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """One telling, into a lake that is kept."""
    lake, text = tmp_path_factory.mktemp("demo") / "lake", io.StringIO()
    document = story.tell(console(text), lake=lake)
    return Told(text.getvalue(), document, lake)


def test_what_was_read_is_what_was_pulled(told: Told) -> None:
    """Every image, site and kind of pull in the lake has exactly the count that the generator meant."""
    pulls = Lake.open(told.lake).read("pulls")
    kind = pl.when(pl.col("status") == "missed").then(pl.lit("missed")).otherwise("kind")
    found: Counter[tuple[str, str, str]] = Counter(
        pulls.select("site", pl.format("docker.io/{}:{}", "repository", "tag"), kind.alias("kind")).rows()
    )
    meant: Counter[tuple[str, str, str]] = Counter()
    for folder in (samples.workload(), samples.workload() / "quiet"):
        for site, images in json.loads((folder / "truth.json").read_text())["pulls"].items():
            meant.update(
                {(site, image, kind): n for image, kinds in images.items() for kind, n in kinds.items()}
            )
    assert found == meant


def test_the_top_ten_are_familiar_names_with_expected_pulls(told: Told) -> None:
    """Ten different images of the featured office, best first, in the form that people type."""
    top = told.document["top"]
    names, expected = [name for name, _ in top], [mean for _, mean in top]
    assert len(set(names)) == 10
    assert expected == sorted(expected, reverse=True)
    assert expected[-1] > 0
    assert {"postgres:16", "acme/api:main", "nginx:1.26"} <= set(names)
    assert told.document["at"] == datetime(2026, 11, 17, 15, tzinfo=UTC)


def test_images_were_really_warmed(told: Told) -> None:
    """The layout holds what the run says, every blob is true to its name, a second run moved nothing."""
    warm = told.document["warm"]
    assert warm["totals"]["warmed"] >= 10
    assert warm["totals"]["failed"] == 0
    assert warm["again"]["bytes"] == 0
    assert warm["again"]["already"] == warm["totals"]["warmed"]
    layout = told.lake / "demo-images"
    blobs = list((layout / "blobs" / "sha256").iterdir())
    assert len(blobs) == warm["blobs_verified"] > 30
    assert all(hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name for blob in blobs)
    assert len(json.loads((layout / "index.json").read_text())["manifests"]) == warm["totals"]["warmed"]


def test_prewarm_stands_between_nobody_and_foresight(told: Told) -> None:
    """At every office it waits less than nobody and than a fixed list, and no less than those who know."""
    for office in told.document["mornings"][:3]:
        waited = {name: policy["waiting_seconds"] for name, policy in office["policies"].items()}
        assert waited[ORACLE] <= waited[OURS] < waited[FOUR] <= waited[NOBODY]
        assert len({policy["pulls"] for policy in office["policies"].values()}) == 1


def test_the_featured_office_gains(told: Told) -> None:
    """Most of the waiting at the featured office goes away, more than by a weekly list, and it says so."""
    boise = told.document["mornings"][0]
    waited = {name: policy["waiting_seconds"] for name, policy in boise["policies"].items()}
    assert waited[OURS] < waited[NOBODY] / 4
    assert waited[OURS] < waited[WEEKLY] / 2
    assert boise["verdict"] == "pays"
    assert boise["why"] in " ".join(told.text.split())


def test_a_simpler_way_that_is_as_good_is_named(told: Told) -> None:
    """Wherever a weekly list saves nine tenths of what we save, the reason says to start with that."""
    for office in told.document["mornings"][:3]:
        waited = {name: policy["waiting_seconds"] for name, policy in office["policies"].items()}
        as_good = waited[NOBODY] - waited[WEEKLY] >= 0.9 * (waited[NOBODY] - waited[OURS])
        if office["verdict"] == "pays":
            assert (f"a {WEEKLY} does as well" in office["why"]) == as_good


def test_the_quiet_office_is_told_not_to_pre_warm(told: Told) -> None:
    """Its warm cache served every pull, and the text says the answer in its own words."""
    lisbon = told.document["mornings"][-1]
    assert lisbon["site"] == "lisbon"
    assert lisbon["verdict"] == "does not pay"
    assert lisbon["policies"][NOBODY]["hit_ratio"] == 1.0
    assert "do not pre-warm" in told.text


def test_every_output_is_labelled_synthetic(told: Told) -> None:
    """A reader of the text or of the data cannot mistake it for a measurement of a real site."""
    assert "SYNTHETIC" in told.text.splitlines()[1]
    assert told.document["synthetic"] is True


def test_the_text_is_tidy(told: Told) -> None:
    """No line is folded at 110 columns in the middle of a table, and no control characters get out."""
    assert max(map(len, told.text.splitlines())) <= 110
    assert all(line.isprintable() for line in told.text.splitlines())
    assert [line[:2] for line in told.text.splitlines() if line[:1].isdigit()] == [
        f"{n} " for n in range(1, 7)
    ]


def test_the_document_is_plain_data(told: Told) -> None:
    """It survives JSON, times as text."""
    assert json.loads(json.dumps(told.document, default=str))["top"]


def test_a_lake_with_real_pulls_is_refused(tmp_path: Path) -> None:
    """Synthetic sites are never mixed into somebody's lake, and nothing is written to it."""
    lake = Lake.open(tmp_path / "lake")
    lake.append("pulls", pl.DataFrame({"site": ["factory"], "timestamp": [datetime(2026, 1, 1, tzinfo=UTC)]}))
    before = lake.read("pulls")
    with pytest.raises(SettingsError, match=r"holds pulls of 'factory'.*--lake \./demo-lake"):
        story.tell(console(io.StringIO()), lake=tmp_path / "lake")
    assert lake.read("pulls").equals(before)
