"""Does pre-warming pay here? One page from a log, judged by the skeptic's rules.

The skeptic goes first: misses that a longer TTL or a bigger disk removes are no reason to forecast, and a
cache that serves all but one pull in a hundred needs nothing. What is counted for pre-warming is what a plain
list could have named in time: the images most pulled in the seven days before, warmed before the day began.
A forecast names at least those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import polars as pl

from prewarm.insight.causes import STARTS, Judged
from prewarm.insight.clocks import day, hour
from prewarm.insight.reasons import Cause
from prewarm.insight.reports import Report, share
from prewarm.insight.reports.concentration import concentration
from prewarm.insight.reports.hits import hit_rate
from prewarm.insight.reports.misses import misses
from prewarm.insight.verdict import BAR, Answer, Bar

GUESS = Bar(misses=0.05, much=None)
"""What must be reached where a TTL that nobody told of is the reason."""

PLAIN = (timedelta(days=3), 0.5)  # a TTL shorter than this is the problem already at this share
REFUSED = 0.01  # of all pulls, beyond which a spent quota comes first
TOPS = (5, 10, 20, 50, 100, 200)
ENOUGH = 0.9  # of what the longest list saves makes a shorter one enough
FEW = 50  # pulls, below which no verdict is sure
MEMORY = 7  # days that the list looks back
CLIENTS = 2  # of an image in a log of one day, for it to be one that is asked for again

LISTED = [str(each) for each in (Cause.TAG_MOVED, Cause.TTL_LAPSED, Cause.EVICTED, Cause.COLD_NODE)]


@dataclass(frozen=True, slots=True)
class Saving:
    """Waiting, in seconds a day, and misses that something removes."""

    seconds: float
    misses: int


@dataclass(frozen=True, eq=False)
class Assessment:
    """The verdict, why, and the page that it stands on."""

    verdict: Answer
    why: tuple[str, ...]
    top_n: int | None  # how many images a plan needs; None where none is worth it
    whom: Mapping[str, Any]
    saving: Mapping[str, Any]
    traffic: Mapping[str, Any]
    misses: Report
    hits: Report
    few: Report
    zone: str = "UTC"
    notes: tuple[str, ...] = ()
    short: bool = False  # less than two days
    lists: Sequence[Mapping[str, Any]] = field(default_factory=tuple)  # what lists of N would have saved

    @property
    def sure(self) -> str | None:
        """How sure hits and misses are; of a log of few pulls or of one day the verdict is less so."""
        if self.hits.summary["pulls"] < FEW:
            return "low"
        return "medium" if self.short and self.misses.sure == "high" else self.misses.sure

    @property
    def cannot_say(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.notes, *self.misses.cannot_say)))

    def document(self) -> dict[str, Any]:
        """What `prewarm assess --json` prints."""
        causes = {
            row["cause"]: {k: v for k, v in row.items() if k != "cause"}
            for row in self.misses.tables["causes"]
        }
        return {
            "verdict": str(self.verdict), "why": list(self.why), "sure": self.sure, "top_n": self.top_n,
            "for": dict(self.whom), "saving": dict(self.saving), "traffic": dict(self.traffic),
            "hit_rate": self.hits.summary["hit_rate"], "miss_rate": self.misses.summary["miss_rate"],
            "causes": causes, "remedies": self.misses.tables["remedies"],
            "lists": [dict(row) for row in self.lists],
            "concentration": dict(self.few.summary), "top": self.few.tables.get("top", []),
            "hours": self.misses.tables["hours"], "timezone": self.zone,
            "evidence": list(self.misses.evidence), "cannot_say": list(self.cannot_say),
        }  # fmt: skip


def assess(
    judged: Judged,
    traffic: Mapping[str, Any],
    zone: str = "UTC",
    refused: Mapping[str, int] | None = None,
) -> Assessment:
    """Judge a log. `traffic` says what it holds, `refused` counts misses by cause that left no pull."""
    counted = dict(refused or {})
    told = misses(judged, zone, counted)
    few = concentration(judged.frame.lazy(), zone)
    scored, short = _scored(judged.frame, zone)
    listed = _listed(scored, zone, short)
    numbers = _numbers(scored, listed, short)
    verdict, why = _verdict(numbers, judged, counted)
    lists = _lists(listed, numbers.days)
    enough = _enough(lists) if verdict is Answer.PAYS else None
    return Assessment(
        verdict,
        why,
        enough,
        _whom(listed, zone),
        numbers.document(),
        traffic,
        told,
        hit_rate(judged, zone),
        few,
        zone,
        _notes(short, numbers, judged),
        short,
        lists,
    )


@dataclass(frozen=True, slots=True)
class Numbers:
    """Seconds of waiting a day, and the misses behind them, by what removes them."""

    days: int
    pulls: int
    clients: int
    waiting: float
    listed: Saving  # by a list made before the day
    pushed: Saving  # by replication on push
    lapsed: Saving  # by a longer TTL
    evicted: Saving  # by a bigger disk

    @property
    def ours(self) -> float:
        return self.listed.seconds + self.pushed.seconds

    @property
    def our_misses(self) -> int:
        return self.listed.misses + self.pushed.misses

    @property
    def room(self) -> float:
        return self.lapsed.seconds + self.evicted.seconds

    def document(self) -> dict[str, Any]:
        return {
            "days": self.days,
            "waiting_seconds_per_day": round(self.waiting, 2),
            "prewarm_seconds_per_day": round(self.ours, 2),
            "by_list_seconds_per_day": round(self.listed.seconds, 2),
            "on_push_seconds_per_day": round(self.pushed.seconds, 2),
            "longer_ttl_seconds_per_day": round(self.lapsed.seconds, 2),
            "bigger_disk_seconds_per_day": round(self.evicted.seconds, 2),
            "misses_removed": self.our_misses,
            "share_of_pulls": share(self.our_misses, self.pulls),
            "share_of_waiting": share(self.ours, self.waiting),
        }


def _scored(frame: pl.DataFrame, zone: str) -> tuple[pl.DataFrame, bool]:
    """The pulls that the verdict rests on are `late`: all but the first 24 hours, where there are more.

    True when the log is too short for that.
    """
    if frame.is_empty():
        return frame.with_columns(day(zone)), True
    first, last = frame.select(a=pl.col("timestamp").min(), b=pl.col("timestamp").max()).row(0)
    short = last - first < 2 * STARTS
    return frame.with_columns(day(zone), late=(pl.col("timestamp") >= first + STARTS) | short), short


def _listed(scored: pl.DataFrame, zone: str, short: bool) -> pl.DataFrame:
    """Misses that a list could have removed, with the `place` on that list of their image.

    In a short log the list is made of the log itself: images that several clients asked for.
    """
    if scored.is_empty():
        return scored.with_columns(place=pl.lit(None, pl.UInt32))
    if short:
        known = (
            scored.group_by("named")
            .agg(pl.len().alias("pulls"), pl.col("client").n_unique().alias("clients"))
            .filter(pl.col("clients") >= CLIENTS)
            .with_columns(place=pl.col("pulls").rank("ordinal", descending=True))
        )
        real = scored.filter(pl.col("miss") & ~pl.col("doubtful"))
        return real.join(known.select("named", "place"), on="named")
    missed = scored.filter("late" & pl.col("cause").cast(pl.String).is_in(LISTED))
    return missed.join(_places(scored, missed), on=["named", "day"])


def _places(scored: pl.DataFrame, missed: pl.DataFrame) -> pl.DataFrame:
    """`named, day, place`: where an image stood on that day's list of the most pulled of the days before."""
    daily = scored.group_by("site", "named", "day").len("pulls")
    found = []
    for today in missed["day"].unique().sort():
        before = daily.filter(
            pl.col("day").is_between(today - timedelta(days=MEMORY), today - timedelta(days=1))
        )
        ranked = before.group_by("site", "named").agg(pl.col("pulls").sum())
        place = pl.col("pulls").rank("ordinal", descending=True).over("site")
        found.append(ranked.sort("named").select("named", day=pl.lit(today), place=place))
    schema = pl.Schema({"named": pl.UInt64(), "day": pl.Date(), "place": pl.UInt32()})
    return pl.concat([each.cast(schema) for each in found]) if found else schema.to_frame()


