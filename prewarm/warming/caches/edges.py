"""Several hosts that answer for one name, each a cache of its own: a CDN's edges, a load balancer's hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from prewarm.errors import CacheError, PrewarmError, TagMoved
from prewarm.references import Reference
from prewarm.warming.caches import Cache, Evicting, Eviction, Finding, Transfer, Watching
from prewarm.warming.images import Image


class Edge(Cache, Watching, Evicting, Protocol):
    """One of them."""


class Edges:
    """An image is held when all of them hold it."""

    def __init__(self, edges: Mapping[str, Edge]) -> None:
        """`edges` by address."""
        self._edges = edges
        self._first = next(iter(edges.values()))

    async def resolve(self, reference: Reference) -> Image:
        """What `reference` stands for now, as the first edge says."""
        return await self._first.resolve(reference)

    async def current(self, reference: Reference) -> str:
        """The digest that `reference` has now, as the first edge says."""
        return await self._first.current(reference)

    async def holds(self, image: Image) -> bool:
        """Whether every edge holds it; the first that does not ends the questions."""
        for address, edge in self._edges.items():
            try:
                if not await edge.holds(image):
                    return False
            except PrewarmError as refused:
                raise CacheError(f"edge {address}: {refused}") from refused
        return True

    async def warm(self, image: Image) -> Transfer:
        """Warm one edge after another; the error names those that failed, and the others are warm."""
        moved, proofs, failed = 0, set(), dict[str, PrewarmError]()
        for address, edge in self._edges.items():
            try:
                done = await edge.warm(image)
            except TagMoved:
                raise
            except PrewarmError as refused:
                failed[address] = refused
                continue
            moved += done.bytes
            proofs.add(done.proof)
        if failed:
            raise CacheError("; ".join(f"edge {address}: {refused}" for address, refused in failed.items()))
        return Transfer(moved, f"on each of {len(self._edges)} edges {' or '.join(sorted(proofs))}")

    async def evict(self, images: Sequence[Reference], *, apply: bool) -> Eviction:
        """Delete from every edge; an image is evicted when none has it any more, whichever had it."""
        done = [await edge.evict(images, apply=apply) for edge in self._edges.values()]
        kept = {image: why for each in done for image, why in each.kept.items()}
        evicted = dict.fromkeys(image for each in done for image in each.evicted if image not in kept)
        note = next((each.note for each in done if each.note), None)
        return Eviction(tuple(evicted), sum(each.bytes for each in done), kept, note)

    async def check(self) -> list[Finding]:
        """What each edge's check finds, with its address."""
        return [
            replace(finding, message=f"{address}: {finding.message}")
            for address, edge in self._edges.items()
            for finding in await edge.check()
        ]
