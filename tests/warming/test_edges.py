"""What the headers of web caches and CDNs tell."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from prewarm.errors import CacheError, DigestMismatch
from prewarm.warming.caches.edges import Edges
from prewarm.warming.edges import RANGE, told
from tests.memory_cache import MemoryCache, image_of


@pytest.mark.parametrize(
    ("headers", "stored"),
    [
        ({"X-Cache-Status": "HIT"}, True),  # nginx, as everybody names $upstream_cache_status
        ({"x-cache-status": "MISS"}, False),
        ({"X-Cache-Status": "EXPIRED"}, False),
        ({"X-Cache-Status": "BYPASS"}, False),
        ({"X-Varnish": "32770 3"}, True),
        ({"X-Varnish": "32770", "Age": "0"}, False),
        ({"CF-Cache-Status": "HIT", "Age": "12"}, True),
        ({"CF-Cache-Status": "DYNAMIC"}, False),
        ({"CF-Cache-Status": "REVALIDATED"}, True),
        ({"X-Cache": "Hit from cloudfront", "Age": "5"}, True),
        ({"X-Cache": "RefreshHit from cloudfront"}, True),
        ({"X-Cache": "Miss from cloudfront"}, False),
        ({"X-Cache": "MISS, HIT"}, True),  # Fastly: the shield missed, the edge has it
        ({"X-Cache": "HIT, MISS"}, False),
        ({"X-Cache": "TCP_HIT from a23-45-67-89.deploy.akamaitechnologies.com"}, True),
        ({"X-Cache": "TCP_REMOTE_HIT"}, True),
        ({"X-Cache": "CONFIG_NOCACHE"}, False),
        ({"X-Cache": "TCP_MISS"}, False),
        ({"Cache-Status": '"edge"; hit; ttl=100'}, True),
        ({"Cache-Status": "origin; hit, edge; fwd=uri-miss; stored"}, False),
        ({"Age": "7"}, True),
    ],
)
def test_a_hit_is_the_proof_whatever_the_status(headers: dict[str, str], stored: bool) -> None:
    """A web cache answers ranges of what it does not have."""
    for status in (200, 206):
        found = told(status, CIMultiDict(headers))
        assert found.stored is stored
        assert found.sign.split(": ")[1] in headers.values()


@pytest.mark.parametrize(("status", "stored"), [(206, True), (200, False)])
def test_without_such_headers_a_range_tells(status: int, stored: bool) -> None:
    """As pull-through registries answer; an Age of zero tells nothing."""
    for headers in ({}, {"Age": "0"}, {"X-Cache": ""}):
        assert told(status, CIMultiDict(headers)).stored is stored
    assert told(206, {}).sign == RANGE


async def test_several_edges_are_one_cache() -> None:
    """Held when all hold it; one that fails is named, and the others are warm."""
    image = image_of("docker.io/acme/api:1", b"layer")
    one, two = MemoryCache(), MemoryCache()
    edges = Edges({"203.0.113.7": one, "203.0.113.8": two})
    for edge in (one, two):
        edge.upstream[str(image.reference)] = image
    two.faults[str(image.reference)] = [DigestMismatch("another digest")]

    with pytest.raises(CacheError, match=r"^edge 203\.0\.113\.8: another digest$"):
        await edges.warm(image)
    assert (await one.holds(image), await edges.holds(image)) == (True, False)
    transfer = await edges.warm(image)
    assert await edges.holds(image)
    assert transfer.bytes == image.bytes
    assert (await edges.evict([image.reference], apply=True)).evicted == (str(image.reference),)
    assert not await edges.holds(image)


async def test_an_eviction_that_one_edge_has_behind_it_is_completed() -> None:
    """The first edge forgot the image before, and the second refused then."""
    image = image_of("docker.io/acme/api:1", b"layer")
    one, two = MemoryCache(), MemoryCache([image])
    await two.warm(image)
    edges = Edges({"203.0.113.7": one, "203.0.113.8": two})
    assert (await edges.evict([image.reference], apply=True)).evicted == (str(image.reference),)
    assert not await two.holds(image)
