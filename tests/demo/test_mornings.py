"""Mornings replayed against the rivals."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl
import pytest

from prewarm.demo import workload
from prewarm.demo.mornings import (
    FOUR,
    NOBODY,
    ORACLE,
    OURS,
    WEEKLY,
    Comparison,
    Conditions,
    Lookup,
    compare,
)
from prewarm.demo.sites import working
from prewarm.insight.mirrors import Mirror
from prewarm.insight.policies import Lists
from prewarm.insight.reasons import Cause
from prewarm.insight.verdict import Answer

LOAD = workload.busy(days=28)
BOISE = LOAD.offices[0]


def demand(load: workload.Workload, site: str) -> pl.DataFrame:
    """The pulls of a site as an ingest would find them."""
    rows = [
        (pull.time, pull.image, pull.version.digest)
        for pull in load.at(site)
        if pull.kind in ("manifest", "layers") and pull.version
    ]
    return pl.DataFrame(rows, schema=["timestamp", "image", "digest"], orient="row")


def nothing(times: Sequence[datetime]) -> Lists:
    """A forecast that names no image."""
    return [(time, ()) for time in times]


@pytest.fixture(scope="module")
def boise() -> Comparison:
    """Boise's last mornings of four weeks, with a forecast that names nothing."""
    return compare(LOAD, BOISE, demand(LOAD, "boise"), nothing, Conditions(mornings=5))


def test_every_policy_is_scored_on_the_same_pulls(boise: Comparison) -> None:
    """Five policies, one set of mornings: working days, the last ones of the log."""
    assert list(boise.results) == [NOBODY, FOUR, WEEKLY, OURS, ORACLE]
    assert len({result.pulls for result in boise.results.values()}) == 1
    assert len(boise.days) == 5
    assert all(working(BOISE, day) for day in boise.days)
    assert (
        BOISE.clock(boise.days[-1], 12.0) <= LOAD.end < BOISE.clock(boise.days[-1] + timedelta(days=3), 12.0)
    )


def test_warming_nothing_is_the_same_as_nobody(boise: Comparison) -> None:
    """Our column is what our lists do, nothing else."""
    assert boise.results[OURS] == boise.results[NOBODY]
    assert boise.verdict.answer is not Answer.PAYS


def test_foresight_is_the_ceiling(boise: Comparison) -> None:
    """Nobody waits less than those who know, and they waste nothing."""
    oracle = boise.results[ORACLE]
    assert oracle.seconds == min(result.seconds for result in boise.results.values())
    assert oracle.wasted_bytes == 0
    assert oracle.seconds < 0.7 * boise.results[NOBODY].seconds


def test_foresight_cannot_warm_what_was_not_pushed(boise: Comparison) -> None:
    """Fresh pushes stay cold whoever warms, since the runs come before the push."""
    pushed = {name: result.misses.get(Cause.FRESH_PUSH, 0) for name, result in boise.results.items()}
    assert pushed[ORACLE] == pushed[NOBODY] > 0


def test_no_list_knows_what_comes_after_its_morning() -> None:
    """Cutting the log after a morning's run leaves that morning's weekly list as it was."""
    conditions = Conditions(mornings=3)
    whole = demand(LOAD, "boise")
    asked: list[datetime] = []

    def remember(times: Sequence[datetime]) -> Lists:
        asked.extend(times)
        return nothing(times)

    full = compare(LOAD, BOISE, whole, remember, conditions)
    future = pl.col("timestamp") < max(asked) + conditions.lasts
    cut = compare(LOAD, BOISE, whole.filter(future), nothing, conditions)
    assert cut.results[WEEKLY] == full.results[WEEKLY]


def test_a_quiet_office_needs_nothing() -> None:
    """Pinned images on a mirror that forgets nothing: even foresight saves nothing."""
    load = workload.quiet(days=28)
    conditions = Conditions(mirror=Mirror(50_000_000_000, ttl=None), mornings=5)
    told = compare(load, load.offices[0], demand(load, "lisbon"), nothing, conditions)
    assert told.results[NOBODY].missed == 0
    assert told.verdict.answer is Answer.NO
    assert "already serves 100.0% of pulls" in told.verdict.reason


def test_a_tag_resolves_to_what_it_was() -> None:
    """A moved tag has another content before and after the move, and none before its first push."""
    versions = LOAD.catalogue["acme/web", "main"]
    lookup = Lookup(LOAD)
    moment = timedelta(seconds=1)
    before = lookup.resolve("docker.io/acme/web:main", versions[1].since - moment)
    after = lookup.resolve("docker.io/acme/web:main", versions[1].since + moment)
    assert before is not None
    assert after is not None
    assert (before.digest, after.digest) == (versions[0].digest, versions[1].digest)
    assert lookup.resolve("docker.io/library/nginx:1.26", LOAD.start) is None
