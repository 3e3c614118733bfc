"""Ingest: logs that are rotated, truncated, replaced or still written to between two reads."""

from __future__ import annotations

import gzip
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from prewarm.lake import Lake
from prewarm.pipeline.logs.reading import PACE, Pace
from tests import logmaker
from tests.pipeline.logs.test_ingest import SMALL, content, pushed, read

PIECES = 4


@pytest.fixture(params=range(2))
def pieces(request: pytest.FixtureRequest) -> list[bytes]:
    """A log in pieces of whole lines, cut in the middle of many sessions."""
    log = logmaker.log(request.param)
    cuts = [log.index(b"\n", len(log) * n // PIECES) + 1 for n in range(1, PIECES)]
    return [log[start:end] for start, end in pairwise([0, *cuts, len(log)])]


@pytest.fixture
def whole(pieces: list[bytes], tmp_path: Path) -> Path:
    """A lake that read the log undisturbed, in one piece."""
    (tmp_path / "whole.log").write_bytes(b"".join(pieces))
    read(tmp_path / "whole", tmp_path / "whole.log")
    return tmp_path / "whole"


def provisional(lake: Path) -> int:
    return Lake.open(lake).read("pulls", pl.col("provisional")).height


def same_lake(lake: Path, other: Path) -> bool:
    """Equal pulls, equal pushes, and as many of them still open."""
    return (content(lake), pushed(lake), provisional(lake)) == (
        content(other),
        pushed(other),
        provisional(other),
    )


@pytest.mark.parametrize("pace", [PACE, SMALL], ids=["one commit", "many commits"])
@pytest.mark.parametrize("old", ["gone", "renamed, never given", "truncated"])
def test_a_session_goes_on_in_the_new_file(
    pieces: list[bytes], whole: Path, tmp_path: Path, old: str, pace: Pace
) -> None:
    """Only x.log is ever read; what was open in the old one is continued in the new one."""
    log, counted = tmp_path / "x.log", 0
    for number, piece in enumerate(pieces):
        if old == "gone":
            log.unlink(missing_ok=True)
        elif old == "renamed, never given" and number:
            os.rename(log, tmp_path / f"old.{number}")
        log.write_bytes(piece)
        counted += read(tmp_path / "lake", log, pace=pace).pulls
    assert same_lake(tmp_path / "lake", whole)
    assert counted == len(content(whole))


@pytest.mark.parametrize("how", ["rename", "copytruncate", "compressed"])
def test_the_old_file_may_be_given_again(pieces: list[bytes], whole: Path, tmp_path: Path, how: str) -> None:
    """Before, with or after the new one: its lines were counted, its sessions go on once."""
    log = tmp_path / "logs" / "x.log"
    log.parent.mkdir()
    for number, piece in enumerate(pieces):
        old = log.with_name(f"x.log.{PIECES - number}")
        if number:
            match how:
                case "rename":
                    os.rename(log, old)
                case "copytruncate":
                    shutil.copy(log, old)
                case "compressed":
                    old.write_bytes(gzip.compress(log.read_bytes()))
        log.write_bytes(piece)
        order = [log, old] if number and number % 2 else [old, log] if number else [log]
        if number % 3:
            read(tmp_path / "lake", *order)
        else:
            for each in order:
                read(tmp_path / "lake", each)
    assert same_lake(tmp_path / "lake", whole)
    again = read(tmp_path / "lake", log.parent)
    assert (again.lines, again.accesses, again.pulls) == (0, 0, 0)


def test_a_log_read_line_by_line_across_rotations(pieces: list[bytes], whole: Path, tmp_path: Path) -> None:
    """Read at any moment and rotated at any line, by rename or by truncation, each pull is one."""
    chance, log = random.Random(7), tmp_path / "x.log"
    for piece in pieces:
        log.write_bytes(b"")
        for cut in [*sorted(chance.sample(range(1, len(piece)), 3)), len(piece)]:
            log.write_bytes(piece[:cut])
            read(tmp_path / "lake", log, pace=SMALL)
        if chance.random() < 0.5:
            log.unlink()
    assert same_lake(tmp_path / "lake", whole)


def test_another_log_of_the_source_leaves_open_sessions_alone(tmp_path: Path) -> None:
    """An old log is read after a new one, and a log of other clients between two looks at a growing one."""
    log = logmaker.log(1)
    half = log.index(b"\n", len(log) // 2) + 1
    old = logmaker.line(logmaker.BEGIN.replace(year=2020), "10.7.7.7", "GET /v2/acme/old/manifests/1")
    new = logmaker.line(logmaker.BEGIN.replace(hour=23), "10.7.7.7", "GET /v2/acme/new/manifests/1")
    (tmp_path / "old.log").write_bytes(old)
    (tmp_path / "new.log").write_bytes(new)
    (tmp_path / "x.log").write_bytes(log[:half])
    read(tmp_path / "lake", tmp_path / "x.log")
    read(tmp_path / "lake", tmp_path / "old.log")
    read(tmp_path / "lake", tmp_path / "new.log")
    (tmp_path / "x.log").write_bytes(log)
    read(tmp_path / "lake", tmp_path / "x.log")
    (tmp_path / "y.log").write_bytes(log)
    read(tmp_path / "plain", tmp_path / "y.log")
    others = [row for row in content(tmp_path / "lake") if "10.7.7.7" not in row]
    assert others == content(tmp_path / "plain")
    assert len(content(tmp_path / "lake")) == len(others) + 2


def test_front_ends_that_are_read_one_after_the_other_are_two(tmp_path: Path) -> None:
    """Equal lines of another file are other requests, not lines read again."""
    log, lake = logmaker.log(1), tmp_path / "lake"
    (tmp_path / "a.log").write_bytes(log)
    (tmp_path / "b.log").write_bytes(b"another front end\n" + log)
    early = pl.col("timestamp") < logmaker.BEGIN + timedelta(hours=2)
    read(lake, tmp_path / "a.log")
    once = Lake.open(lake).read("pulls", early).height
    read(lake, tmp_path / "b.log")
    assert Lake.open(lake).read("pulls", early).height == 2 * once > 50


def test_a_log_may_be_read_on_under_another_name(pieces: list[bytes], whole: Path, tmp_path: Path) -> None:
    """What was open belongs to the file, whatever its source is called today."""
    for number, name in enumerate("abab", start=1):
        (tmp_path / "x.log").write_bytes(b"".join(pieces[:number]))
        read(tmp_path / "lake", tmp_path / "x.log", name=name)
    lakes = [
        Lake.open(lake).read("pulls").drop("source", "batch", "file") for lake in (tmp_path / "lake", whole)
    ]
    assert sorted(lakes[0].rows(), key=repr) == sorted(lakes[1].rows(), key=repr)


def test_a_log_that_never_comes_back_is_settled(tmp_path: Path) -> None:
    """A day later its last pulls are final, and nothing of it is kept for the next read."""
    request = "GET /v2/acme/app/manifests/1"
    for days in (0, 2):
        time = logmaker.BEGIN.replace(day=logmaker.BEGIN.day + days)
        (tmp_path / f"{days}.log").write_bytes(logmaker.line(time, f"10.0.0.{days}", request))
        read(tmp_path / "lake", tmp_path / f"{days}.log")
    rows = Lake.open(tmp_path / "lake").read("pulls").sort("timestamp")
    assert rows["provisional"].to_list() == [False, True]


@pytest.mark.parametrize("after", ["before", "after"])
@pytest.mark.parametrize("commits", [(1, 2, 3, 4), (6, 5, 2, 3), (3, 7, 8, 5)])
def test_killed_at_any_commit_while_the_log_is_rotated(
    tmp_path: Path, commits: tuple[int, ...], after: str
) -> None:
    """SIGKILL between what is carried, the pushes and the pulls; the rotated files are given again."""
    log = logmaker.log(5)
    cuts = [0, *(log.index(b"\n", len(log) * n // 4) + 1 for n in range(1, 4)), len(log)]
    (tmp_path / "whole.log").write_bytes(log)
    read(tmp_path / "whole", tmp_path / "whole.log")
    code = "import sys; from tests.pipeline.logs.test_ingest import die_while_reading as f; f(*sys.argv[1:])"
    paths = str(tmp_path / "x.log*")
    for (start, end), count in zip(pairwise(cuts), commits, strict=True):
        if start:
            os.rename(tmp_path / "x.log", tmp_path / f"x.log.{len(log) - start}")
        (tmp_path / "x.log").write_bytes(log[start:end])
        command = [sys.executable, "-c", code, str(tmp_path / "lake"), paths, str(count), after]
        died = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, timeout=60)
        assert died.returncode in (0, -signal.SIGKILL), died.stderr.decode()
    read(tmp_path / "lake", paths, pace=SMALL)
    assert same_lake(tmp_path / "lake", tmp_path / "whole")


# ------------------------------------------------------------------ a line that is still written


@pytest.mark.parametrize("seed", range(3))
def test_a_growing_last_line_is_counted_once(tmp_path: Path, seed: int) -> None:
    """Cut anywhere, the counts of all reads add up to those of one."""
    log = logmaker.log(seed, pulls=30)
    chance, path = random.Random(seed), tmp_path / "x.log"
    (tmp_path / "whole.log").write_bytes(log)
    expected = read(tmp_path / "whole", tmp_path / "whole.log")
    newlines = [n for n in range(len(log)) if log[n : n + 1] == b"\n"]
    cuts = chance.sample(range(1, len(log)), 20) + chance.sample(newlines, 5)
    reads = []
    for cut in [*sorted(cuts), len(log)]:
        path.write_bytes(log[:cut])
        if b"\n" in log[:cut]:
            reads.append(read(tmp_path / "lake", path))
    for count in ("lines", "accesses", "malformed", "pulls"):
        assert sum(getattr(each, count) for each in reads) == getattr(expected, count)


def test_a_last_line_without_its_newline_is_a_line(tmp_path: Path) -> None:
    """Where it says all there is to say; it is not counted again when the newline comes."""
    log = logmaker.log(1, pulls=10)
    (tmp_path / "x.log").write_bytes(log.removesuffix(b"\n"))
    assert read(tmp_path / "lake", tmp_path / "x.log").lines == log.count(b"\n")
    (tmp_path / "x.log").write_bytes(log)
    assert read(tmp_path / "lake", tmp_path / "x.log").lines == 0


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    """It is neither counted nor malformed yet, and a warning says so; what cannot grow is read as it is."""
    data = logmaker.log(1, pulls=10) + b"10.0.0.1 - - [23/Nov"
    (tmp_path / "x.log").write_bytes(data)
    (tmp_path / "x.log.gz").write_bytes(gzip.compress(data))
    growing, packed = (read(tmp_path / f"{name}.lake", tmp_path / name) for name in ("x.log", "x.log.gz"))
    assert packed.malformed == growing.malformed + 1
    assert packed.lines == growing.lines + 1 == data.count(b"\n") + 1
    assert "x.log ends in the middle of a line" in growing.warnings[0]


# ------------------------------------------------------------------ archives


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_an_archive_of_rotated_logs_is_its_files(
    pieces: list[bytes], whole: Path, tmp_path: Path, mode: str
) -> None:
    """In whatever order it holds them, compressed again or not; what was read before is not read again."""
    (tmp_path / "x.log").write_bytes(pieces[0])
    first = read(tmp_path / "lake", tmp_path / "x.log")
    with tarfile.open(tmp_path / "logs.tar", mode) as archive:  # type: ignore[call-overload]
        for number, piece in enumerate([*pieces[::2], *pieces[1::2]]):
            data = gzip.compress(piece) if number % 2 else piece
            member = tarfile.TarInfo(f"logs/x.log.{number}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    second = read(tmp_path / "lake", tmp_path / "logs.tar")
    assert same_lake(tmp_path / "lake", whole)
    assert first.lines + second.lines == sum(piece.count(b"\n") for piece in pieces)
    assert sorted(Path(each.path).name for each in second.files) == [f"x.log.{n}" for n in range(len(pieces))]
    assert all(each.path.startswith(str(tmp_path / "logs.tar")) for each in second.files)
