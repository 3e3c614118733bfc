"""Who may be contacted: listed endpoints, and the token realms and redirects that these name.

A registry answers with addresses: of its token service, of the store that has its blobs. Followed
blindly, they would let any listed registry point prewarm at a cloud's metadata service or at a port
of this machine. So an unlisted host is contacted only when

* it is asked over https, or the registry that named it is itself plain http;
* its addresses reach no further inside than the registry's own: a public registry names public hosts
  only, a private one also private hosts, one on this machine any of these;
* it is never link-local, multicast or unspecified.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from prewarm.errors import ForbiddenHost, SettingsError

PINNED_FOR = 60.0  # seconds that the addresses of an unlisted host are remembered


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How one registry is reached. `http://` means plain HTTP; only listed endpoints are contacted."""

    registry: str  # host in references: docker.io, 127.0.0.1:5000
    url: str  # https://registry-1.docker.io
    max_concurrency: int = 4
    ca_file: Path | None = None  # trusted besides the system's authorities
    timeout: float = 30.0  # seconds without a byte before a request is given up
    reserve: float = 0.0  # share of its pull quota that is kept for people
    actions: str = "pull"  # what tokens are asked for: "pull", or "pull,push" where we write


class Reach(IntEnum):
    """How far inside an address lies."""

    PUBLIC = 0
    PRIVATE = 1
    MACHINE = 2
    NEVER = 3


def reach(address: str) -> Reach:
    """How far inside `address` (IPv4, IPv6, IPv4 in IPv6, zone ids allowed) lies.

    >>> reach("169.254.169.254").name
    'NEVER'
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    found = getattr(found, "ipv4_mapped", None) or found
    if found.is_loopback:
        return Reach.MACHINE
    if found.is_link_local or found.is_multicast or found.is_unspecified:
        return Reach.NEVER
    return Reach.PUBLIC if found.is_global else Reach.PRIVATE


def without_login(url: str) -> str:
    """`url`, refused (ValueError, which does not repeat it) when it carries a password or a query.

    For the settings of caches; `ssh://user@host` is fine.
    """
    try:
        parsed = URL(url)
    except ValueError:
        return url  # whoever opens it says why it cannot be used
    if parsed.password:
        raise ValueError("it carries a login; keep that in docker's config.json (docker login)")
    if parsed.query_string:
        raise ValueError("it carries a query, which no registry takes; end it before the ?")
    return url


def base_url(endpoint: Endpoint) -> URL:
    """The endpoint's address, checked; SettingsError when it is no http(s) URL or carries a login."""
    try:
        url = URL(endpoint.url)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        expected = "expected http(s)://host[:port], such as https://registry-1.docker.io"
        raise SettingsError(f"the url of registry {endpoint.registry} cannot be used; {expected}")
    if url.user or url.password:
        advice = "keep the login in docker's config.json (docker login)"
        raise SettingsError(f"the url of registry {endpoint.registry} carries a login; {advice}")
    return url


class Contacts(AbstractResolver):
    """The rules above, and the resolver that connects to exactly the addresses that passed them."""

    def __init__(self, endpoints: Iterable[Endpoint] = ()) -> None:
        self._listed = {base_url(endpoint).origin() for endpoint in endpoints}
        self._pinned: dict[str, tuple[float, list[ResolveResult]]] = {}
        self._fixed: dict[str, str] = {}

    def add(self, endpoint: Endpoint) -> None:
        """List one more endpoint: that of a configured cache."""
        self._listed.add(base_url(endpoint).origin())

    def fix(self, host: str, address: str) -> None:
        """Reach a host at this address, whatever its name resolves to: one edge of many."""
        self._fixed[host] = address

    async def permit(self, url: URL, endpoint: Endpoint) -> None:
        """Raise ForbiddenHost unless `endpoint` may send us to `url`; OSError when it does not resolve."""
        own = base_url(endpoint)
        if url.scheme != "https" and (url.scheme, own.scheme) != ("http", "http"):
            raise _forbidden(url, endpoint, f"over {url.scheme or 'no scheme'}; expected https")
        if url.user or url.password or not url.host:
            raise _forbidden(url, endpoint, "with a login in its address, or without a host")
        if url.origin() in self._listed:
            return
        found = max(reach(item["host"]) for item in await self._pin(url.host, url.port or 443))
        allowed = max(reach(item["host"]) for item in await self.resolve(own.host or "", own.port or 443))
        if found is Reach.NEVER or found > allowed:
            kind = "a link-local" if found is Reach.NEVER else "a private or loopback"
            raise _forbidden(url, endpoint, f"which has {kind} address; list it to allow it")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses to connect to: the ones that were checked where the host is not listed."""
        if host in self._fixed:
            return [{**item, "hostname": host} for item in await _lookup(self._fixed[host], port)]
        if host in self._pinned:
            return [{**item, "port": port} for item in self._pinned[host][1]]
        return await _lookup(host, port)

    async def close(self) -> None:
        self._pinned.clear()

    async def _pin(self, host: str, port: int) -> list[ResolveResult]:
        known = self._pinned.get(host)
        if known is None or time.monotonic() - known[0] > PINNED_FOR:
            known = self._pinned[host] = (time.monotonic(), await _lookup(host, port))
        return known[1]


async def _lookup(host: str, port: int) -> list[ResolveResult]:
    """All addresses of `host`, in the system's order."""
    loop = asyncio.get_running_loop()
    answers = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [
        ResolveResult(
            hostname=host,
            host=str(address[0]),
            port=port,
            family=family,
            proto=proto,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for family, _, proto, _, address in answers
    ]


def _forbidden(url: URL, endpoint: Endpoint, why: str) -> ForbiddenHost:
    place = f"{url.host or 'no host'}:{url.port}"
    return ForbiddenHost(f"registry {endpoint.registry} points to {place}, {why}")
