"""The verb `plan`: a ranking, what the cache holds and the operator's limits become a plan."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from prewarm.errors import (
    CacheError,
    InvalidReference,
    NotEnoughHistory,
    SettingsError,
    UnknownName,
)
from prewarm.pipeline.warming.asking import Asked, ask, silence
from prewarm.pipeline.warming.caches import CacheSpec, barred, opened, state_folder
from prewarm.pipeline.warming.catalogue import record_images
from prewarm.pipeline.warming.documents import MAX_DOCUMENT, from_text, to_document, to_text
from prewarm.references import Reference
from prewarm.warming import planning
from prewarm.warming.holdout import withhold
from prewarm.warming.images import Image, Platform, parse_platform
from prewarm.warming.planning import Budget, Candidate, Plan, Skip
from prewarm.warming.rules import Gate

if TYPE_CHECKING:
    from prewarm.demand.calendars import Site
    from prewarm.lake import Lake
    from prewarm.pipeline.demand.histories import Counting
    from prewarm.warming.caches import Cache
    from prewarm.warming.contacts import Endpoint

MAX_CANDIDATES = 10_000  # of one ranking
MAX_PLATFORMS = 4
PLATFORMS = "platforms"  # in a plan's meta


@dataclass(frozen=True, slots=True)
class Request:
    """What a plan is asked for: the demand of `[at, at + hours)`, within a budget."""

    at: datetime
    hours: int = 1
    budget: Budget = field(default_factory=Budget)
    objective: str = "pulls"
    model: str = "auto"
    holdout: float = 0.0  # share of the plan that is withheld, for the experiment


@dataclass(frozen=True, slots=True)
class Demand:
    """How demand is read from the lake: the sites' clocks, and what counts."""

    sites: Mapping[str, Site] = field(default_factory=dict)
    default: Site | None = None  # the clock of sites that nobody declared
    counting: Counting | None = None  # None: as the settings' defaults have it


@dataclass(frozen=True, slots=True)
class Known:
    """What a plan is made from besides the ranking: the moment, the clients' platforms, the sites' clocks."""

    now: datetime
    platforms: tuple[Platform, ...] = ()
    demand: Demand = field(default_factory=Demand)


@dataclass(frozen=True, eq=False)
class Planned:
    """A plan, with what was learnt while it was made."""

    plan: Plan
    missing: Mapping[str, Image] = field(default_factory=dict)  # resolved, and not held
    warnings: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """What `prewarm plan --json` prints."""
        return {**to_document(self.plan), "warnings": list(self.warnings)}


async def plan(
    lake: Lake,
    spec: CacheSpec,
    endpoints: Sequence[Endpoint],
    request: Request,
    *,
    now: datetime,
    demand: Demand | None = None,
) -> Planned:
    """Plan what `spec` should hold for the hours that `request` names, and keep the plan in the lake.

    The cache is asked what it holds of the images that come into question; nothing is transferred.
    Raises NotEnoughHistory when the lake has nothing to learn from and `always` names no image,
    UnknownName for a site or model that is not there, and CacheError when nobody who was asked answers:
    what the cache holds is not known then.
    """
    platforms = await asyncio.to_thread(platforms_seen, lake, spec.site, now)
    async with opened(spec, endpoints, folder=state_folder(lake), platforms=platforms) as cache:
        known = Known(now, platforms, demand or Demand())
        decided = await _decide(cache, lake, spec, endpoints, request, known)
    refusal = silence(decided.asked)
    if refusal is not None:
        raise CacheError(f"cache {spec.name!r} cannot be planned while nobody answers: {refusal}")
    return await _kept(lake, decided, now)


async def plan_with(
    cache: Cache,
    lake: Lake,
    spec: CacheSpec,
    endpoints: Sequence[Endpoint],
    request: Request,
    known: Known,
) -> Planned:
    """As `plan`, with a cache that is open; when nobody answers, the plan says so of each image."""
    return await _kept(lake, await _decide(cache, lake, spec, endpoints, request, known), known.now)


@dataclass(frozen=True, slots=True)
class _Decided:
    """A plan, and what it was made from."""

    plan: Plan
    asked: Sequence[Asked]
    warnings: Sequence[str]


