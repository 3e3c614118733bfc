"""Executors: in order, bounded, and with their errors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from prewarm import compute


def double(number: int) -> int:
    return 2 * number


def refuse_three(number: int) -> int:
    if number == 3:
        raise ValueError("three")
    return number


def test_results_come_in_the_order_of_the_items() -> None:
    """Whatever finishes first, a file's chunks stay in sequence."""
    with compute.threads(3) as pool:
        assert list(compute.ordered(pool, double, range(20), ahead=4)) == [2 * n for n in range(20)]


def test_items_are_taken_only_when_there_is_room() -> None:
    """Memory is bounded by `ahead`, not by the length of the input."""
    taken = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = compute.ordered(compute.Inline(), double, items(), ahead=3)
    assert next(results) == 0
    assert taken == [0, 1, 2]


def test_an_error_arrives_at_its_place() -> None:
    """Earlier results are delivered first."""
    results = compute.ordered(compute.Inline(), refuse_three, range(10), ahead=5)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


def test_a_process_pool_gives_the_same_answers() -> None:
    """Work is pure, so where it runs changes nothing."""
    with compute.processes(2) as pool:
        assert list(compute.ordered(pool, double, range(5), ahead=2)) == [0, 2, 4, 6, 8]


def test_one_worker_needs_no_process() -> None:
    """A pool of one would only add pickling."""
    with compute.processes(1) as pool:
        assert isinstance(pool, compute.Inline)


def test_inline_keeps_errors_in_the_future() -> None:
    """It behaves as any executor does."""
    future = compute.Inline().submit(refuse_three, 3)
    assert isinstance(future.exception(), ValueError)
