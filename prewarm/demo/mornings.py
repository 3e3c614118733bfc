"""The last working mornings of an office, replayed against the skeptic's rivals.

Every policy gets the same mirror, the same hour, the same budget and nothing but the past: what a tag
points to is what the registry would have answered at that moment, and our list is a forecast whose history
ends before the morning does begin. Only the oracle may look ahead; it is the ceiling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import polars as pl

from prewarm.demo.contents import Version, every
from prewarm.demo.sites import Office, working
from prewarm.demo.workload import Workload
from prewarm.insight.costs import Cost
from prewarm.insight.mirrors import Mirror
from prewarm.insight.policies import Lists, fixed, oracle, scheduled, weekly
from prewarm.insight.replay import Result, replay
from prewarm.insight.traces import Content, Pull, Trace
from prewarm.insight.verdict import Verdict, verdict

Ranked = Callable[[Sequence[datetime]], Lists]
"""Our lists: for each time, images in the order in which they are to be warm."""

NOBODY = "nobody (warm LRU)"
FOUR = "fixed list of four"
WEEKLY = "weekly list"
OURS = "prewarm"
ORACLE = "perfect foresight"
LONGER = "4 × the expiry"
BIGGER = "4 × the disk"


@dataclass(frozen=True, slots=True)
class Conditions:
    """What all policies have in common."""

    mirror: Mirror = field(default_factory=lambda: Mirror(20_000_000_000, timedelta(days=7)))
    cost: Cost = field(default_factory=Cost)
    mornings: int = 10
    starts: float = 7.0  # hour of the site's clock at which warm runs start and scoring begins
    lasts: timedelta = timedelta(hours=5)
    top: int = 30
    max_bytes: int = 2_000_000_000
    four: tuple[str, ...] = (
        "docker.io/library/nginx:1.25",
        "docker.io/library/postgres:16",
        "docker.io/library/redis:7",
        "docker.io/library/node:20",
    )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Results by policy over the same mornings, and what follows from them."""

    site: str
    days: tuple[date, ...]
    results: Mapping[str, Result]  # NOBODY, FOUR, WEEKLY, OURS, ORACLE
    fixes: Mapping[str, Result]  # LONGER, BIGGER: nobody warms
    verdict: Verdict


def compare(
    load: Workload, office: Office, demand: pl.DataFrame, ranked: Ranked, conditions: Conditions
) -> Comparison:
    """Replay the last mornings of `office`. `demand` are its pulls as read from the logs, with `image`."""
    days = _mornings(load, office, conditions.mornings)
    times = [office.clock(day, conditions.starts) for day in days]
    lookup = Lookup(load)
    trace = Trace.of(lookup.pulls(demand))
    lists = {
        NOBODY: fixed((), times),
        FOUR: fixed(conditions.four, times),
        WEEKLY: weekly(trace, times, conditions.top, _monday(office, days[0])),
        OURS: ranked(times),
        ORACLE: oracle(trace, times, conditions.lasts),
    }
    windows = [(time, time + conditions.lasts) for time in times]

    def under(mirror: Mirror, names: Lists) -> Result:
        runs = scheduled(names, lookup.resolve, conditions.max_bytes)
        return replay(trace, mirror, runs=runs, windows=windows, cost=conditions.cost)

    results = {name: under(conditions.mirror, names) for name, names in lists.items()}
    fixes = {name: under(mirror, []) for name, mirror in _fixes(conditions.mirror).items()}
    judged = verdict(
        results[NOBODY],
        results[OURS],
        results[ORACLE],
        lists={f"a {name}": results[name] for name in (FOUR, WEEKLY)},
        fixes=fixes,
        windows=len(windows),
    )
    return Comparison(office.name, tuple(days), results, fixes, judged)


class Lookup:
    """Contents of the workload's images, by digest or by what a tag pointed to at a time."""

    def __init__(self, load: Workload) -> None:
        self._load = load
        self._by_name = {
            (f"docker.io/{repository}:{tag}", version.digest): _content(version)
            for repository, tag, version in every(load.catalogue)
        }

    def resolve(self, image: str, time: datetime) -> Content | None:
        """What the registry would have answered at `time`."""
        version = self._load.version(image, time)
        return self._by_name[image, version.digest] if version else None

    def pulls(self, demand: pl.DataFrame) -> list[Pull]:
        """Pulls with their contents, in order of time; by digest where the log told it."""
        found = []
        for time, image, digest in (
            demand.sort("timestamp").select("timestamp", "image", "digest").iter_rows()
        ):
            content = self._by_name.get((image, digest)) or self.resolve(image, time)
            if content is not None:
                found.append(Pull(time, image, content))
        return found


def _content(version: Version) -> Content:
    return Content(version.digest, version.blobs, version.since)


def _mornings(load: Workload, office: Office, count: int) -> list[date]:
    """The last `count` working days whose morning is over when the log ends."""
    days = [
        day
        for day in office.days(load.start, (load.end - load.start).days)
        if working(office, day) and office.clock(day, 12.0) <= load.end
    ]
    return days[-count:]


def _monday(office: Office, day: date) -> datetime:
    """Midnight of this week's Monday: when weekly lists are refreshed."""
    return office.clock(day - timedelta(days=day.weekday()), 0.0)


def _fixes(mirror: Mirror) -> dict[str, Mirror]:
    """What nobody has to forecast."""
    fixes = {}
    if mirror.ttl is not None:
        fixes[LONGER] = Mirror(mirror.capacity, 4 * mirror.ttl)
    if mirror.capacity is not None:
        fixes[BIGGER] = Mirror(4 * mirror.capacity, mirror.ttl)
    return fixes
