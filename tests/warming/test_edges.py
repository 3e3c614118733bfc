"""What the headers of web caches and CDNs tell."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from prewarm.warming.edges import RANGE, told


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
