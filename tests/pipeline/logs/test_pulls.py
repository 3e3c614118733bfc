"""Exporting pulls: which rows, which columns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from prewarm.errors import InvalidReference, UnknownName
from prewarm.lake import Lake
from prewarm.pipeline.logs.pulls import COLUMNS, export

EIGHT = datetime(2026, 11, 24, 8, tzinfo=UTC)
DIGEST = f"sha256:{'a' * 64}"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Five pulls, an hour apart, and a use."""
    rows = [
        ("boise", "docker.io", "library/nginx", "1.25", None, "layers"),
        ("boise", "docker.io", "library/nginx", "1.26", None, "check"),
        ("berlin", "ghcr.io", "acme/api", "2.1", DIGEST, "manifest"),
        ("berlin", "ghcr.io", "acme/api", None, DIGEST, "layers"),
        ("berlin", "ghcr.io", "acme/api", "2.1", None, None),
        ("boise", "docker.io", "library/nginx", "1.25", None, "local"),
    ]
    names = ["site", "registry", "repository", "tag", "digest", "kind"]
    frame = pl.DataFrame(rows, schema=names, orient="row")
    times = [EIGHT + timedelta(hours=n) for n in range(len(rows))]
    lake = Lake.open(tmp_path)
    lake.append("pulls", frame.with_columns(timestamp=pl.Series(times), status=pl.lit("ok"), blobs=1))
    return lake


def test_columns_and_order(lake: Lake) -> None:
    """Scripts rely on the columns; rows come in the order of time."""
    frame = export(lake)
    assert tuple(frame.columns) == COLUMNS
    assert {
        "timestamp",
        "site",
        "client",
        "registry",
        "repository",
        "tag",
        "digest",
        "kind",
        "status",
        "blobs",
    } < set(frame.columns)
    assert frame["timestamp"].is_sorted()


def test_images_are_canonical_references(lake: Lake) -> None:
    """By tag where it is known, else by digest."""
    assert export(lake, site="berlin")["image"].unique().sort().to_list() == [
        "ghcr.io/acme/api:2.1",
        f"ghcr.io/acme/api@{DIGEST}",
    ]


def test_uses_come_only_when_asked_for(lake: Lake) -> None:
    """They are no pulls; a pull of unknown kind is one."""
    assert export(lake)["kind"].to_list() == ["layers", "check", "manifest", "layers", None]
    assert len(export(lake, kind="local")) == 1
    assert len(export(lake, kind="layers")) == 2


def test_since_is_included_and_until_is_not(lake: Lake) -> None:
    """Two exports that share a border share no row."""
    noon = EIGHT + timedelta(hours=2)
    before, after = export(lake, until=noon), export(lake, since=noon)
    assert (len(before), len(after)) == (2, 3)
    assert after["timestamp"][0] == noon


@pytest.mark.parametrize(
    ("image", "count"),
    [
        ("nginx", 2),
        ("nginx:1.25", 1),
        ("nginx:latest", 0),
        ("docker.io/library/nginx:1.25", 1),
        ("ghcr.io/acme/api", 3),
        (f"ghcr.io/acme/api@{DIGEST}", 2),
        ("other", 0),
    ],
)
def test_an_image_is_any_reference(lake: Lake, image: str, count: int) -> None:
    """Without tag or digest it means the repository."""
    assert len(export(lake, image=image)) == count


def test_a_text_that_is_no_reference_is_refused(lake: Lake) -> None:
    """The message shows what one looks like."""
    with pytest.raises(InvalidReference, match=r"example: ghcr\.io/acme/api"):
        export(lake, image="Not An Image")


def test_an_empty_lake_exports_no_rows(tmp_path: Path) -> None:
    """The columns are there all the same."""
    assert tuple(export(Lake.open(tmp_path / "lake")).columns) == COLUMNS


def test_a_site_that_nobody_knows_is_refused(lake: Lake) -> None:
    """An empty answer would hide the typo; a declared site may still be silent."""
    with pytest.raises(UnknownName, match=r"did you mean 'boise'\? known: berlin, boise"):
        export(lake, site="boize")
    assert export(lake, site="mumbai", declared={"mumbai"}).is_empty()
