"""What a replay is asked for, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from prewarm.demand import forecasters, ranking
from prewarm.errors import SettingsError, UnknownName
from prewarm.insight.costs import Cost
from prewarm.insight.mirrors import Mirror
from prewarm.insight.policies import BELADY, BIGGER, FACTOR, FIXED, LFU, LONGER, NONE, ORACLE, PUSHED, WEEKLY
from prewarm.insight.recollections import SCOPES, Known
from prewarm.insight.replay import Result, over_quota, together
from prewarm.insight.traces import Window
from prewarm.insight.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd

CHEAP = (LFU, LONGER, BIGGER, PUSHED)
POLICIES = (NONE, *CHEAP, FIXED, WEEKLY, "last-7d", "auto", ORACLE, BELADY)
"""What is compared when nothing is asked for; `auto` and every other forecaster are rankers."""

WORDS = {LFU: "evicting by use", LONGER: "four times the expiry", BIGGER: "four times the disk"}
WORDS |= {PUSHED: "replication on push", FIXED: "a fixed list", WEEKLY: "a weekly list"}

LONGEST = timedelta(weeks=4)  # of what is scored when nothing is asked for
QUOTA, QUOTA_WINDOW = 100, timedelta(hours=6)
CURVE = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)  # of the budget, for the Pareto curve
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What is replayed. None: no limit, or what is said; see `prewarm replay --help`."""

    capacity: int | None = None  # bytes
    ttl: timedelta | None = timedelta(days=7)
    policies: Sequence[str] = POLICIES
    since: datetime | None = None  # None: the second half of the log, four weeks of it at most
    until: datetime | None = None
    site: str | None = None
    top: int = 50
    max_bytes: int | None = None  # of a run; None: a tenth of what was pulled before `since`
    at: Sequence[time] = (time(0), time(6), time(12), time(18))  # of the runs, on the site's clock
    days: frozenset[int] = frozenset(range(7))  # Monday 0
    serves: timedelta = DAY  # the hours after a run that it is for: until the next run, and at most so many
    scope: str = "site"
    objective: str = "pulls"
    quota: int = QUOTA  # of Docker Hub, in six hours
    pareto: bool = False
    latency: timedelta | None = None  # of upstream; None: as measured, else assumed
    bandwidth: int | None = None  # of upstream, bytes a second

    @property
    def mirror(self) -> Mirror:
        return Mirror(self.capacity, self.ttl)

    def mirrors(self) -> dict[str, Mirror]:
        """The mirror of each policy that changes it."""
        found = {}
        if self.ttl is not None:
            found[LONGER] = replace(self.mirror, ttl=FACTOR * self.ttl)
        if self.capacity is not None:
            found[BIGGER] = replace(self.mirror, capacity=FACTOR * self.capacity)
            found |= {
                LFU: replace(self.mirror, eviction="lfu"),
                BELADY: replace(self.mirror, eviction="belady"),
            }
        return found


