"""The kill switch: while it is set, nothing warms, whoever asks, until somebody resumes.

It is a small file beside the locks of the caches, so that it binds every process that shares the lake's
folder, and a restart changes nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prewarm.errors import CacheError, Paused
from prewarm.pipeline.durable import replace_file
from prewarm.pipeline.warming.caches import state_folder

if TYPE_CHECKING:
    from prewarm.lake import Lake

EVERY = 0.5  # seconds between two looks at the switch while a run goes on
MAX_TEXT = 300


@dataclass(frozen=True, slots=True)
class Pause:
    """Since when nothing warms, who said so and why; None where the file does not tell."""

    since: datetime | None = None
    by: str | None = None
    why: str | None = None

    def __str__(self) -> str:
        since = f" since {self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since else ""
        by = f" by {self.by}" if self.by else ""
        return f"warming is paused{since}{by}{f' ({self.why})' if self.why else ''}"


def paused(lake: Lake) -> Pause | None:
    """The pause that binds now, or None. A file that cannot be understood is a pause, too."""
    try:
        text = _file(lake).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as refused:
        raise CacheError(f"the kill switch {_file(lake)} cannot be read: {refused.strerror}") from None
    with suppress(ValueError, TypeError, AttributeError):
        told: dict[str, Any] = json.loads(text)
        since = told.get("since")
        return Pause(datetime.fromisoformat(since) if since else None, told.get("by"), told.get("why"))
    return Pause()


def pause(lake: Lake, now: datetime, by: str, why: str | None = None) -> Pause:
    """Set the switch; runs that are going on end within a second. A pause that binds already stays."""
    standing = paused(lake)
    if standing is not None:
        return standing
    made = Pause(now.astimezone(UTC), by[:MAX_TEXT], why[:MAX_TEXT] if why else None)
    path = _file(lake)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(asdict(made), default=datetime.isoformat).encode())
    except OSError as refused:
        raise CacheError(f"the kill switch {path} cannot be set: {refused.strerror}") from None
    return made


def resume(lake: Lake) -> Pause | None:
    """Unset the switch; the pause that ends, or None when there was none."""
    standing = paused(lake)
    try:
        _file(lake).unlink(missing_ok=True)
    except OSError as refused:
        raise CacheError(f"the kill switch {_file(lake)} cannot be unset: {refused.strerror}") from None
    return standing


def refuse_when_paused(lake: Lake) -> None:
    """Raise Paused while the switch is set."""
    standing = paused(lake)
    if standing is not None:
        raise Paused(f"{standing}; `prewarm resume` ends that")


@asynccontextmanager
async def stopping_when_paused(lake: Lake, stop: asyncio.Event) -> AsyncIterator[None]:
    """Within, `stop` is set soon after somebody has set the switch."""
    watching = asyncio.ensure_future(_watch(lake, stop))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _watch(lake: Lake, stop: asyncio.Event) -> None:
    while paused(lake) is None and not stop.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), EVERY)
    stop.set()


def _file(lake: Lake) -> Path:
    return state_folder(lake) / "paused.json"
