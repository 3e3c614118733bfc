"""Log files: which ones are meant, which one is this, how far was it read.

A file is known by what is in it, not by its name: by a hash of its first decompressed bytes. So
`x.log`, `x.log.1` and `x.log.1.gz` are one file. Short files are known by a shorter head and keep it
as they grow. How far a file was read is three integers (see `Progress`), small enough to be committed
in one transaction with the rows that came of it.
"""

from __future__ import annotations

import codecs
import glob
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from prewarm.errors import UnreadableInput
from prewarm.logs import streams

STDIN = "-"
HEAD = 1024  # bytes a file is known by, when it has as many
SAMPLE = 64 << 10  # bytes looked at to tell the format
MOST_FILES = 100_000
DEEPEST_FOLDER = 8
GENERATIONS = 64


@dataclass(frozen=True, slots=True)
class Source:
    """Where accesses come from: log files of one cache's clients.

    `paths` are files, folders, globs or `-` (standard input). `registry` is the upstream that
    unprefixed names belong to; None takes the logged host, else docker.io. `rewrite` maps name
    prefixes to registries, the longest fitting one wins: `{"ghcr-proxy/": "ghcr.io/"}`. `timezone`
    is that of stamps that carry none. `keys` tell the format `nginx-json` where fields stand. With a
    `client_key` clients and users are kept under pseudonyms alone (`logs.privacy`). Lines may name any
    site, or those of `sites` alone.
    """

    name: str = "default"
    paths: tuple[str, ...] = ()
    site: str = "default"
    registry: str | None = None
    rewrite: Mapping[str, str] = field(default_factory=dict)
    format: str = "auto"
    timezone: str = "UTC"
    keys: Mapping[str, str] = field(default_factory=dict)
    client_key: bytes | None = field(default=None, repr=False)
    sites: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a file was read, in decompressed bytes.

    `offset` is the first line of the oldest session still open: reading resumes there. `seen` is the
    end of all that was read, an unfinished last line included. `check` is a hash of the bytes just
    before `seen`, which tells this file from another one with the same head.
    """

    offset: int
    seen: int
    check: int


@dataclass(frozen=True, slots=True)
class Known:
    """A file that was identified: `id` names it in the lake; `progress` is None when it is new.

    `head` is how many of its first bytes it is known by, a power of two. `unread` tells whether there
    is anything after `progress.seen`.
    """

    id: int
    head: int
    progress: Progress | None
    unread: bool = True


# ------------------------------------------------------------------ which files


def expand(pattern: str) -> list[str]:
    """The files that a path, a folder or a glob means, sorted; UnreadableInput when there is none.

    A folder means the files in it, hidden and temporary ones left out.
    """
    if pattern == STDIN or Path(pattern).is_file():
        return [pattern]
    if Path(pattern).is_dir():
        found = _files_in(pattern)
        if not found:
            raise UnreadableInput(f"{pattern} holds no log file; give a file, a folder of logs or a glob")
        return found
    if not glob.has_magic(pattern):
        if Path(pattern).exists():
            return [pattern]
        raise UnreadableInput(f"{pattern} does not exist; give a file, a folder, a glob or - for stdin")
    found = sorted(path for path in glob.iglob(pattern, recursive=True) if Path(path).is_file())
    if not found:
        raise UnreadableInput(f"no file fits {pattern}; example: '/var/log/registry/*.log*'")
    return _bounded(found, pattern)


def _files_in(folder: str) -> list[str]:
    found = []
    for place, folders, names in os.walk(folder):
        depth = len(Path(place).relative_to(folder).parts)
        folders[:] = sorted(n for n in folders if not n.startswith(".")) if depth < DEEPEST_FOLDER else []
        found += [str(Path(place) / name) for name in names if not name.startswith(".")]
    logs = [path for path in found if is_log(path) and Path(path).is_file()]
    return _bounded(sorted(logs), folder)


def is_log(name: str) -> bool:
    """Whether a name is not one that editors and copies in progress give to their temporary files."""
    return not name.endswith((".tmp", ".swp", "~"))


def _bounded(found: list[str], pattern: str) -> list[str]:
    if len(found) > MOST_FILES:
        raise UnreadableInput(f"{pattern} means {len(found)} files; at most {MOST_FILES} at once")
    return found


# ------------------------------------------------------------------ which file is this


def identify(
    path: str, site: str, load: Callable[[int], Progress | None], heads: int = 2 * HEAD - 1
) -> Known:
    """Find out which file stands at `path`, and how far it was read for `site`.

    `load` gives the progress committed under an id; `heads` is the sum of the head lengths that any
    file was ever known by, so that others need not be tried. Heads are tried from the longest to the
    shortest, so that a file keeps the identity it had when it was short. Another file with an equal
    head shows by other bytes before the place read up to: it becomes the next generation. A file
    that ends before that place, though it has a full head, is an older copy: there is nothing to
    read. Raises UnreadableInput for an empty file and for UTF-16.
    """
    head = streams.head(path, HEAD)
    refuse(path, head)
    for length in (length for length in _lengths(head) if length & heads):
        for generation in range(GENERATIONS):
            id = _id(site, head[:length], generation)
            progress = load(id)
            if progress is None:
                break
            check, unread = streams.probe(path, progress.seen)
            older_copy = check is None and length == HEAD
            if check == progress.check or older_copy:
                return Known(id, length, progress, unread)
    return _new(path, site, head, load)


def _new(path: str, site: str, head: bytes, load: Callable[[int], Progress | None]) -> Known:
    length = _lengths(head)[0]
    for generation in range(GENERATIONS):
        id = _id(site, head[:length], generation)
        if load(id) is None:
            return Known(id, length, None)
    raise UnreadableInput(f"{path} begins as {GENERATIONS} other files did; it cannot be told from them")


def refuse(path: str, head: bytes) -> None:
    """UnreadableInput for a file that begins with nothing, or with UTF-16."""
    if not head:
        raise UnreadableInput(f"{path} is empty: nothing to read")
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UnreadableInput(f"{path} is UTF-16; convert it: iconv -f UTF-16 -t UTF-8")


def _lengths(head: bytes) -> list[int]:
    """Powers of two that `head` is long enough for, the largest first."""
    return [1 << power for power in reversed(range(HEAD.bit_length())) if 1 << power <= len(head)]


def _id(site: str, head: bytes, generation: int) -> int:
    return streams.fingerprint(b"\0".join([site.encode(), str(generation).encode(), head]))


# ------------------------------------------------------------------ progress, as a transaction holds it


HEADS = "file-heads"
"""Under this name: the sum of the head lengths that any file was ever known by."""


def saved(id: int, progress: Progress) -> dict[str, int]:
    """What to commit under which names."""
    return {f"file-{id:x}-{part}": getattr(progress, part) for part in ("offset", "seen", "check")}


def loaded(id: int, find: Callable[[str], int | None]) -> Progress | None:
    """The progress of file `id`, where `find` gives what was committed under a name."""
    offset = find(f"file-{id:x}-offset")
    if offset is None:
        return None
    return Progress(offset, find(f"file-{id:x}-seen") or 0, find(f"file-{id:x}-check") or 0)


@contextmanager
def kept(lines: Iterable[bytes]) -> Iterator[str]:
    """The path of a temporary file of `lines`, each with its newline."""
    with tempfile.NamedTemporaryFile(prefix="prewarm-") as copy:
        copy.writelines(lines)
        copy.flush()
        yield copy.name


@contextmanager
def spooled(stream: BinaryIO | None = None) -> Iterator[str]:
    """The path of a temporary copy of `stream` (standard input), since a pipe cannot be read twice."""
    with tempfile.NamedTemporaryFile(prefix="prewarm-") as copy:
        shutil.copyfileobj(sys.stdin.buffer if stream is None else stream, copy, 1 << 20)
        copy.flush()
        yield copy.name
