"""Cron expressions on a site's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from prewarm.errors import SettingsError
from prewarm.pipeline.warming.crontab import parse

BERLIN = ZoneInfo("Europe/Berlin")
BOISE = ZoneInfo("America/Boise")


def times(text: str, start: datetime, count: int, zone: ZoneInfo = BERLIN) -> list[str]:
    """The next so many times, on the zone's clock with its offset."""
    found, at = [], start
    for _ in range(count):
        due = parse(text).after(at, zone)
        assert due is not None
        assert due > at
        found.append(f"{due.astimezone(zone):%a %d %b %H:%M %z}")
        at = due
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*/15 * * * *", ["Tue 24 Nov 08:45 +0100", "Tue 24 Nov 09:00 +0100"]),
        ("0 3 * * sun", ["Sun 29 Nov 03:00 +0100", "Sun 06 Dec 03:00 +0100"]),
        ("0 3 * * 7", ["Sun 29 Nov 03:00 +0100", "Sun 06 Dec 03:00 +0100"]),
        ("30 7,19 * * mon-fri", ["Tue 24 Nov 19:30 +0100", "Wed 25 Nov 07:30 +0100"]),
        ("0 0 13 * fri", ["Fri 27 Nov 00:00 +0100", "Fri 04 Dec 00:00 +0100"]),
        ("0 0 1 jan *", ["Fri 01 Jan 00:00 +0100", "Sat 01 Jan 00:00 +0100"]),
        ("5/20 9 * * *", ["Tue 24 Nov 09:05 +0100", "Tue 24 Nov 09:25 +0100"]),
        ("@daily", ["Wed 25 Nov 00:00 +0100", "Thu 26 Nov 00:00 +0100"]),
    ],
)
def test_the_next_times(text: str, expected: list[str]) -> None:
    """From half past eight on a Tuesday in Berlin."""
    assert times(text, datetime(2026, 11, 24, 7, 30, tzinfo=UTC), 2) == expected


def test_no_day_is_left_out_when_clocks_are_set_forward() -> None:
    """02:30 does not exist in Berlin on 29 March 2026; an hour later does."""
    saturday = datetime(2026, 3, 28, 0, 0, tzinfo=UTC)

    assert times("30 2 * * *", saturday, 3) == [
        "Sat 28 Mar 02:30 +0100",
        "Sun 29 Mar 03:30 +0200",
        "Mon 30 Mar 02:30 +0200",
    ]


def test_a_fixed_hour_counts_once_when_clocks_are_set_back() -> None:
    """01:30 comes twice in Boise on 1 November 2026."""
    start = datetime(2026, 10, 31, 18, 0, tzinfo=UTC)

    assert times("30 1 * * *", start, 2, BOISE) == ["Sun 01 Nov 01:30 -0600", "Mon 02 Nov 01:30 -0700"]


def test_every_quarter_of_an_hour_goes_on_through_both() -> None:
    """A day of 25 hours has a hundred of them, each fifteen minutes after the one before."""
    at = datetime(2026, 11, 1, 5, 59, tzinfo=UTC)  # a minute before midnight in Boise
    cron, found = parse("*/15 * * * *"), []
    while len(found) < 100:
        due = cron.after(at, BOISE)
        assert due is not None
        found.append(due)
        at = due

    assert {later - earlier for earlier, later in pairwise(found)} == {timedelta(minutes=15)}
    assert found[-1].astimezone(BOISE).strftime("%d %H:%M") == "01 23:45"


def test_what_never_comes_is_none() -> None:
    """31 February, but 29 February does come."""
    now = datetime(2026, 11, 24, tzinfo=UTC)

    assert parse("0 0 31 feb *").after(now, BERLIN) is None
    assert parse("0 0 29 feb *").after(now, BERLIN) == datetime(2028, 2, 28, 23, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "*/0 * * * *", "x * * * *", "5-1 * * * *"],
)
def test_what_cannot_be_read_is_refused_with_an_example(text: str) -> None:
    """One line."""
    with pytest.raises(SettingsError, match=r"examples: \*/15"):
        parse(text)
