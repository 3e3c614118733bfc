"""Deliveries on their way into the lake: acknowledged once they are on disk, read into the lake later.

A delivery is appended to a segment of a write-ahead log and synchronised; many that come together share
one write. From time to time the segments are moved, in order and each exactly once, to the end of spools:
plain log files, one for each source and kind, which `ingest` reads as it reads any log. So a kill at any
moment loses nothing that was acknowledged, and doubles nothing. Who may speak of some sites alone has spools
of its own, so that what is read later is held to them.

    inbox/log/000000000007             frames: a header line, the lines, their checksum in the header
    inbox/done/000000000006-1764489600 moved; kept for an hour, so that what is delivered again is known
    inbox/spool/mirror/distribution/000001.ndjson
    inbox/moving.json                  how long each spool was before the segment that is being moved
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import queue
import threading
import zlib
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from prewarm.errors import Full, LakeError
from prewarm.logs.deliveries import Record
from prewarm.pipeline.durable import replace_file, sync_folder

SEGMENT = 16 << 20  # bytes from which on a segment is full
SPOOL = 32 << 20  # and a spool
TOGETHER = 4 << 20  # bytes that one write takes
REMEMBERED = 500_000  # ids
KEPT = 3600  # seconds that a segment is kept after it was moved
MOST_KEPT = 256 << 20  # bytes of those
LIMIT = 256 << 20  # bytes that may wait for the lake
BOUND = "sites.json"  # beside the spools of who may speak of these sites alone


Sites = frozenset[str] | None
"""The sites that lines may name; None for any."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a delivery: records that are safe now, and those that were so before."""

    accepted: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class Spool:
    """A log file that `ingest` reads: lines of one kind that one source delivered."""

    source: str
    kind: str
    path: Path
    newest: bool  # it still grows
    sites: Sites = None


@dataclass(frozen=True, slots=True)
class _Frame:
    source: str
    kind: str
    ids: list[int]
    text: bytes
    sites: Sites = None


@dataclass(slots=True)
class _Waiting:
    source: str
    records: Sequence[Record]
    sites: Sites = None
    done: Future[Receipt] = field(default_factory=Future)


