"""Plug point: where warm images land, one module per driver.

The contract (tests/contracts_caches.py, run over every driver): an absent image is not held; after `warm` it
is; warming twice is harmless and transfers nothing; content with a wrong digest is refused; a
cancelled warm leaves nothing half-visible; `check` says what is wrong in words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from prewarm.references import served_path

if TYPE_CHECKING:
    from pydantic import BaseModel

    from prewarm.references import Reference
    from prewarm.warming.images import Image, Platform
    from prewarm.warming.pacing import Pace
    from prewarm.warming.registry import Registries, Registry


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `prewarm caches check`: what was looked at, whether it is fine, and the words."""

    subject: str  # reachable | credentials | space | quota | ...
    ok: bool
    message: str


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a warm cost: bytes that were transferred for it (0: nothing was missing)."""

    bytes: int
    proof: str  # how the cache proved that it holds the image


class Cache(Protocol):
    """A place where warm images land."""

    async def resolve(self, reference: Reference) -> Image:
        """What `reference` stands for at this cache's upstream now.

        Raises RegistryError (NotFound ...) or UnsupportedImage."""
        ...

    async def holds(self, image: Image) -> bool:
        """Whether the cache has proven to hold every manifest and blob of `image`, tag up to date."""
        ...

    async def warm(self, image: Image) -> Transfer:
        """Fetch what is missing; returns only when the cache has proven to hold it.

        Raises RegistryError, DigestMismatch or CacheError; then the image is not called warm. TagMoved when
        the tag has left the image meanwhile: resolve it again."""
        ...

    async def check(self) -> list[Finding]:
        """Reachability, credentials, space, quota: what a person should know."""
        ...


@runtime_checkable
class Watching(Protocol):
    """A cache that can tell a moved tag without costing its upstream a pull."""

    async def current(self, reference: Reference) -> str:
        """The digest that `reference` has upstream now. Raises RegistryError (NotFound ...)."""
        ...


@runtime_checkable
class Scattered(Protocol):
    """A cache of several hosts, each of which serves its own clients."""

    async def missing(self, image: Image) -> float:
        """The share of its hosts that have not proven to hold `image`; 0: `holds` is true. Raises as `holds`.

        It is the chance that the host which gets the next client is cold, wherever that may be.
        """
        ...


@dataclass(frozen=True, slots=True)
class Eviction:
    """What was removed from a cache, or would be."""

    evicted: tuple[str, ...]  # canonical references, as they were asked for
    bytes: int  # that nothing else in the cache needs
    kept: Mapping[str, str] = field(default_factory=dict)  # what the cache does not let go, and why
    note: str | None = None  # what is left to do until the bytes are free, in words


@runtime_checkable
class Evicting(Protocol):
    """A cache that can be told to forget images."""

    async def evict(self, images: Sequence[Reference], *, apply: bool) -> Eviction:
        """Remove the images, and what only they needed; without `apply`, tell what would go.

        An image that is not there is in neither list. Raises CacheError when nothing can be removed at all.
        """
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a driver gets besides its own settings."""

    name: str  # the cache's name in the configuration
    registries: Registries  # clients of the registries that may be contacted
    upstream: str | None = None  # registry host that everything comes from; None: the image's own
    rewrite: dict[str, str] = field(default_factory=dict)  # name prefixes on this cache, longest wins
    platforms: tuple[Platform, ...] = ()  # () means linux/amd64
    folder: Path = Path()  # where the driver may keep its own state
    pace: Pace | None = None  # of all that the cache transfers; None: as fast as it goes

    def origin(self, reference: Reference) -> tuple[Registry, str]:
        """The registry that `reference` is fetched from, and the path it has there.

        Raises ForbiddenHost when that registry is not listed.
        """
        registry = self.registries.of(self.upstream or reference.registry)
        return registry, served_path(reference, self.rewrite)

    async def current(self, reference: Reference) -> str:
        """The digest that `reference` has at its origin now, by HEAD: it costs no pull of a quota."""
        registry, path = self.origin(reference)
        return (await registry.head_manifest(path, reference.target)).digest


@dataclass(frozen=True, slots=True)
class Driver:
    """A cache driver: its name, its own configuration model, and how to open one."""

    name: str
    summary: str  # one line for `prewarm caches`
    privilege: str  # what it needs to be allowed to do
    config: type[BaseModel]
    open: Callable[[Any, Surroundings], AbstractAsyncContextManager[Cache]]
    pull_through: bool = (
        False  # fetches by itself, from an upstream that we may not reach, for each repository
    )
