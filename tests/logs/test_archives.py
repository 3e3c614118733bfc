"""Archives of rotated logs: each member is a file, and nothing in an archive is trusted."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
from pathlib import Path

import pytest

from prewarm.errors import UnreadableInput
from prewarm.logs import archives

LOGS = {"x.log": b"new\n" * 1000, "x.log.1": b"old\n" * 1000}
WRITTEN = 1_764_000_000


def tar(members: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=form) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), WRITTEN
            archive.addfile(member, io.BytesIO(content))
    return data.getvalue()


def unpacked(folder: Path, data: bytes, warnings: list[str], **bounds: int) -> dict[str, bytes]:
    path = folder / "logs.tar"
    path.write_bytes(data)
    with archives.unpacked(str(path), warnings.append, **bounds) as members:
        found = {name: Path(copy).read_bytes() for name, copy in members.items()}
        assert all(Path(copy).stat().st_mtime == WRITTEN for copy in members.values()) or warnings
    assert not any(Path(copy).exists() for copy in members.values())
    return found


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress])
def test_members_are_files(tmp_path: Path, form: int, compress: type[bytes]) -> None:
    """With their content and the time they were written; the copies go with the reading."""
    data = tar({f"var/log/{'deep/' * 30}{name}": text for name, text in LOGS.items()} | LOGS, form)
    assert archives.is_archive(data)
    found = unpacked(tmp_path, compress(data), [])
    assert len(found) == 4
    assert {name: found[name] for name in LOGS} == LOGS


@pytest.mark.parametrize("head", [b"", b"x" * 600, bytes(600), b"10.0.0.1 - - [23/Nov/2026] ustar\n" * 20])
def test_logs_are_no_archives(head: bytes) -> None:
    """A header has a checksum."""
    assert not archives.is_archive(head)


def test_only_logs_are_taken_out(tmp_path: Path) -> None:
    """No links, no devices, nothing hidden or temporary; names lead nowhere."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, kind in (
            ("link", tarfile.SYMTYPE),
            ("hard", tarfile.LNKTYPE),
            ("null", tarfile.CHRTYPE),
            ("folder", tarfile.DIRTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        for name in (".git/x.log", "x.log.swp", "../../x.log", "./y.log"):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = 2, WRITTEN
            archive.addfile(member, io.BytesIO(b"a\n"))
    assert sorted(unpacked(tmp_path, data.getvalue(), [])) == ["./y.log"]


@pytest.mark.parametrize("part", [0.4, 0.6, 0.9])
def test_a_damaged_archive_gives_what_comes_before(tmp_path: Path, part: float) -> None:
    """And says so, once."""
    data, warnings = tar(LOGS), list[str]()
    size = 512 + 4096 + 512 + int(4000 * part)
    found = unpacked(tmp_path, data[:size], warnings)
    assert found["x.log"] == LOGS["x.log"]
    assert len(warnings) == 1
    assert "is damaged" in warnings[0]


def test_more_than_there_is_room_for_is_refused(tmp_path: Path) -> None:
    """With what to do instead."""
    with pytest.raises(UnreadableInput, match="unpack it, give the folder"):
        unpacked(tmp_path, tar(LOGS), [], most_bytes=5000)
