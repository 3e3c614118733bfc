"""The verbs `refresh` and `prune`: what we put into a cache is kept fresh, and taken out again.

Both look only at images that we warmed ourselves, as the lake's `warmed` tells: what people put into an
engine or a registry is theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from prewarm.demand.selection import image_column, last_uses
from prewarm.errors import CacheError, NotEnoughHistory, NotFound, PrewarmError
from prewarm.pipeline.demand.forecast import rank
from prewarm.pipeline.demand.histories import COLUMNS, DEMAND, extents
from prewarm.pipeline.warming.caches import CacheSpec, opened, state_folder
from prewarm.pipeline.warming.plan import Demand, dated_id, keep_plan
from prewarm.pipeline.warming.run import Conduct, RunResult, run, stamp
from prewarm.references import Reference
from prewarm.tables import OUTCOMES
from prewarm.warming import planning
from prewarm.warming.caches import Cache, Evicting, Eviction, Watching
from prewarm.warming.executor import lock
from prewarm.warming.planning import Budget, Candidate, Plan
from prewarm.warming.rules import Gate
from prewarm.warming.upkeep import Patience, Tenant, Verdict, judge

if TYPE_CHECKING:
    from prewarm.lake import Lake
    from prewarm.warming.contacts import Endpoint

EVERY_IMAGE = 10_000_000  # of a ranking: one that was cut off would look as if nobody expected it
AT_ONCE = 8  # tags that are asked about


@dataclass(frozen=True, slots=True)
class Moved:
    """An image that the cache should fetch again, and why, in words."""

    image: str
    was: str | None  # digest that we put there
    digest: str | None  # that its tag has now
    reason: str


@dataclass(frozen=True, eq=False)
class Refreshed:
    """What `refresh` found in one cache, and, when it was applied, the run that warmed it again."""

    cache: str
    moved: tuple[Moved, ...]
    unchanged: int
    problems: Mapping[str, str] = field(default_factory=dict)  # image -> why it could not be told
    unwanted: Mapping[str, str] = field(default_factory=dict)  # image -> why it is not kept fresh
    run: RunResult | None = None
    warnings: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every image was asked about and, when it was applied, warmed."""
        return not self.problems and (self.run is None or self.run.state == "done")

    def document(self) -> dict[str, Any]:
        """Its part of what `prewarm refresh --json` prints."""
        return {
            "refresh": [{"cache": self.cache, **asdict(each)} for each in self.moved],
            "unchanged": self.unchanged,
            "problems": _reasons(self.cache, self.problems),
            "unwanted": _reasons(self.cache, self.unwanted),
            "runs": [self.run.document()] if self.run else [],
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, eq=False)
class Pruned:
    """What `prune` removed from one cache, or would remove."""

    cache: str
    evict: tuple[Verdict, ...]
    keep: Mapping[str, str]  # image -> why it stays
    eviction: Eviction
    warnings: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Its part of what `prewarm prune --json` prints; `reclaimed` are bytes."""
        return {
            "evict": [_evict_document(self.cache, verdict) for verdict in self.evict],
            "reclaimed": self.eviction.bytes,
            "keep": _reasons(self.cache, self.keep),
            "notes": [f"{self.cache}: {self.eviction.note}"] if self.eviction.note else [],
            "warnings": list(self.warnings),
        }


def _reasons(cache: str, images: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"cache": cache, "image": image, "reason": reason} for image, reason in images.items()]


def _evict_document(cache: str, verdict: Verdict) -> dict[str, Any]:
    tenant = verdict.tenant
    return {
        "cache": cache,
        "image": tenant.image,
        "digest": tenant.digest,
        "bytes": tenant.bytes,
        "last_used": stamp(tenant.last_used),
        "filled_at": stamp(tenant.filled_at),
        "probability": round(tenant.probability, 4),
        "reason": verdict.reason,
    }


async def refresh(
    lake: Lake,
    spec: CacheSpec,
    endpoints: Sequence[Endpoint],
    *,
    demand: Demand | None = None,
    conduct: Conduct | None = None,
    over: timedelta = timedelta(0),
    apply: bool = False,
) -> Refreshed:
    """Find tags that moved upstream and fills that lapsed; with `apply`, warm those images again.

    Tags are asked for by HEAD, which no quota counts, evenly spread `over` a time. Images that nobody wants
    any more are left out. Raises CacheError when nobody answers, and as `run` does.
    """
    conduct, demand = conduct or Conduct(), demand or Demand()
    now, patience = conduct.clock(), spec.patience
    known, warnings = await asyncio.to_thread(_wanted, lake, spec, now, demand, patience)
    async with opened(spec, endpoints, folder=state_folder(lake)) as cache:
        answers = await _ask(cache, [each.tenant for each in known if not each.evict], over)
    problems = {each.image: str(found) for each, found in answers.items() if isinstance(found, PrewarmError)}
    if problems and len(problems) == len(answers) and not any(map(_is_gone, answers.values())):
        raise CacheError(
            f"cache {spec.name!r} cannot be refreshed while nobody answers: {next(iter(problems.values()))}"
        )
    moved = [found for each, digest in answers.items() if (found := _moved(each, digest, now))]
    done = None
    if apply and moved:
        plan = await asyncio.to_thread(_plan, lake, spec, moved, {each.image: each for each in answers}, now)
        done = await run(lake, spec, endpoints, plan, conduct=conduct)
    unused = {each.tenant.image: each.reason for each in known if each.evict}
    unchanged = len(answers) - len(moved) - len(problems)
    return Refreshed(spec.name, tuple(moved), unchanged, problems, unused, done, tuple(warnings))


async def prune(
    lake: Lake,
    spec: CacheSpec,
    endpoints: Sequence[Endpoint],
    *,
    demand: Demand | None = None,
    conduct: Conduct | None = None,
    apply: bool = False,
) -> Pruned:
    """Find images that were not used for long and are not expected; with `apply`, delete them.

    Raises CacheError for a cache that cannot forget, CacheBusy while it is being warmed, NotEnoughHistory
    when the lake cannot tell what is used.
    """
    conduct, demand = conduct or Conduct(), demand or Demand()
    now, patience = conduct.clock(), spec.patience
    verdicts, warnings = await asyncio.to_thread(_judged, lake, spec, now, demand, patience)
    going = [each for each in verdicts if each.evict]
    async with opened(spec, endpoints, folder=state_folder(lake)) as cache:
        if not isinstance(cache, Evicting):
            raise CacheError(f"cache {spec.name!r} cannot be pruned: its driver {spec.driver} only adds")
        names = [Reference.parse(each.tenant.image) for each in going]
        if apply:
            with lock(state_folder(lake) / "locks", spec.name, now):
                eviction = await cache.evict(names, apply=True)
                await asyncio.to_thread(_note_evicted, lake, spec, going, eviction, now)
        else:
            eviction = await cache.evict(names, apply=False)
    evicted = set(eviction.evicted)
    stays = {each.tenant.image: each.reason for each in verdicts if not each.evict}
    return Pruned(
        spec.name,
        tuple(each for each in going if each.tenant.image in evicted),
        {**stays, **eviction.kept},
        eviction,
        tuple(warnings),
    )


# --- what is there ---


def _tenants(lake: Lake, spec: CacheSpec) -> list[Tenant]:
    """The images that we put into the cache and have not taken out since, by name."""
    filled = (
        lake.read("warmed", pl.col("cache") == spec.name)
        .sort("filled_at")
        .group_by("image")
        .agg(pl.col("digest", "filled_at", "expires_at").last())
    )
    evicted = (
        lake.read("outcomes", pl.col("cache") == spec.name, pl.col("state") == "evicted")
        .group_by("image")
        .agg(pl.col("finished_at").max().alias("evicted_at"))
    )
    sizes = (
        lake.scan("images").select(image_column(), "digest", "bytes").unique(["image", "digest"]).collect()
    )
    rows = (
        filled.join(evicted, on="image", how="left")
        .filter(pl.col("evicted_at").is_null() | (pl.col("evicted_at") < pl.col("filled_at")))
        .join(sizes, on=["image", "digest"], how="left")
        .sort("image")
    )
    columns = ("image", "digest", "filled_at", "bytes", "expires_at")
    return [Tenant(**row) for row in rows.select(columns).iter_rows(named=True)]


def _wanted(
    lake: Lake, spec: CacheSpec, now: datetime, demand: Demand, patience: Patience
) -> tuple[list[Verdict], list[str]]:
    """As `_judged`; everything is wanted where the lake cannot tell."""
    try:
        return _judged(lake, spec, now, demand, patience)
    except NotEnoughHistory as nothing:
        unknown = [Verdict(each, False, str(nothing), timedelta(0)) for each in _tenants(lake, spec)]
        return unknown, [f"{nothing}; every image is kept fresh"]


def _judged(
    lake: Lake, spec: CacheSpec, now: datetime, demand: Demand, patience: Patience
) -> tuple[list[Verdict], list[str]]:
    """Whether each image may go, and warnings."""
    tenants, logged = _tenants(lake, spec), _logged(lake, spec, patience.unused)
    uses = _uses(lake, spec, demand, logged[1] - patience.unused)
    chances, warnings = _chances(lake, spec, now, demand, patience) if tenants else ({}, [])
    gate = Gate(spec.rules)
    verdicts = [
        judge(
            replace(
                each, last_used=_used(each, uses), probability=max(chances.get(n, 0.0) for n in _ids(each))
            ),
            logged,
            patience,
            gate,
        )
        for each in tenants
    ]
    return verdicts, warnings


def _logged(lake: Lake, spec: CacheSpec, unused: timedelta) -> tuple[datetime, datetime]:
    """The time that the logs of all sites of the cache speak of; sites that fell silent long ago are gone."""
    known = extents(lake, spec.site)
    newest = max(each.last for each in known)
    alive = [each for each in known if newest - each.last < unused]
    return max(each.first for each in alive), min(each.last for each in alive)


def _uses(lake: Lake, spec: CacheSpec, demand: Demand, since: datetime) -> dict[str, datetime]:
    """The last use of each image since then."""
    counting = demand.counting or DEMAND
    where = [pl.col("date") >= since.date()]
    if spec.site is not None:
        where.append(pl.col("site") == spec.site)
    pulls = lake.read("pulls", *where, columns=COLUMNS)
    outcomes = lake.read("outcomes", pl.col("finished_at") >= since - timedelta(days=1))
    return dict(last_uses(pulls, outcomes, counting.ignore, counting.session_gap).iter_rows())


def _chances(
    lake: Lake, spec: CacheSpec, now: datetime, demand: Demand, patience: Patience
) -> tuple[dict[str, float], list[str]]:
    """The probability that each image is pulled within `patience.ahead`; those that are not named: 0."""
    found = rank(
        lake,
        demand.sites,
        [now],
        max(int(patience.ahead / timedelta(hours=1)), 1),
        EVERY_IMAGE,
        spec.site,
        "any-pull",
        default=demand.default,
        counting=demand.counting or DEMAND,
    )
    return {each.image: each.probability for each in found.ranking}, list(found.warnings)


def _ids(tenant: Tenant) -> list[str]:
    """What a log may call the image: by its tag, or by the digest that we put there."""
    reference = Reference.parse(tenant.image)
    digest = reference.digest or tenant.digest
    return [tenant.image] + ([f"{reference.name}@{digest}"] if digest else [])


def _used(tenant: Tenant, uses: Mapping[str, datetime]) -> datetime | None:
    return max((uses[name] for name in _ids(tenant) if name in uses), default=None)


# --- refresh ---


async def _ask(cache: Cache, tenants: Sequence[Tenant], over: timedelta) -> dict[Tenant, str | PrewarmError]:
    """The digest that each image has now, or why nobody can tell."""
    places = asyncio.Semaphore(AT_ONCE)
    step = over.total_seconds() / max(len(tenants), 1)

    async def ask(place: int, tenant: Tenant) -> str | PrewarmError:
        await asyncio.sleep(place * step)
        async with places:
            try:
                return await _current(cache, Reference.parse(tenant.image))
            except PrewarmError as refused:
                return refused

    answers = await asyncio.gather(*(ask(place, each) for place, each in enumerate(tenants)))
    return dict(zip(tenants, answers, strict=True))


async def _current(cache: Cache, reference: Reference) -> str:
    if reference.digest:
        return reference.digest
    if isinstance(cache, Watching):
        return await cache.current(reference)
    return (await cache.resolve(reference)).digest


def _is_gone(answer: str | PrewarmError) -> bool:
    return isinstance(answer, NotFound)


def _moved(tenant: Tenant, found: str | PrewarmError, now: datetime) -> Moved | None:
    if isinstance(found, PrewarmError):
        return None
    if found != tenant.digest:
        return Moved(tenant.image, tenant.digest, found, "its tag moved upstream")
    if tenant.expires_at is not None and tenant.expires_at <= now:
        return Moved(
            tenant.image, tenant.digest, found, f"its fill lapsed {tenant.expires_at:%a %d %b %H:%M} UTC"
        )
    return None


def _plan(
    lake: Lake, spec: CacheSpec, moved: Sequence[Moved], tenants: Mapping[str, Tenant], now: datetime
) -> Plan:
    """Warm them again, the most wanted first, within the cache's bytes; sizes are those before the move."""
    by_name = {each.image: each for each in moved}
    order = sorted(by_name, key=lambda image: -tenants[image].probability)
    candidates = [
        Candidate(image, place, 0.0, tenants[image].probability, tenants[image].probability,
                  digest=by_name[image].digest, bytes=tenants[image].bytes or 0)
        for place, image in enumerate(order, start=1)
    ]  # fmt: skip
    made = planning.plan(
        candidates,
        Budget(max_bytes=spec.max_bytes),
        spec.rules,
        id=dated_id("p", now),
        cache=spec.name,
        site=spec.site,
        created_at=now,
        window=(now, now),
        model="",
        objective="refresh",
    )
    warms = tuple(replace(warm, reason=by_name[warm.image].reason) for warm in made.warms)
    plan = replace(made, warms=warms)
    keep_plan(lake, plan)
    return plan


# --- prune ---


def _note_evicted(
    lake: Lake, spec: CacheSpec, going: Iterable[Verdict], eviction: Eviction, now: datetime
) -> None:
    """What was removed, as outcomes: the trail of what happened to the cache."""
    run = dated_id("e", now)
    evicted = set(eviction.evicted)
    rows = [
        {
            "run": run,
            "cache": spec.name,
            "driver": spec.driver,
            "site": spec.site,
            "image": each.tenant.image,
            "digest": each.tenant.digest,
            "state": "evicted",
            "bytes": 0,
            "started_at": now,
            "finished_at": now,
        }
        for each in going
        if each.tenant.image in evicted
    ]
    if rows:
        lake.append("outcomes", pl.DataFrame(rows, schema_overrides=dict(OUTCOMES)))
