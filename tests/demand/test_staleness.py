"""How often tags move, and whether the cache still has what they mean."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from prewarm.demand.staleness import sightings, staleness
from prewarm.tables import OUTCOMES
from tests.demand.samples import after, pull, table

APP = "docker.io/library/app"
NOBODY = pl.DataFrame(schema=OUTCOMES)


def pulled(
    tag: str, hours: Iterable[int], days: int = 21, every: float = 1, **columns: Any
) -> list[dict[str, Any]]:
    """Pulls of app:`tag` at these hours of each day; its digest moves at midnight, each `every` days."""
    return [
        pull(after(day, hour), tag, digest=f"sha256:{tag}{day // every}", **columns)
        for day in range(days)
        for hour in hours
    ]


def pushed(*rows: tuple[datetime, str, str | None]) -> pl.DataFrame:
    """Pushes of app: when, tag, digest."""
    schema = {"timestamp": pl.Datetime("us", "UTC"), "image": pl.String(), "digest": pl.String()}
    return pl.DataFrame([(at, f"{APP}:{tag}", digest) for at, tag, digest in rows], schema, orient="row")


def chances(
    at: datetime,
    *tags: str,
    pulls: list[dict[str, Any]],
    pushes: pl.DataFrame | None = None,
    outcomes: pl.DataFrame = NOBODY,
    until: datetime | None = None,
) -> list[Any]:
    """`p_stale` of app's `tags` at `at`, by a log that ends at `until`."""
    images = [f"{APP}{tag}" if tag.startswith("@") else f"{APP}:{tag}" for tag in tags]
    seen = sightings(table(*pulls), outcomes)
    known = staleness(images, seen, pushed() if pushes is None else pushes, until or at)
    return known.chances(images, at)


def test_a_tag_that_moves_every_night_is_stale_in_the_morning_and_a_pinned_one_is_not() -> None:
    """Both were pulled all of yesterday; by the evening neither is likely to have moved since."""
    pulls = pulled("nightly", range(8, 20)) + pulled("pinned", range(8, 20), every=1000)

    nightly, pinned = chances(after(21, 8), "nightly", "pinned", pulls=pulls)
    evening, _ = chances(after(20, 20), "nightly", "pinned", pulls=pulls)

    assert nightly > 0.85
    assert pinned < 0.02
    assert evening < 0.1


def test_a_rate_is_found_again_although_moves_between_sightings_hide() -> None:
    """Tags that move at random twice a day and are seen once a day are stale a day later by e^-2."""
    rng = np.random.default_rng(5)
    pulls = []
    for tag in range(40):
        moves = np.cumsum(rng.exponential(0.5, 200))
        pulls += [
            pull(after(day), str(tag), digest=f"sha256:{np.searchsorted(moves, day)}") for day in range(28)
        ]

    told = chances(after(28), *map(str, range(40)), pulls=pulls)

    assert np.mean([chance for chance in told if chance is not None]) == pytest.approx(
        1 - np.exp(-2), abs=0.04
    )


def test_a_rare_tag_borrows_from_its_repository() -> None:
    """Of two tags that were seen once, the one whose siblings move every day is likelier to have moved."""
    still = [row | {"repository": "library/still"} for row in pulled("1", [9], every=1000)]
    lone = [pull(after(20), "rare", digest="sha256:a")]
    lone.append(lone[0] | {"repository": "library/still"})
    images = [f"{name}:{tag}" for tag in ("rare", "1") for name in (APP, "docker.io/library/still")]

    seen = sightings(table(*pulled("1", [9]), *still, *lone), NOBODY)
    moving, pinned, *_ = staleness(images, seen, pushed(), after(21)).chances(images, after(21))

    assert pinned is not None
    assert moving > 5 * pinned


@pytest.mark.parametrize("pushed_at", [0.2, 1.0, 8.0])
def test_a_tag_that_is_younger_than_the_log_has_seen_no_time_pass(pushed_at: float) -> None:
    """A push may be told before the log goes on: it ages from then on, as its repository's tags do."""
    moving = [pull(after(21) - timedelta(minutes=30 * n), "1", digest=f"sha256:{n}") for n in range(1, 300)]
    late = pushed((after(21) + timedelta(hours=pushed_at), "new", "sha256:a"))
    told = [
        chances(
            after(21) + timedelta(hours=pushed_at + hours),
            "new",
            "1",
            pulls=moving,
            pushes=late,
            until=after(21),
        )[0]
        for hours in (0.1, 2.0, 30.0)
    ]
    assert None not in told
    assert 0 < told[0] < 0.5 < told[1]
    assert told == sorted(told)


def test_a_digest_is_never_stale_and_what_shows_no_digest_is_not_known() -> None:
    """An image by digest cannot move; a log that tells no digest says nothing of its tags."""
    silent = [pull(after(day), "1") for day in range(9)]
    assert chances(after(10), "@sha256:aa", "1", "never-seen", pulls=silent) == [0.0, None, None]


