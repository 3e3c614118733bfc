"""The lake: atomic commits, progress with rows, readers beside writers."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake

from prewarm import tables
from prewarm.errors import LakeError, UnknownName
from prewarm.lake import Change, Lake, Snapshot
from prewarm.logs import pulls, settling

MONDAY = datetime(2026, 11, 23, 8, tzinfo=UTC)
# root may write anywhere, unless it gives that up
_WITHOUT_POWERS = (
    ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"] if os.geteuid() == 0 else []
)


def rows(*repositories: str, provisional: bool = False, file: int = 1) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "timestamp": [MONDAY + timedelta(hours=n) for n in range(len(repositories))],
            "repository": repositories,
            "provisional": provisional,
            "file": file,
        }
    )


def repositories(lake: Lake) -> list[str]:
    return lake.read("pulls")["repository"].sort().to_list()


def append_many(root: str, name: str, count: int) -> None:
    """What a second process does in the tests below."""
    lake = Lake.open(root)
    for n in range(count):
        lake.append("pulls", rows(f"{name}-{n}"), {name: n})


def test_opening_and_reading_create_nothing(tmp_path: Path) -> None:
    """A refused command must leave no trace, so looking at a lake must not make one."""
    lake = Lake.open(tmp_path / "lake")
    assert lake.read("pulls").is_empty()
    assert lake.progress("pulls", "x") is None
    assert not lake.exists("pulls")
    assert not (tmp_path / "lake").exists()


def test_a_missing_table_reads_as_an_empty_typed_frame(tmp_path: Path) -> None:
    """Readers need no special case for a lake that holds nothing yet."""
    lake = Lake.open(tmp_path)
    for name, columns in tables.TABLES.items():
        assert lake.read(name).schema == pl.Schema(columns)


@pytest.mark.parametrize("table", sorted(tables.TABLES))
def test_every_table_survives_the_round_trip(tmp_path: Path, table: str) -> None:
    """What the disk cannot hold (unsigned, categorical) is in no table."""
    lake = Lake.open(tmp_path)
    column, dtype = next(iter(tables.TABLES[table].items()))
    blank = pl.DataFrame({column: [MONDAY if dtype == tables.TIME else "x"]})
    lake.append(table, blank)
    read = lake.read(table)
    assert read.schema == pl.Schema(tables.TABLES[table])
    assert len(read) == len(blank)


def test_pulls_on_disk_are_pulls_in_memory() -> None:
    """The two schemas are written down twice because imports point one way; they must agree."""
    memory = list(pulls.SCHEMA.items())
    assert list(tables.PULLS.items())[: len(memory)] == memory
    assert list(tables.PULLS)[len(memory) :] == ["date", "file", "batch"]


def test_carried_requests_are_requests_in_memory() -> None:
    """What waits for the next read comes back as it was."""
    memory = list(settling.empty().schema.items())
    assert list(tables.CARRIED.items())[: len(memory)] == memory
    assert list(tables.CARRIED)[len(memory) :] == ["file", "owner", "reading", "batch"]


def test_filters_and_columns(tmp_path: Path) -> None:
    """`read` takes expressions and column names."""
    lake = Lake.open(tmp_path)
    lake.append("pulls", rows("a", "b", "c"))
    read = lake.read("pulls", pl.col("timestamp") > MONDAY, columns=["repository", "date"])
    assert read.rows() == [("b", MONDAY.date()), ("c", MONDAY.date())]


@pytest.mark.parametrize("folder", ["a b", "ü", "a*b"])
def test_any_folder_can_hold_a_lake(tmp_path: Path, folder: str) -> None:
    """Names that URLs escape or that globs expand are names."""
    lake = Lake.open(tmp_path / folder)
    lake.append("pulls", rows("a", "b"))
    assert repositories(lake) == ["a", "b"]
    assert lake.read("pulls").schema == pl.Schema(tables.PULLS)


def test_rows_without_a_partition_are_read(tmp_path: Path) -> None:
    """A null has a folder of its own, whose name is no date."""
    lake = Lake.open(tmp_path)
    lake.append("pulls", rows("a").with_columns(timestamp=pl.lit(None, tables.TIME)))
    assert lake.read("pulls", columns=["timestamp", "date", "repository"]).rows() == [(None, None, "a")]


def test_a_filter_on_the_partition_opens_no_other_files(tmp_path: Path) -> None:
    """Years of pulls may lie beside the week that is asked for."""
    lake = Lake.open(tmp_path)
    lake.append("pulls", rows("old", "older"))
    lake.append("pulls", rows("new").with_columns(timestamp=pl.lit(MONDAY + timedelta(days=1))))
    for data in (tmp_path / "pulls" / f"date={MONDAY.date()}").iterdir():
        data.write_bytes(b"not parquet")
    read = lake.read("pulls", pl.col("date") > MONDAY.date())
    assert read["repository"].to_list() == ["new"]


def test_a_table_with_all_rows_removed_is_empty_and_typed(tmp_path: Path) -> None:
    """A version without any file reads as one that never was."""
    lake = Lake.open(tmp_path)
    lake.append("plans", pl.DataFrame({"id": ["p"]}))
    handle = lake.snapshot("plans").handle
    assert handle is not None
    handle.delete()
    assert lake.read("plans").schema == pl.Schema(tables.PLANS)
    assert lake.read("plans").is_empty()


def test_columns_that_older_files_lack_are_null(tmp_path: Path) -> None:
    """A lake outlives the versions that wrote it."""
    lake = Lake.open(tmp_path)
    write_deltalake(str(tmp_path / "plans"), pl.DataFrame({"id": ["old"]}))
    assert lake.read("plans").select("id", "document").rows() == [("old", None)]
    assert lake.read("plans").schema == pl.Schema(tables.PLANS)


def test_reading_needs_no_pyarrow(tmp_path: Path) -> None:
    """Its libraries would count into the memory of every run."""
    Lake.open(tmp_path).append("pulls", rows("a"))
    code = (
        "import sys; from prewarm.lake import Lake; "
        f"assert len(Lake.open({str(tmp_path)!r}).read('pulls')) == 1; "
        "sys.exit('pyarrow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_progress_becomes_visible_with_its_rows(tmp_path: Path) -> None:
    """The pair is what makes ingest exactly-once."""
    lake = Lake.open(tmp_path)
    lake.append("pulls", rows("a"), {"file": 2**62})
    assert lake.progress("pulls", "file") == 2**62
    lake.append("pulls", pl.DataFrame(), {"file": 7})
    assert lake.progress("pulls", "file") == 7
    assert repositories(lake) == ["a"]


def test_replacement_removes_and_adds_in_one_version(tmp_path: Path) -> None:
    """Provisional rows go in the commit that brings their successors, whatever the successors look like."""
    lake = Lake.open(tmp_path)
    lake.append("pulls", rows("kept"))
    lake.append("pulls", rows("guess", provisional=True))
    lake.append("pulls", rows("other-file", provisional=True, file=2))
    before = lake.snapshot("pulls").version
    where = "provisional = true AND file IN (1)"
    lake.commit("pulls", lambda _: Change(rows("final", "new"), {"f": 1}, replaces=where))
    assert lake.snapshot("pulls").version == (before or 0) + 1
    assert repositories(lake) == ["final", "kept", "new", "other-file"]


def test_replacement_by_nothing_removes(tmp_path: Path) -> None:
    """A guess may turn out to have been no pull at all."""
    lake = Lake.open(tmp_path)
    lake.append("pulls", rows("guess", provisional=True))
    lake.commit("pulls", lambda _: Change(progress={"f": 1}, replaces="provisional = true"))
    assert lake.read("pulls").is_empty()


def test_a_reader_keeps_its_snapshot(tmp_path: Path) -> None:
    """A query that began before a commit is not disturbed by it, not even by a replacement."""
    lake = Lake.open(tmp_path)
    lake.append("pulls", rows("a", provisional=True))
    began = lake.scan("pulls")
    lake.commit("pulls", lambda _: Change(rows("b"), replaces="provisional = true"))
    assert began.collect()["repository"].to_list() == ["a"]
    assert repositories(lake) == ["b"]


def test_a_lost_race_looks_again(tmp_path: Path) -> None:
    """Compare-and-swap: the second writer of one progress id must see what the first one wrote."""
    lake, looked = Lake.open(tmp_path), []

    def decide(seen: Snapshot) -> Change | None:
        looked.append(seen.progress("file"))
        if len(looked) == 1:
            Lake.open(tmp_path).append("pulls", rows("rival"), {"file": 10})
        return None if seen.progress("file") == 10 else Change(rows("mine"), {"file": 5})

    lake.append("pulls", rows("first"), {"file": 1})
    assert lake.commit("pulls", decide) is False
    assert looked == [1, 10]
    assert repositories(lake) == ["first", "rival"]


def test_two_processes_append_and_lose_nothing(tmp_path: Path) -> None:
    """Writers of different files share a lake without waiting for each other; a reader reads on."""
    rivals = [
        multiprocessing.get_context("spawn").Process(target=append_many, args=(str(tmp_path), name, 8))
        for name in ("x", "y")
    ]
    for rival in rivals:
        rival.start()
    lake, sizes = Lake.open(tmp_path), [0]
    while any(rival.is_alive() for rival in rivals):
        sizes.append(len(lake.read("pulls")))
    for rival in rivals:
        rival.join()
    assert sizes == sorted(sizes)
    assert repositories(lake) == sorted(f"{name}-{n}" for name in "xy" for n in range(8))
    assert (lake.progress("pulls", "x"), lake.progress("pulls", "y")) == (7, 7)


def test_compaction_keeps_rows_and_progress(tmp_path: Path) -> None:
    """Fewer files, the same content."""
    lake = Lake.open(tmp_path)
    for n in range(5):
        lake.append("pulls", rows(f"r{n}"), {"file": n})
    lake.compact("pulls", keep=timedelta(0))
    assert repositories(lake) == ["r0", "r1", "r2", "r3", "r4"]
    assert lake.progress("pulls", "file") == 4
    assert len(list((tmp_path / "pulls").glob("date=*/*.parquet"))) == 1


def test_a_lake_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """The mistake is named, with an example of what was expected."""
    (tmp_path / "lake").write_text("no")
    with pytest.raises(LakeError, match=r"is a file; a lake is a folder"):
        Lake.open(tmp_path / "lake")


def test_a_folder_that_may_not_be_written_is_one_line(tmp_path: Path) -> None:
    """Before delta-rs tries, whose threads print a trace of their own; also for root without its powers."""
    Lake.open(tmp_path / "lake").append("pulls", rows("api"))
    for folder in (tmp_path / "lake" / "pulls", tmp_path / "lake" / "pulls" / "_delta_log"):
        folder.chmod(0o555)
    code = "from tests.test_lake import append_many; append_many('lake', 'api', 1)"

    ran = subprocess.run(
        [*_WITHOUT_POWERS, sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.stderr.splitlines()[-1].endswith("lake/pulls cannot be written: Permission denied")
    assert "panicked" not in ran.stderr


def test_a_damaged_table_is_one_line(tmp_path: Path) -> None:
    """What Delta says in many lines becomes one that names the table."""
    lake = Lake.open(tmp_path)
    lake.append("plans", pl.DataFrame({"id": ["p"]}))
    for log in (tmp_path / "plans" / "_delta_log").glob("*.json"):
        log.write_text("{broken")
    with pytest.raises(LakeError, match=r"plans cannot be read: ") as caught:
        lake.read("plans")
    assert "\n" not in str(caught.value)


def test_a_lake_by_url_is_named_without_its_secrets() -> None:
    """A login or a signature in the URL stays out of the error that names the lake."""
    lake = Lake.open("abfss://key:s3cret@bucket/lake?sig=s3cret")
    with pytest.raises(LakeError, match=r"abfss://bucket/lake/pulls cannot be read") as caught:
        lake.read("pulls")
    assert "s3cret" not in str(caught.value)


def test_a_lost_data_file_is_one_line(tmp_path: Path) -> None:
    """A parquet file removed by hand is found when the rows are wanted."""
    lake = Lake.open(tmp_path)
    lake.append("plans", pl.DataFrame({"id": ["p"]}))
    for data in (tmp_path / "plans").glob("*.parquet"):
        data.unlink()
    with pytest.raises(LakeError, match=r"plans cannot be read: "):
        lake.read("plans")


def test_strange_columns_and_tables_are_refused(tmp_path: Path) -> None:
    """A misspelt column would otherwise be lost in silence."""
    lake = Lake.open(tmp_path)
    with pytest.raises(LakeError, match="pulls has no column 'repo'"):
        lake.append("pulls", pl.DataFrame({"repo": ["x"], "timestamp": [MONDAY]}))
    with pytest.raises(UnknownName, match="did you mean 'pulls'"):
        lake.read("pull")
