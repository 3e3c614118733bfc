"""Which pulls the cache served: as logged, by durations, by uses, or modelled; and why it forgets."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from prewarm.insight.serving import TTL, judge, source_of
from tests.traffic import Ask, Met, days, frame, identified, mornings, steady, through

DAY = timedelta(days=1)


def _truth(met: list[Met], pulls: pl.DataFrame) -> np.ndarray:
    missed = {(each.ask.at, each.ask.client, each.ask.image) for each in met if each.miss}
    keys = pulls.select("timestamp", "client", pl.col("image").str.strip_prefix("docker.io/")).iter_rows()
    return np.array([key in missed for key in keys])


def _f1(found: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


@pytest.mark.parametrize("ttl", [timedelta(hours=20), timedelta(days=3)])
def test_durations_tell_cold_from_warm(ttl: timedelta) -> None:
    """Without a word of hits, pulls of all sizes are sorted by how long they took."""
    met = through([*steady(14), *mornings(14)], ttl)
    source = source_of(identified(frame(met, seconds=True)))

    how, misses, told = judge(source, TTL, known=False)

    assert how.kind == "durations"
    assert told.all()
    assert _f1(misses, _truth(met, source.frame)) >= 0.98


def test_a_mirror_that_was_warm_before_the_log_shows_by_its_durations() -> None:
    """First pulls that are as fast as repeats were no misses."""
    asks = steady(6)
    met = [
        each for each in through(asks, None) if each.ask.at >= min(asks, key=lambda ask: ask.at).at + 3 * DAY
    ]
    how, misses, _ = judge(source_of(identified(frame(met, seconds=True))), TTL, known=False)

    assert how.kind == "durations"
    assert misses.mean() < 0.01


def test_what_is_logged_wins() -> None:
    """Hits and misses that a server wrote down are taken as they are, durations or not."""
    met = through(mornings(10))
    source = source_of(identified(frame(met, cache=True, seconds=True)))

    how, misses, _ = judge(source, TTL, known=False)

    assert (how.kind, how.sure) == ("logged", "high")
    assert (misses == _truth(met, source.frame)).all()


@pytest.mark.parametrize("cache", [True, False])
def test_the_ttl_of_a_cache_is_read_off_its_misses(cache: bool) -> None:
    """Versions that are asked for all the time miss one TTL after their fill."""
    met = through(steady(14), timedelta(hours=24))
    how, _, _ = judge(source_of(identified(frame(met, cache=cache, seconds=True))), TTL, known=False)

    assert how.fitted == "ttl"
    assert how.ttl is not None
    assert timedelta(hours=22) <= how.ttl <= timedelta(hours=28)


def test_a_full_disk_is_told_from_a_ttl() -> None:
    """A cache that forgets what nobody asked for lately keeps what is busy for ever."""
    rare = [
        Ask(at + timedelta(minutes=9 * image), "10.0.2.1", f"acme/big{image}:1", 0, 900_000_000)
        for at in days(14)
        for image in range(12)
    ]
    met = through([*steady(14, images=5), *rare], None, capacity=9_000_000_000)
    how, misses, _ = judge(source_of(identified(frame(met, cache=True))), TTL, known=False)

    assert misses.sum() > 50
    assert how.fitted == "idle"


def test_uses_make_a_source_one_of_nodes() -> None:
    """An engine that tells of what it had already tells of every miss, too."""
    pulls = frame(through(mornings(3, images=1, people=3)))
    uses = pulls.with_columns(pl.col("timestamp") + timedelta(hours=1), kind=pl.lit("local"))
    how, misses, _ = judge(source_of(identified(pl.concat([pulls, uses]))), TTL, known=False)

    assert how.kind == "nodes"
    assert misses.sum() == len(pulls)


@pytest.mark.parametrize("ttl", [None, timedelta(hours=30), timedelta(days=7)])
def test_without_evidence_the_cache_is_modelled(ttl: timedelta | None) -> None:
    """The model is a cache that keeps a fill for its TTL: exactly what such a cache did."""
    met = through([*steady(16), *mornings(16)], ttl)
    source = source_of(identified(frame(met)))

    how, misses, _ = judge(source, ttl, known=True)

    assert (how.kind, how.sure) == ("model", "low")
    assert (misses == _truth(met, source.frame)).all()
