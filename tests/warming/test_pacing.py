"""No more bytes a second than was allowed."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from prewarm.warming.pacing import BURST, Pace


class Time:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def test_what_was_taken_is_paid_for_by_the_next() -> None:
    """A big blob passes at once; who follows waits for it."""
    time = Time()
    pace = Pace(1000, time.clock, time.sleep)
    await pace.take(5000)
    first = time.now
    await pace.take(1)

    assert (first, time.now) == (1000.0, 1005.0)


async def test_the_end_of_a_transfer_may_wait_for_what_was_taken() -> None:
    """Nobody follows who would pay for the last bytes; what is left is a burst at most."""
    time = Time()
    pace = Pace(1000, time.clock, time.sleep)
    await pace.take(5000)
    await pace.paid()
    assert time.now == 1005.0
    await pace.take(200)
    await pace.paid()
    assert time.now == 1005.0


async def test_silence_is_not_saved_up() -> None:
    """After an hour without transfers the rate is what it was."""
    time = Time()
    pace = Pace(1000, time.clock, time.sleep)
    time.now += 3600
    for _ in range(10):
        await pace.take(1000)

    assert time.now == 1000.0 + 3600 + 9


async def test_what_did_not_pass_is_given_back() -> None:
    """The next need not wait for it."""
    time = Time()
    pace = Pace(1000, time.clock, time.sleep)
    await pace.take(5000)
    pace.give_back(5000)
    await pace.take(1)

    assert time.now == 1000.0


async def test_whoever_takes_shares_one_rate() -> None:
    """Three transfers at once are not three times as fast."""
    time = Time()
    pace = Pace(1000, time.clock, time.sleep)
    await asyncio.gather(*(pace.take(2000) for _ in range(3)))
    await pace.take(1)

    assert time.now >= 1000.0 + 6


@given(st.lists(st.tuples(st.integers(1, 300_000), st.floats(0, 2)), min_size=1, max_size=40))
def test_never_more_than_the_rate_and_a_burst(steps: list[tuple[int, float]]) -> None:
    """Over any past: what passed before the last step fits in the time and the burst."""

    async def run() -> None:
        time = Time()
        pace, began, before = Pace(100_000, time.clock, time.sleep), time.now, 0
        for count, pause in steps:
            await pace.take(count)
            assert before <= 100_000 * (time.now - began + BURST) + 1
            before += count
            time.now += pause

    asyncio.run(run())
