"""`ingest --follow`: look at the logs again and again, until told to stop."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import BinaryIO

from prewarm.errors import UnreadableInput
from prewarm.lake import Lake
from prewarm.logs import files, pulls
from prewarm.logs.files import Source
from prewarm.pipeline.logs.ingest import Advance, IngestResult, ingest
from prewarm.pipeline.logs.reading import PACE, Pace

COMMITS = 1000
"""After so many commits the lake's small files are joined."""

MOST_HELD = 64
"""Files kept open between two looks: those written last."""

LOOKS_AFTER = 12
"""How many more times a file is looked at that lost its name: its writer may not have noticed yet."""

OPEN_FILES = Path("/proc/self/fd")


def follow(
    lake: Lake,
    sources: Sequence[Source],
    *,
    pause: Callable[[], bool],
    stopping: Callable[[], bool] = lambda: False,
    gap: timedelta = pulls.GAP,
    progress: Advance = lambda done, total: None,
    pace: Pace = PACE,
    commits: int = COMMITS,
) -> Iterator[IngestResult]:
    """Ingest what is new, pause, and so on; a result for each look that found something or has to warn.

    `pause` returns True when it was cut short because it is time to stop; `stopping` is asked while
    reading, which then ends with all that was read committed. Logs that are missing or cannot be
    read yet are warned of once, and read when they are back. After every `commits` versions the small
    files of the lake are joined.
    """
    with ExitStack() as stack:
        watches = [stack.enter_context(closing(_Watch(source))) for source in sources]
        told: list[str] = []
        done: dict[str, _State] = {}
        read = partial(ingest, lake, gap=gap, progress=progress, pace=pace, stopping=stopping)
        tidied = _version(lake)
        while True:
            result = _look(watches, read, done)
            warnings, result.warnings = result.warnings, [w for w in result.warnings if w not in told]
            told = warnings
            if result.lines or result.warnings:
                yield result
            if _version(lake) - tidied >= commits:
                tidied = _tidy(lake)
            if stopping() or pause():
                return


def _look(watches: list[_Watch], read: Callable[..., IngestResult], done: dict[str, _State]) -> IngestResult:
    """Read what has changed since it was `done`."""
    missing: list[str] = []
    present = [source for watch in watches if (source := watch.look(missing.append)).paths]
    now: dict[str, _State] = {}

    def unchanged(path: str) -> bool:
        state = _state(path)
        if state is not None:
            now[path] = state
        return state is not None and done.get(path) == state

    result = IngestResult()
    if present:
        try:
            result = read(present, unchanged=unchanged)
        except UnreadableInput as passing:  # a log that is being rotated may be empty for a moment
            missing.append(str(passing))
    for path in done.keys() - now.keys():
        del done[path]
    done |= {path: now[path] for path in _read_in(result, now)}
    result.warnings += missing
    return result


def _read_in(result: IngestResult, paths: Iterable[str]) -> list[str]:
    """Those of `paths` that were read, as themselves or as the members of an archive."""
    read = {report.path for report in result.files}
    return [path for path in paths if path in read or any(each.startswith(f"{path}/") for each in read)]


_State = tuple[int, int, int, int]
"""Which file stands at a path, its size and when it was written."""


def _state(path: str) -> _State | None:
    """None for what cannot be told by its state: standard input, a pipe, what is gone."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _version(lake: Lake) -> int:
    return lake.snapshot("pulls").version or 0


def _tidy(lake: Lake) -> int:
    for table in ("pulls", "carried"):
        lake.compact(table)
    return _version(lake)


class _Watch:
    """The files of one source, held open from one look to the next.

    So what is written to a file between a look and its renaming is read, too, whether or not the source's
    paths lead to its new name.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.held: dict[str, BinaryIO] = {}
        self.moved: dict[BinaryIO, int] = {}  # and how many looks are left to it

    def look(self, warn: Callable[[str], None]) -> Source:
        """The source with the paths that are there now, and the files that have lost theirs."""
        self._let_go()
        there: list[str] = []
        found: list[str] = []
        for pattern in self.source.paths:
            try:
                found += files.expand(pattern)
                there.append(pattern)
            except UnreadableInput as error:
                warn(str(error))
        self._hold(found)
        open_files = [str(OPEN_FILES / str(file.fileno())) for file in self.moved]
        return replace(self.source, paths=(*there, *open_files))

    def _let_go(self) -> None:
        for file, looks in list(self.moved.items()):
            if looks:
                self.moved[file] = looks - 1
            else:
                del self.moved[file]
                file.close()
        for path, file in list(self.held.items()):
            if not _stands_at(path, file):
                self.moved[self.held.pop(path)] = LOOKS_AFTER

    def _hold(self, paths: list[str]) -> None:
        """Keep those open that were written last."""
        plain = [path for path in paths if OPEN_FILES.is_dir() and Path(path).is_file()]
        wanted = sorted(plain, key=_written)[-MOST_HELD:]
        for path in self.held.keys() - wanted:
            self.held.pop(path).close()
        for path in wanted:
            if path not in self.held:
                with suppress(OSError):
                    self.held[path] = Path(path).open("rb")  # noqa: SIM115 - closed when it is let go

    def close(self) -> None:
        """Let go of all files."""
        for file in (*self.held.values(), *self.moved):
            file.close()


def _stands_at(path: str, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except OSError:
        return False


def _written(path: str) -> float:
    try:
        return Path(path).stat().st_mtime
    except OSError:
        return 0.0