def _numbers(scored: pl.DataFrame, listed: pl.DataFrame, short: bool) -> Numbers:
    if scored.is_empty():
        nothing = Saving(0.0, 0)
        return Numbers(1, 0, 0, 0.0, nothing, nothing, nothing, nothing)
    late = scored.filter("late")
    sure = late.filter("miss" & ~pl.col("doubtful"))
    days = max(late["day"].n_unique(), 1)

    def saving(rows: pl.DataFrame) -> Saving:
        return Saving(float(rows["wait"].sum()) / days, len(rows))

    def caused(cause: Cause) -> Saving:
        return saving(sure.filter(pl.col("cause") == str(cause)))

    within = listed.filter(pl.col("place") <= TOPS[-1])
    fresh = sure.filter(pl.col("cause") == str(Cause.FRESH_PUSH))
    if short:  # the list above has named some of them
        fresh = fresh.join(within.select("named").unique(), on="named", how="anti")
    return Numbers(
        days,
        len(late),
        late["client"].n_unique(),
        float(sure["wait"].sum()) / days,
        saving(within),
        saving(fresh),
        caused(Cause.TTL_LAPSED),
        caused(Cause.EVICTED),
    )


def _verdict(numbers: Numbers, judged: Judged, refused: Mapping[str, int]) -> tuple[Answer, tuple[str, ...]]:
    spent = refused.get(str(Cause.QUOTA), 0)
    if spent > REFUSED * max(numbers.pulls, 1) and spent >= 5:
        return Answer.FIX_FIRST, (
            f"quota: {spent:,} pulls were refused with 429, too many requests; log in to the upstream, "
            "or let one mirror ask for everybody, before anything is warmed",
            *_remaining(numbers),
        )
    guessed = _guessed(judged)
    lapsed = numbers.lapsed if guessed else Saving(0.0, 0)  # no reason to warm, when only a guess lapses
    room_misses = numbers.lapsed.misses + numbers.evicted.misses
    cheaper = numbers.room >= _bar(judged, numbers) * numbers.ours
    if cheaper and _worth(numbers.room, room_misses, numbers, GUESS if guessed else BAR):
        return Answer.FIX_FIRST, (_room(judged, numbers), *_remaining(numbers))
    if not _worth(numbers.ours - lapsed.seconds, numbers.our_misses - lapsed.misses, numbers):
        return Answer.NO, (_nothing(numbers, judged), *_remaining(numbers))
    return Answer.PAYS, (
        f"a plan could have saved {numbers.ours:,.0f} of {numbers.waiting:,.0f} s that people wait a day "
        f"({numbers.our_misses / max(numbers.pulls, 1):.1%} of the pulls): {numbers.listed.seconds:,.0f} s "
        f"by a list made before the day, {numbers.pushed.seconds:,.0f} s by replicating fresh pushes",
        f"a longer TTL would save {numbers.lapsed.seconds:,.0f} s of that, "
        f"a bigger disk {numbers.evicted.seconds:,.0f} s",
    )


