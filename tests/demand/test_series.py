"""The hour grid: cutoff, zeros, outages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from prewarm.demand.calendars import Site, clock
from prewarm.demand.series import WEEK, complete_until, count, grid, observed_hours, repositories
from prewarm.errors import NotEnoughHistory
from tests.demand.samples import MONDAY, after, pull, table

SITE = Site()


def working(hours: int, rate: int = 20, site: Site = SITE) -> NDArray[np.int64]:
    """`rate` lines an hour from 08:00 to 18:00 on workdays, 1 at night, from Monday."""
    told = clock(site, MONDAY, hours)
    busy = (told.hour >= 8) & (told.hour < 18) & ~told.weekend
    return np.where(busy, rate, 1)


def test_pulls_are_counted_per_image_and_hour_with_zeros_between() -> None:
    """Two pulls at eight, one at ten, none at nine; each image its own row."""
    made = grid(
        table(
            pull(after(hours=8)),
            pull(after(hours=8, minutes=59)),
            pull(after(hours=10)),
            pull(after(hours=9), "2"),
            pull(after(hours=11)),
        ),
        SITE,
    )
    assert made.images == ("docker.io/library/app:1", "docker.io/library/app:2")
    assert made.start == after(hours=8)
    assert made.counts.toarray().tolist() == [[2, 0, 1], [0, 1, 0]]


def test_the_hour_of_the_last_access_is_incomplete() -> None:
    """A session that runs on until 11:05 leaves ten o'clock complete and eleven not."""
    rows = table(
        pull(after(hours=8)), pull(after(hours=10, minutes=58)) | {"until": after(hours=11, minutes=5)}
    )
    assert grid(rows, SITE).cutoff == after(hours=11)


def test_an_earlier_time_is_the_cutoff() -> None:
    """What is asked for at 09:30 knows the hours up to nine."""
    rows = table(*(pull(after(hours=hour)) for hour in range(24)))
    assert grid(rows, SITE, until=after(hours=9, minutes=30)).cutoff == after(hours=9)


def test_a_later_time_does_not_make_unread_hours_zero() -> None:
    """Hours after the last one logged are unknown, whatever the time asked for."""
    rows = table(pull(after(hours=8)), pull(after(hours=10)))
    assert grid(rows, SITE, until=after(days=5)).cutoff == after(hours=10)


def test_what_is_logged_but_no_demand_moves_the_cutoff() -> None:
    """Checks prove that the log was alive: no pull at nine is a zero, not the end."""
    logged = table(pull(after(hours=8)), pull(after(hours=10), kind="check"))
    made = grid(logged.filter(pl.col("kind") != "check"), SITE, logged=logged)
    assert made.counts.toarray().tolist() == [[1, 0]]


def test_hours_begin_on_the_sites_clock() -> None:
    """Eight o'clock in Mumbai begins at 02:30 UTC and is one column."""
    rows = table(*(pull(after(hours=2, minutes=minutes)) for minutes in (29, 30, 89, 90)))
    made = grid(rows, Site("mumbai", "Asia/Kolkata"))
    assert made.start == after(hours=1, minutes=30)
    assert made.counts.toarray().tolist() == [[1, 2]]


def test_order_does_not_matter_and_every_row_is_a_pull() -> None:
    """Rows out of order count alike, and equal rows are separate pulls."""
    rows = table(*(pull(after(hours=hour % 5), str(hour % 3)) for hour in range(40)), pull(after(hours=6)))
    shuffled = rows.sample(fraction=1, shuffle=True, seed=7)
    assert grid(rows, SITE).counts.toarray().sum() == 40
    assert (grid(rows, SITE).counts.toarray() == grid(shuffled, SITE).counts.toarray()).all()


def test_a_log_of_a_few_minutes_is_all_that_is_known() -> None:
    """With no complete hour at all, the only hour is taken as it is."""
    assert grid(table(pull(after(hours=8, minutes=10))), SITE).counts.toarray().tolist() == [[1]]