async def _decide(
    cache: Cache,
    lake: Lake,
    spec: CacheSpec,
    endpoints: Sequence[Endpoint],
    request: Request,
    known: Known,
) -> _Decided:
    now, demand = known.now, known.demand
    listed = frozenset(endpoint.registry for endpoint in endpoints)
    ranked, model, warnings = await asyncio.to_thread(_ranked, lake, spec, request, demand, listed)
    if spec.ttl is not None:
        expiries = await asyncio.to_thread(_expiries, lake, spec)
        ranked = [replace(candidate, expires=expiries.get(candidate.image)) for candidate in ranked]
    asked = await ask(cache, ranked, spec, request.budget.top)
    budget = request.budget.at_most(spec.max_bytes)
    decided = planning.plan(
        [each.candidate for each in asked],
        budget.within(spec.bandwidth, now),
        spec.rules,
        id=dated_id("p", now),
        cache=spec.name,
        site=spec.site,
        created_at=now,
        window=(request.at, request.at + timedelta(hours=request.hours)),
        model=model,
        objective=request.objective,
        clock=_clock(spec, demand).zone,
    )
    decided = withhold(decided, [each.candidate for each in asked], request.holdout, Gate(spec.rules).always)
    decided = replace(decided, meta=decided.meta | {PLATFORMS: ",".join(map(str, known.platforms))})
    return _Decided(decided, asked, (*warnings, *planning.warnings_of(decided)))


async def _kept(lake: Lake, decided: _Decided, now: datetime) -> Planned:
    """The plan, once it and what was learnt of its images are in the lake."""
    images = {each.candidate.image: each.image for each in decided.asked if each.image is not None}
    await asyncio.to_thread(_keep, lake, decided.plan, list(images.values()), now)
    wanted = {warm.image for warm in decided.plan.warms}
    missing = {name: image for name, image in images.items() if name in wanted}
    return Planned(decided.plan, missing, tuple(decided.warnings))


def dated_id(kind: str, now: datetime) -> str:
    """A name that nothing else has: `p20261124T075302-fb06d0` is a plan, `r…` a run, `e…` an eviction."""
    return f"{kind}{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def platforms_of(plan: Plan) -> tuple[Platform, ...] | None:
    """The platforms that a plan was made for; None when it does not say."""
    said = plan.meta.get(PLATFORMS)
    return None if said is None else tuple(parse_platform(each) for each in said.split(",") if each)


def find(lake: Lake, name: str) -> Plan:
    """The plan in the file `name`, else the one that the lake keeps under this id.

    Raises UnknownName, or SettingsError for a file that holds no plan.
    """
    path = Path(name)
    try:
        if path.is_file():
            with path.open("rb") as file:
                return from_text(file.read(MAX_DOCUMENT + 1))
    except OSError as refused:
        raise SettingsError(f"{name} cannot be read: {refused.strerror}") from None
    return kept_plan(lake, name)


def kept_plan(lake: Lake, name: str) -> Plan:
    """The plan that the lake keeps under this id; UnknownName names the last ones."""
    kept = lake.read("plans", pl.col("id") == name, columns=["document"])
    if kept.is_empty():
        recent = lake.read("plans", columns=["id", "created_at"]).sort("created_at").tail(5)
        raise UnknownName("plan", name, recent["id"].to_list())
    return from_text(kept["document"][-1])


def platforms_seen(lake: Lake, site: str | None, now: datetime) -> tuple[Platform, ...]:
    """The platforms that clients name in their agents, the most frequent first; () when none does.

    A Docker engine says `docker/20.10.24 go/go1.19.8 … os/linux arch/amd64 …`.
    """
    found = (
        lake.scan("pulls")
        .filter(*_lately(lake, site, now))
        .select(
            pl.col("agent").str.extract(r"\bos/([a-z0-9]+)").alias("os"),
            pl.col("agent").str.extract(r"\barch/([a-z0-9]+)").alias("architecture"),
        )
        .drop_nulls()
        .group_by("os", "architecture")
        .len()
        .sort("len", "os", "architecture", descending=[True, False, False])
        .head(MAX_PLATFORMS)
        .collect()
    )
    return tuple(Platform(os, architecture) for os, architecture, _ in found.iter_rows())


def _ranked(
    lake: Lake, spec: CacheSpec, request: Request, demand: Demand, listed: frozenset[str]
) -> tuple[list[Candidate], str, list[str]]:
    """Candidates in the order in which they are considered, the model's name, and warnings."""
    from prewarm.pipeline.demand.forecast import rank
    from prewarm.pipeline.demand.histories import DEMAND

    gate, top = Gate(spec.rules), request.budget.top
    # Rules and deleted tags take candidates away: look further than the places that there are.
    reach = MAX_CANDIDATES if top is None else min(4 * max(top, 1) + 100, MAX_CANDIDATES)
    candidates: list[Candidate] = []
    model, warnings = "", []
    try:
        found = rank(
            lake,
            demand.sites,
            [request.at],
            request.hours,
            reach,
            spec.site,
            request.objective,
            request.model,
            default=demand.default,
            counting=demand.counting or DEMAND,
        )
        model, warnings = found.model, list(found.warnings)
        candidates = [
            Candidate(
                each.image, each.rank, each.mean, each.probability, each.score,
                bytes=each.bytes, p_stale=each.p_stale,
            )
            for each in found.ranking
            if each.mean > 0
        ]  # fmt: skip
    except NotEnoughHistory as nothing:
        if not gate.unranked(()):
            raise
        warnings.append(f"{nothing}; the plan has the operator's images only")
    named = gate.unranked(candidate.image for candidate in candidates)
    candidates += [Candidate(image, 0, 0.0, 0.0, 0.0) for image in named]
    clients = _clients(lake, spec, request.at) if spec.rules.min_clients > 1 else {}
    judged = [_judged(candidate, spec, gate, listed, clients) for candidate in candidates]
    return planning.in_order(judged, gate), model, warnings


