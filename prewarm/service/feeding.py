"""Logs that are followed and deliveries that are taken, on one thread beside the service."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from prewarm.errors import LakeError, PrewarmError, SettingsError
from prewarm.lake import Lake
from prewarm.pipeline.logs.feed import feed
from prewarm.pipeline.logs.follow import follow
from prewarm.pipeline.logs.inbox import Inbox
from prewarm.pipeline.warming.caches import state_folder
from prewarm.service.problems import DEFECTS

if TYPE_CHECKING:
    from prewarm.pipeline.logs.ingest import IngestResult
    from prewarm.settings import Settings

log = logging.getLogger(__name__)

AGAIN = 5.0  # seconds after which what failed is tried again


class Feed:
    """What comes into the lake while the service runs."""

    def __init__(self, settings: Settings, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._now = now
        self._lake = Lake.open(settings.lake)
        self._sources = [settings.source(name) for name in settings.logs()] if settings.service.follow else []
        self._stop = threading.Event()
        self._opening = threading.Lock()
        self._inbox: Inbox | None = None
        self._told: set[str] = set()
        self.taken: Counter[tuple[str, str]] = Counter()  # records by source and what became of them
        self.trouble: str | None = None  # why nothing comes into the lake just now

    @property
    def waiting(self) -> int:
        """Bytes that were acknowledged and that the lake does not have yet."""
        return self._inbox.waiting if self._inbox else 0

    def inbox(self) -> Inbox:
        """The inbox, which is opened when it is needed first. Raises LakeError when it cannot be."""
        with self._opening:
            if self._inbox is None:
                self._inbox = Inbox(self._folder(), self._settings.service.inbox_limit)
            return self._inbox

    @contextmanager
    def kept_up(self) -> Iterator[None]:
        """Within, logs are followed and deliveries are read."""
        self._stop.clear()
        thread = threading.Thread(target=self._work, name="feed")
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
            with self._opening:
                if self._inbox is not None:
                    self._inbox.close()
                    self._inbox = None

    def _folder(self) -> Path:
        given = self._settings.service.inbox
        if given is None and "://" in self._settings.lake:
            raise SettingsError(
                "a lake at a URL needs a folder where deliveries wait: "
                'service.inbox = "/var/lib/prewarm/inbox" in prewarm.toml'
            )
        return given or state_folder(self._lake) / "inbox"

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                self._open_what_waits()
                gap = self._settings.demand.session_gap
                for result in follow(
                    self._lake, self._sources, pause=self._pause, stopping=self._stop.is_set, gap=gap
                ):
                    self._note(result)
            except PrewarmError as refused:
                self._complain(str(refused))
            except DEFECTS:  # it must not end the thread: the log and the metrics tell, and it tries again
                log.exception("logs could not be read")
                self.trouble = "a defect; the service's log says which"
            self._stop.wait(AGAIN)

    def _open_what_waits(self) -> None:
        """Deliveries of an earlier life are read without waiting for a new one."""
        try:
            if (self._folder() / "log").exists():
                self.inbox()
        except (LakeError, SettingsError) as refused:
            self._complain(str(refused))

    def _pause(self) -> bool:
        """Between two looks at the logs: read what was delivered, then wait."""
        if self._inbox is not None:
            source_of, gap = self._settings.source, self._settings.demand.session_gap
            self._note(
                feed(self._lake, self._inbox, source_of, now=self._now(), gap=gap, stopping=self._stop.is_set)
            )
        self.trouble = None
        return self._stop.wait(self._settings.service.refresh / timedelta(seconds=1))

    def _note(self, result: IngestResult) -> None:
        if result.lines:
            log.info(
                "read", extra={"lines": result.lines, "pulls": result.pulls, "malformed": result.malformed}
            )
        new = [warning for warning in result.warnings if warning not in self._told]
        self._told.update(new[:1000])
        for warning in new:
            log.warning("%s", warning)

    def _complain(self, trouble: str) -> None:
        if trouble != self.trouble:
            log.warning("%s", trouble)
        self.trouble = trouble
