"""What schedules have done, and which are paused: a small file that all services of a lake share."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from prewarm.errors import CacheError
from prewarm.pipeline.durable import replace_file
from prewarm.pipeline.warming.caches import state_folder

if TYPE_CHECKING:
    from prewarm.lake import Lake


@dataclass(frozen=True, slots=True)
class Entry:
    """One schedule: until when it is done, what happened last, whether it is paused."""

    until: datetime | None = None  # what was due before this is done, or too late
    last: datetime | None = None  # when something was begun or left out last
    what: str | None = None  # what that was, in words
    run: str | None = None  # the run or plan that came of it
    paused: bool = False


class Agenda:
    """The entries of one lake's schedules, by name."""

    def __init__(self, lake: Lake) -> None:
        self._path = state_folder(lake) / "schedules.json"

    def read(self) -> dict[str, Entry]:
        """Every entry. A file that cannot be understood is taken for a new one."""
        with suppress(FileNotFoundError, ValueError, TypeError, AttributeError, KeyError):
            told: dict[str, dict[str, Any]] = json.loads(self._path.read_text(encoding="utf-8"))
            return {name: _entry(row) for name, row in told.items()}
        return {}

    def change(self, name: str, decide: Callable[[Entry], Entry | None]) -> bool:
        """Write what `decide` makes of an entry; False when it decides on nothing.

        One process at a time decides, so that a start is claimed once.
        """
        with self._alone():
            entries = self.read()
            made = decide(entries.get(name, Entry()))
            if made is None:
                return False
            self._write(entries | {name: made})
            return True

    def pause(self, name: str, paused: bool) -> None:
        """Pause a schedule, or let it go on."""
        self.change(name, lambda entry: replace(entry, paused=paused))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            descriptor = os.open(self._path.with_suffix(".lock"), flags, 0o600)
        except OSError as refused:
            raise CacheError(f"{self._path} cannot be written: {refused.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _write(self, entries: dict[str, Entry]) -> None:
        rows = {name: asdict(entry) for name, entry in entries.items()}
        text = json.dumps(rows, default=datetime.isoformat)
        try:
            replace_file(self._path, text.encode())
        except OSError as refused:
            raise CacheError(f"{self._path} cannot be written: {refused.strerror}") from None


def _entry(row: dict[str, Any]) -> Entry:
    times = {name: datetime.fromisoformat(row[name]) if row[name] else None for name in ("until", "last")}
    return Entry(**row | times)
