"""Async client of the OCI distribution API (distribution-spec v1.1)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prewarm.warming.images import Descriptor, Image, Manifest, Platform


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How one registry is reached. `http://` means plain HTTP; only listed endpoints are contacted."""

    registry: str                 # host in references: docker.io, 127.0.0.1:5000
    url: str                      # https://registry-1.docker.io
    max_concurrency: int = 4
    ca_file: Path | None = None
    timeout: float = 30.0         # seconds without a byte before a request is given up


class Registry:
    """One registry: requests with auth, retries and verified content.

    SKETCH of the interface; `repository` is the path on this registry, `reference` a tag or digest.
    """

    endpoint: Endpoint

    async def ping(self) -> None: ...
    async def head_manifest(self, repository: str, reference: str) -> Descriptor: ...
    async def manifest(self, repository: str, reference: str) -> Manifest:
        """GET, verified: the body's digest is the one asked for or the one the registry names."""
        ...
    async def resolve(self, repository: str, reference: str, platforms: tuple[Platform, ...]) -> Image: ...
    def blob(self, repository: str, blob: Descriptor) -> AsyncIterator[bytes]:
        """Stream a blob with constant memory; raises DigestMismatch after the last chunk if it lies."""
        ...
    async def holds_blob(self, repository: str, digest: str) -> bool:
        """`Range: bytes=0-0` answers 206 only from storage (DESIGN section 9)."""
        ...


class Registries:
    """Clients of every listed registry, sharing one connection pool and the credentials.

    `registries.of("docker.io")` -> Registry; raises ForbiddenHost for a host that is not listed.
    An async context manager.
    """
