"""When to try again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from prewarm.warming import retries

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


def test_waits_double_and_jitter_stays_between_half_and_whole() -> None:
    """Many warmers that fail together do not come back together."""
    shortest = [retries.delay(attempt, lambda: 0.0) for attempt in (1, 2, 3)]
    longest = [retries.delay(attempt, lambda: 1.0) for attempt in (1, 2, 3)]

    assert shortest == [0.25, 0.5, 1.0]
    assert longest == [0.5, 1.0, 2.0]


def test_the_last_attempt_is_final() -> None:
    """None means give up."""
    assert retries.delay(retries.ATTEMPTS, lambda: 0.0) is None


def test_a_registry_is_not_asked_sooner_than_it_said() -> None:
    """`Retry-After` is a lower bound."""
    assert retries.delay(1, lambda: 0.0, retry_after=7.0) == 7.25


def test_a_registry_that_wants_long_to_itself_is_left_alone() -> None:
    """A run does not sleep for an hour; its outcome says so instead."""
    assert retries.delay(1, lambda: 0.0, retry_after=retries.PATIENCE + 1) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        (" 17 ", 17.0),
        ("Mon, 23 Nov 2026 08:00:30 GMT", 30.0),
        ("Mon, 23 Nov 2026 07:00:00 GMT", 0.0),
        ("99999999999999999999", 999999999.0),
    ],
)
def test_retry_after_is_a_number_or_a_date(text: str, seconds: float) -> None:
    """Both forms of RFC 9110; the past is now."""
    assert retries.parse_retry_after(text, NOW) == seconds


@pytest.mark.parametrize("text", [None, "", "soon", "-5", "1.5", "٣"])
def test_other_texts_say_nothing(text: str | None) -> None:
    """A header that cannot be read is as good as none."""
    assert retries.parse_retry_after(text, NOW) is None
