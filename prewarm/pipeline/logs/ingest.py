"""`ingest`: logs become pulls in the lake, exactly once.

The lines of one source are read together, in the order of time, whatever files hold them. Requests
wait until their session is over (`logs.settling`); then its pulls are committed in one transaction
with how far each file was read. A kill at any moment loses only what is read again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from heapq import heapify, heappop, heapreplace
from pathlib import Path
from typing import Any

import polars as pl

from prewarm import compute, plugins
from prewarm.errors import UnreadableInput, hide_secrets
from prewarm.lake import Lake
from prewarm.logs import archives, documents, files, parquet, pulls, streams
from prewarm.logs.files import Source
from prewarm.pipeline.logs.reading import PACE, Cursor, Log, Pace, Read, check_rewrites, look
from prewarm.pipeline.logs.settlement import Settlement

Advance = Callable[[int, int | None], None]


@dataclass(slots=True)
class FileReport:
    """What one file gave in this call; lines read before are not counted again."""

    path: str
    format: str
    wrapper: str | None = None
    lines: int = 0
    accesses: int = 0
    malformed: int = 0


@dataclass(slots=True)
class IngestResult:
    """What one call of `ingest` did.

    `accesses` counts requests after merging their lines, before anything is set aside; 0 for sources
    of finished pulls. `pulls` is how many the lake holds more than before, uses of what was there
    already not counted. `duplicates` are pulls
    left out because another source had told of them (equal native ids). `skewed` counts lines that are kept
    though their clock was wrong, by what gives it away (`logs.skew`).
    """

    lines: int = 0
    accesses: int = 0
    pulls: int = 0
    pushes: int = 0
    ignored: dict[str, int] = field(default_factory=dict)
    malformed_reasons: dict[str, int] = field(default_factory=dict)
    skewed: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    duplicates: int = 0
    files: list[FileReport] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def malformed(self) -> int:
        """Lines that fit no grammar."""
        return sum(self.malformed_reasons.values())

    def to_dict(self) -> dict[str, Any]:
        """The object that `prewarm ingest --json` prints."""
        named = {each: getattr(self, each) for each in self.__slots__ if each != "files"}
        reports = [{each: getattr(report, each) for each in report.__slots__} for report in self.files]
        return named | {"malformed": self.malformed, "files": reports}


def ingest(
    lake: Lake,
    sources: Sequence[Source],
    *,
    gap: timedelta = pulls.GAP,
    progress: Advance = lambda done, total: None,
    executor: Executor | None = None,
    pace: Pace = PACE,
    stopping: Callable[[], bool] = lambda: False,
    unchanged: Callable[[str], bool] = lambda path: False,
    watching: Callable[[pl.DataFrame], None] = lambda accesses: None,
) -> IngestResult:
    """Read what is new in `sources` into `lake`.

    Sessions end after an idle `gap`. `progress` is told the bytes read and, where it is known, their
    total. `executor` runs the parsing; None takes a thread a core. When `stopping` answers True,
    reading ends early, with all that was read committed. Files for which `unchanged` answers True
    are not looked at. `watching` sees the accesses of each chunk that is new, refused ones as well.

    Raises UnreadableInput or UnknownFormat before anything is written when an input named by its path,
    or every input, cannot be read; others are skipped with a warning. Raises LakeError when another
    process reads the same file.
    """
    began = time.perf_counter()
    result = IngestResult(warnings=list(plugins.usable(plugins.FORMATS)[1]))
    with ExitStack() as stack:
        opened = _open_sources(sources, result, stack, unchanged)
        logs = [log for _, found in opened for log in found]
        bar = _Bar(progress, logs)
        executor = executor or stack.enter_context(compute.threads())
        for source, found in opened:
            _read_source(_Work(lake, source, gap, pace, executor, bar, stopping, watching), found, result)
    result.seconds = time.perf_counter() - began
    return result


def survey(source: Source) -> tuple[list[FileReport], list[str]]:
    """The files that a source has now with their formats, nothing read yet; and what is wrong with others.

    Raises UnreadableInput or UnknownFormat when none of them can be read.
    """
    check_rewrites(source)
    result = IngestResult()
    with ExitStack() as stack:
        logs = _open_files(source, result, stack, lambda path: False)
    return [_report(log) for log in logs], result.warnings


# ------------------------------------------------------------------ what there is to read


def _open_sources(
    sources: Sequence[Source], result: IngestResult, stack: ExitStack, unchanged: Callable[[str], bool]
) -> list[tuple[Source, list[Log]]]:
    """Every file of every source, looked at once; one bad source among several is a warning."""
    opened = []
    failures: list[UnreadableInput] = []
    for source in sources:
        check_rewrites(source)
        try:
            opened.append((source, _open_files(source, result, stack, unchanged)))
        except UnreadableInput as error:
            failures.append(error)
    if failures and not opened:
        raise failures[0]
    result.warnings += [str(error) for error in failures]
    return opened


def _open_files(
    source: Source, result: IngestResult, stack: ExitStack, unchanged: Callable[[str], bool]
) -> list[Log]:
    opened: dict[str, Log] = {}
    failures: list[UnreadableInput] = []
    likely: Log | None = None
    for pattern in source.paths:
        found = [path for path in files.expand(pattern) if not unchanged(path)]
        for shown, path in _rereadable(found, pattern, stack, result.warnings.append):
            try:
                path = _as_lines(path, stack, result.warnings.append)
                if os.path.realpath(path) in opened:
                    continue
                opened[os.path.realpath(path)] = log = look(path, shown, source, likely)
                likely = log
            except UnreadableInput as error:
                if shown == pattern and not _is_empty(path):
                    raise
                failures.append(error)
    if failures and not opened:
        raise failures[0]
    result.warnings += [f"{error}; skipped" for error in failures]
    return list(opened.values())


def _rereadable(
    found: list[str], pattern: str, stack: ExitStack, warn: streams.Warn
) -> Iterator[tuple[str, str]]:
    """The names of files for people, and where they can be read again and again."""
    for shown in found:
        path = _kept(shown, stack)
        if not _is_archive(path):
            yield shown, path
            continue
        try:
            members = stack.enter_context(archives.unpacked(path, warn))
        except UnreadableInput as error:
            if shown == pattern:
                raise
            warn(f"{error}; skipped")
        else:
            if not members:
                warn(f"{shown} holds no log file")
            yield from ((f"{shown}/{name}", copy) for name, copy in members.items())


def _is_archive(path: str) -> bool:
    try:
        return archives.is_archive(streams.head(path, archives.SAMPLE))
    except UnreadableInput:  # `look` tells
        return False


def _kept(path: str, stack: ExitStack) -> str:
    """`path`, or a copy of what cannot be read twice: standard input, a named pipe."""
    if path == files.STDIN:
        return stack.enter_context(files.spooled())
    if Path(path).is_fifo():
        return stack.enter_context(files.spooled(stack.enter_context(Path(path).open("rb"))))
    return path


def _as_lines(path: str, stack: ExitStack, warn: streams.Warn) -> str:
    """`path`, or a copy with one record a line when it is a JSON document or Parquet."""
    try:
        head = streams.head(path, documents.SAMPLE)
    except UnreadableInput:  # `look` tells
        return path
    if parquet.is_parquet(head):
        return stack.enter_context(files.kept(parquet.unroll(path)))
    if not documents.is_document(head):
        return path
    return stack.enter_context(files.kept(documents.unroll(streams.blocks(path, warn=warn))))


def _report(log: Log) -> FileReport:
    return FileReport(log.shown, log.format.name, ", ".join(log.wrappers) or None)


def _is_empty(path: str) -> bool:
    try:
        return not streams.head(path, 1)
    except UnreadableInput:
        return False


# ------------------------------------------------------------------ reading it


@dataclass(frozen=True, slots=True)
class _Work:
    """What reading one source needs, besides its files."""

    lake: Lake
    source: Source
    gap: timedelta
    pace: Pace
    executor: Executor
    bar: _Bar
    stopping: Callable[[], bool]
    watching: Callable[[pl.DataFrame], None]


def _read_source(work: _Work, logs: list[Log], result: IngestResult) -> None:
    """Read the files together; of files that begin alike the largest comes first, then the others."""
    reports = {log.path: _report(log) for log in logs}
    result.files += reports.values()
    waiting = sorted(logs, key=lambda log: -log.size)
    while waiting and not work.stopping():
        cursors, waiting = _identify(work, waiting)
        if any(cursor.known.unread for cursor in cursors):
            settlement = Settlement(work.lake, work.source, cursors, work.gap, work.pace)
            _read(work, settlement, cursors, result, reports)
            result.pulls += settlement.added
            result.pushes += settlement.pushed
            result.duplicates += settlement.duplicates


def _identify(work: _Work, logs: list[Log]) -> tuple[list[Cursor], list[Log]]:
    """A cursor for every file, in the order of time; and the files that may be copies of those."""
    snapshot = work.lake.snapshot("pulls")
    heads = snapshot.progress(files.HEADS) or 0
    load = partial(files.loaded, find=snapshot.progress)
    cursors: dict[int, Cursor] = {}
    later: list[Log] = []
    for log in logs:
        known = files.identify(log.path, work.source.site, load, heads)
        if known.id in cursors:
            later.append(log)
        else:
            cursors[known.id] = Cursor(log, 0, known, log.newest, work.pace)
    ordered = sorted(cursors.values(), key=lambda cursor: (cursor.front, cursor.log.shown))
    for number, cursor in enumerate(ordered):
        cursor.number = number
    return ordered, later


def _read(
    work: _Work,
    settlement: Settlement,
    cursors: list[Cursor],
    result: IngestResult,
    reports: Mapping[str, FileReport],
) -> None:
    """Always read on in the file that is furthest behind, so that lines come in the order of time."""
    ahead = compute.cores() + 1
    try:
        behind = [(cursor.front, cursor.number, cursor) for cursor in cursors if not cursor.finished]
        heapify(behind)
        while behind and not work.stopping():
            cursor = behind[0][-1]
            read = cursor.advance(work.executor, ahead, work.source, result.warnings.append)
            if read is None:
                heappop(behind)
                continue
            heapreplace(behind, (cursor.front, cursor.number, cursor))
            work.bar.advance(read.chunk.end - read.chunk.offset)
            if cursor.is_new(read):
                _count(read, result, reports[cursor.log.path])
                work.watching(read.accesses)
            settlement.add(cursor, read)
        if any(cursor.seen for cursor in cursors):
            settlement.finish()
    finally:
        for cursor in cursors:
            cursor.close()
    for cursor in cursors:
        if cursor.cut:
            result.warnings.append(
                f"{cursor.log.shown} ends in the middle of a line; it is read when its end is written"
            )
        counted = settlement.accesses.get(cursor.number, 0)
        reports[cursor.log.path].accesses += counted
        result.accesses += counted


def _count(read: Read, result: IngestResult, report: FileReport) -> None:
    report.lines += read.lines
    report.malformed += sum(read.malformed.values())
    result.lines += read.lines
    for total, counts in (
        (result.ignored, read.ignored),
        (result.malformed_reasons, read.malformed),
        (result.skewed, read.skewed),
    ):
        for reason, count in counts.items():
            total[reason] = total.get(reason, 0) + count
    for reason, example in read.examples.items():
        result.examples.setdefault(reason, hide_secrets(example))


class _Bar:
    """Bytes read so far over all files; the total only when no file is compressed."""

    def __init__(self, tell: Advance, logs: list[Log]) -> None:
        self.tell = tell
        self.done = 0
        plain = not any(streams.is_compressed(log.path) for log in logs)
        self.total = sum(log.size for log in logs) if plain else None

    def advance(self, size: int) -> None:
        self.done += size
        self.tell(self.done, self.total)
