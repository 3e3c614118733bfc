"""Synthetic registries of seven kinds, as hour grids with the true rate of every image and hour.

Written from what registries are known to do, not from what a model assumes: people who come in at eight,
build tags that live for hours, jobs that keep their minute, clusters that scale out when nobody planned
it, images that are pulled once a week, products on their release day, the builds of a monorepo. Equal
seeds give equal grids. All are labelled synthetic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prewarm.demand.calendars import HOUR, Clock, Site, clock
from prewarm.demand.counts import Counts
from prewarm.demand.series import WEEK, Grid, repositories

START = datetime(2026, 9, 7, tzinfo=UTC)  # a Monday
WEEKS = 6


def _pushes(births: Iterable[tuple[str, int]]) -> pl.DataFrame:
    """The pushes of images with their hour, as the lake would tell them: `timestamp, image`."""
    rows = [{"timestamp": START + hour * HOUR, "image": name} for name, hour in births]
    return pl.DataFrame(rows, schema={"timestamp": pl.Datetime("us", "UTC"), "image": pl.String})


@dataclass(frozen=True, eq=False)
class Registry:
    """A grid, the rate that its counts were drawn around (what an oracle would know), and the pushes."""

    grid: Grid
    rate: NDArray[np.float64]
    pushes: pl.DataFrame = field(default_factory=lambda: _pushes([]))


@dataclass
class _Draft:
    """Rates by image while a registry is being drawn."""

    rng: np.random.Generator
    told: Clock
    names: list[str]
    rates: list[NDArray[np.float64]]
    births: list[tuple[str, int]] = field(default_factory=list)  # images whose push is known, and its hour

    @property
    def hours(self) -> int:
        return len(self.told.hour)

    def add(self, name: str, rate: NDArray[np.float64], pushed: int | None = None) -> None:
        self.names.append(f"docker.io/{name}")
        self.rates.append(rate)
        if pushed is not None:
            self.births.append((self.names[-1], pushed))

    def shocks(self, size: float = 0.2) -> NDArray[np.float64]:
        """A busier or quieter factor for every day."""
        days = self.rng.lognormal(-size * size / 2, size, self.hours // 24 + 1)
        return np.repeat(days, 24)[: self.hours]


def office(seed: int) -> Registry:
    """People from eight to six on workdays, night builds, weekly jobs; tags roll over, images come and go."""
    draft = _draft(seed)
    for number in range(60):
        level = 12 / (1 + number) ** 0.9
        kind = draft.rng.choice(["work", "work", "work", "night", "weekly", "flat"])
        rate = level * _rhythm(draft, str(kind)) * draft.shocks()
        _tags(draft, f"office/r{number:02}", rate, int(draft.rng.integers(1, 4)))
    return _drawn(draft)


def builds(seed: int) -> Registry:
    """Immutable tags that live for hours after their push, the builders they need, and bursts of both."""
    draft = _draft(seed)
    for number in range(12):
        pace = draft.rng.uniform(0.15, 0.6)  # builds an hour at work
        busy = pace * _rhythm(draft, "work") * draft.shocks(0.3) * _bursts(draft, 0.01, 3, 4.0)
        builder = np.zeros(draft.hours)
        for build, hour in enumerate(np.repeat(np.arange(draft.hours), draft.rng.poisson(busy)).tolist()):
            life = np.exp(-np.arange(12) / draft.rng.uniform(1, 4)) * draft.rng.lognormal(0.5, 0.7)
            rate = np.zeros(draft.hours)
            rate[hour : hour + 12] = life[: draft.hours - hour]
            draft.add(f"ci/s{number:02}:build-{build}", rate, pushed=hour)
            builder[hour] += 1
        draft.add(f"ci/s{number:02}:main", 0.5 * builder + 0.2 * _rhythm(draft, "work"))
        draft.add(f"library/builder{number % 4}:{number}", builder + 0.02)
    return _drawn(draft)


def sparse(seed: int) -> Registry:
    """Two hundred images, hardly any pulled more than a few times a day, without much of a rhythm."""
    draft = _draft(seed)
    for number in range(200):
        kind = draft.rng.choice(["work", "flat", "evening", "weekly"])
        level = 0.6 / (1 + number) ** 0.7 * draft.rng.lognormal(0, 0.6)
        _tags(draft, f"sparse/r{number // 2:03}", level * _rhythm(draft, str(kind)) * draft.shocks(0.4), 1)
    return _drawn(draft)


def scale_outs(seed: int) -> Registry:
    """Services whose nodes come in sudden groups at any hour, each pulling the service and its daemons."""
    draft = _draft(seed)
    daemons = np.full(draft.hours, 0.3)
    for number in range(25):
        nodes = 0.15 * _bursts(draft, 0.012, 4, 25.0) * (0.4 + _rhythm(draft, "evening"))
        daemons = daemons + 0.5 * nodes
        _tags(draft, f"svc/s{number:02}", nodes, int(draft.rng.integers(1, 4)))
    for number in range(6):
        draft.add(f"kube/d{number}:v1", daemons * draft.rng.uniform(0.5, 1.0))
    return _drawn(draft)


def crons(seed: int) -> Registry:
    """Jobs that keep their interval (2 to 72 hours) or their hours of the day, some moved in between."""
    draft = _draft(seed)
    time = np.arange(draft.hours)
    for number in range(80):
        every = int(draft.rng.choice([2, 3, 4, 6, 8, 12, 24, 24, 24, 36, 48, 72, 168]))
        phase = np.full(draft.hours, draft.rng.integers(0, every))
        if draft.rng.random() < 0.2:
            phase[draft.hours // 2 :] = draft.rng.integers(0, every)
        rate = np.where(time % every == phase, draft.rng.choice([1.0, 1.0, 2.0, 5.0, 12.0]), 0.0)
        draft.add(f"cron/j{number:02}:1", rate * draft.rng.choice([0.95, 1.0]) + 0.001)
    for number in range(20):
        level = 3 / (1 + number)
        _tags(draft, f"work/r{number:02}", level * _rhythm(draft, "work") * draft.shocks(), 2)
    return _drawn(draft, exact="cron/")


def releases(seed: int) -> Registry:
    """Products with a release every few weeks: a rush on the new tag that ebbs over days, laggards.

    Customers live in all time zones, so the hour of the day says little; some never leave the old tags.
    """
    draft = _draft(seed)
    workdays = [
        hour for hour in range(24, draft.hours - 24) if hour // 24 % 7 < 5 and hour % 24 in range(9, 17)
    ]
    rhythm = 0.8 + 0.2 * np.sin(2 * np.pi * (draft.told.hour - 9) / 24)
    for number in range(30):
        level = 0.5 * draft.rng.lognormal(0, 1.0)
        times = np.sort(draft.rng.choice(workdays, int(draft.rng.integers(1, 4)), replace=False)).tolist()
        latest = 0.3 * level * np.ones(draft.hours)
        stay = level * np.ones(draft.hours)  # users of the tag before the first release
        for release, hour in enumerate(times):
            draft.add(f"product/p{number:02}:v{release}", stay * rhythm)
            since = np.maximum(np.arange(draft.hours) - hour, 0)
            moved = 1 - np.exp(-since / draft.rng.uniform(48, 240))
            rush = draft.rng.lognormal(2.0, 0.7) * level * np.exp(-since / draft.rng.uniform(8, 40))
            out = np.arange(draft.hours) >= hour
            latest += 0.5 * rush * out
            stay, gone = level * moved + rush * out, np.where(out, 0.15 + 0.85 * (1 - moved), 1)
            draft.rates[-1] *= gone
        draft.add(f"product/p{number:02}:v{len(times)}", stay * rhythm)
        draft.add(f"product/p{number:02}:latest", latest * rhythm)
    return _drawn(draft)


def monorepo(seed: int) -> Registry:
    """One repository of sources, many services: each merge pushes a tag for the services it touches.

    Its tests pull these tags within three hours, staging pulls a third of them once more, a nightly run pulls
    the newest of every service, and each build pulls one of the base images, which roll over on Mondays.
    """
    draft = _draft(seed)
    told, services = draft.told, 15
    merges = np.flatnonzero(draft.rng.random(draft.hours) < 0.7 * _rhythm(draft, "work"))
    touched = draft.rng.dirichlet(np.full(services, 0.7))
    bases = np.zeros((5, draft.hours))
    born: list[list[tuple[int, NDArray[np.float64]]]] = [[] for _ in range(services)]
    for hour in merges.tolist():
        count = min(1 + draft.rng.poisson(1.5), services)
        for service in draft.rng.choice(services, count, replace=False, p=touched).tolist():
            rate = np.zeros(draft.hours)
            tests = draft.rng.uniform(1, 8) * np.array([1.0, 0.6, 0.2])
            rate[hour : hour + 3] = tests[: draft.hours - hour]
            staged = hour + int(draft.rng.integers(1, 5))
            if draft.rng.random() < 1 / 3 and staged < draft.hours:
                rate[staged] += 6
            born[service].append((hour, rate))
            bases[service % len(bases), hour : hour + 2] += 1.5
    for service, tags in enumerate(born):
        for (hour, rate), (succeeded, _) in pairwise([*tags, (draft.hours, np.empty(0))]):
            nightly = (
                (told.hour == 2) & (np.arange(draft.hours) > hour) & (np.arange(draft.hours) <= succeeded)
            )
            draft.add(f"mono/service{service:02}:{hour:04}", rate + 2.0 * nightly, pushed=hour)
    week = np.arange(draft.hours) // WEEK
    for number, rate in enumerate(bases):
        for monday in range(WEEKS):
            draft.add(f"base/b{number}:2026w{37 + monday}", (rate + 0.1) * (week == monday))
    return _drawn(draft)


REGIMES: dict[str, Callable[[int], Registry]] = {
    "office": office,
    "builds": builds,
    "sparse": sparse,
    "scale-outs": scale_outs,
    "crons": crons,
    "releases": releases,
    "monorepo": monorepo,
}


def _draft(seed: int) -> _Draft:
    site = Site("synthetic", "Europe/Berlin", "DE")
    return _Draft(np.random.default_rng(seed), clock(site, START, WEEKS * WEEK), [], [])


def _rhythm(draft: _Draft, kind: str) -> NDArray[np.float64]:
    told, rest = draft.told, draft.told.weekend | draft.told.holiday
    if kind == "work":
        peak = draft.rng.uniform(8, 10)
        day = np.exp(-0.5 * ((told.hour - peak) / 1.5) ** 2) + 0.3 * ((told.hour > 8) & (told.hour < 18))
        return np.where(rest, 0.04, day + 0.01)
    if kind == "night":
        return np.where(told.hour == draft.rng.integers(0, 6), 2.0, 0.01)
    if kind == "weekly":
        return np.where(told.hour_of_week == draft.rng.integers(0, 120), 8.0, 0.01)
    if kind == "evening":
        return 0.2 + np.exp(-0.5 * ((told.hour - 20) / 3.0) ** 2)
    return np.full(draft.hours, 0.4)


def _bursts(draft: _Draft, chance: float, lasts: int, times: float) -> NDArray[np.float64]:
    """1, and for some hours after a sudden beginning up to `times` as much."""
    factor = np.ones(draft.hours)
    for hour in np.flatnonzero(draft.rng.random(draft.hours) < chance).tolist():
        length = 1 + draft.rng.poisson(lasts)
        factor[hour : hour + length] = draft.rng.uniform(2, times)
    return factor


def _tags(draft: _Draft, repository: str, rate: NDArray[np.float64], tags: int) -> None:
    """A repository's rate over its tags: one at a time with a roll-over in between, or all side by side."""
    if tags > 1 and draft.rng.random() < 0.5:
        cuts = np.sort(draft.rng.integers(WEEK, draft.hours - 24, tags - 1))
        edges = [0, *cuts.tolist(), draft.hours]
        for tag, (begin, end) in enumerate(pairwise(edges)):
            alive = (np.arange(draft.hours) >= begin) & (np.arange(draft.hours) < end)
            draft.add(f"{repository}:1.{tag}", rate * alive)
        return
    for tag, share in enumerate(draft.rng.dirichlet(np.full(tags, 1.5)).tolist()):
        born = int(draft.rng.integers(0, draft.hours)) if draft.rng.random() < 0.1 else 0
        dies = int(draft.rng.integers(0, draft.hours)) if draft.rng.random() < 0.1 else draft.hours
        alive = (np.arange(draft.hours) >= born) & (np.arange(draft.hours) < max(dies, born + 24))
        draft.add(f"{repository}:{tag}", share * rate * alive)


def _drawn(draft: _Draft, exact: str | None = None) -> Registry:
    """Counts around the rates, more spread than Poisson; jobs of `exact` come as they are scheduled."""
    rate = np.array(draft.rates)
    counts = draft.rng.poisson(rate * draft.rng.gamma(4, 1 / 4, rate.shape)).astype(np.float32)
    if exact is not None:
        jobs = np.array([exact in name for name in draft.names])
        came = draft.rng.random(rate[jobs].shape) < np.where(rate[jobs] > 0.5, 0.97, 0.001)
        counts[jobs] = came * np.maximum(np.round(rate[jobs]), 1)
    order = np.argsort(np.array(draft.names))
    pulled = order[counts[order].any(axis=1)]
    images = pl.Series([draft.names[row] for row in pulled], dtype=pl.String)
    grid = Grid(
        site=Site("synthetic", "Europe/Berlin", "DE"),
        images=tuple(images),
        repositories=repositories(images),
        start=START,
        counts=Counts.of(counts[pulled]),
        observed=np.ones(draft.hours, dtype=np.bool_),
    )
    return Registry(grid, rate[pulled], _pushes(draft.births))
