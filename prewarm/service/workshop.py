"""What takes a while is made on one thread beside the service, once for each state of the lake."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from fastapi import HTTPException

T = TypeVar("T")

PATIENCE = 10.0  # seconds that a request waits for it
MOST = 8  # pieces of work that wait, and requests that wait for them
KEPT = 32  # answers


class Workshop:
    """Makes answers one at a time, and keeps the last few.

    A request waits a little; then it is told to come back, while the work goes on. So neither readers nor
    the event loop wait for a model or the lake, however many ask.
    """

    def __init__(self, patience: float = PATIENCE, most: int = MOST) -> None:
        self._patience = patience
        self._most = most
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "workshop")
        self._made: OrderedDict[Hashable, Future[Any]] = OrderedDict()
        self._waiting = 0
        self._begun: dict[str, tuple[Hashable, Future[Any]]] = {}
        self._latest: dict[str, Any] = {}

    def answer(self, question: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives for `question`; for a thread that may wait.

        Raises HTTPException 503 with Retry-After when it is not there in time, or when too many wait.
        """
        with self._lock:
            future = self._asked(question, make)
            self._waiting += 1
        try:
            wait([future], self._patience)
        finally:
            with self._lock:
                self._waiting -= 1
        if not future.done():
            raise _later("this is being computed")
        if future.exception() is not None:
            with self._lock:  # the next one who asks tries again
                if self._made.get(question) is future:
                    del self._made[question]
        found: T = future.result()
        return found

    def latest(self, kind: str, question: Hashable, make: Callable[[T | None], T]) -> T | None:
        """What was made last for any question of this kind; None before the first. Waits for nothing.

        A new question is begun, from the answer before it, unless one of its kind is going on.
        """
        with self._lock:
            asked, future = self._begun.get(kind, (None, None))
            if future is not None and future.done() and future.exception() is None:
                self._latest[kind] = future.result()
            found: T | None = self._latest.get(kind)
            if asked != question and (future is None or future.done()):
                self._begun[kind] = (question, self._thread.submit(make, found))
            return found

    @property
    def made(self) -> int:
        """How many answers are kept, or being made."""
        return len(self._made)

    def close(self) -> None:
        """Begin nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _asked(self, question: Hashable, make: Callable[[], Any]) -> Future[Any]:
        future = self._made.get(question)
        going = sum(not each.done() for each in self._made.values())
        if self._waiting >= self._most or (future is None and going >= self._most):
            raise _later("much is being computed already")
        if future is None:
            future = self._made[question] = self._thread.submit(make)
            self._forget()
        self._made.move_to_end(question)
        return future

    def _forget(self) -> None:
        """Keep no more than the last few answers; work that goes on stays."""
        over = [key for key, made in self._made.items() if made.done()]
        for key in over[: max(len(self._made) - KEPT, 0)]:
            del self._made[key]


def _later(why: str) -> HTTPException:
    return HTTPException(503, f"{why}; ask again in a few seconds", {"Retry-After": "3"})