def _guessed(judged: Judged) -> bool:
    """Whether lapses are those of a TTL that is neither declared nor read off the log."""
    return any(each.kind == "model" and not each.declared for each in judged.evidence)


def _worth(seconds: float, count: int, numbers: Numbers, bar: Bar = BAR) -> bool:
    return bar.met(seconds, numbers.waiting, count, numbers.pulls, numbers.clients)


def _bar(judged: Judged, numbers: Numbers) -> float:
    """The share of our saving at which a cheaper fix comes first."""
    ttls = [each.ttl for each in judged.evidence if each.ttl is not None and each.fitted != "idle"]
    short, plain = PLAIN
    return (
        plain
        if numbers.lapsed.seconds > numbers.evicted.seconds and ttls and min(ttls) < short
        else BAR.as_good
    )


def _room(judged: Judged, numbers: Numbers) -> str:
    if numbers.lapsed.seconds >= numbers.evicted.seconds:
        ttls = [each.ttl for each in judged.evidence if each.ttl is not None]
        kept = f" of about {min(ttls).total_seconds() / 3600:.0f} h" if ttls else ""
        return (
            f"TTL: the cache forgets what it holds after its TTL{kept}; a longer one alone saves "
            f"{numbers.lapsed.seconds:,.0f} of {numbers.waiting:,.0f} s that people wait a day"
        )
    return (
        f"disk: the cache drops what is asked for again; a bigger disk alone saves "
        f"{numbers.evicted.seconds:,.0f} of {numbers.waiting:,.0f} s that people wait a day"
    )


