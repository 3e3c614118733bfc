"""Registries without HTTP: images from memory, with faults on order."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import defaultdict
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any, cast

from prewarm.errors import DigestMismatch, ForbiddenHost, NotFound
from prewarm.references import Reference
from prewarm.warming.caches import Surroundings
from prewarm.warming.credentials import Credentials
from prewarm.warming.images import OCI_MANIFEST, Descriptor, Image, Manifest, Platform, assemble
from prewarm.warming.registry import Registries, Timing


class Shelf:
    """Stands where `Registries` and one `Registry` stand; lists `registry.test` only."""

    def __init__(self, registry: str = "registry.test") -> None:
        self.registry = registry
        self.credentials = Credentials()
        self.timing = Timing()
        self.images: dict[tuple[str, str], Image] = {}  # by (repository, tag)
        self.contents: dict[str, bytes] = {}
        self.fetched: list[str] = []  # digests of blobs, in order
        self.lies: set[str] = set()  # digests of blobs that come with other bytes
        self.faults: defaultdict[str, list[Exception]] = defaultdict(list)  # by digest of a blob
        self.hanging: set[str] = set()  # digests of blobs that stop in the middle
        self.hung = asyncio.Event()

    def put(self, repository: str, tag: str, *layers: bytes, index: bool = False) -> Image:
        """Make an image; with `index` its tag points to an index that offers arm64 as well."""
        config = self._store(
            "application/vnd.oci.image.config.v1+json",
            json.dumps(
                {
                    "architecture": "amd64",
                    "os": "linux",
                    "rootfs": {
                        "type": "layers",
                        "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers],
                    },
                }
            ).encode(),
        )
        stored = tuple(self._store("application/vnd.oci.image.layer.v1.tar", layer) for layer in layers)
        leaf = self._manifest(
            OCI_MANIFEST,
            {"config": _entry(config), "layers": [_entry(layer) for layer in stored]},
            config=config,
            layers=stored,
        )
        reference = Reference.of(self.registry, repository, tag)
        image = assemble(reference, self._index(leaf), (leaf,)) if index else assemble(reference, leaf, ())
        self.images[repository, tag] = image
        return image

    def of(self, registry: str) -> Shelf:
        if registry != self.registry:
            raise ForbiddenHost(f"{registry} is not listed")
        return self

    async def resolve(self, repository: str, reference: str, platforms: tuple[Platform, ...] = ()) -> Image:
        if (repository, reference) not in self.images:
            raise NotFound(f"{self.registry}/{repository}:{reference}: manifest unknown", status=404)
        return self.images[repository, reference]

    async def head_manifest(self, repository: str, reference: str) -> Descriptor:
        return (await self.resolve(repository, reference)).root.descriptor

    async def blob(self, repository: str, blob: Descriptor) -> AsyncGenerator[bytes, None]:
        self.fetched.append(blob.digest)
        if self.faults[blob.digest]:
            raise self.faults[blob.digest].pop(0)
        content = self.contents[blob.digest]
        half = len(content) // 2
        yield content[:half]
        if blob.digest in self.hanging:
            self.hung.set()
            await asyncio.Event().wait()
        yield content[half:]
        if blob.digest in self.lies:
            raise DigestMismatch(f"the content has another digest than {blob.digest}")

    def _index(self, leaf: Manifest) -> Manifest:
        amd64, arm64 = Platform("linux", "amd64"), Platform("linux", "arm64")
        other = replace(leaf.descriptor, digest=f"sha256:{'0' * 64}", platform=arm64)
        entries = [
            _entry(leaf.descriptor) | {"platform": {"os": "linux", "architecture": "amd64"}},
            _entry(other) | {"platform": {"os": "linux", "architecture": "arm64"}},
        ]
        media_type = "application/vnd.oci.image.index.v1+json"
        return self._manifest(
            media_type, {"manifests": entries}, manifests=(replace(leaf.descriptor, platform=amd64), other)
        )

    def _manifest(self, media_type: str, document: dict[str, Any], **parts: Any) -> Manifest:
        body = json.dumps({"schemaVersion": 2, "mediaType": media_type, **document}).encode()
        return Manifest(self._store(media_type, body), body, **parts)

    def _store(self, media_type: str, content: bytes) -> Descriptor:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.contents[digest] = content
        return Descriptor(media_type, digest, len(content))


def surroundings(shelf: Shelf, **more: Any) -> Surroundings:
    """What a driver gets, with the shelf for its registries."""
    return Surroundings("test", cast("Registries", shelf), **more)


def _entry(descriptor: Descriptor) -> dict[str, Any]:
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}
