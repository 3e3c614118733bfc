"""Following: what is appended, rotated away or missing for a while is read once; stopping loses nothing."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from prewarm.lake import Lake
from prewarm.logs.files import Source
from prewarm.pipeline.logs.follow import follow
from prewarm.pipeline.logs.ingest import IngestResult
from tests import logmaker
from tests.pipeline.logs.test_ingest import SMALL, content, read

LOG = logmaker.log(1)
CUTS = [0, *(LOG.index(b"\n", len(LOG) * n // 5) + 1 for n in range(1, 5)), len(LOG)]
PIECES = [LOG[start:end] for start, end in pairwise(CUTS)]


@pytest.fixture
def whole(tmp_path: Path) -> list[tuple[object, ...]]:
    """What a lake holds that read the log undisturbed."""
    (tmp_path / "whole.log").write_bytes(LOG)
    read(tmp_path / "whole", tmp_path / "whole.log")
    return content(tmp_path / "whole")


def followed(
    tmp_path: Path, *paths: Path, steps: list[Callable[[], object]], commits: int = 1000
) -> list[IngestResult]:
    """Follow `paths`; what happens in each pause is a step, after the last one it is time to stop."""
    left: Iterator[Callable[[], object]] = iter(steps)

    def pause() -> bool:
        step = next(left, None)
        if step:
            step()
        return step is None

    source = Source(paths=tuple(map(str, paths)))
    return list(follow(Lake.open(tmp_path / "lake"), [source], pause=pause, commits=commits))


def append(path: Path, data: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as file:
        file.write(data)


def test_what_is_appended_is_read(tmp_path: Path, whole: list[tuple[object, ...]]) -> None:
    """A result for each look that found something; none when nothing came."""
    log = tmp_path / "x.log"
    log.write_bytes(PIECES[0])
    steps = [lambda: None, *(lambda piece=piece: append(log, piece) for piece in PIECES[1:]), lambda: None]
    results = followed(tmp_path, log, steps=steps)
    assert [result.lines for result in results] == [piece.count(b"\n") for piece in PIECES]
    assert content(tmp_path / "lake") == whole


@pytest.mark.parametrize("where", ["x.log", "x.log*", "."])
def test_rotation_loses_nothing_that_was_written_before_it(
    tmp_path: Path, whole: list[tuple[object, ...]], where: str
) -> None:
    """Lines come after the last look and before the renaming, some to the old file even after it."""
    folder = tmp_path / "logs"
    log = folder / "x.log"

    def rotate(number: int) -> None:
        piece = PIECES[number]
        third = piece.index(b"\n", len(piece) // 3) + 1
        append(log, piece[:third])
        os.rename(log, folder / f"x.log.{9 - number}")
        append(folder / f"x.log.{9 - number}", piece[third:])

    append(log, PIECES[0])
    steps = [lambda: rotate(1), lambda: append(log, PIECES[2]), lambda: rotate(3)]
    followed(tmp_path, folder / where, steps=[*steps, lambda: append(log, PIECES[4]), lambda: None])
    assert content(tmp_path / "lake") == whole


def test_a_deleted_log_is_read_to_its_end(tmp_path: Path, whole: list[tuple[object, ...]]) -> None:
    """What was written before it was removed is still there for who holds it open."""
    log = tmp_path / "x.log"

    def replaced() -> None:
        append(log, PIECES[1])
        log.unlink()
        for piece in PIECES[2:]:
            append(log, piece)

    append(log, PIECES[0])
    followed(tmp_path, log, steps=[replaced, lambda: None])
    assert content(tmp_path / "lake") == whole


def test_the_folder_may_vanish_and_return(tmp_path: Path, whole: list[tuple[object, ...]]) -> None:
    """It is warned of once, other logs are read meanwhile, and reading goes on where it was."""
    log, other = tmp_path / "logs" / "x.log", tmp_path / "other" / "y.log"
    away, line = tmp_path / "away", logmaker.line(logmaker.BEGIN, "10.7.7.7", "GET /v2/acme/b/manifests/1")

    def returns() -> None:
        shutil.move(away, log.parent)
        for piece in PIECES[1:]:
            append(log, piece)

    append(log, PIECES[0])
    steps = [lambda: shutil.move(log.parent, away), lambda: append(other, line), lambda: None, returns]
    results = followed(tmp_path, log.parent, other.parent, steps=[*steps, lambda: None])
    warnings = [warning.removeprefix(str(tmp_path)) for result in results for warning in result.warnings]
    assert [warning.split(";")[0] for warning in warnings] == [
        "/other does not exist",
        "/logs does not exist",
    ]
    assert [row for row in content(tmp_path / "lake") if "10.7.7.7" not in row] == whole
    assert len(content(tmp_path / "lake")) == len(whole) + 1


def test_what_has_not_changed_is_not_opened_again(tmp_path: Path, whole: list[tuple[object, ...]]) -> None:
    """A folder of old logs and archives costs nothing at each look; one that changes is read on."""
    folder, packed = tmp_path / "logs", tmp_path / "logs" / "old.tar.gz"
    append(folder / "x.log", PIECES[2])
    (tmp_path / "x.log.1").write_bytes(PIECES[0])
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(tmp_path / "x.log.1", "x.log.1")
    append(folder / "x.log.0", PIECES[1])
    written = packed.stat()

    def damaged() -> None:
        packed.write_bytes(bytes(written.st_size))
        os.utime(packed, ns=(written.st_atime_ns, written.st_mtime_ns))

    steps = [damaged, lambda: append(folder / "x.log", b"".join(PIECES[3:])), lambda: None]
    results = followed(tmp_path, folder, steps=steps)
    assert not any(result.warnings for result in results)
    assert [len(result.files) for result in results] == [3, 1]
    assert content(tmp_path / "lake") == whole


def test_stopped_while_reading_what_was_read_is_committed(
    tmp_path: Path, whole: list[tuple[object, ...]]
) -> None:
    """At any chunk; the next call reads the rest."""
    (tmp_path / "x.log").write_bytes(LOG)
    for asked in range(3, 12, 4):
        left = iter(range(asked))
        source = Source(paths=(str(tmp_path / "x.log"),))
        lake = Lake.open(tmp_path / f"lake{asked}")
        looks = follow(
            lake,
            [source],
            pause=lambda: True,
            stopping=lambda left=left: next(left, None) is None,
            pace=SMALL,
        )
        (first,) = looks
        assert 0 < first.lines < LOG.count(b"\n")
        assert len(content(Path(lake.root))) == first.pulls
        second = read(Path(lake.root), tmp_path / "x.log")
        assert first.lines + second.lines == LOG.count(b"\n")
        assert content(Path(lake.root)) == whole


def test_a_lake_that_is_followed_for_long_is_tidied(tmp_path: Path, whole: list[tuple[object, ...]]) -> None:
    """Its many small commits are summed up; nothing is lost or doubled by it."""
    log = tmp_path / "x.log"
    for commits in (1000, 2):
        log.write_bytes(PIECES[0])
        steps = [lambda piece=piece: append(log, piece) for piece in PIECES[1:]]
        followed(tmp_path, log, steps=steps, commits=commits)
        assert (tmp_path / "lake/pulls/_delta_log/_last_checkpoint").exists() == (commits == 2)
        assert content(tmp_path / "lake") == whole
        if commits == 1000:
            shutil.rmtree(tmp_path / "lake")