class Inbox:
    """The deliveries of one lake. One process at a time has it open; raises LakeError otherwise."""

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self._folder = folder
        self._limit = limit
        self._log, self._done, self._spools = (folder / each for each in ("log", "done", "spool"))
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # over the open segment and what is known of ids
        self._segment: Any = None
        self._number = 0
        self._known: OrderedDict[int, None] = OrderedDict()
        self._size = 0  # bytes that the lake does not have yet
        self._spooled = 0  # of those, bytes in spools
        self._closed = False
        with _told(folder):
            for each in (self._log, self._done, self._spools):
                each.mkdir(parents=True, exist_ok=True)
            self._owner = _own(folder)
            self._recover()
        self._writer = threading.Thread(target=self._write_all, name="inbox", daemon=True)
        self._writer.start()

    @property
    def waiting(self) -> int:
        """Bytes that were acknowledged and that the lake does not have yet."""
        return self._size

    def accept(self, source: str, records: Sequence[Record], sites: Sites = None) -> Future[Receipt]:
        """Take a delivery; the result comes when it is on disk. Raises Full when too much waits.

        `sites` are those that its sender may speak of.
        """
        size = sum(len(each.text) for each in records)
        if self._closed or self._size + size > self._limit:
            raise Full(
                f"{self._size / 1e6:,.0f} MB wait for the lake, of {self._limit / 1e6:,.0f} MB that may; "
                "send this again later"
            )
        waiting = _Waiting(source, records, sites)
        self._queue.put(waiting)
        return waiting.done

    def move(self, now: datetime) -> int:
        """Move what was acknowledged to the spools; the number of segments. For one thread."""
        with self._lock:
            self._seal()
        moved = 0
        with _told(self._folder):
            for path in _segments(self._log):
                self._move(path, now)
                moved += 1
            self._forget(now)
        return moved

    def spools(self) -> list[Spool]:
        """The spools that there are, the oldest of each source and kind first."""
        found = []
        for folder in sorted(self._spools.glob("*/*/")):
            paths = sorted(folder.iterdir())
            source, sites = unquote(folder.parent.name.partition("@")[0]), _sites_of(folder.parent)
            found += [Spool(source, folder.name, path, path == paths[-1], sites) for path in paths]
        return found

    def was_read(self) -> None:
        """The lake has everything that was moved so far."""
        with self._lock:
            self._size -= self._spooled
            self._spooled = 0

    def close(self) -> None:
        """Finish what was begun, and let another process have it."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._writer.join()
            with self._lock:
                self._seal()
            os.close(self._owner)

    # ------------------------------------------------------------------ writing, on its own thread

    def _write_all(self) -> None:
        while (first := self._queue.get()) is not None:
            group, size, last = [first], _size(first), False
            while size < TOGETHER:
                try:
                    more = self._queue.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    last = True
                    break
                group.append(more)
                size += _size(more)
            self._write(group)
            if last:
                return

    def _write(self, group: list[_Waiting]) -> None:
        with self._lock:
            fresh: dict[int, None] = {}
            frames, receipts = [], []
            for waiting in group:
                made, duplicates = self._frames(waiting, fresh)
                frames += made
                receipts.append(Receipt(len(waiting.records) - duplicates, duplicates))
            try:
                self._append(b"".join(map(_packed, frames)))
            except OSError as refused:
                failure = LakeError(f"{self._folder}: {refused.strerror}; nothing was taken, send it again")
                for waiting in group:
                    waiting.done.set_exception(failure)
                return
            self._remember(fresh)
            self._size += sum(len(frame.text) for frame in frames)
        for waiting, receipt in zip(group, receipts, strict=True):
            waiting.done.set_result(receipt)

    def _frames(self, waiting: _Waiting, fresh: dict[int, None]) -> tuple[list[_Frame], int]:
        """What is new of a delivery, a frame for each kind, and how much was known."""
        kinds: dict[str, list[Record]] = defaultdict(list)
        duplicates = 0
        for record in waiting.records:
            if record.id is not None and (record.id in self._known or record.id in fresh):
                duplicates += 1
                continue
            if record.id is not None:
                fresh[record.id] = None
            kinds[record.kind].append(record)
        return [
            _Frame(
                waiting.source,
                kind,
                [each.id for each in records if each.id is not None],
                b"".join(each.text + b"\n" for each in records),
                waiting.sites,
            )
            for kind, records in kinds.items()
        ], duplicates

    def _append(self, data: bytes) -> None:
        """Add to the open segment and have it on disk; a segment that failed is never written again."""
        if not data:
            return
        if self._segment is None:
            self._number += 1
            self._segment = (self._log / f"{self._number:012d}").open("xb", buffering=0)
            sync_folder(self._log)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[self._segment.write(rest) :]
            os.fdatasync(self._segment.fileno())
        except OSError:
            self._seal()
            raise
        if self._segment.tell() >= SEGMENT:
            self._seal()

    def _seal(self) -> None:
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def _remember(self, ids: Iterable[int]) -> None:
        self._known.update(dict.fromkeys(ids))
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    # ------------------------------------------------------------------ moving

    def _recover(self) -> None:
        """Take back what a kill left half moved; learn what was delivered before."""
        moving = self._folder / "moving.json"
        if moving.exists():
            told = json.loads(moving.read_bytes())
            if (self._log / told["segment"]).exists():
                for name, size in told["spools"].items():
                    with suppress(FileNotFoundError):
                        os.truncate(self._spools / name, size)
            moving.unlink()
        waiting = _segments(self._log)
        for path in [*_segments(self._done), *waiting]:
            for frame in _read(path):
                self._remember(frame.ids)
                self._size += len(frame.text) if path in waiting else 0
        self._number = max((int(path.name[:12]) for path in (*_segments(self._done), *waiting)), default=0)

    def _move(self, segment: Path, now: datetime) -> None:
        texts: dict[Path, list[bytes]] = defaultdict(list)
        for frame in _read(segment):
            texts[self._spool_of(frame)].append(frame.text)
        sizes = {path: path.stat().st_size if path.exists() else 0 for path in texts}
        intent = {
            "segment": segment.name,
            "spools": {str(path.relative_to(self._spools)): size for path, size in sizes.items()},
        }
        replace_file(self._folder / "moving.json", json.dumps(intent).encode())
        moved = 0
        for path, found in texts.items():
            with path.open("ab") as file:
                moved += sum(file.write(text) for text in found)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(path.parent)
        segment.rename(self._done / f"{segment.name}-{int(now.timestamp())}")
        sync_folder(self._done)
        sync_folder(self._log)
        (self._folder / "moving.json").unlink()
        with self._lock:
            self._spooled += moved

    def _spool_of(self, frame: _Frame) -> Path:
        """The file that lines of this source and kind go to."""
        folder = self._spools / _folder(frame.source, frame.sites) / frame.kind
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            if frame.sites is not None:
                replace_file(folder.parent / BOUND, json.dumps(sorted(frame.sites)).encode())
            folder.mkdir()
        last = max(folder.iterdir(), default=None)
        if last is None or last.stat().st_size >= SPOOL:
            last = folder / f"{0 if last is None else int(last.stem) + 1:06d}.ndjson"
        return last

    def _forget(self, now: datetime) -> None:
        """Remove segments that were moved long ago, and the oldest when they are many."""
        kept = 0
        for path in reversed(_segments(self._done)):
            moved_at = int(path.name.partition("-")[2])
            kept += path.stat().st_size
            if now.timestamp() - moved_at > KEPT or kept > MOST_KEPT:
                path.unlink()


def _folder(source: str, sites: Sites) -> str:
    """`mirror`, or `mirror@3f2a…` for who may speak of some sites alone, which BOUND lists in it."""
    name = quote(source, safe="")
    if sites is None:
        return name
    return f"{name}@{hashlib.blake2b(json.dumps(sorted(sites)).encode(), digest_size=8).hexdigest()}"


def _sites_of(folder: Path) -> Sites:
    """The sites that lines of this folder's spools may name; none at all where nobody knows them any more."""
    if "@" not in folder.name:
        return None
    try:
        return frozenset(json.loads((folder / BOUND).read_text()))
    except (OSError, ValueError):
        return frozenset()