@dataclass(frozen=True, eq=False)
class SiteReplay:
    """One site: what each policy did."""

    site: str
    windows: Sequence[Window]  # one a day, scored
    runs: int
    max_bytes: int | None
    known: Known
    cost: Cost
    results: Mapping[str, Result]
    curve: Sequence[tuple[str, int | None, Result]]  # policy, budget of a run, result
    verdict: Verdict | None
    skipped: Mapping[str, str]
    warnings: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class ReplayResult:
    """What each policy would have done at each site."""

    asked: WhatIf
    sites: Sequence[SiteReplay]
    warnings: Sequence[str] = ()

    @property
    def policies(self) -> dict[str, dict[str, Any]]:
        """Each policy's figures, over all sites, `none` first."""
        names = [name for name in ordered(self.asked.policies) if all(name in s.results for s in self.sites)]
        results = {name: together([site.results[name] for site in self.sites]) for name in names}
        return {name: self._figures(result, results[NONE]) for name, result in results.items()}

    @property
    def curve(self) -> list[dict[str, Any]]:
        """The Pareto curve: `none`, and policies at growing budgets (`max_bytes` of a run, of all sites)."""
        none = together([site.results[NONE] for site in self.sites])
        points = []
        for each in zip(*(site.curve for site in self.sites), strict=True):
            budgets = [budget for _, budget, _ in each if budget is not None]
            figures = self._figures(together([result for _, _, result in each]), none)
            points.append({"policy": each[0][0], "max_bytes": sum(budgets) or None, **figures})
        return points

    def document(self) -> dict[str, Any]:
        """What `prewarm replay --json` prints. Byte counts are null where no size is known at all."""
        known = sum((site.known for site in self.sites), Known())
        body = {
            "since": min(site.windows[0][0] for site in self.sites),
            "until": max(site.windows[-1][1] for site in self.sites),
            "sites": [site.site for site in self.sites],
            "scope": self.asked.scope,
            "capacity": self.asked.capacity,
            "ttl": self.asked.ttl,
            "top": self.asked.top,
            "max_bytes": {site.site: site.max_bytes for site in self.sites},
            "runs": sum(site.runs for site in self.sites),
            "policies": self.policies,
            "skipped": self.skipped,
            "sizes": asdict(known),
            "cost": {site.site: asdict(site.cost) for site in self.sites},
            "verdicts": {site.site: _said(site.verdict) for site in self.sites},
            "warnings": list(self.warnings),
        }
        return body | ({"pareto": self.curve} if self.asked.pareto else {})

    def frame(self) -> pd.DataFrame:
        """`policy` and its figures, a row each; `misses` are told by `misses`."""
        import pandas as pd

        rows = [{"policy": name, **_flat(told)} for name, told in self.policies.items()]
        return pd.DataFrame(rows)

    def pareto(self) -> pd.DataFrame:
        """The Pareto curve, where it was asked for: `policy, max_bytes` and the figures, a row a budget."""
        import pandas as pd

        return pd.DataFrame([_flat(point) for point in self.curve])

    def misses(self) -> pd.DataFrame:
        """Misses by `policy` (rows) and cause (columns)."""
        import pandas as pd

        told = {name: figures["misses"] for name, figures in self.policies.items()}
        return pd.DataFrame.from_dict(told, orient="index").fillna(0).astype(int).rename_axis("policy")

    def business(self, hourly: float, attention: float = 1.0, per_gb: float = 0.0) -> pd.DataFrame:
        """A year of each policy against `none`, if it goes on like the days replayed.

        `hours` that nobody waits for upstream any more; `worth`, of which people are paid `hourly` and would
        have done something else for a share `attention`; `egress`, what more upstream bytes cost `per_gb`
        (10**9 bytes); `net` of both. NaN where no size is known.
        """
        frame = self.frame()
        days = sum(len(site.windows) for site in self.sites)
        none = frame.iloc[0]
        hours = (none["waiting"] - frame["waiting"]) * len(self.sites) * 365 / 3600
        more = (frame["upstream_bytes"].astype(float) - float(none["upstream_bytes"] or "nan")) / 1e9
        egress = more / max(days, 1) * len(self.sites) * 365 * per_gb
        worth = hours * attention * hourly
        return frame[["policy"]].assign(hours=hours, worth=worth, egress=egress, net=worth - egress)

    @property
    def skipped(self) -> dict[str, str]:
        """Policies that could not be replayed, and why."""
        return {name: why for site in self.sites for name, why in site.skipped.items()}

    def _figures(self, result: Result, none: Result) -> dict[str, Any]:
        nothing = all(site.known.nothing for site in self.sites)
        days = sum(len(site.windows) for site in self.sites)
        sizes = {
            "byte_hit_ratio": round(result.byte_hit_ratio, 4),
            "warmed_bytes": result.warmed_bytes,
            "wasted_bytes": result.wasted_bytes,
            "upstream_bytes": result.upstream_bytes,
            "precision": _rounded(result.precision),
        }
        return {
            "hit_ratio": round(result.hit_ratio, 4),
            "gain": round(result.hit_ratio - none.hit_ratio, 4),
            **{f"p{percent}": _rounded(result.percentile(percent)) for percent in (50, 95, 99)},
            "waiting": round(result.seconds / max(days, 1), 2),
            "warmed": result.warmed,
            **(dict.fromkeys(sizes) if nothing else sizes),
            "upstream_pulls": result.upstream_pulls,
            "over_quota": over_quota(result.metered, self.asked.quota, QUOTA_WINDOW),
            "pulls": result.pulls,
            "misses": {str(cause): count for cause, count in sorted(result.misses.items())},
        }


def known_policies() -> list[str]:
    """Every name that `--policy` takes."""
    return [*POLICIES, *(name for name in forecasters.names() if name not in POLICIES)]


def ordered(names: Sequence[str]) -> list[str]:
    """`none` first, the rest as asked for, once."""
    return list(dict.fromkeys((NONE, *names)))


def check(asked: WhatIf) -> None:
    """Raise UnknownName or SettingsError for what no lake could answer."""
    for name in asked.policies:
        if name not in known_policies():
            raise UnknownName("policy", name, known_policies())
    if asked.scope not in SCOPES:
        raise UnknownName("scope", asked.scope, SCOPES)
    if asked.objective not in ranking.OBJECTIVES:
        raise UnknownName("objective", asked.objective, ranking.OBJECTIVES)
    _check_numbers(asked)
    if asked.since and asked.until and asked.until <= asked.since:
        raise SettingsError(
            f"until {asked.until:%Y-%m-%dT%H:%MZ} is not after since {asked.since:%Y-%m-%dT%H:%MZ}; "
            "nothing lies between them"
        )


def _check_numbers(asked: WhatIf) -> None:
    for name, value, example in (
        ("capacity", asked.capacity, "200GB, or no --capacity for a disk without limit"),
        ("max-bytes", asked.max_bytes, "40GB"),
        ("top", asked.top, "50"),
        ("quota", asked.quota, "100"),
        ("bandwidth", asked.bandwidth, "12MB"),
    ):
        if value is not None and value < 1:
            raise SettingsError(
                f"{name} {value} cannot be used; expected a number above 0, such as {example}"
            )
    if asked.ttl is not None and asked.ttl <= timedelta(0):
        raise SettingsError("ttl 0 keeps nothing; expected a duration such as 168h, or none for no expiry")
    if not asked.at or not asked.days:
        raise SettingsError(
            "no run was asked for; expected a time of day such as 07:00, and days such as mon-fri"
        )


def _flat(told: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in told.items() if key != "misses"}


def _said(judged: Verdict | None) -> dict[str, Any] | None:
    return None if judged is None else asdict(judged) | {"answer": str(judged.answer)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