def test_nothing_logged_teaches() -> None:
    """An empty table says what to do."""
    with pytest.raises(NotEnoughHistory, match="prewarm ingest"):
        grid(table(), SITE)


def test_nothing_before_the_time_is_refused() -> None:
    """Before the first complete hour there is no history."""
    with pytest.raises(NotEnoughHistory, match="no complete hour before 2026-02-02T08:30Z"):
        complete_until(after(hours=8, minutes=5), after(1), SITE, after(hours=8, minutes=30))


def test_a_hundred_thousand_images_stay_sparse() -> None:
    """Six weeks of as many images take memory by their pulls, not by their hours."""
    size = 100_000
    names = pl.select(pl.format("docker.io/r/{}:1", pl.int_range(size))).to_series()
    rows = pl.DataFrame({"image": names}).with_columns(timestamp=pl.lit(MONDAY))
    made = count(rows, SITE, MONDAY, MONDAY + timedelta(weeks=6))
    assert made.counts.shape == (size, 6 * WEEK)
    assert made.counts.nnz == size


def test_repositories_are_names_without_tag_and_digest() -> None:
    """A port is no tag, and a registry is part of the name."""
    images = ["h:5000/a:1", "h:5000/a@sha256:00", "h:5000/b:1", "docker.io/library/a:1"]
    numbers = repositories(pl.Series(images))
    assert numbers[0] == numbers[1]
    assert len(set(numbers.tolist())) == 3


def test_a_dead_collector_on_a_working_day_is_an_outage() -> None:
    """Silence from noon to four, where every other week was busy, is unknown."""
    activity = working(3 * WEEK)
    activity[2 * WEEK + 12 : 2 * WEEK + 16] = 0
    known = observed_hours(activity, clock(SITE, MONDAY, len(activity)))
    assert np.flatnonzero(~known).tolist() == list(range(2 * WEEK + 12, 2 * WEEK + 16))


def test_a_long_outage_is_unknown_whole() -> None:
    """Ten days without a line, nights and weekend with them."""
    activity = working(6 * WEEK)
    activity[2 * WEEK : 2 * WEEK + 240] = 0
    known = observed_hours(activity, clock(SITE, MONDAY, len(activity)))
    assert np.flatnonzero(~known).tolist() == list(range(2 * WEEK, 2 * WEEK + 240))


@pytest.mark.parametrize(
    ("weeks", "begin", "end", "rate"),
    [(3, 26, 30, 20), (3, 12, 14, 20), (3, 8, 18, 1), (1, 12, 16, 20)],
    ids=["a quiet night", "two hours", "a site with few pulls", "less than two weeks"],
)
def test_a_credible_silence_is_zeros(weeks: int, begin: int, end: int, rate: int) -> None:
    """Short, quiet or young: the silence may be real."""
    activity = working(weeks * WEEK, rate)
    activity[(weeks - 1) * WEEK + begin : (weeks - 1) * WEEK + end] = 0
    assert observed_hours(activity, clock(SITE, MONDAY, len(activity))).all()


def test_a_weekly_job_that_did_not_run_is_zeros() -> None:
    """One busy hour a week, missing once, is no outage: the silence around it is usual."""
    activity = np.zeros(5 * WEEK, dtype=np.int64)
    activity[3::WEEK] = 500
    activity[3 + 2 * WEEK] = 0
    assert observed_hours(activity, clock(SITE, MONDAY, len(activity))).all()


def test_a_public_holiday_is_zeros() -> None:
    """A closed office on Labour Day is what its calendar says; without the calendar it is unknown."""
    start = datetime(2026, 4, 13, tzinfo=UTC)
    hours = 3 * WEEK
    berlin, plain = Site("b", "Europe/Berlin", "DE-BE"), Site("p", "Europe/Berlin")
    told = clock(berlin, start, hours)
    activity = np.where((told.hour >= 8) & (told.hour < 18) & ~told.weekend & ~told.holiday, 20, 0)
    assert observed_hours(activity, told).all()
    assert not observed_hours(activity, clock(plain, start, hours)).all()