def _judged(
    candidate: Candidate, spec: CacheSpec, gate: Gate, listed: frozenset[str], clients: Mapping[str, int]
) -> Candidate:
    """The candidate with what can be said of it before anyone is asked."""
    reason = _barred(candidate.image, spec, gate, listed)
    return replace(candidate, barred=reason, clients=clients.get(candidate.image))


def permitted(plan: Plan, spec: CacheSpec, endpoints: Sequence[Endpoint]) -> Plan:
    """A given plan, held against the cache's lists and who may be contacted as they are now.

    A plan may come from a file, or be older than the rules: what they forbid is skipped, with the reason.
    """
    gate, listed = Gate(spec.rules), frozenset(endpoint.registry for endpoint in endpoints)
    reasons = {
        each.image: gate.forbids(each.image) or _barred(each.image, spec, gate, listed) for each in plan.warms
    }
    warms = tuple(warm for warm in plan.warms if reasons[warm.image] is None)
    refused = tuple(
        Skip(warm.image, reason, digest=warm.digest, rank=warm.rank)
        for warm in plan.warms
        if (reason := reasons[warm.image]) is not None
    )
    return replace(plan, warms=warms, skipped=plan.skipped + refused)


def _barred(image: str, spec: CacheSpec, gate: Gate, listed: frozenset[str]) -> str | None:
    """Why nobody may be asked for `image`, in words; None when somebody may."""
    try:
        reference = Reference.parse(image)
    except InvalidReference as invalid:
        return str(invalid)
    named = spec.upstream is None and gate.named(image)
    return None if named else barred(spec, listed, reference)


def _clients(lake: Lake, spec: CacheSpec, at: datetime) -> dict[str, int]:
    """Distinct clients by image, over the weeks that forecasts look back."""
    from prewarm.demand.selection import image_column

    counted = (
        lake.scan("pulls")
        .filter(*_lately(lake, spec.site, at), pl.col("client").is_not_null())
        .group_by(image_column())
        .agg(pl.col("client").n_unique())
        .drop_nulls("image")
        .collect()
    )
    return dict(counted.iter_rows())


def _expiries(lake: Lake, spec: CacheSpec) -> dict[str, datetime]:
    """When the cache forgets what we filled: from the last fill on, since hits do not extend it."""
    filled = lake.read("warmed", pl.col("cache") == spec.name, pl.col("bytes") > 0)
    last = filled.group_by("image").agg(pl.col("expires_at").sort_by("filled_at").last()).drop_nulls()
    return dict(last.iter_rows())


def _lately(lake: Lake, site: str | None, now: datetime) -> list[pl.Expr]:
    """Pulls of a site over the weeks that forecasts look back; by date, so that partitions are skipped.

    As for forecasts, those are the weeks before `now` or before the end of the log, if that is earlier.
    """
    from prewarm.pipeline.demand.histories import WEEKS

    where = [] if site is None else [pl.col("site") == site]
    last = lake.scan("pulls").filter(*where).select(pl.col("date").max()).collect().item()
    end = now.date() if last is None else min(now.date(), last)
    return [pl.col("date") >= end - timedelta(weeks=WEEKS), *where]


def _clock(spec: CacheSpec, demand: Demand) -> Site:
    from prewarm.demand.calendars import Site

    return demand.sites.get(spec.site or "") or demand.default or Site()


def _keep(lake: Lake, plan: Plan, images: Iterable[Image], now: datetime) -> None:
    """Plan and catalogue into the lake."""
    record_images(lake, images, now)
    keep_plan(lake, plan)


def keep_plan(lake: Lake, plan: Plan) -> None:
    """The plan into the lake, where `find` finds it."""
    row = {
        "id": plan.id,
        "created_at": plan.created_at,
        "cache": plan.cache,
        "site": plan.site,
        "document": to_text(plan),
    }
    lake.append("plans", pl.DataFrame([row]))
