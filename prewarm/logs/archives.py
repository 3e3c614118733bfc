"""Archives of rotated logs: tar, in any compression that logs are read in; each member is a file.

Members are copied out, since logs are read together in the order of time, which an archive is not in.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO

from prewarm.errors import UnreadableInput
from prewarm.logs import streams
from prewarm.logs.files import is_log

SAMPLE = tarfile.BLOCKSIZE  # bytes of a file that tell whether it is an archive
MOST_MEMBERS = 100_000
MOST_BYTES = 64 << 30  # of all members together

_PIECE = 1 << 20


def is_archive(head: bytes) -> bool:
    """Whether a file that begins with `head` (decompressed) is a tar; its header has a checksum."""
    try:
        tarfile.TarInfo.frombuf(head[:SAMPLE], tarfile.ENCODING, "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


@contextmanager
def unpacked(path: str, warn: streams.Warn, most_bytes: int = MOST_BYTES) -> Iterator[dict[str, str]]:
    """Temporary copies of the logs in an archive, by their names in it.

    Hidden files, links and devices are left out; a name that comes twice means the later one, as tar has
    it. A damaged archive gives what comes before the damage, with a warning. Raises UnreadableInput for
    more than MOST_MEMBERS files, or `most_bytes`, and when there is no room for the copies.
    """
    with TemporaryDirectory(prefix="prewarm-") as folder:
        found: dict[str, str] = {}
        with closing(streams.blocks(path, warn=warn)) as blocks:
            try:
                for member, data in _members(_Bytes(blocks)):
                    if len(found) >= MOST_MEMBERS:
                        raise UnreadableInput(f"{path} holds more than {MOST_MEMBERS} files")
                    copy = Path(folder) / str(len(found))
                    found[member.name] = str(copy)
                    most_bytes -= _copied(path, data, copy, most_bytes)
                    os.utime(copy, (member.mtime, member.mtime))
            except tarfile.TarError as error:
                warn(f"{path} is damaged ({error}); the rest was not read")
        yield found


class _Bytes(io.RawIOBase):
    """Blocks as a file that is read once, from its beginning."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        parts, missing = [], size
        while missing and (block := self._rest or next(self._blocks, b"")):
            parts.append(block[:missing])
            self._rest = block[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)


def _members(source: _Bytes) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    with tarfile.open(fileobj=source, mode="r|", bufsize=_PIECE) as archive:
        for member in archive:
            data = archive.extractfile(member) if member.isreg() and not member.issparse() else None
            if data is not None and _is_log(member.name):
                yield member, data


def _is_log(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return not any(part.startswith(".") and part != "." for part in parts) and is_log(name)


def _copied(path: str, data: IO[bytes], copy: Path, most: int) -> int:
    """Copy at most that many bytes; how many they were."""
    size = 0
    try:
        with copy.open("wb") as file:
            while piece := data.read(_PIECE):
                size += file.write(piece)
                if size > most:
                    raise UnreadableInput(
                        f"{path} holds more than {MOST_BYTES >> 30} GiB of logs; unpack it, give the folder"
                    )
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnreadableInput(f"{path} cannot be unpacked ({reason}); unpack it elsewhere") from error
    return size