def _size(waiting: _Waiting) -> int:
    return sum(len(each.text) for each in waiting.records)


def _packed(frame: _Frame) -> bytes:
    head = {
        "source": frame.source,
        "kind": frame.kind,
        "ids": frame.ids,
        "size": len(frame.text),
        "crc": zlib.crc32(frame.text),
        "sites": None if frame.sites is None else sorted(frame.sites),
    }
    return json.dumps(head, separators=(",", ":")).encode() + b"\n" + frame.text


def _read(path: Path) -> Iterator[_Frame]:
    """The frames of a segment, up to the first that a kill has torn, which was never acknowledged."""
    with path.open("rb") as file:
        while head := file.readline():
            try:
                told = json.loads(head)
                text = file.read(told["size"])
                if not head.endswith(b"\n") or zlib.crc32(text) != told["crc"]:
                    return
                sites = told.get("sites")
                bound = None if sites is None else frozenset(sites)
                yield _Frame(told["source"], told["kind"], told["ids"], text, bound)
            except (ValueError, LookupError, TypeError):
                return


def _segments(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def _own(folder: Path) -> int:
    """A kernel lock on the inbox, which dies with its process."""
    descriptor = os.open(folder / "owner", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise LakeError(f"{folder}: another service takes this lake's deliveries; send them there") from None
    return descriptor


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """What the file system refuses is said as a LakeError."""
    try:
        yield
    except OSError as refused:
        raise LakeError(f"{folder} cannot be used: {refused.strerror}") from refused
