"""No more bytes a second than a person allowed: a token bucket."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

BURST = 0.25  # seconds' worth of bytes that may pass at once; shorter waits are not worth a timer


class Pace:
    """Bytes per second for everything that one cache transfers; whoever takes waits until its turn."""

    def __init__(
        self, rate: float, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        """`rate` in bytes per second, `clock` in seconds that only go forward."""
        self.rate = rate
        self._clock = clock
        self._sleep = sleep
        self._paid = clock()  # the time until which all that was taken has been paid for

    async def take(self, count: int) -> None:
        """Return when `count` bytes may pass; they are paid for afterwards, so the first pass at once."""
        now = self._clock()
        wait = self._paid - now
        self._paid = max(self._paid, now) + count / self.rate
        if wait > BURST:
            await self._sleep(wait)

    async def paid(self) -> None:
        """Return when all that was taken is paid for, but for a burst."""
        await self.take(0)

    def give_back(self, count: int) -> None:
        """`count` bytes that were taken did not pass after all."""
        self._paid -= count / self.rate


async def paced(chunks: AsyncGenerator[bytes, None], pace: Pace | None) -> AsyncGenerator[bytes, None]:
    """`chunks` as fast as `pace` allows, the last ones paid for: a connection hands over much at once."""
    async with aclosing(chunks):
        async for chunk in chunks:
            if pace:
                await pace.take(len(chunk))
            yield chunk
    if pace:
        await pace.paid()
