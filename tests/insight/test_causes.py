"""Every miss has exactly one cause, and it is the one that the simulated cache had."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import polars as pl
import pytest

from prewarm.insight.causes import STARTS, judged
from prewarm.insight.reasons import REMEDIES, Cause
from tests.traffic import MONDAY, Ask, days, frame, identified, mornings, steady, through

DAY = timedelta(days=1)


def _causes(
    asks: list[Ask], ttl: timedelta | None = 7 * DAY, capacity: int | None = None, **logged: bool
) -> Counter[str]:
    found = judged(identified(frame(through(asks, ttl, capacity), **logged)))
    return Counter(found.misses["cause"].cast(pl.String).to_list())


@pytest.mark.parametrize("logged", [{}, {"cache": True}, {"seconds": True}])
def test_every_miss_has_one_cause(logged: dict[str, bool]) -> None:
    """Whatever is known of hits, no miss is without a cause and no hit has one."""
    found = judged(identified(frame(through([*steady(10), *mornings(10)], 3 * DAY), **logged)))

    assert found.frame.filter(pl.col("miss") != pl.col("cause").is_not_null()).is_empty()
    assert set(REMEDIES) == set(Cause)


def test_a_tag_that_moves_is_one_that_moved() -> None:
    """Known images with new digests miss because their tag moved, whoever asks first."""
    found = _causes(mornings(12), cache=True)

    assert found[Cause.TAG_MOVED] >= 6 * 9
    assert found[Cause.TAG_MOVED] + found[Cause.NEVER_SEEN] == found.total()


def test_a_lapse_is_told_from_an_eviction() -> None:
    """The same causes as the cache had, when its hits and misses are logged."""
    rare = [
        Ask(at + timedelta(minutes=9 * image), "10.0.2.1", f"acme/big{image}:1", 0, 900_000_000)
        for at in days(14)
        for image in range(12)
    ]
    lapses = _causes(steady(14), timedelta(hours=24), cache=True)
    evictions = _causes([*steady(14, images=5), *rare], None, 9_000_000_000, cache=True)

    assert lapses[Cause.TTL_LAPSED] > 200
    assert lapses[Cause.EVICTED] <= 0.05 * lapses.total()
    assert evictions[Cause.EVICTED] > 50
    assert evictions[Cause.TTL_LAPSED] == 0


def test_new_tags_of_a_busy_repository_are_fresh_pushes() -> None:
    """A build a night, under a tag of its own, is a push that nobody could have pulled before."""
    builds = [Ask(at, "10.0.0.1", f"acme/app:build-{day}", 0, 10**8) for day, at in enumerate(days(10))]

    assert _causes(builds, cache=True) == {Cause.NEVER_SEEN: 1, Cause.FRESH_PUSH: 9}


def test_a_logged_push_makes_a_first_pull_fresh() -> None:
    """The first pull within a day of the push; later ones were never seen before."""
    asks = [
        Ask(MONDAY + hours * timedelta(hours=1), "c", f"acme/{name}:1", 0, 10**8)
        for name, hours in (("a", 3), ("b", 30))
    ]
    pushes = pl.DataFrame(
        {"timestamp": [MONDAY, MONDAY], "image": ["docker.io/acme/a:1", "docker.io/acme/b:1"]}
    )
    pushes = pushes.cast({"timestamp": pl.Datetime("us", "UTC")})

    found = judged(identified(frame(through(asks), cache=True)), pushes)

    assert found.frame.sort("image")["cause"].to_list() == [Cause.FRESH_PUSH, Cause.NEVER_SEEN]


def test_a_node_that_has_not_what_others_had_is_cold() -> None:
    """Of an engine's pulls the first of a version is new, those of other nodes are cold nodes."""
    pulls = frame(through(mornings(2, images=1, people=4, moves=False)), kind="layers")
    first = pulls.unique("client", keep="first", maintain_order=True)
    uses = first.with_columns(pl.col("timestamp") + DAY, kind=pl.lit("local"))

    found = judged(identified(pl.concat([first, uses])))

    assert Counter(found.misses["cause"].cast(pl.String)) == {Cause.NEVER_SEEN: 1, Cause.COLD_NODE: 3}


def test_those_who_wait_for_the_same_fill_missed_for_the_same_cause() -> None:
    """The second client of a cold minute did not meet an eviction."""
    asks = [
        Ask(MONDAY + DAY * day + timedelta(seconds=second), f"c{second}", "acme/a:1", day, 10**8)
        for day in range(3)
        for second in (0, 2)
    ]
    pulls = frame(through(asks)).with_columns(cache=pl.lit("miss"))

    assert Counter(judged(identified(pulls)).misses["cause"].cast(pl.String)) == {
        Cause.NEVER_SEEN: 2,
        Cause.TAG_MOVED: 4,
    }


def test_of_two_that_begin_together_the_other_may_have_paid() -> None:
    """A log of whole seconds puts the hit first: the miss beside it is no eviction."""
    asks = [Ask(MONDAY + timedelta(seconds=second), f"c{second}", "acme/a:1", 0, 10**8) for second in (0, 1)]
    pulls = frame(through(asks)).with_columns(cache=pl.Series(["hit", "miss"]))

    assert judged(identified(pulls)).misses["cause"].to_list() == [Cause.NEVER_SEEN]


def test_the_beginning_of_a_modelled_log_is_not_judged() -> None:
    """The first day fills the cache; in a log too short for that first pulls are doubtful."""
    long = judged(identified(frame(through(steady(5)))))
    short = judged(identified(frame(through(steady(1)))))

    first = min(long.frame["timestamp"])
    assert first >= MONDAY + STARTS
    assert long.beginning > 0
    assert not long.frame["doubtful"].any()
    assert short.frame["doubtful"].sum() == short.frame["miss"].sum() > 0


def test_waiting_is_what_a_warm_pull_would_not_have_taken() -> None:
    """Measured where durations are logged: within a tenth of the truth."""
    met = through([*steady(10), *mornings(10)], 3 * DAY)
    found = judged(identified(frame(met, seconds=True)))

    truth = sum(each.seconds - (6 * 0.01 + each.ask.bytes / 100e6) for each in met if each.miss)
    assert found.frame["wait"].sum() == pytest.approx(truth, rel=0.1)


def test_no_pulls_are_no_misses() -> None:
    """An empty frame is judged to be empty."""
    found = judged(identified(frame([])))

    assert found.frame.is_empty()
    assert "cause" in found.frame.columns
