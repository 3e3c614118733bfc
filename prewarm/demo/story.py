"""The story of `prewarm demo`: the real verbs on a synthetic workload, every number measured here and now.

Logs are read, the rhythm is shown, tomorrow's images are ranked, a plan is made and executed against an
in-process origin, and then the skeptic has his say: what would the last mornings have been without us?
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import polars as pl

from prewarm.demand.calendars import HOUR, Site
from prewarm.demand.selection import demand_pulls
from prewarm.demo import night, samples, telling, workload
from prewarm.demo.contents import SCALE
from prewarm.demo.mornings import Comparison, Conditions, compare
from prewarm.demo.quiet import OFFICE as QUIET
from prewarm.demo.sites import OFFICES, Office, working
from prewarm.demo.workload import Workload
from prewarm.errors import SettingsError
from prewarm.insight.mirrors import Mirror
from prewarm.insight.policies import Lists
from prewarm.lake import Lake
from prewarm.logs.files import Source
from prewarm.pipeline.demand.forecast import rank
from prewarm.pipeline.logs.ingest import ingest
from prewarm.pipeline.warming.plan import Request
from prewarm.references import Reference
from prewarm.warming.planning import Budget

if TYPE_CHECKING:
    from rich.console import Console

FEATURED = "boise"
TOP = 10
PLANNED = 15
QUIET_MIRROR = Mirror(capacity=50_000_000_000, ttl=None)


@dataclass(frozen=True, slots=True)
class Stage:
    """What every part of the story works on."""

    console: Console
    lake: Lake
    folder: Path
    busy: Workload
    quiet: Workload

    @property
    def offices(self) -> tuple[Office, ...]:
        return (*self.busy.offices, *self.quiet.offices)

    @property
    def featured(self) -> Office:
        return next(office for office in self.busy.offices if office.name == FEATURED)

    @property
    def sites(self) -> dict[str, Site]:
        return {office.name: Site(office.name, office.timezone, office.holidays) for office in self.offices}

    @property
    def tomorrow(self) -> datetime:
        """Eight o'clock of the first working day after the log's end, where the featured office is."""
        office, start = self.featured, self.busy.end
        mornings = (office.clock(day, 8.0) for day in office.days(start, 7) if working(office, day))
        return next(morning for morning in mornings if morning > start)

    def demand(self, site: str) -> pl.DataFrame:
        """The pulls of a site that are demand, as they were read from its log."""
        return demand_pulls(self.lake.read("pulls", pl.col("site") == site))[0]


def tell(console: Console, *, lake: Path | None = None) -> dict[str, Any]:
    """Tell the whole story on `console` and return it as plain data, with `top` as (name, expected pulls).

    The lake and the warmed images are written to a temporary folder, or to `lake` where one is given.
    """
    started = time.perf_counter()
    telling.opening(console)
    with _home(lake) as folder:
        opened = Lake.open(folder)
        _refuse_strangers(opened)
        stage = Stage(console, opened, folder, workload.busy(), workload.quiet())
        told = {
            "synthetic": True,
            "read": _read(stage),
            "hours": _rhythm(stage),
            **_rank(stage),
            "warm": _warm(stage),
            "mornings": [_document(comparison) for comparison in _compare(stage)],
        }
    seconds = round(time.perf_counter() - started, 1)
    telling.closing(console, seconds, lake)
    return {**told, "seconds": seconds}


@contextmanager
def _home(lake: Path | None) -> Iterator[Path]:
    if lake is not None:
        yield lake
        return
    with TemporaryDirectory(prefix="prewarm-demo-") as folder:
        yield Path(folder) / "lake"


def _refuse_strangers(lake: Lake) -> None:
    """The story's sites do not belong beside real ones."""
    ours = {office.name for office in (*OFFICES, QUIET)}
    if strangers := set(lake.read("pulls", columns=["site"])["site"].unique()) - ours:
        raise SettingsError(
            f"the lake at {lake.root} holds pulls of {min(strangers)!r}; the demo's synthetic sites need a"
            " lake of their own, for example --lake ./demo-lake"
        )


def _read(stage: Stage) -> dict[str, Any]:
    """Chapter 1: lines become pulls."""
    folder = samples.workload()
    sources = [_source(folder, office) for office in stage.busy.offices]
    sources += [_source(folder / "quiet", office) for office in stage.quiet.offices]
    result = ingest(stage.lake, sources)
    kept, aside = demand_pulls(stage.lake.read("pulls"))
    pulls = kept.height + sum(aside.values())
    telling.section(
        stage.console, 1, "Read", "access logs of pull-through mirrors, as CNCF Distribution writes them"
    )
    telling.say(
        stage.console,
        f"{result.lines:,} lines in {result.seconds:.1f} s, {result.malformed} malformed;"
        f" the lake holds {pulls:,} pulls of {len(sources)} sites",
    )
    words = ", ".join(f"{count:,} {reason}" for reason, count in sorted(aside.items()))
    telling.say(
        stage.console, f"{kept.height:,} of them fetched something and are demand; set aside: {words}"
    )
    return {"lines": result.lines, "pulls": pulls, "demand": kept.height, "set_aside": aside}


def _source(folder: Path, office: Office) -> Source:
    return Source(office.name, (str(folder / f"{office.name}.log.gz"),), office.name, "docker.io")


