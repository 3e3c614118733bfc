"""Sizes and durations are read as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from prewarm.quantities import BEGINNING, END, parse_bytes, parse_duration, reckonable


@pytest.mark.parametrize(
    ("text", "count"),
    [("40GB", 40 * 10**9), ("512MiB", 2**29), ("1.5k", 1500), (7, 7), ("50MB/s", 5 * 10**7)],
)
def test_sizes(text: object, count: int) -> None:
    """Decimal and binary units, rates, plain numbers."""
    assert parse_bytes(text) == count


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60), ("15m", 900), ("168h", 604800), ("7d", 604800), (5, 5)]
)
def test_durations(text: object, seconds: float) -> None:
    """Seconds, minutes, hours, days, plain numbers."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1 hour", "12:00"])
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    """In one line."""
    with pytest.raises(ValueError, match=r"is no duration; examples: 60s, 15m"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "much", "-1", "1 gigabyte"])
def test_what_is_no_size_is_refused_with_examples(text: str) -> None:
    """In one line."""
    with pytest.raises(ValueError, match=r"is no size; examples: 40GB"):
        parse_bytes(text)


def test_times_can_be_reckoned_from() -> None:
    """The first and the last time there are stand for the first and last with room around them."""
    eight = datetime(2026, 11, 16, 8, tzinfo=UTC)
    assert reckonable(eight) == eight
    assert reckonable(datetime.min.replace(tzinfo=UTC)) == BEGINNING
    assert reckonable(datetime.max.replace(tzinfo=UTC)) == END


def test_a_time_that_its_zone_leads_out_of_is_refused() -> None:
    """In one line, with an example."""
    with pytest.raises(ValueError, match="end of time; example"):
        reckonable(datetime.max.replace(tzinfo=timezone(timedelta(hours=-5))))