def _nothing(numbers: Numbers, judged: Judged) -> str:
    if judged.frame.is_empty():
        return "no pull of the log is known to have transferred an image, so there is nothing to warm"
    rate = (
        1 - len(judged.misses.filter(~pl.col("doubtful"))) / len(judged.frame) if len(judged.frame) else 1.0
    )
    served = f"the cache serves {rate:.1%} of the pulls already"
    if numbers.waiting < BAR.seconds:
        return f"{served}; people wait {numbers.waiting:.1f} s a day for upstream, there is nothing to save"
    return (
        f"{served}; a list made before each day, and replication of pushes, would save "
        f"{numbers.ours:,.0f} of {numbers.waiting:,.0f} s a day and turn "
        f"{numbers.our_misses / max(numbers.pulls, 1):.1%} of the pulls into hits"
    )


def _remaining(numbers: Numbers) -> tuple[str, ...]:
    rest = max(numbers.ours - min(numbers.room, numbers.listed.seconds), 0.0)
    return (f"after that, pre-warming would save {rest:,.0f} s a day",) if numbers.room and rest >= 1 else ()


def _lists(listed: pl.DataFrame, days: int) -> list[dict[str, Any]]:
    return [
        {
            "n": n,
            "seconds_per_day": round(float(listed.filter(pl.col("place") <= n)["wait"].sum()) / days, 2),
            "misses": listed.filter(pl.col("place") <= n).height,
        }
        for n in TOPS
    ]


def _enough(lists: Sequence[Mapping[str, Any]]) -> int:
    most = lists[-1]["seconds_per_day"]
    return int(next(row["n"] for row in lists if row["seconds_per_day"] >= ENOUGH * most))


def _whom(listed: pl.DataFrame, zone: str) -> dict[str, Any]:
    """Who waits for what a list could have warmed: sites, clients, hours, repositories."""
    return {
        "clients": listed["client"].n_unique() if len(listed) else 0,
        "sites": _most(listed, pl.col("site"), 5),
        "hours": _most(listed, hour(zone), 3),
        "repositories": _most(listed, pl.col("repository"), 5),
    }


def _most(rows: pl.DataFrame, key: pl.Expr, count: int) -> list[Any]:
    waits = (
        rows.group_by(key.alias("key"))
        .agg(pl.col("wait").sum())
        .sort("wait", "key", descending=[True, False])
    )
    return waits["key"].head(count).to_list()


def _notes(short: bool, numbers: Numbers, judged: Judged) -> tuple[str, ...]:
    if judged.frame.is_empty():
        return ("the verdict: the log holds no pull that transfers an image, so nothing waits",)
    if not short:
        return ()
    doubtful = judged.frame.filter("doubtful")
    said = [
        "habits: the log is shorter than two days, so what comes back every day is not seen; images that "
        "several clients asked for are taken for such"
    ]
    if len(doubtful):
        said.append(
            f"whether the cache held them at the beginning: {len(doubtful):,} first pulls, "
            f"{doubtful['wait'].sum():,.0f} s of waiting at most, are left out of the verdict"
        )
    return tuple(said)
