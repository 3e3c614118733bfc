"""Parquet files of finished pulls become lines."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewarm.errors import UnreadableInput
from prewarm.logs import parquet, pulls
from prewarm.logs.formats import Hints, events

TIME = datetime(2026, 11, 24, 8, 15, 2, 500_000, tzinfo=UTC)


def written(folder: Path, columns: dict[str, Any]) -> str:
    """The path of a Parquet file of these columns."""
    path = folder / "pulls.parquet"
    pl.DataFrame(columns).write_parquet(path)
    return str(path)


def read(path: str, zone: str = "UTC") -> list[dict[str, Any]]:
    lines = b"".join(parquet.unroll(path)).decode().splitlines()
    frame = pl.DataFrame({"offset": range(len(lines)), "line": lines})
    parsed = events.FORMAT.parse(frame, Hints(timezone=zone))
    assert parsed.pulls is not None
    assert not parsed.malformed
    return list(pulls.conform(parsed.pulls).iter_rows(named=True))


@pytest.mark.parametrize(
    ("time", "zone"),
    [
        (TIME, "Asia/Kolkata"),
        (TIME.replace(tzinfo=None), "UTC"),
        (datetime(2026, 11, 24, 13, 45, 2, 500_000), "Asia/Kolkata"),  # noqa: DTZ001 - as warehouses have it
        (1795508102.5, "UTC"),
        (1795508102500, "UTC"),
        ("2026-11-24T08:15:02.5Z", "UTC"),
        (b"2026-11-24T08:15:02.5Z", "UTC"),
        (Decimal("1795508102.5"), "UTC"),
    ],
)
def test_times_are_of_any_type(tmp_path: Path, time: object, zone: str) -> None:
    """With a zone, without one (then in the source's), as a number or as text."""
    (pull,) = read(written(tmp_path, {"timestamp": [time], "image": ["nginx:1"]}), zone)
    assert pull["timestamp"] == TIME


def test_a_date_is_its_midnight(tmp_path: Path) -> None:
    """In the zone of the source."""
    (pull,) = read(written(tmp_path, {"timestamp": [date(2026, 11, 24)], "image": ["nginx"]}))
    assert pull["timestamp"] == datetime(2026, 11, 24, tzinfo=UTC)


def test_known_columns_are_read_in_any_order(tmp_path: Path) -> None:
    """Whatever case their names have; others, and blanks, are passed over."""
    columns = {
        "note": [{"a": 1}, None],
        "IMAGE": pl.Series(["nginx:1", "nginx:2"], dtype=pl.Categorical),
        "bytes": [1024.0, None],
        "client": ["10.0.0.7", None],
        "Timestamp": [TIME, TIME],
        "kind": ["layers", None],
    }
    got = [(row["tag"], row["bytes"], row["client"], row["kind"]) for row in read(written(tmp_path, columns))]
    assert got == [("1", 1024, "10.0.0.7", "layers"), ("2", None, None, None)]


def test_many_rows_come_in_batches(tmp_path: Path) -> None:
    """No batch holds more than BATCH rows."""
    rows = parquet.BATCH * 2 + 1
    path = written(tmp_path, {"timestamp": [TIME] * rows, "image": ["nginx"] * rows})
    assert [batch.count(b"\n") for batch in parquet.unroll(path)] == [parquet.BATCH, parquet.BATCH, 1]


def test_missing_columns_are_named(tmp_path: Path) -> None:
    """And those that there are."""
    path = written(tmp_path, {"time": [TIME], "image": ["nginx"]})
    with pytest.raises(UnreadableInput, match=r"without a column timestamp \(it has 'time', 'image'\)"):
        list(parquet.unroll(path))


@given(at=st.integers(4, 600), junk=st.binary(min_size=1, max_size=20))
def test_damaged_files_are_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, at: int, junk: bytes
) -> None:
    """Bytes exchanged anywhere cost an error that names the file, or some rows."""
    path = Path(
        written(tmp_path_factory.mktemp("parquet"), {"timestamp": [TIME] * 9, "image": ["nginx"] * 9})
    )
    whole = path.read_bytes()
    path.write_bytes(whole[:at] + junk + whole[at + len(junk) :])
    with suppress(UnreadableInput):
        for batch in parquet.unroll(str(path)):
            assert all(isinstance(json.loads(line), dict) for line in batch.splitlines())


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    """It ends before its footer."""
    path = Path(written(tmp_path, {"timestamp": [TIME], "image": ["nginx"]}))
    assert parquet.is_parquet(path.read_bytes())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UnreadableInput, match=r"cannot be read"):
        list(parquet.unroll(str(path)))
