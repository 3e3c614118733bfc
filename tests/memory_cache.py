"""The smallest cache that keeps the contract, with faults on order."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence

from prewarm.errors import NotFound, TagMoved
from prewarm.references import Reference
from prewarm.warming.caches import Eviction, Finding, Transfer
from prewarm.warming.images import OCI_MANIFEST, Descriptor, Image, Manifest, assemble


def image_of(text: str, *layers: bytes, config: bytes = b"{}") -> Image:
    """An image with real digests, for tests that need no registry."""
    blobs = [_descriptor("application/octet-stream", body) for body in (config, *layers)]
    body = json.dumps([blob.digest for blob in blobs]).encode()
    root = Manifest(_descriptor(OCI_MANIFEST, body), body, config=blobs[0], layers=tuple(blobs[1:]))
    return assemble(Reference.parse(text), root, ())


def _descriptor(media_type: str, body: bytes) -> Descriptor:
    return Descriptor(media_type, f"sha256:{hashlib.sha256(body).hexdigest()}", len(body))


class MemoryCache:
    """Holds images by name; `upstream` is what it fetches from."""

    def __init__(self, upstream: Iterable[Image] = ()) -> None:
        self.upstream = {str(image.reference): image for image in upstream}
        self.held: dict[str, Image] = {}
        self.blobs: set[str] = set()
        self.faults: dict[str, list[Exception]] = defaultdict(list)  # raised by the next warms of an image
        self.asked: list[str] = []  # images resolved, in order
        self.warmed: list[str] = []  # warms begun, in order
        self.hanging: set[str] = set()  # images whose warm never ends
        self.hung = asyncio.Event()  # a warm hangs
        self.fickle = 0  # tags that move between their resolution and their warm, so often

    async def resolve(self, reference: Reference) -> Image:
        self.asked.append(str(reference))
        if str(reference) not in self.upstream:
            raise NotFound(f"{reference}: manifest unknown", status=404)
        return self.upstream[str(reference)]

    async def holds(self, image: Image) -> bool:
        return self.held.get(str(image.reference)) == image

    async def warm(self, image: Image) -> Transfer:
        name = str(image.reference)
        self.warmed.append(name)
        if self.faults[name]:
            raise self.faults[name].pop(0)
        if name in self.hanging:
            self.hung.set()
            await asyncio.Event().wait()
        if self.fickle:
            self.fickle -= 1
            self.upstream[name] = image_of(name, f"moved, {self.fickle} to go".encode())
            raise TagMoved(f"{name} moved to {self.upstream[name].digest} meanwhile")
        missing = [blob for blob in image.blobs if blob.digest not in self.blobs]
        self.blobs.update(blob.digest for blob in missing)
        self.held[name] = image
        return Transfer(sum(blob.size for blob in missing), "in memory")

    async def current(self, reference: Reference) -> str:
        return (await self.resolve(reference)).digest

    async def evict(self, images: Sequence[Reference], *, apply: bool) -> Eviction:
        going = [str(image) for image in images if str(image) in self.held]
        needed = {
            blob.digest for name, image in self.held.items() if name not in going for blob in image.blobs
        }
        freed = {blob.digest: blob.size for name in going for blob in self.held[name].blobs}
        freed = {digest: size for digest, size in freed.items() if digest not in needed}
        if apply:
            self.blobs -= freed.keys()
            for name in going:
                del self.held[name]
        return Eviction(tuple(going), sum(freed.values()))

    async def check(self) -> list[Finding]:
        return [Finding("reachable", True, "it is this process")]