def _rhythm(stage: Stage) -> dict[str, list[float]]:
    """Chapter 2: when each office pulls."""
    hours = {office.name: _hours(stage.demand(office.name), office) for office in stage.busy.offices}
    telling.section(stage.console, 2, "When", "pulls per hour of a working day, each office by its own clock")
    telling.rhythm(stage.console, hours)
    return hours


def _hours(demand: pl.DataFrame, office: Office) -> list[float]:
    """Mean pulls of each hour of the day, over working days with pulls."""
    local = demand.select(pl.col("timestamp").dt.convert_time_zone(office.timezone).alias("local"))
    counts = (
        local.group_by(pl.col("local").dt.date().alias("day"), pl.col("local").dt.hour().alias("hour"))
        .len()
        .filter(pl.col("day").dt.weekday() <= 5, ~pl.col("day").is_in(list(office.closed)))
    )
    days = max(counts["day"].n_unique(), 1)
    totals = dict(counts.group_by("hour").agg(pl.col("len").sum()).iter_rows())
    return [round(totals.get(hour, 0) / days, 2) for hour in range(24)]


def _rank(stage: Stage) -> dict[str, Any]:
    """Chapter 3: what will be pulled tomorrow at eight."""
    result = rank(stage.lake, stage.sites, [stage.tomorrow], 1, TOP, FEATURED)
    top = [(_name(ranked.image), ranked.mean, ranked.probability) for ranked in result.ranking]
    when = telling.clock(stage.tomorrow, stage.featured.timezone)
    known = telling.clock(result.cutoffs[FEATURED], stage.featured.timezone)
    telling.section(
        stage.console,
        3,
        f"What {FEATURED} will pull on {when} to {_hour_later(stage)}",
        f"expected pulls and P(any) by model {result.model}, known until {known}",
    )
    telling.ranking(stage.console, top)
    return {
        "site": FEATURED,
        "at": stage.tomorrow,
        "model": result.model,
        "top": [(name, round(mean, 1)) for name, mean, _ in top],
    }


def _hour_later(stage: Stage) -> str:
    later = stage.tomorrow + HOUR
    return telling.clock(later, stage.featured.timezone).rpartition(" ")[2]


def _warm(stage: Stage) -> dict[str, Any]:
    """Chapter 4: a plan under a budget, executed."""
    conditions = Conditions()
    start = stage.tomorrow - timedelta(hours=8 - conditions.starts)
    budget = Budget(PLANNED, conditions.max_bytes // SCALE)
    request = Request(start, conditions.lasts // HOUR, budget, "any-pull")
    folder = stage.folder / "demo-images"
    spent = asyncio.run(
        night.spend(stage.lake, stage.sites, FEATURED, folder, stage.busy.catalogue, stage.busy.end, request)
    )
    night.tell(stage.console, 4, spent)
    return spent.document()


def _compare(stage: Stage) -> list[Comparison]:
    """Chapters 5 and 6: the same mornings warmed by others, and where warming is not worth it."""
    usual, quiet = Conditions(), Conditions(mirror=QUIET_MIRROR)
    busy = {office.name: _against_rivals(stage, stage.busy, office, usual) for office in stage.busy.offices}
    featured = busy.pop(FEATURED)
    title = f"Would it have paid? {FEATURED.capitalize()}'s last mornings, replayed"
    telling.section(stage.console, 5, title, telling.conditions(usual, featured))
    telling.rivals(stage.console, featured, usual.cost)
    still = [_against_rivals(stage, stage.quiet, office, quiet) for office in stage.quiet.offices]
    others = [*busy.values(), *still]
    note = "the same replay; lisbon's mirror has the disk for its few pinned images, and no expiry"
    telling.section(stage.console, 6, "The other offices, and one that needs nothing", note)
    telling.verdicts(stage.console, others)
    return [featured, *others]


def _against_rivals(stage: Stage, load: Workload, office: Office, conditions: Conditions) -> Comparison:
    def ours(times: Sequence[datetime]) -> Lists:
        hours = conditions.lasts // HOUR
        result = rank(
            stage.lake, stage.sites, times, hours, conditions.top, office.name, objective="any-pull"
        )
        return [(answer.at, [ranked.image for ranked in answer.ranking]) for answer in result.answers]

    return compare(load, office, stage.demand(office.name), ours, conditions)


def _document(comparison: Comparison) -> dict[str, Any]:
    """A comparison as plain data."""
    policies = {**comparison.results, **comparison.fixes}
    return {
        "site": comparison.site,
        "days": [day.isoformat() for day in comparison.days],
        "verdict": comparison.verdict.answer.value,
        "why": comparison.verdict.reason,
        "policies": {
            name: {
                "pulls": result.pulls,
                "hit_ratio": result.hit_ratio,
                "byte_hit_ratio": result.byte_hit_ratio,
                "misses": {cause.value: count for cause, count in result.misses.items()},
                "waiting_seconds": round(result.seconds, 1),
                "warmed_bytes": result.warmed_bytes,
                "wasted_bytes": result.wasted_bytes,
                "upstream_bytes": result.upstream_bytes,
            }
            for name, result in policies.items()
        },
    }


def _name(image: str) -> str:
    return Reference.parse(image).familiar
