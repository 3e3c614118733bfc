"""The verb `replay`: the lake's own pulls through a cache that one does not have yet, policy by policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from prewarm.demand import forecasters
from prewarm.demand.calendars import Site
from prewarm.demand.forecasters.baselines import BASELINES
from prewarm.errors import NotEnoughHistory, SettingsError
from prewarm.insight import policies
from prewarm.insight.costs import OFFICE, Cost, measured
from prewarm.insight.gains import waits
from prewarm.insight.mirrors import WarmRun
from prewarm.insight.policies import BELADY, BIGGER, FIXED, LFU, LONGER, NONE, ORACLE, PUSHED, WEEKLY
from prewarm.insight.recollections import Known, Recollection, recollect
from prewarm.insight.replay import Result
from prewarm.insight.replay import replay as through
from prewarm.insight.traces import Window
from prewarm.insight.verdict import Verdict, verdict
from prewarm.pipeline.demand.histories import (
    DEMAND,
    WEEKS,
    Counting,
    Extent,
    declared,
    demand_among,
    extents,
    read_outcomes,
    read_pulls,
)
from prewarm.pipeline.insight.hindsight import Hindsight, moments
from prewarm.pipeline.insight.whatif import (
    CHEAP,
    CURVE,
    DAY,
    LONGEST,
    WORDS,
    ReplayResult,
    SiteReplay,
    WhatIf,
    check,
    ordered,
)

if TYPE_CHECKING:
    from prewarm.lake import Lake


def replay(
    lake: Lake,
    sites: Mapping[str, Site],
    asked: WhatIf,
    *,
    default: Site | None = None,
    counting: Counting = DEMAND,
    advance: Callable[[int, int | None], None] = lambda done, total: None,
) -> ReplayResult:
    """Replay the lake's pulls under each policy; each site has a mirror of its own.

    Raises SettingsError for what cannot be replayed, UnknownName for a policy, a site or an objective,
    NotEnoughHistory when no site has pulls before and after `since`.
    """
    check(asked)
    found, warnings = [], []
    for extent in extents(lake, asked.site):
        try:
            found.append(_site(lake, declared(sites, extent.site, default), extent, asked, counting, advance))
        except NotEnoughHistory as error:
            warnings.append(str(error))
    if not found:
        raise NotEnoughHistory(warnings[0])
    return ReplayResult(asked, found, [*warnings, *(said for site in found for said in site.warnings)])


def _site(
    lake: Lake,
    site: Site,
    extent: Extent,
    asked: WhatIf,
    counting: Counting,
    advance: Callable[[int, int | None], None],
) -> SiteReplay:
    found = gathered(lake, site, extent, asked, counting)
    stage = staged(found, asked, found.pushes, lake.read("images"))
    hindsight = Hindsight(site, found.pulls, found.outcomes, counting)
    return stage.played(hindsight, _doubts(stage.past, found.demand, asked, site), advance)


@dataclass(frozen=True, eq=False)
class Gathered:
    """What the lake holds of one site for a replay: its pulls, the demand among them, runs and pushes."""

    site: Site
    since: datetime
    until: datetime
    pulls: pl.DataFrame
    outcomes: pl.DataFrame
    demand: pl.DataFrame
    pushes: pl.DataFrame


def gathered(lake: Lake, site: Site, extent: Extent, asked: WhatIf, counting: Counting = DEMAND) -> Gathered:
    """Read what a replay of one site needs. NotEnoughHistory where nothing was logged in that time."""
    since, until = _scored(site, extent, asked)
    begin = max(extent.first, since - timedelta(weeks=WEEKS))
    pulls = read_pulls(lake, site.name, begin, until, ["seconds"]).sort("timestamp", maintain_order=True)
    outcomes = read_outcomes(lake, begin, until, counting)
    demand, _ = demand_among(pulls, outcomes, counting)
    demand = demand.sort("timestamp", maintain_order=True)
    pushes = lake.read("pushes", pl.col("timestamp") < until)
    return Gathered(site, since, until, pulls, outcomes, demand, pushes)


def staged(found: Gathered, asked: WhatIf, pushes: pl.DataFrame, catalogue: pl.DataFrame) -> Stage:
    """The site, ready to be replayed with these pushes. NotEnoughHistory without pulls before and after."""
    since, until, demand = found.since, found.until, found.demand
    past = recollect(demand, catalogue, pushes, asked.scope)
    if past.trace.between(None, since) == slice(0, 0) or not len(
        past.trace.only(past.trace.between(since, until))
    ):
        raise NotEnoughHistory(
            f"site {found.site.name!r} has {len(past.trace)} pulls that are demand, and a replay needs some "
            f"before and some after {since:%Y-%m-%dT%H:%MZ}; read more of its log, or say another --since"
        )
    _check_known(past.known, asked)
    clients = demand.filter(pl.col("timestamp") >= since)["client"].n_unique()
    return Stage(asked, found.site, past, since, until, _cost(past, demand, asked), clients)


def _scored(site: Site, extent: Extent, asked: WhatIf) -> Window:
    """What is scored: as asked for, else the second half of the log, four weeks of it at most."""
    until = min(
        asked.until or extent.last + timedelta(microseconds=1), extent.last + timedelta(microseconds=1)
    )
    half = extent.first + (until - extent.first) / 2
    since = asked.since or site.floor(max(half, until - LONGEST))
    if until <= max(since, extent.first):
        raise NotEnoughHistory(
            f"site {site.name!r} has logged nothing in what is asked for; its log goes from "
            f"{extent.first:%Y-%m-%dT%H:%MZ} to {extent.last:%Y-%m-%dT%H:%MZ}"
        )
    return since.astimezone(UTC), until


def _check_known(known: Known, asked: WhatIf) -> None:
    """Refuse bytes where none are known."""
    for name, value in (("capacity", asked.capacity), ("max-bytes", asked.max_bytes)):
        if value is not None and known.nothing:
            raise SettingsError(
                f"the lake knows no sizes, so --{name} cannot be used; say --top N, or have the sizes "
                "looked up: prewarm plan --cache NAME"
            )


def _cost(past: Recollection, demand: pl.DataFrame, asked: WhatIf) -> Cost:
    size, seconds = (
        demand[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in ("bytes", "seconds")
    )
    cost = measured(past.trace, size, seconds, OFFICE)
    if asked.latency is not None:
        cost = replace(cost, round_trip=asked.latency.total_seconds())
    return cost if asked.bandwidth is None else replace(cost, bandwidth=float(asked.bandwidth))


def _doubts(past: Recollection, demand: pl.DataFrame, asked: WhatIf, site: Site) -> list[str]:
    """What makes the answer less sure, in words."""
    known, said = past.known, []
    if known.nothing:
        said.append("no size is known, so every image counts as one and bytes are not told")
    elif known.bytes or known.neither:
        total = known.layers + known.bytes + known.neither
        said.append(
            f"layers of {known.layers / total:.0%} of the pulls are known; {known.bytes / total:.0%} "
            f"count as one layer of the size that was logged, {known.neither / total:.0%} as of median size"
        )
    if not past.pushes:
        said.append(
            "no pushes are known, so lists get no credit for what a tag became before it was pulled again, "
            "and the oracle gets it for all that is new: a ceiling that nothing may reach"
        )
    times = demand["timestamp"]
    if len(times) > 1 and (times == times.dt.truncate("1h")).all():
        said.append("all times are whole hours, so the order within an hour is not known")
    if asked.scope != "site":
        said.append(
            "pulls that a node served from its own disk are in no log, so its hit ratio is a lower bound"
        )
    return [f"site {site.name!r}: {each}" for each in said]


@dataclass(frozen=True, eq=False)
class Stage:
    """One site, ready to be replayed."""

    asked: WhatIf
    site: Site
    past: Recollection
    since: datetime
    until: datetime
    cost: Cost
    clients: int  # that pulled in what is scored
    runs: Sequence[Window] = field(init=False)

    def __post_init__(self) -> None:
        runs = moments(
            self.site,
            self.since,
            self.until,
            [timedelta(hours=at.hour, minutes=at.minute) for at in self.asked.at],
            self.asked.days,
        )
        object.__setattr__(self, "runs", [(at, min(end, at + self.asked.serves)) for at, end in runs])

    def played(
        self, hindsight: Hindsight, doubts: list[str], advance: Callable[[int, int | None], None]
    ) -> SiteReplay:
        """Every policy."""
        budget = self.budget()
        names, skipped = self.possible()
        lists = self.lists(names, hindsight, advance)
        results = {name: self.under(name, lists, budget) for name in dict.fromkeys((*names, ORACLE))}
        return SiteReplay(
            self.site.name,
            self.windows(),
            len(self.runs),
            budget,
            self.past.known,
            self.cost,
            results,
            self.curve(names, lists, budget) if self.asked.pareto else (),
            self.judged(results),
            skipped,
            doubts,
        )

    def budget(self) -> int | None:
        """What a run may fetch: as asked for, else a tenth of all that had been pulled before, and at least
        the largest image of that."""
        if self.asked.max_bytes is not None or self.past.known.nothing:
            return self.asked.max_bytes
        trace = self.past.trace
        before = np.unique(trace.content[trace.between(None, self.since)])
        sizes = trace.sizes[before]
        return max(int(sizes.sum()) // 10, int(sizes.max()), 1)

    def windows(self) -> list[Window]:
        """The scored days, from `since` on."""
        days = -((self.since - self.until) // DAY)
        return [
            (self.since + day * DAY, min(self.since + (day + 1) * DAY, self.until)) for day in range(days)
        ]

    def possible(self) -> tuple[list[str], dict[str, str]]:
        """The policies that can be replayed here, and why the others cannot."""
        wants = {LONGER: "there is no expiry to lengthen (--ttl)"}
        wants |= dict.fromkeys((LFU, BIGGER, BELADY), "a disk without limit evicts nothing (--capacity)")
        able = self.asked.mirrors()
        skipped = {name: why for name, why in wants.items() if name not in able}
        if not self.past.pushes:
            skipped[PUSHED] = "the lake holds no pushes; a registry's webhooks tell them"
        names = ordered(self.asked.policies)
        return (
            [name for name in names if name not in skipped],
            {name: why for name, why in skipped.items() if name in names},
        )

    def lists(
        self, names: Sequence[str], hindsight: Hindsight, advance: Callable[[int, int | None], None]
    ) -> Mapping[str, policies.Lists]:
        """What each policy that warms by name would have on its list."""
        done = iter(range(1, len(self.runs) + 1))
        found = hindsight.rankings(
            [name for name in names if name in forecasters.names()],
            self.runs,
            self._sizes(),
            self.asked.objective,
            self.asked.top,
            lambda: advance(next(done), len(self.runs)),
        )
        return {**found, **self.written()}

    def written(self) -> dict[str, policies.Lists]:
        """The lists that nobody has to forecast."""
        trace, top, times = self.past.trace, self.asked.top, [start for start, _ in self.runs]
        monday, _ = self.site.day((day := self.since.astimezone(self.site.zone).date()) - day.weekday() * DAY)
        written = policies.most_pulled(trace, self.since - policies.SUBSCRIBED, self.since, top)
        return {
            FIXED: policies.fixed(written, times),
            WEEKLY: policies.weekly(trace, times, top, monday),
        }

    def under(
        self, name: str, lists: Mapping[str, policies.Lists], budget: int | None, top: int | None = None
    ) -> Result:
        """One policy; `top` shortens its lists."""
        runs = self._warm_runs(name, lists, budget)
        return through(
            self.past.trace,
            self.asked.mirrors().get(name, self.asked.mirror),
            runs=[replace(run, images=run.images[:top]) for run in runs],
            windows=self.windows(),
            cost=self.cost,
        )

    def waits(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """Seconds a day that each repository's clients wait, by policy; no model among these."""
        lists, budget, days = self.written(), self.budget(), (self.until - self.since) / DAY
        return {
            name: waits(
                self.past.trace,
                self.asked.mirrors().get(name, self.asked.mirror),
                self._warm_runs(name, lists, budget),
                self.since,
                self.cost,
                max(days, 1.0),
            )
            for name in names
        }

    def curve(
        self, names: Sequence[str], lists: Mapping[str, policies.Lists], budget: int | None
    ) -> list[tuple[str, int | None, Result]]:
        """`none`, and the policies that warm at growing budgets; by longer lists where no size is known."""
        points: list[tuple[int | None, int | None]] = [
            (None, max(round(share * self.asked.top), 1))
            if budget is None
            else (max(int(share * budget), 1), None)
            for share in CURVE
            if budget is not None or share <= 1
        ]
        warming = [name for name in names if name in lists or name in (ORACLE, PUSHED)]
        return [
            (NONE, None, self.under(NONE, lists, None)),
            *((name, each, self.under(name, lists, each, top)) for name in warming for each, top in points),
        ]

    def judged(self, results: Mapping[str, Result]) -> Verdict | None:
        """Whether the first ranker pays here; None when none was asked for."""
        rankers = [name for name in results if name in forecasters.names()]
        ours = next((name for name in rankers if name not in BASELINES), next(iter(rankers), None))
        if ours is None:
            return None
        lists = {
            WORDS.get(name, name): results[name] for name in (FIXED, WEEKLY, *rankers) if name in results
        }
        lists.pop(ours)
        fixes = {WORDS[name]: results[name] for name in CHEAP if name in results}
        # A list may beat foresight: what it fetched for nobody can postpone an expiry into a quiet hour.
        ceiling = min((results[ORACLE], results[ours], *lists.values()), key=lambda result: result.seconds)
        return verdict(
            results[NONE], results[ours], ceiling,
            lists=lists, fixes=fixes, windows=len(self.windows()), clients=self.clients,
        )  # fmt: skip

    def _warm_runs(self, name: str, lists: Mapping[str, policies.Lists], budget: int | None) -> list[WarmRun]:
        trace = self.past.trace
        if name == ORACLE:
            return policies.foresight(trace, self.runs, budget)
        if name == PUSHED:
            return policies.replicated(trace, self.past.pushes, self._always(), budget)
        return policies.scheduled(lists.get(name, []), self.past.resolve, budget)

    def _always(self) -> list[Window]:
        """Pushes come at any time: from one run to the next, without gaps."""
        starts = [self.since, *(start for start, _ in self.runs if start > self.since)]
        return list(zip(starts, [*starts[1:], self.until], strict=True))

    def _sizes(self) -> dict[str, int]:
        """Bytes by image, for the objective that weighs them."""
        trace = self.past.trace
        latest = dict(zip(trace.image.tolist(), trace.sizes[trace.content].tolist(), strict=True))
        return {trace.images[image]: size for image, size in latest.items()}
