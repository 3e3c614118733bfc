"""Which strategy suits which repository: rules that read like sentences, over what its traffic was like.

    judged pulls ─▶ `traits`, one for each repository of a site ─▶ RULES, the first that holds is the advice
    demand ─▶ `gains` of cheap policies by replay ─▶ what the advice would gain, or a cheaper one

A rule says when it holds, why, what it would save, and what would change it; `recipes` has what to set.
Numbers are in LIMITS.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from prewarm.insight.causes import Judged
from prewarm.insight.gains import PREFERRED, Replayed
from prewarm.insight.policies import LONGER, PUSHED, WEEKLY
from prewarm.insight.reasons import Cause
from prewarm.insight.recipes import config
from prewarm.insight.traits import Traits, traits_of


@dataclass(frozen=True, slots=True)
class Limits:
    """Where the rules draw their lines."""

    waiting: float = 5.0  # seconds a day that are worth a moving part
    most: float = 0.5  # of a repository's waiting, for a cause to be the reason
    fills: int = 3  # misses that are a habit
    idle: timedelta = timedelta(days=30)
    huge: int = 1_000_000_000  # bytes: starts that read little of it need not wait for it
    large: int = 500_000_000
    rare: float = 0.5  # pulls a day
    steady: float = 2.0
    regions: int = 3  # sites that make a replica in each worth it
    once: float = 0.8  # of versions, pulled once and never again
    as_good: float = 0.9  # of a gain, for a cheaper policy to do as well
    throttled: float = 0.1  # of a site's upstream pulls in spent quota windows


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Rule:
    """One strategy: when traffic calls for it, and in which words."""

    strategy: str
    when: Callable[[Traits], bool]
    why: Callable[[Traits], str]
    saves: Callable[[Traits], Mapping[str, float]]
    unless: str  # what would change the advice
    apply: str  # what to set or do
    policy: str | None = None  # of a replay, that does what the strategy does


def mostly(traits: Traits, *causes: Cause) -> bool:
    """Whether these causes are a habit, cost something, and are most of the waiting."""
    seconds = traits.waiting(*causes)
    worth = seconds >= LIMITS.waiting and seconds >= LIMITS.most * traits.wait
    return worth and traits.missed(*causes) >= LIMITS.fills


def together(traits: Traits) -> bool:
    """Whether several sites pull most versions within minutes of each other."""
    return traits.at_once >= LIMITS.fills and traits.at_once >= traits.versions / 2


def _seconds(*causes: Cause) -> Callable[[Traits], Mapping[str, float]]:
    return lambda t: {"seconds_per_day": round(t.waiting(*causes), 2)}


LISTED = (Cause.TAG_MOVED, Cause.COLD_NODE)

RULES: tuple[Rule, ...] = (
    Rule(
        "delete",
        lambda t: t.idle >= LIMITS.idle and t.pulls >= 2,
        lambda t: f"nobody has pulled it for {t.idle.days} days",
        lambda t: {"bytes": t.size * t.versions},
        "a pull, or a release that still needs it",
        "prewarm prune, or the registry's own retention",
    ),
    Rule(
        "move off the rate-limited upstream",
        lambda t: t.throttled >= LIMITS.throttled,
        lambda t: f"{t.throttled:.0%} of the upstream pulls in windows in which docker.io's quota ran out",
        lambda t: {"upstream_pulls_per_day": round(t.misses / t.days, 2)},
        "a higher quota (log in), or fewer misses",
        "copy it into a registry of your own: a cache with driver = \"replica\"",
    ),
    Rule(
        "keep the BuildKit cache warm",
        lambda t: t.cache_pulls >= LIMITS.fills and t.cache_pulls > t.pulls / 2 and t.wait >= LIMITS.waiting,
        lambda t: f"builds import it {t.cache_pulls / t.days:.1f} times a day; they wait {t.wait:,.0f} s",
        lambda t: {"seconds_per_day": round(t.wait, 2)},
        "builds that stop importing it",
        "always = [\"<repository>:<cache tag>\"] in the cache's section",
        WEEKLY,
    ),
    Rule(
        "lazy loading (eStargz)",
        lambda t: t.size >= LIMITS.huge and mostly(t, Cause.COLD_NODE) and t.first_timers > t.misses / 2,
        lambda t: f"{t.size / 1e9:.1f} GB reach {t.missed(Cause.COLD_NODE) / t.days:.1f} cold nodes a day",
        _seconds(Cause.COLD_NODE),
        "starts that read most of the image; no log tells which files are read",
        "convert it (nerdctl image convert --estargz) and warm its prefetch landmark only",
    ),
    Rule(
        "raise the TTL",
        lambda t: mostly(t, Cause.TTL_LAPSED),
        lambda t: f"{t.missed(Cause.TTL_LAPSED)} misses of what the cache had, and whose TTL had lapsed",
        _seconds(Cause.TTL_LAPSED),
        "a disk that is full",
        "proxy.ttl of the mirror, and ttl of its section here",
        LONGER,
    ),
    Rule(
        "lower the TTL",
        lambda t: t.evicted and t.versions >= 10 and t.pulled_once >= LIMITS.once * t.versions,
        lambda t: f"{t.pulled_once} of {t.versions} versions were pulled once only, and the disk is full",
        lambda t: {"bytes": t.size * t.pulled_once},
        "a disk with room",
        "a mirror of its own with a short ttl, or never = [\"<repository>:*\"] for warming",
    ),
    Rule(
        "CDN edge",
        lambda t: (
            t.size >= LIMITS.large and t.pace <= LIMITS.rare and t.sites >= 2 and t.misses >= LIMITS.fills
            and not together(t)
        ),
        lambda t: f"{t.size / 1e9:.1f} GB, {t.pace:.2f} pulls a day here, {t.sites} sites: rare, large, far",
        lambda t: {"seconds_per_day": round(t.wait, 2)},
        "more pulls (then a replica), or one site",
        "a cache with driver = \"mirror\" whose url is the edge",
    ),
    Rule(
        "regional replica",
        lambda t: (
            t.sites >= LIMITS.regions and t.pace >= LIMITS.steady and t.shared >= t.versions / 2
            and t.wait >= LIMITS.waiting and t.misses >= LIMITS.fills and not together(t)
        ),
        lambda t: f"{t.sites} sites pull it steadily, {t.shared} of {t.versions} versions at several of them",
        lambda t: {"seconds_per_day": round(t.wait, 2)},
        "sites that pull different versions",
        "a cache with driver = \"replica\" in each region",
        PUSHED,
    ),
    Rule(
        "replicate on push",
        lambda t: mostly(t, Cause.FRESH_PUSH) or together(t),
        lambda t: (
            f"{t.at_once} of {t.versions} versions were pulled at several sites within minutes"
            if together(t)
            else f"{t.missed(Cause.FRESH_PUSH)} fresh pushes were waited for, under tags nobody can foresee"
        ),
        _seconds(Cause.FRESH_PUSH, Cause.TAG_MOVED, Cause.NEVER_SEEN),
        "pushes that nobody pulls",
        "a cache with driver = \"replica\", run by the push's webhook",
        PUSHED,
    ),
    Rule(
        "pre-warm",
        lambda t: mostly(t, *LISTED, Cause.EVICTED),
        lambda t: (
            f"{t.missed(*LISTED, Cause.EVICTED)} misses of known images: moved tags, cold nodes, evictions; "
            f"{t.wait:,.0f} s of waiting a day"
        ),
        _seconds(*LISTED, Cause.EVICTED),
        "a hit rate that stays high without it (report holdout)",
        "a schedule with covers = the busy hours",
        WEEKLY,
    ),
    Rule(
        "consolidate base images",
        lambda t: len(t.patches) >= 2,
        lambda t: f"{', '.join(t.patches)} are in use side by side and differ by their patch only",
        lambda t: {"bytes": t.size * (len(t.patches) - 1)},
        "a reason to keep the older patch",
        "FROM the newest of them everywhere",
    ),
    Rule(
        "pin by digest",
        lambda t: t.torn_tags >= LIMITS.fills,
        lambda t: f"on {t.torn_tags} days clients got different contents under one tag",
        lambda t: {},
        "a tag that is meant to move under running clients",
        "name@sha256:… in deployments, moved by a bot",
    ),
    Rule(
        "pull-through only",
        lambda t: True,
        lambda t: f"{1 - t.misses / max(t.pulls, 1):.0%} of its pulls hit; people wait {t.wait:,.1f} s a day",
        lambda t: {"seconds_per_day": 0.0},
        "misses of known images in busy hours",
        "nothing",
    ),
)  # fmt: skip


def advise(
    judged: Judged,
    quota: int = 100,
    zones: Mapping[str, str] | None = None,
    replayed: Mapping[str, Replayed] | None = None,
) -> list[dict[str, Any]]:
    """One row for each repository of a site, most to gain first: strategy, why, saving, config, what else.

    `replayed` are the replays of each site, where its log is long enough for one.
    """
    replays = replayed or {}
    longer = {site: each.longer for site, each in replays.items()}
    found = [replace(each, longer=longer.get(each.site)) for each in traits_of(judged, quota, zones)]
    rows = [_advice(traits, replays.get(traits.site)) for traits in found]
    return sorted(
        rows,
        key=lambda row: (-row["saving"].get("seconds_per_day", 0.0), row["site"], row["repository"]),
    )


def matching(traits: Traits) -> list[Rule]:
    """Every rule that holds, in the order of preference; the last one always does."""
    return [rule for rule in RULES if rule.when(traits)]


def _advice(traits: Traits, replayed: Replayed | None) -> dict[str, Any]:
    first, *others = matching(traits)
    return {
        "site": traits.site,
        "repository": traits.repository,
        "strategy": first.strategy,
        "why": first.why(traits),
        "saving": dict(first.saves(traits)),
        "gain": _gain(first, traits, replayed),
        "rivals": _rivals(traits, replayed),
        "apply": first.apply,
        "config": config(first.strategy, traits),
        "unless": first.unless,
        "also": [
            {"strategy": rule.strategy, "why": rule.why(traits)} for rule in others if rule is not RULES[-1]
        ],
        "pulls": traits.pulls,
        "misses": traits.misses,
        "wait_seconds_per_day": round(traits.wait, 2),
    }


def _gain(rule: Rule, traits: Traits, replayed: Replayed | None) -> dict[str, Any] | None:
    """What the strategy's policy gains in a replay, and which cheaper one gains as much; None without one."""
    if rule.policy is None or replayed is None or rule.policy not in replayed.gains:
        return None
    gains = replayed.of(traits.repository)
    ours = gains[rule.policy]
    before = [name for name in PREFERRED[: PREFERRED.index(rule.policy)] if name in gains]
    cheaper = next((name for name in before if gains[name].lo >= LIMITS.as_good * ours.hi > 0), None)
    return {
        "policy": rule.policy,
        **ours.document(),
        "of": round(replayed.waiting.get(traits.repository, 0.0), 2),
        "cheaper": cheaper,
    }


def _rivals(traits: Traits, replayed: Replayed | None) -> dict[str, dict[str, float]]:
    """What each policy gains for the repository, the cheap ones first."""
    gains = replayed.of(traits.repository) if replayed is not None else {}
    return {name: gain.document() for name, gain in gains.items()}


def strategies(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many repositories each strategy suits."""
    return dict(Counter(row["strategy"] for row in rows))
