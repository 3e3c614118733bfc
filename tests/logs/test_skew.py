"""Lines whose clock was wrong are told, and no others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from prewarm.logs import accesses, skew

BEGIN = datetime(2026, 11, 24, 8, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def told(
    times: list[datetime | None], written: datetime | None = None, family: str = "access"
) -> dict[int, str]:
    """The reason by the number of the line."""
    rows = {"timestamp": times, "offset": range(len(times)), "family": [family] * len(times)}
    return dict(skew.of(accesses.conform(pl.DataFrame(rows, strict=False)), written).rows())


def day(lines: int = 60) -> list[datetime | None]:
    return [BEGIN + n * MINUTE for n in range(lines)]


def test_lines_far_from_their_neighbours() -> None:
    """Two hours ahead or behind, alone or a few together; the lines around them are not told."""
    times = day()
    times[20] = BEGIN + timedelta(hours=3)
    times[40] = times[41] = BEGIN - timedelta(hours=3)
    assert told(times) == dict.fromkeys((20, 40, 41), skew.APART)


def test_quiet_hours_are_no_wrong_clock() -> None:
    """What is in order is not doubted, nor is a log that goes on after an older one."""
    quiet = [BEGIN + timedelta(hours=5 * n) for n in range(30)]
    assert told(quiet) == {}
    assert told([*day(), *(time - timedelta(days=2) for time in day() if time)]) == {}


def test_the_seam_of_two_sparse_logs_is_no_wrong_clock() -> None:
    """Where neighbours are hours apart, nobody knows what time it was around a line."""
    sparse = [BEGIN + timedelta(minutes=90 * n) for n in range(40)]
    assert told([*sparse, *sparse]) == {}


def test_a_long_download_is_no_wrong_clock() -> None:
    """Some logs stamp the start of a request and write it at its end."""
    times = day()
    times[30] = BEGIN
    assert told(times) == {}


def test_times_after_the_file_was_written() -> None:
    """No line is older than the file; one that grows while it is read is granted an hour."""
    times = [*day(5), datetime(2099, 1, 1, tzinfo=UTC)]
    assert told(times, written=BEGIN + 3 * MINUTE) == {5: skew.AHEAD}
    assert told(times) == {}
    assert told([*times, *day(5)]) == {5: skew.APART}


def test_times_before_there_were_registries() -> None:
    """A machine without a battery starts in 1970."""
    assert told([datetime(1970, 1, 1, tzinfo=UTC), *day(3)]) == {0: skew.EARLY}


def test_lists_in_any_order_are_no_log() -> None:
    """Pages of an API and exports of a warehouse have no neighbours."""
    times = [BEGIN, BEGIN + timedelta(days=1), BEGIN - timedelta(days=1), BEGIN]
    assert told(times, family="event") == {}


@given(st.lists(st.none() | st.datetimes(timezones=st.just(UTC)), max_size=40), st.none() | st.just(BEGIN))
def test_any_times_are_looked_at(times: list[datetime | None], written: datetime | None) -> None:
    """Each line is told at most once, and a line without a time never."""
    found = told(times, written)
    assert all(times[number] is not None for number in found)
    assert set(found.values()) <= {skew.AHEAD, skew.EARLY, skew.APART}