def test_two_platforms_of_a_tag_are_not_two_versions() -> None:
    """Digests that are seen side by side mean one version of the tag; a straggler by digest means none."""
    both = [
        pull(after(day, hour), "1", digest=f"sha256:{hour % 2}", client=f"10.0.0.{hour % 2}")
        for day in range(14)
        for hour in range(8, 18)
    ]
    late = [*pulled("2", range(8, 18), days=20, every=10), pull(after(19), "2", digest="sha256:20")]

    (pinned,) = chances(after(14, 8), "1", pulls=both)
    moves = staleness([f"{APP}:2"], sightings(table(*late), NOBODY), pushed(), after(20)).gaps.row

    assert pinned < 0.05
    assert len(moves) == 1


def test_a_push_makes_the_cache_stale_at_once_unless_it_was_the_same() -> None:
    """The last pull was of the old digest, at this site; a push that tells no digest is a new one."""
    pulls = pulled("1", [9], days=10, every=1000)
    at = after(10, 8)

    def told(digest: str | None) -> Any:
        (chance,) = chances(at, "1", pulls=pulls, pushes=pushed((after(10, 2), "1", digest)))
        return chance

    assert told("sha256:new") == 1.0
    assert told(None) == 1.0
    same = told("sha256:10")
    assert same < 0.5


def test_a_tag_whose_pushes_are_in_the_log_has_not_moved_without_one() -> None:
    """It is pushed daily at noon: at eleven it is what it was, for the log goes on until eleven."""
    pushes = pushed(*((after(day, 12), "1", f"sha256:1{day}") for day in range(20)))
    pulls = [pull(after(day, 13), "1", digest=f"sha256:1{day}") for day in range(20)]

    (fresh,) = chances(after(20, 11), "1", pulls=pulls, pushes=pushes)
    (later,) = chances(after(20, 13), "1", pulls=pulls, pushes=pushes, until=after(20, 11))

    assert fresh == 0.0
    assert later > 0.75


def test_a_tag_that_was_pushed_and_never_pulled_ages_from_its_push() -> None:
    """The cache never had it; what was pushed may be replaced before somebody asks."""
    pushes = pushed(*((after(hour / 24), "main", f"sha256:{hour}") for hour in range(0, 240, 2)))

    soon, next_day = (
        chances(after(10, hours), "main", pulls=[], pushes=pushes, until=after(10))[0] for hours in (0, 24)
    )

    assert soon == 0.0
    assert next_day > 0.9


def test_a_check_that_saw_another_digest_proves_the_cache_stale() -> None:
    """A HEAD stores nothing; the pull before it left the old version in the cache."""
    pulls = pulled("1", [9], days=10, every=1000)
    check = pull(after(10), "1", kind="check", digest="sha256:new")
    use = pull(after(10), "1", kind="local", digest="sha256:new")

    assert chances(after(10, 1), "1", pulls=[*pulls, check]) == [1.0]
    assert chances(after(10, 1), "1", pulls=[*pulls, use]) != [1.0]


def test_what_a_run_warmed_is_fresh_from_then_on() -> None:
    """The tag moved in the night, and was warmed at seven."""
    row: dict[str, Any] = dict.fromkeys(OUTCOMES) | {
        "image": f"{APP}:1", "digest": "sha256:121", "state": "warmed",
        "started_at": after(21, 6), "finished_at": after(21, 7),
    }  # fmt: skip
    warmed = pl.DataFrame([row], schema=OUTCOMES)
    pulls = pulled("1", range(8, 20))

    (cold,) = chances(after(21, 8), "1", pulls=pulls)
    (warm,) = chances(after(21, 8), "1", pulls=pulls, outcomes=warmed)

    assert warm is not None
    assert warm < 0.15 < cold


def test_the_order_of_rows_does_not_matter() -> None:
    """Neither of pulls nor of pushes."""
    pulls = pulled("a", [9, 15]) + pulled("b", [10], every=3)
    pushes = pushed(*((after(day, 12), "c", f"sha256:{day}") for day in range(5)))
    told = chances(after(21), "a", "b", "c", pulls=pulls, pushes=pushes)
    again = chances(after(21), "a", "b", "c", pulls=pulls[::-1], pushes=pushes.reverse())
    assert again == told


def test_nothing_seen_is_no_error() -> None:
    """A site without a tag, a push or an image."""
    assert chances(after(1), "1", pulls=[]) == [None]
    assert staleness([], sightings(table(), NOBODY), pushed(), after(1)).chances([], after(1)) == []


def test_years_of_silence_and_a_thousand_moves_in_an_hour_stay_chances() -> None:
    """Whatever the log holds, the number is between 0 and 1."""
    wild = [pull(after(minutes=minute), "1", digest=f"sha256:{minute}") for minute in range(1000)]
    told = chances(after() + timedelta(days=3000), "1", pulls=wild)
    assert told == [pytest.approx(1.0, abs=0.05)]
