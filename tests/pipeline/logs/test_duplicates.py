"""Two logs of one registry, read by different calls, count once; two requests count twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from prewarm.logs.accesses import TIMESTAMP
from prewarm.pipeline.logs import duplicates
from prewarm.pipeline.logs.reading import Pace
from tests.pipeline.logs.test_ingest import SAMPLES, content, read

MORNING = datetime(2026, 11, 24, 8, tzinfo=UTC)
APP, ACCESS = duplicates.FAMILIES["app"], duplicates.FAMILIES["access"]


def told(families: int, *seconds: float, **other: object) -> pl.DataFrame:
    """A pull for each moment, in seconds after eight o'clock."""
    row = {"site": "boise", "client": "c", "registry": "docker.io", "repository": "library/nginx"}
    rows = [
        {**row, "timestamp": MORNING + timedelta(seconds=second), "tag": "1", "digest": None, **other}
        for second in seconds
    ]
    schema: dict[str, pl.DataType | type[pl.DataType]] = dict.fromkeys(duplicates.TOLD, pl.String)
    schema |= {"timestamp": TIMESTAMP, "seconds": pl.Float64}
    return pl.DataFrame(rows, schema=schema).with_columns(families=pl.lit(families))


@pytest.mark.parametrize(
    ("new", "known", "same"),
    [
        (told(ACCESS, 0), told(APP, 0.9), [True]),
        (told(ACCESS, 0), told(APP, 1.1), [False]),
        (told(APP, 31), told(ACCESS, 0, seconds=30.0), [True]),
        (told(ACCESS, 31, seconds=30.0), told(APP, 0), [False]),
        (told(ACCESS, 0), told(ACCESS, 0), [False]),
        (told(ACCESS, 0), told(APP + ACCESS, 0), [False]),
        (told(0, 0), told(APP + ACCESS, 0), [False]),
        (told(ACCESS, 0, 0.5), told(APP, 0.2), [True, False]),
        (told(ACCESS, 0, 0.5), told(APP, 0.2, 0.6), [True, True]),
        (told(ACCESS, 0), told(APP, 0, client="d"), [False]),
        (told(ACCESS, 0), told(APP, 0, tag="2"), [False]),
        (told(ACCESS, 0), told(APP, 0, status="missed"), [False]),
        (told(ACCESS, 0), told(APP, 0, registry="mirror:5000", repository="nginx"), [True]),
        (told(APP, 0), told(ACCESS, 0, registry="mirror:5000", repository="nginx"), [False]),
        (told(ACCESS, 0, registry="ghcr.io"), told(APP, 0, registry="mirror:5000"), [False]),
    ],
)
def test_what_is_one_request(new: pl.DataFrame, known: pl.DataFrame, same: list[bool]) -> None:
    """Start and end of a request are a second apart, its duration left out; one to one."""
    assert duplicates.by_request(new, known).to_list() == same


def halves(folder: Path) -> tuple[Path, Path]:
    """The application's lines of a registry's output, and its access lines."""
    lines = (SAMPLES / "distribution-docker-logs.log").read_bytes().splitlines(keepends=True)
    app, access = folder / "app.log", folder / "access.log"
    app.write_bytes(b"".join(line for line in lines if line.startswith(b"time=")))
    access.write_bytes(b"".join(line for line in lines if b" - - [" in line))
    return app, access


@pytest.mark.parametrize("pace", [Pace(), Pace(chunk=1_500, batch=20)], ids=["one commit", "many"])
@pytest.mark.parametrize("names", [("a", "a"), ("a", "b")], ids=["one source", "two sources"])
@pytest.mark.parametrize("app_first", [True, False])
def test_the_two_logs_of_a_registry_count_once(
    tmp_path: Path, app_first: bool, names: tuple[str, str], pace: Pace
) -> None:
    """As many pulls as when they are read together, whichever comes first and whatever they are called."""
    order = halves(tmp_path) if app_first else halves(tmp_path)[::-1]
    together = read(tmp_path / "whole", *order)
    first, second = (
        read(tmp_path / "lake", path, name=name, pace=pace) for path, name in zip(order, names, strict=True)
    )
    assert first.pulls + second.pulls == len(content(tmp_path / "lake")) == together.pulls > 0
    assert second.duplicates > 0


def test_two_access_logs_with_equal_lines_are_two(tmp_path: Path) -> None:
    """Two front ends of one mirror: equal lines of one family are two requests, not one told twice."""
    _, access = halves(tmp_path)
    first = read(tmp_path / "lake", access)
    access.write_bytes(b"another front end\n" + access.read_bytes())
    second = read(tmp_path / "lake", access, name="b")
    assert (second.pulls, second.duplicates) == (first.pulls, 0)
