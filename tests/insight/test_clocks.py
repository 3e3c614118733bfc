"""Hours and days are those of the site's clock."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl

from prewarm.insight.clocks import day, hour


def test_a_pull_has_the_hour_and_the_day_of_its_site() -> None:
    """Half past eight in the evening, UTC, is two in the night in Mumbai, a day later."""
    pulls = pl.DataFrame({"timestamp": [datetime(2026, 11, 2, 20, 30, tzinfo=UTC)]})

    assert pulls.select(hour("UTC"), day("UTC")).rows() == [(20, date(2026, 11, 2))]
    assert pulls.select(hour("Asia/Kolkata"), day("Asia/Kolkata")).rows() == [(2, date(2026, 11, 3))]


def test_a_clock_that_is_put_back_has_an_hour_twice() -> None:
    """In Berlin, on the last Sunday of October."""
    times = [datetime(2026, 10, 25, at, tzinfo=UTC) for at in (0, 1, 2)]

    assert pl.DataFrame({"timestamp": times}).select(hour("Europe/Berlin"))["hour"].to_list() == [2, 2, 3]
