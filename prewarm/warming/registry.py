"""Async client of the OCI distribution API (distribution-spec v1.1)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from prewarm.warming.credentials import Credentials
    from prewarm.warming.images import Descriptor, Image, Manifest, Platform


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How one registry is reached. `http://` means plain HTTP; only listed endpoints are contacted."""

    registry: str  # host in references: docker.io, 127.0.0.1:5000
    url: str  # https://registry-1.docker.io
    max_concurrency: int = 4
    ca_file: Path | None = None  # trusted besides the system's authorities
    timeout: float = 30.0  # seconds without a byte before a request is given up


@dataclass(frozen=True, slots=True)
class Quota:
    """A registry's pull quota as its last answer told it (Docker Hub's `RateLimit-*` headers)."""

    limit: int  # pulls per window
    remaining: int
    window: float  # seconds


class Registry:
    """One registry: requests with auth, retries and verified content.

    `repository` is the path on this registry (`library/nginx`), `reference` a tag or a digest.
    Every call raises a RegistryError (NotFound, Unauthorized, RateLimited, Unavailable) when the
    registry refuses for good, and ForbiddenHost when it points to a host that may not be contacted.
    Retryable refusals are retried here (a few times, `Retry-After` obeyed): do not retry them again at once.
    """

    endpoint: Endpoint
    quota: Quota | None

    async def ping(self) -> None:
        """Raise unless this is a distribution API that lets us in."""
        raise NotImplementedError

    async def head_manifest(self, repository: str, reference: str) -> Descriptor:
        """What `reference` points to, without its body (not counted by Docker Hub's quota)."""
        raise NotImplementedError

    async def manifest(self, repository: str, reference: str) -> Manifest:
        """GET, verified: the body has the digest that was asked for or that the registry names."""
        raise NotImplementedError

    async def resolve(self, repository: str, reference: str, platforms: tuple[Platform, ...] = ()) -> Image:
        """The image that `reference` stands for now, for `platforms` (default linux/amd64).

        `image.reference` names this registry; a cache that rewrites names puts the asked one back with
        `dataclasses.replace(image, reference=...)`. Raises UnsupportedImage when no platform fits.
        """
        raise NotImplementedError

    def blob(self, repository: str, blob: Descriptor) -> AsyncGenerator[bytes, None]:
        """Stream a blob with constant memory; raises DigestMismatch after the last chunk if it lies.

        A broken connection is resumed where it broke. Close it when leaving early
        (`async with aclosing(registry.blob(...)) as chunks`). It takes one of `max_concurrency` places
        until it ends.
        """
        raise NotImplementedError

    async def holds_blob(self, repository: str, digest: str) -> bool:
        """Whether the blob is in storage: `Range: bytes=0-0` answers 206 only from there (DESIGN section 9)."""
        raise NotImplementedError

    async def head_blob(self, repository: str, digest: str) -> int | None:
        """The blob's size in bytes as HEAD tells it, None when it does not; NotFound when there is none."""
        raise NotImplementedError


class Registries:
    """Clients of every listed registry, sharing one connection pool and the credentials.

    An async context manager: `async with Registries(endpoints) as registries`.
    """

    credentials: Credentials

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        credentials: Credentials | None = None,
        *,
        agent: str | None = None,
    ) -> None:
        """`credentials` default to docker's config.json; `agent` to `prewarm/<version>`."""
        raise NotImplementedError

    def of(self, registry: str) -> Registry:
        """The client of a listed registry (`docker.io`); ForbiddenHost for any other."""
        raise NotImplementedError

    def at(self, endpoint: Endpoint) -> Registry:
        """The client of a configured cache's own registry API; listing it here permits it."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError
