"""Where heavy work runs: any `concurrent.futures.Executor`.

Work is cut into pure, idempotent units, so local threads, local processes and a cluster's executor
(`dask.distributed.Client.get_executor()`) are one thing to the caller. Work that Polars or NumPy does
runs in threads, since they leave the interpreter's lock; Python's own needs processes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
A = TypeVar("A")
T = TypeVar("T")


class Inline(Executor):
    """Runs each call at once, here: for work too small to be worth a process, and for tests."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        return future


def cores() -> int:
    """The processors this process may use: a container's share, not the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads(workers: int | None = None) -> Executor:
    """A pool of `workers` threads (default: one a core); to be used in a `with`."""
    return ThreadPoolExecutor(workers or cores(), thread_name_prefix="prewarm")


@contextmanager
def processes(workers: int | None = None) -> Iterator[Executor]:
    """A pool of `workers` fresh processes (default: one a core); `Inline` when that is one.

    They are spawned, not forked: a forked copy of a threaded library may hang. A script that calls
    this needs an `if __name__ == "__main__"` guard.
    """
    import multiprocessing

    workers = cores() if workers is None else workers
    if workers <= 1:
        yield Inline()
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def ordered(
    executor: Executor, work: Callable[[A], T], items: Iterable[A], ahead: int
) -> Generator[T, None, None]:
    """`work(item)` for every item, in order, never more than `ahead` unfinished or unread.

    Unlike `Executor.map` it takes no item from `items` before there is room for it, so a file larger
    than memory can be streamed through.
    """
    running: deque[Future[T]] = deque()
    try:
        for item in items:
            running.append(executor.submit(work, item))
            if len(running) >= ahead:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        for future in running:
            future.cancel()
