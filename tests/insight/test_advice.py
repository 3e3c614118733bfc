"""Each rule of the advice: traffic that must trigger it, and traffic like it that must not."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from benchmarks.advice import advised, made, scores
from prewarm.insight.advice import RULES, advise
from prewarm.insight.causes import judged
from tests.traffic import MONDAY, Ask, days, frame, identified, steady, through

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
NAME = "docker.io/acme/app"
MB = 10**6


def _told(pulls: pl.DataFrame, quota: int = 100, repository: str = NAME) -> list[str]:
    """All strategies that hold for the repository, the advice first."""
    rows = [row for row in advise(judged(identified(pulls)), quota) if row["repository"] == repository]
    assert rows
    return [
        strategy
        for row in rows
        for strategy in (row["strategy"], *(each["strategy"] for each in row["also"]))
    ]


def _daily(
    count: int,
    tag: str = "acme/app:main",
    clients: int = 3,
    size: int = 300 * MB,
    moves: bool = False,
    **more: Any,
) -> pl.DataFrame:
    """Every morning so many clients pull one tag, which may have moved in the night."""
    asks = [
        Ask(at + timedelta(minutes=20 * client), f"10.0.0.{client}", tag, day if moves else 0, size)
        for day, at in enumerate(days(count))
        for client in range(clients)
    ]
    return frame(through(asks, more.pop("ttl", None)), cache=True, **more)


def _builds(count: int, **more: Any) -> pl.DataFrame:
    """A tag a night, pulled the next morning."""
    asks = [
        Ask(at + timedelta(minutes=20 * n), f"c{n}", f"acme/app:b{day}", 0, 300 * MB)
        for day, at in enumerate(days(count))
        for n in range(2)
    ]
    return frame(through(asks), cache=True, **more)


def _at_sites(pulls: pl.DataFrame, count: int, apart: timedelta) -> pl.DataFrame:
    """The same pulls at several sites, one after the other."""
    return pl.concat(
        pulls.with_columns(pl.col("timestamp") + apart * n, site=pl.lit(f"s{n}")) for n in range(count)
    )


def _nodes(size: int, nodes: int = 8) -> pl.DataFrame:
    """Every day new nodes, each of which pulls the image once and uses it then."""
    asks = [
        Ask(at + timedelta(minutes=n), f"node{day}-{n}", "acme/app:1", 0, size)
        for day, at in enumerate(days(6))
        for n in range(nodes)
    ]
    pulls = frame(through(asks))
    uses = pulls.with_columns(pl.col("timestamp") + HOUR, kind=pl.lit("local"))
    return pl.concat([pulls, uses])


def _idle(last: int) -> pl.DataFrame:
    """An image that was pulled until a day, in a log of forty."""
    old = frame(through([Ask(at, "c", "acme/app:1", 0, 10 * MB) for at in days(last)]), cache=True)
    other = frame(through([Ask(at, "c", "acme/other:1", 0, 10 * MB) for at in days(40)]), cache=True)
    return pl.concat([old, other])


def _crowd(size: int) -> pl.DataFrame:
    """So many different images of one repository in one morning."""
    asks = [
        Ask(MONDAY + timedelta(hours=8, seconds=n), f"c{n % 9}", f"acme/app:t{n}", 0, 30 * MB)
        for n in range(size)
    ]
    return frame(through(asks), cache=True)


def _cache(size: int) -> pl.DataFrame:
    """Builds import a cache that the last build has replaced."""
    asks = [Ask(MONDAY + n * 6 * HOUR, f"ci{n % 3}", "acme/app:buildcache", n, size) for n in range(40)]
    return frame(through(asks), cache=True)


def _torn(torn: bool) -> pl.DataFrame:
    """A tag moves at noon, between two clients of a day, or in the night."""
    asks = [
        Ask(at + n * 5 * HOUR, f"c{n}", "acme/app:latest", 2 * day + (n if torn else 0), 50 * MB)
        for day, at in enumerate(days(5))
        for n in range(2)
    ]
    return frame(through(asks), cache=True)


def _tags(*tags: str) -> pl.DataFrame:
    asks = [
        Ask(at + n * HOUR, "c", f"acme/app:{tag}", 0, 50 * MB) for at in days(5) for n, tag in enumerate(tags)
    ]
    return frame(through(asks), cache=True)


def _once(capacity: int | None) -> pl.DataFrame:
    """Builds that are pulled once, beside images that come back: a disk that they fill, or not."""
    dice = random.Random(3)
    builds = [
        Ask(MONDAY + n * 2 * HOUR, f"c{dice.randrange(5)}", f"acme/app:b{n}", 0, 400 * MB) for n in range(60)
    ]
    rare = [
        Ask(at + image * HOUR, "c", f"library/big{image}:1", 0, 900 * MB)
        for at in days(8)
        for image in range(6)
    ]
    return frame(through([*builds, *rare], None, capacity), cache=True)


def _rare(size: int, sites: int) -> pl.DataFrame:
    asks = [Ask(at, f"c{n}", f"acme/app:{n}", 0, size) for n, at in enumerate(list(days(30))[::6])]
    beside = frame(through([Ask(at, "c", "acme/other:1", 0, MB) for at in days(30)]), cache=True)
    return _at_sites(pl.concat([frame(through(asks), cache=True), beside]), sites, DAY)


@dataclass(frozen=True)
class Case:
    """Traffic that calls for a strategy, and traffic that does not."""

    strategy: str
    must: Callable[[], pl.DataFrame]
    must_not: Callable[[], pl.DataFrame]


CASES = (
    Case("delete", lambda: _idle(5), lambda: _idle(20)),
    Case("move off the rate-limited upstream", lambda: _crowd(150), lambda: _crowd(90)),
    Case("keep the BuildKit cache warm", lambda: _cache(400 * MB), lambda: _daily(10, moves=True)),
    Case("keep the BuildKit cache warm", lambda: _cache(400 * MB), lambda: _cache(1000)),
    Case("lazy loading (eStargz)", lambda: _nodes(3000 * MB), lambda: _nodes(80 * MB)),
    Case("lazy loading (eStargz)", lambda: _nodes(3000 * MB), lambda: _daily(6, size=3000 * MB)),
    Case("replicate on push", lambda: _builds(8), lambda: _daily(8, moves=True)),
    Case(
        "replicate on push",
        lambda: _at_sites(_daily(8, moves=True), 3, timedelta(minutes=4)),
        lambda: _at_sites(_daily(8, moves=True), 3, 5 * HOUR),
    ),
    Case("raise the TTL", lambda: _daily(10, ttl=timedelta(hours=20)), lambda: _daily(10)),
    Case("raise the TTL", lambda: _daily(10, ttl=timedelta(hours=20)), lambda: _daily(10, moves=True)),
    Case("pre-warm", lambda: _daily(10, moves=True), lambda: _daily(10)),
    Case("pre-warm", lambda: _daily(10, moves=True), lambda: _builds(10)),
    Case("CDN edge", lambda: _rare(900 * MB, 2), lambda: _rare(20 * MB, 2)),
    Case("CDN edge", lambda: _rare(900 * MB, 2), lambda: _rare(900 * MB, 1)),
    Case(
        "regional replica",
        lambda: _at_sites(_daily(8, moves=True), 3, 5 * HOUR),
        lambda: _at_sites(_daily(8, moves=True), 2, 5 * HOUR),
    ),
    Case("lower the TTL", lambda: _once(6000 * MB), lambda: _once(None)),
    Case("consolidate base images", lambda: _tags("3.12.1", "3.12.4"), lambda: _tags("3.11.1", "3.12.4")),
    Case(
        "consolidate base images",
        lambda: _tags("3.12.1-slim", "3.12.4-slim"),
        lambda: _tags("3.12.1", "3.12.4-slim"),
    ),
    Case("pin by digest", lambda: _torn(True), lambda: _torn(False)),
    Case("pull-through only", lambda: _daily(10), lambda: _daily(10, moves=True)),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.strategy)
def test_traffic_that_calls_for_a_strategy_gets_it(case: Case) -> None:
    """It is the advice, or among what else holds."""
    assert case.strategy in _told(case.must())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.strategy)
def test_traffic_that_is_only_alike_does_not(case: Case) -> None:
    """Neither the advice nor beside it."""
    assert case.strategy not in _told(case.must_not())


def test_every_strategy_has_a_case() -> None:
    """A rule without traffic that triggers it is an opinion."""
    assert {rule.strategy for rule in RULES} == {case.strategy for case in CASES}


def test_labelled_repositories_get_their_strategy() -> None:
    """Of a seed that nothing was tuned on nine in ten are right, and nine in ten of each are found."""
    told = scores([(label, strategy) for _, label, strategy in advised(made(311))])

    right, labelled, given = told["all but pull-through"]
    assert labelled == 40
    assert right >= 0.9 * labelled
    assert right >= 0.9 * given


def test_a_row_says_why_how_much_and_what_would_change_it() -> None:
    """What scripts rely on; most to gain first."""
    rows = advise(
        judged(identified(pl.concat([_daily(10, moves=True), frame(through(steady(10)), cache=True)])))
    )

    assert {"repository", "strategy", "why", "saving", "apply", "unless", "also"} <= rows[0].keys()
    assert rows[0]["repository"] == NAME
    assert rows[0]["saving"]["seconds_per_day"] == pytest.approx(300e6 / 12.5e6, rel=0.2)
    assert len(rows) == 21


def test_no_pulls_no_advice() -> None:
    """An empty lake has no repository to advise on."""
    assert advise(judged(identified(frame([])))) == []
