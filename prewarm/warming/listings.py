"""What a registry says it has: its repositories, and the tags of one (distribution-spec, "Listing Tags")."""

from __future__ import annotations

import json
from urllib.parse import quote

from prewarm.errors import RegistryError
from prewarm.warming.registry import Registry
from prewarm.warming.transport import read

PAGE = 1000  # names; what Distribution gives at most
SECONDS = 5.0  # a list that takes longer (a bucket is walked) is worth less than it costs
MAX_PAGE = 4 << 20  # bytes


async def repositories(registry: Registry, limit: int = 10_000) -> frozenset[str] | None:
    """The repositories that have blobs in storage, as Distribution's `_catalog` tells.

    None when it does not tell: no such list, no permission, slow, or more than `limit` of them.
    """
    return await _names(registry, "", "/v2/_catalog", "repositories", limit)


async def tags(registry: Registry, repository: str, limit: int = 10_000) -> frozenset[str] | None:
    """The tags of a repository; None as for `repositories`."""
    return await _names(registry, repository, f"/v2/{quote(repository)}/tags/list", "tags", limit)


async def _names(
    registry: Registry, repository: str, path: str, key: str, limit: int
) -> frozenset[str] | None:
    found: list[str] = []
    url = registry.address(path)
    while len(found) < limit:
        query = {"n": str(PAGE)} | ({"last": found[-1]} if found else {})
        try:
            async with registry.exchange("GET", repository, url % query, patience=SECONDS) as response:
                page = _page(await read(response, MAX_PAGE), key)
        except RegistryError:
            return None
        if page is None:
            return None
        found += page
        if len(page) != PAGE:  # the last one, or all at once: Distribution 2.8 pages no tags
            return frozenset(found)
    return None


def _page(body: bytes, key: str) -> list[str] | None:
    """The names of one page; None when it is no page."""
    try:
        names = json.loads(body)[key] or []
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None
