"""Times as logs write them."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewarm.logs.formats import stamps

AT = datetime(2026, 11, 24, 9, 15, 2, 311204, tzinfo=UTC)


def read(text: str | None, zone: str = "UTC") -> datetime | None:
    found: datetime | None = pl.DataFrame({"at": [text]}).select(stamps.any_of(pl.col("at"), zone)).item()
    return found


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-24T09:15:02.311204Z",
        "2026-11-24T09:15:02.311204999Z",  # truncated, never rounded
        "2026-11-24T14:45:02.311204+05:30",
        "2026-11-24T14:45:02.311204+0530",
        "2026-11-24 09:15:02.311204+00:00",
        "1795511702.311204",
        "1795511702311.204",
        "1795511702311204",
        "1795511702311204118",
    ],
)
def test_times_that_say_their_zone(text: str) -> None:
    """Whatever the zone of the source; a number's unit shows by its size."""
    found = read(text, "Asia/Kolkata")
    assert found is not None
    assert abs((found - AT).total_seconds()) < 0.0000015


@pytest.mark.parametrize(
    ("line", "minutes"),
    [
        ('10.0.0.1 - - [24/Nov/2026:09:15:02 +0200] "GET /v2/ HTTP/1.1" 200 2', 120),
        ('time="2026-11-24T09:15:02.311204118-03:30" level=info', -210),
        ('{"time":"2026-11-24T09:15:02Z"}', 0),
        ("2026-11-24 09:15:02,311 INFO", None),
        ("24/Nov/2026:09:15:02 +9900", None),
        ("1795511702.311 TCP_MISS/200", None),
    ],
)
def test_the_offset_that_a_log_writes(line: str, minutes: int | None) -> None:
    """Whatever the form of the stamp; None where no line says."""
    assert stamps.utc_offset(pl.Series([None, "", line])) == minutes


def test_a_line_that_writes_another_offset_is_outvoted() -> None:
    """What a client or a wrapper writes into a few lines is not the log's clock."""
    lines = ["09:15:02Z", "09:15:02 +0500", "09:15:03 +0500"]
    assert stamps.utc_offset(pl.Series(lines)) == 300


@pytest.mark.parametrize(
    "text", ["2026-11-24T14:45:02.311204", "2026-11-24 14:45:02,311204", "24/Nov/2026:14:45:02.311204"]
)
def test_times_of_the_sources_zone(text: str) -> None:
    """Where nothing is said."""
    assert read(text, "Asia/Kolkata") == AT


def test_an_hour_that_does_not_exist_is_no_time() -> None:
    """Clocks skipped it."""
    assert read("2026-03-29T02:30:00", "Europe/Berlin") is None


@given(st.text() | st.floats().map(str) | st.integers().map(str))
def test_any_text_has_a_time_or_none(text: str) -> None:
    """Nothing is raised, and no year that no calendar holds."""
    found = read(text, "Europe/Berlin")
    assert found is None or 1 <= found.year <= 9999
    series = pl.Series([text, "Nov 24 09:15:02", text])
    assert len(stamps.yearless(series, AT, "Europe/Berlin")) == 3


def test_nothing_at_all() -> None:
    """An empty chunk has no times."""
    empty = pl.Series([], dtype=pl.String)
    assert stamps.yearless(empty, AT, "Europe/Berlin").is_empty()
    assert pl.DataFrame({"at": empty}).select(stamps.any_of(pl.col("at"), "Europe/Berlin")).is_empty()


def test_whole_nanoseconds_keep_every_digit_of_the_microsecond() -> None:
    """As times in other forms they are truncated, not rounded by a float."""
    found = pl.select(stamps.epoch(pl.lit("1795511702311204999"))).item()
    assert found.microsecond == 311204
