"""HTTP as registries need it: one pool, redirects that leak nothing, bounded bodies, errors of ours.

No retries and no logins here; see `registry` and `tokens`.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Self

import aiohttp
from yarl import URL

from prewarm.errors import ForbiddenHost, RegistryError, SettingsError, Unavailable
from prewarm.warming.contacts import Contacts, Endpoint
from prewarm.warming.failures import MAX_ERROR, of_status, translated
from prewarm.warming.retries import parse_retry_after

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_HOPS = 5
READ_BUFFER = 256 << 10  # bytes that a slow reader keeps waiting; more of them save nothing (measured)
SLOWEST = 1000  # bytes a second of a body, over the time that an endpoint may be silent
SMALL_TIMEOUTS = 4  # a small answer may take this many times the endpoint's timeout in all


class Transport:
    """The session that all registries share; an async context manager."""

    def __init__(self, contacts: Contacts, agent: str) -> None:
        self._contacts = contacts
        self._agent = agent
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0, resolver=self._contacts, use_dns_cache=False)
        self._session = aiohttp.ClientSession(
            connector=connector,
            # A digest is that of the bytes as they are stored, so nothing may be (de)compressed on the way.
            headers={"User-Agent": self._agent, "Accept-Encoding": "identity"},
            auto_decompress=False,
            requote_redirect_url=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=READ_BUFFER,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def request(
        self,
        endpoint: Endpoint,
        method: str,
        url: URL,
        headers: Mapping[str, str] | None = None,
        *,
        form: Mapping[str, str] | None = None,
        body: Sequence[bytes] | None = None,
        patience: float | None = None,
        small: bool = True,
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """One request, its redirects followed, as `endpoint` allows; the response is closed at the end.

        `form` is a login, `body` content in parts; `patience` replaces the endpoint's timeout; a `small`
        answer is also bounded in all.
        Raises RegistryError for what fails on the wire and ForbiddenHost for a hop that is not allowed;
        any status is the caller's.
        """
        if self._session is None:
            raise RuntimeError("registries are used inside `async with Registries(...)`")
        silence = patience or endpoint.timeout
        limits = aiohttp.ClientTimeout(
            total=silence * SMALL_TIMEOUTS if small else None, sock_connect=silence, sock_read=silence
        )
        with translated(endpoint.registry):
            for _ in range(MAX_HOPS):
                await self._contacts.permit(url, endpoint)
                async with self._session.request(
                    method,
                    url,
                    headers=_measured(headers, body),
                    data=form if body is None else _parts(body),
                    allow_redirects=False,
                    ssl=trusted(endpoint.ca_file),
                    timeout=limits,
                ) as response:
                    location = response.headers.get("Location")
                    if response.status not in REDIRECTS or not location:
                        yield response
                        return
                before = url
                url, headers = next_hop(url, location, headers, endpoint.registry)
                if form is not None and url.origin() != before.origin():
                    raise ForbiddenHost(
                        f"registry {endpoint.registry}: its token service redirects a login to {url.host}; "
                        "logins are sent to the realm that the registry names, and nowhere else"
                    )
        raise RegistryError(f"registry {endpoint.registry}: more than {MAX_HOPS} redirects; is it a loop?")


async def _parts(body: Sequence[bytes]) -> AsyncGenerator[bytes, None]:
    """One after another, so that no copy of the whole is made."""
    for part in body:
        yield part


def _measured(headers: Mapping[str, str] | None, body: Sequence[bytes] | None) -> Mapping[str, str] | None:
    """The headers with the length of a body: not every registry takes one that is chunked."""
    if body is None:
        return headers
    return {**(headers or {}), "Content-Length": str(sum(map(len, body)))}


def next_hop(
    url: URL, location: str, headers: Mapping[str, str] | None, registry: str
) -> tuple[URL, dict[str, str]]:
    """Where a redirect leads and the headers that may go along: no login crosses an origin.

    Raises RegistryError when it is no URL, ForbiddenHost when it leaves https for http.
    """
    try:
        # encoded: a signed URL must arrive with the very escapes that were signed.
        target = url.join(URL(location, encoded=True))
        allowed = ("https",) if url.scheme == "https" else ("https", "http")
        if target.scheme not in allowed:
            raise ForbiddenHost(f"registry {registry} redirects from {url.scheme} to {target.scheme}")
        crosses = target.origin() != url.origin()
    except ValueError:
        raise RegistryError(f"registry {registry}: it redirected to an address that is no URL") from None
    kept = {name: value for name, value in (headers or {}).items() if not crosses or name != "Authorization"}
    return target, kept


async def flowing(
    response: aiohttp.ClientResponse, endpoint: Endpoint, clock: Callable[[], float]
) -> AsyncGenerator[bytes, None]:
    """The body as it comes; Unavailable when it crawls: a byte now and then would hold a run up for days.

    Only the time that is spent waiting for it counts, not that of whoever takes the chunks.
    """
    waited, got = 0.0, 0
    while True:
        before = clock()
        chunk = await response.content.readany()
        waited, got = waited + clock() - before, got + len(chunk)
        if not chunk:
            return
        if waited >= endpoint.timeout:
            if got < SLOWEST * waited:
                raise Unavailable(
                    f"registry {endpoint.registry}: it sends {got / waited:.0f} bytes a second; given up"
                )
            waited, got = 0.0, 0
        yield chunk


async def read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body, at most `limit` bytes of it; one byte more shows that it is longer."""
    body = bytearray()
    while len(body) <= limit and (chunk := await response.content.read(limit + 1 - len(body))):
        body += chunk
    return bytes(body)


async def refusal(registry: str, subject: str, response: aiohttp.ClientResponse) -> RegistryError:
    """The error for a response that is no success; reads a bounded part of its body."""
    body = await read(response, MAX_ERROR)
    wait = parse_retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
    return of_status(registry, subject, response.status, body, wait)


@cache
def trusted(ca_file: Path | None) -> ssl.SSLContext | bool:
    """The authorities to trust: the system's, and one's own where a file is given."""
    if ca_file is None:
        return True
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"ca_file {ca_file} cannot be read; expected certificates in PEM form") from error
    return context
