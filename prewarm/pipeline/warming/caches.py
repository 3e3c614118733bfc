"""Caches as they are configured: opened for a plan or a run, and checked."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from prewarm import plugins
from prewarm.errors import PrewarmError, SettingsError
from prewarm.references import Reference, served_path
from prewarm.warming.caches import Cache, Driver, Finding, Surroundings
from prewarm.warming.pacing import Pace
from prewarm.warming.rules import Rules
from prewarm.warming.upkeep import Patience

if TYPE_CHECKING:
    from prewarm.lake import Lake
    from prewarm.warming.credentials import Credentials
    from prewarm.warming.images import Platform
    from prewarm.warming.registry import Endpoint, Registries, Registry


QUOTA_IMAGE = ("ratelimitpreview/test", "latest")  # that Docker's "Pull usage and limits" names for asking


@dataclass(frozen=True, slots=True)
class CacheSpec:
    """One `[caches.NAME]` of the configuration."""

    name: str
    driver: str
    own: Mapping[str, Any] = field(default_factory=dict)  # the driver's own keys, as written
    site: str | None = None  # whose demand it serves; None: all sites together
    upstream: str | None = None  # where it fetches from; None: the image's own registry
    rewrite: Mapping[str, str] = field(default_factory=dict)
    ttl: timedelta | None = None  # how long a fill is kept; None: until it is replaced
    rules: Rules = field(default_factory=Rules)
    max_bytes: int | None = None  # most bytes that one plan may add, when the plan says nothing
    bandwidth: int | None = None  # bytes per second that warming may use
    platforms: tuple[Platform, ...] = ()  # (): those that the site's clients have shown
    patience: Patience = field(default_factory=Patience)  # with what nobody uses


def barred(spec: CacheSpec, listed: Iterable[str], reference: Reference) -> str | None:
    """Why this cache cannot serve an image of that name at all, in words; None when it can.

    Only listed registries are contacted, and a cache with an upstream has what that has.
    """
    if any(reference.name.startswith(prefix) for prefix in spec.rewrite):
        return None
    registry = reference.registry
    if registry == urlsplit(str(spec.own.get("url", ""))).netloc:
        return None  # its log names the cache itself
    if spec.upstream is not None:
        if registry == spec.upstream:
            return None
        advice = f"`prewarm ingest --registry {spec.upstream}` reads a log that names the cache so"
        return f"{registry} does not come through this cache, whose upstream is {spec.upstream}; {advice}"
    if registry in listed:
        return None
    return f'its registry is not listed; [registries."{registry}"] with a url would allow it'


def place(spec: CacheSpec, reference: Reference) -> str:
    """Where the layers of an image lie in the cache: the repository's path there, "" where all are shared."""
    if not _pull_through(spec):
        return ""
    return served_path(reference, spec.rewrite)


@asynccontextmanager
async def opened(
    spec: CacheSpec,
    endpoints: Iterable[Endpoint],
    *,
    folder: Path = Path(),
    platforms: tuple[Platform, ...] = (),
    credentials: Credentials | None = None,
) -> AsyncIterator[Cache]:
    """The cache, ready to be asked; `folder` is where its driver may keep state.

    Raises UnknownName for a driver that is not installed, SettingsError for keys that it refuses.
    """
    from prewarm.warming.registry import Registries

    driver: Driver = plugins.load(plugins.CACHES, spec.driver)
    config = _configured(driver, spec)
    async with Registries(endpoints, credentials) as registries:
        surroundings = _surroundings(spec, registries, folder, spec.platforms or platforms)
        async with driver.open(config, surroundings) as cache:
            yield cache


def check(spec: CacheSpec, endpoints: Iterable[Endpoint]) -> list[Finding]:
    """What a person should know of a cache: is it reachable, does it let us in, is there room?

    Registries that it may fetch from are asked as well: its upstream, or all that are listed; not for a
    pull-through cache, which fetches by itself, perhaps from where we cannot. What goes wrong is a finding,
    never an exception, save for settings that cannot be used.
    """
    return asyncio.run(_check(spec, tuple(endpoints)))


async def _check(spec: CacheSpec, endpoints: tuple[Endpoint, ...]) -> list[Finding]:
    try:
        async with opened(spec, endpoints) as cache:
            findings = await cache.check()
    except SettingsError:
        raise
    except PrewarmError as refused:
        findings = [Finding("reachable", False, str(refused))]
    if spec.upstream is not None and _pull_through(spec):
        return findings
    return findings + await _check_registries(endpoints, spec.upstream)


async def _check_registries(endpoints: tuple[Endpoint, ...], upstream: str | None) -> list[Finding]:
    from prewarm.warming.registry import Registries

    if not endpoints:
        advice = '[registries."docker.io"] with url = "https://registry-1.docker.io" lists one'
        return [Finding("registries", False, f"none is listed, so nothing can be fetched; {advice}")]
    async with Registries(endpoints) as registries:
        names = [upstream] if upstream else [endpoint.registry for endpoint in endpoints]
        return list(await asyncio.gather(*(_check_registry(registries, name) for name in names)))


async def _check_registry(registries: Registries, name: str) -> Finding:
    try:
        registry = registries.of(name)
        await registry.ping()
        login = await registry.login()
    except PrewarmError as refused:
        return Finding(f"registry {name}", False, str(refused))
    known = f"answers {'with our login' if login else 'anonymously'}"
    return Finding(f"registry {name}", True, f"{known}{await _pulls_left(registry)}")


async def _pulls_left(registry: Registry) -> str:
    """What is left of Docker Hub's quota, in words; "" where there is none."""
    if registry.endpoint.registry != "docker.io":
        return ""
    try:
        quota = await registry.quota_of(*QUOTA_IMAGE)
    except PrewarmError:
        return ""
    return f"; {quota.remaining} of {quota.limit} pulls are left" if quota else ""


def _pull_through(spec: CacheSpec) -> bool:
    driver: Driver = plugins.load(plugins.CACHES, spec.driver)
    return driver.pull_through


def state_folder(lake: Lake) -> Path:
    """Where locks and drivers' state are kept: in the lake, or where temporary files go when it has a URL."""
    if "://" not in lake.root:
        return Path(lake.root)
    return Path(tempfile.gettempdir()) / f"prewarm-{quote(lake.root, safe='')[-100:]}"


def _configured(driver: Driver, spec: CacheSpec) -> Any:
    from pydantic import ValidationError

    try:
        return driver.config.model_validate(dict(spec.own))
    except ValidationError as refused:
        problem = refused.errors(include_url=False, include_context=False, include_input=False)[0]
        key = ".".join(["caches", spec.name, *(str(part) for part in problem["loc"])])
        raise SettingsError(f"{key}: {problem['msg']} (driver {spec.driver})") from None


def _surroundings(
    spec: CacheSpec, registries: Registries, folder: Path, platforms: tuple[Platform, ...]
) -> Surroundings:
    timing = registries.timing
    return Surroundings(
        name=spec.name,
        registries=registries,
        upstream=spec.upstream,
        rewrite=dict(spec.rewrite),
        platforms=platforms,
        folder=folder / "caches" / quote(spec.name, safe=""),
        pace=Pace(spec.bandwidth, timing.clock, timing.sleep) if spec.bandwidth else None,
    )
