"""What a run is doing, in a file that outlives it.

The journal writes outcomes to the lake every few seconds. Between two writes, and for images on their way,
a killed run would leave nothing: the pulls that an engine made for it would be taken for demand. So each
start and each end is a line of a small file, which is removed when the lake has everything; the next run of
the cache, which holds its lock, reads what is left and accounts for it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from prewarm.warming.executor import STATES, Outcome

KILLED = "the run was killed while this image was on its way"
TIMES = ("started_at", "finished_at")
MAX_TRAIL = 64 << 20  # bytes that are read


@dataclass(frozen=True, slots=True)
class Left:
    """What a run left behind: its columns of the outcome table, and one outcome for each image it began."""

    shared: dict[str, str | None]
    outcomes: list[Outcome] = field(default_factory=list)


class Trail:
    """The file of one run. One that cannot be written is done without: it matters only after a kill."""

    def __init__(self, path: Path, clock: Callable[[], datetime], digests: Mapping[str, str | None]) -> None:
        """`digests` are those of the plan, by image."""
        self._path = path
        self._clock = clock
        self._digests = digests
        self._open: set[str] = set()  # images on their way

    def begin(self, shared: Mapping[str, str | None]) -> None:
        """Start the file anew; `shared` are the run's columns of the outcome table."""
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps({"run": dict(shared)}) + "\n", encoding="utf-8")

    def started(self, image: str) -> None:
        """The image is on its way."""
        self._open.add(image)
        self._add({"started": image, "digest": self._digests.get(image)})

    def ended(self, outcome: Outcome) -> None:
        """The image has its outcome."""
        self._open.discard(outcome.image)
        times = {name: _text(getattr(outcome, name)) for name in TIMES}
        self._add({"ended": asdict(outcome) | times})

    def alive(self) -> None:
        """The run goes on."""
        self._add({})

    def close(self) -> None:
        """The lake has every outcome; the file stays when images are still on their way."""
        if not self._open:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _add(self, line: dict[str, Any]) -> None:
        text = json.dumps(line | {"at": _text(self._clock())}) + "\n"
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                os.write(descriptor, text.encode())
            finally:
                os.close(descriptor)


def trail_path(folder: Path, cache: str) -> Path:
    """Where the trail of a cache's run lies; `folder` is that of the lake's state."""
    return folder / "caches" / quote(cache, safe="") / "run.ndjson"


def left_behind(path: Path) -> Left | None:
    """What the last run of a cache left; None when it ended in order.

    An image that was on its way is `cancelled` at the last moment at which the run was seen alive. A line
    that the kill has torn is not read.
    """
    try:
        with path.open("rb") as file:
            lines = file.read(MAX_TRAIL).split(b"\n")[:-1]
        table = [json.loads(line) for line in lines]
        return _account(table[0]["run"], table[1:]) if table else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        path.unlink(missing_ok=True)  # not ours, or spoilt: nothing can be told from it
        return None


def _account(shared: dict[str, str | None], lines: list[dict[str, Any]]) -> Left:
    begun: dict[str, Outcome] = {}
    ended: dict[str, Outcome] = {}
    for line in lines:
        if "started" in line:
            begun[line["started"]] = Outcome(
                line["started"],
                "cancelled",
                line["digest"],
                attempts=1,
                error=KILLED,
                started_at=_moment(line["at"]),
            )
        elif "ended" in line:
            outcome = _outcome(line["ended"])
            ended[outcome.image] = outcome
    seen = _moment(lines[-1]["at"]) if lines else None
    open_ones = [_killed(outcome, seen) for image, outcome in begun.items() if image not in ended]
    return Left(shared, [*ended.values(), *open_ones])


def _killed(outcome: Outcome, seen: datetime | None) -> Outcome:
    assert outcome.started_at is not None
    end = max(seen or outcome.started_at, outcome.started_at)
    return replace(outcome, finished_at=end, seconds=(end - outcome.started_at).total_seconds())


def _outcome(row: dict[str, Any]) -> Outcome:
    known = {each.name for each in fields(Outcome)}
    if not known >= row.keys() or row["state"] not in STATES:
        raise ValueError("no outcome")
    return Outcome(**row | {name: _moment(row[name]) for name in TIMES})


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
