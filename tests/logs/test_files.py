"""Which files are meant, and which one is this."""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path

import pytest

from prewarm.errors import UnreadableInput
from prewarm.logs import files, streams
from prewarm.logs.files import Known, Progress

LINES = [f"2026-11-24T08:{n // 60:02}:{n % 60:02}Z GET /v2/x/manifests/{n}\n".encode() for n in range(600)]
TEXT = b"".join(LINES)


class Memory:
    """What a lake remembers of files."""

    def __init__(self) -> None:
        self.kept: dict[str, int] = {}
        self.heads = 0

    def load(self, id: int) -> Progress | None:
        return files.loaded(id, self.kept.get)

    def read(self, path: Path, site: str = "default") -> Known:
        """Identify the file, then remember that it was read to its end."""
        known = files.identify(str(path), site, self.load, self.heads)
        self.heads |= known.head
        end = list(streams.chunks(str(path)))[-1]
        self.kept |= files.saved(known.id, Progress(0, end.end, end.check))
        return known


@pytest.fixture
def memory() -> Memory:
    return Memory()


def test_a_folder_means_the_logs_in_it(tmp_path: Path) -> None:
    """Sub-folders too; hidden and temporary files are not logs."""
    for name in ("b.log", "a.log.1.gz", ".hidden", "x.tmp", "sub/c.log", ".git/config"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [Path(p).name for p in files.expand(str(tmp_path))] == ["a.log.1.gz", "b.log", "c.log"]


def test_globs_and_plain_names(tmp_path: Path) -> None:
    """A name with brackets that exists is itself, not a pattern."""
    (tmp_path / "a[1].log").touch()
    (tmp_path / "b.log").touch()
    assert files.expand(str(tmp_path / "*.log")) == [str(tmp_path / "a[1].log"), str(tmp_path / "b.log")]
    assert files.expand(str(tmp_path / "a[1].log")) == [str(tmp_path / "a[1].log")]
    assert files.expand("-") == ["-"]


@pytest.mark.parametrize(
    ("name", "why"), [("no.log", "does not exist"), ("empty", "holds no log file"), ("*.log", "no file fits")]
)
def test_nothing_there_is_an_error(tmp_path: Path, name: str, why: str) -> None:
    """Each says what was expected."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnreadableInput, match=why):
        files.expand(str(tmp_path / name))


def test_rotation_and_compression_keep_the_identity(tmp_path: Path, memory: Memory) -> None:
    """x.log, x.log.1 and x.log.1.gz are one file."""
    log, rotated, packed = tmp_path / "x.log", tmp_path / "x.log.1", tmp_path / "x.log.1.gz"
    log.write_bytes(TEXT)
    first = memory.read(log)
    assert first.progress is None
    os.rename(log, rotated)
    packed.write_bytes(gzip.compress(TEXT))
    for path in (rotated, packed):
        again = memory.read(path)
        assert again.id == first.id
        assert again.progress is not None
        assert not again.unread


@pytest.mark.parametrize("sizes", [(1, 2, 3), (10, 700, 5000), (900, 1023, 1024, 1025), (2048, 9000)])
def test_short_files_keep_their_identity_as_they_grow(
    tmp_path: Path, memory: Memory, sizes: tuple[int, ...]
) -> None:
    """Read at one byte or at nine thousand, it stays the same file with something new."""
    log, ids = tmp_path / "x.log", set()
    for size in sizes:
        log.write_bytes(TEXT[:size])
        known = memory.read(log)
        assert known.unread
        ids.add(known.id)
    assert len(ids) == 1


def test_equal_heads_are_told_apart(tmp_path: Path, memory: Memory) -> None:
    """Files that begin alike (a banner, a header) but go on differently are different files."""
    ids = set()
    for name in "abc":
        (tmp_path / name).write_bytes(TEXT[:2000] + name.encode() * 9000 + b"\n")
        assert memory.read(tmp_path / name).progress is None
        ids.add(memory.read(tmp_path / name).id)
    assert len(ids) == 3


def test_a_short_start_is_no_claim_on_longer_files(tmp_path: Path, memory: Memory) -> None:
    """A file that was read when it had one line does not own every file with that first line."""
    (tmp_path / "a").write_bytes(b"banner\n" + TEXT[:100])
    (tmp_path / "b").write_bytes(b"banner\n" + TEXT[200:5000])
    assert memory.read(tmp_path / "a").id != memory.read(tmp_path / "b").id


def test_a_recreated_file_with_the_same_first_line_is_new(tmp_path: Path, memory: Memory) -> None:
    """It is shorter than what was read, and its head was never long."""
    log = tmp_path / "x.log"
    log.write_bytes(b"banner\n" + TEXT[:500])
    first = memory.read(log)
    log.write_bytes(b"banner\nother\n")
    second = memory.read(log)
    assert second.progress is None
    assert second.id != first.id


def test_an_older_copy_has_nothing_new(tmp_path: Path, memory: Memory) -> None:
    """A backup taken half-way was read with the whole."""
    (tmp_path / "x.log").write_bytes(TEXT)
    (tmp_path / "x.log.bak").write_bytes(TEXT[: len(TEXT) // 2])
    first = memory.read(tmp_path / "x.log")
    copy = files.identify(str(tmp_path / "x.log.bak"), "default", memory.load)
    assert (copy.id, copy.unread) == (first.id, False)


def test_truncation_in_place_makes_a_new_file(tmp_path: Path, memory: Memory) -> None:
    """copytruncate: the name stays, the content starts again; the copy is the old file."""
    log = tmp_path / "x.log"
    log.write_bytes(TEXT[:6000])
    first = memory.read(log)
    (tmp_path / "x.log.1").write_bytes(TEXT[:6000])
    log.write_bytes(TEXT[6000:12000])
    assert memory.read(log).progress is None
    assert memory.read(tmp_path / "x.log.1").id == first.id


def test_two_sites_may_read_one_file(tmp_path: Path, memory: Memory) -> None:
    """Which site the clients belong to is the user's word, so progress is kept for each."""
    (tmp_path / "x.log").write_bytes(TEXT)
    assert memory.read(tmp_path / "x.log", "boise").id != memory.read(tmp_path / "x.log", "berlin").id


@pytest.mark.parametrize(
    ("data", "why"), [(b"", "is empty: nothing to read"), ("x\n".encode("utf-16"), "is UTF-16; convert it")]
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, memory: Memory, data: bytes, why: str) -> None:
    """One line that says what to do."""
    (tmp_path / "x.log").write_bytes(data)
    with pytest.raises(UnreadableInput, match=why):
        files.identify(str(tmp_path / "x.log"), "default", memory.load)


def test_a_pipe_is_copied_so_that_it_can_be_read_twice() -> None:
    """The copy goes when reading is over."""
    with files.spooled(io.BytesIO(TEXT)) as path:
        assert Path(path).read_bytes() == TEXT
    assert not Path(path).exists()
