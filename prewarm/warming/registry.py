"""Async client of the OCI distribution API (distribution-spec v1.1).

Manifests are read whole and verified; blobs stream with constant memory and are verified as they
pass. Refusals that may not last are tried again here, a few times, `Retry-After` obeyed.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Self, TypeVar

import aiohttp
from yarl import URL

from prewarm.errors import (
    DigestMismatch,
    ForbiddenHost,
    RegistryError,
    Unavailable,
    UnsupportedImage,
)
from prewarm.references import Reference
from prewarm.warming import images, retries
from prewarm.warming.contacts import Contacts, Endpoint, base_url
from prewarm.warming.credentials import Credentials, Login
from prewarm.warming.edges import Told, told
from prewarm.warming.failures import is_html
from prewarm.warming.images import Descriptor, Image, Manifest, Platform, Whole
from prewarm.warming.products import Product, recognise
from prewarm.warming.quotas import Allowance, Quota, parse_quota
from prewarm.warming.tokens import Authorizer, parse_challenges
from prewarm.warming.transport import Transport, flowing, read, refusal

__all__ = ["Endpoint", "Registries", "Registry", "Timing"]

PROGRESS = 1 << 20  # bytes of a blob after which its attempts are counted anew
MAX_NESTING = 3  # of indexes in indexes
ACCEPT = ", ".join(images.ACCEPTED)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timing:
    """How time passes and dice fall; tests bring their own."""

    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random  # in [0, 1)
    clock: Callable[[], float] = time.monotonic  # seconds
    wall: Callable[[], float] = time.time  # seconds since the epoch, for what outlives the process


class Registry:
    """One registry: requests with auth, retries and verified content.

    `repository` is the path on this registry (`library/nginx`), `reference` a tag or a digest.
    Every call raises a RegistryError (NotFound, Unauthorized, RateLimited, Unavailable) when the
    registry refuses for good, and ForbiddenHost when it points to a host that may not be contacted.
    Retryable refusals were tried again by then: do not repeat them at once.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        transport: Transport,
        credentials: Credentials,
        timing: Timing,
    ) -> None:
        self.endpoint = endpoint
        self._allowance = Allowance(endpoint.registry, endpoint.reserve)
        self._breaker = retries.Breaker()
        self._base = base_url(endpoint)
        self._transport = transport
        self._authorizer = Authorizer(endpoint, credentials, transport, timing.clock)
        self._places = asyncio.Semaphore(endpoint.max_concurrency)
        self._timing = timing

    @property
    def quota(self) -> Quota | None:
        """The pull quota as the last answer told it."""
        return self._allowance.quota

    async def login(self) -> Login | None:
        """Who we are there: the login under its name in references, else under the host of its url."""
        return await self._authorizer.login()

    async def ping(self) -> None:
        """Raise unless this is a distribution API that lets us in."""

        async def once() -> None:
            async with self.exchange("GET", "", "/v2/") as response:
                body = await read(response, 1024)
                if is_html(body):
                    raise RegistryError(f"registry {self.endpoint.registry}: {_WEB_PAGE}")

        await self.patiently(once)

    async def product(self) -> Product | None:
        """Which product this is, as far as its first answer tells, with or without a login."""
        url = self.address("/v2/")
        async with self._transport.request(self.endpoint, "GET", url) as response:
            return recognise(url.authority, response.headers)

    async def head_manifest(self, repository: str, reference: str) -> Descriptor:
        """What `reference` points to, without its body (not counted by Docker Hub's quota).

        A registry that gives HEAD no digest is asked for the manifest instead.
        """

        async def once() -> Descriptor | None:
            async with self.exchange("HEAD", repository, *_manifest(repository, reference)) as response:
                return _described(response)

        found = await self.patiently(once)
        return found or (await self.manifest(repository, reference)).descriptor

    async def manifest(self, repository: str, reference: str) -> Manifest:
        """GET, verified: the body has the digest that was asked for or that the registry names.

        RateLimited, without asking, when that pull is one of those that are kept for people.
        """

        async def once() -> Manifest:
            async with self.exchange("GET", repository, *_manifest(repository, reference)) as response:
                body = await read(response, images.MAX_MANIFEST)
                if is_html(body):
                    raise RegistryError(f"registry {self.endpoint.registry}: {_WEB_PAGE}")
                named = response.headers.get("Docker-Content-Digest")
                digest = reference if ":" in reference else named
                return images.parse_manifest(body, response.headers.get("Content-Type"), digest)

        async with self._allowance.one_pull(partial(self.quota_of, repository, reference)):
            return await self.patiently(once)

    async def quota_of(self, repository: str, reference: str) -> Quota | None:
        """What is left of the pull quota, as a HEAD tells it for free; None where there is none."""
        async with self.exchange("HEAD", repository, *_manifest(repository, reference)) as response:
            return parse_quota(response.headers)

    async def resolve(
        self, repository: str, reference: str, platforms: tuple[Platform, ...] | Whole = ()
    ) -> Image:
        """The image that `reference` stands for now, for `platforms` (default linux/amd64), or WHOLE.

        `image.reference` names this registry; a cache that rewrites names puts the asked one back with
        `dataclasses.replace(image, reference=...)`. Raises UnsupportedImage when no platform fits.
        """
        root = await self.manifest(repository, reference)
        chosen = await self._below(repository, root, platforms, MAX_NESTING)
        tag, digest = (None, reference) if ":" in reference else (reference, None)
        return images.assemble(Reference.of(self.endpoint.registry, repository, tag, digest), root, chosen)

    async def _below(
        self, repository: str, manifest: Manifest, platforms: tuple[Platform, ...] | Whole, depth: int
    ) -> list[Manifest]:
        """Every manifest that was chosen below an index, nested ones included."""
        if manifest.manifests and not depth:
            raise UnsupportedImage(f"indexes nested more than {MAX_NESTING} deep")
        found: list[Manifest] = []
        for entry in images.choose(manifest, platforms) if manifest.manifests else ():
            child = await self.manifest(repository, entry.digest)
            found += [child, *await self._below(repository, child, platforms, depth - 1)]
        return found

    async def head_blob(self, repository: str, digest: str, *, patience: float | None = None) -> int | None:
        """The blob's size in bytes as HEAD tells it, None when it does not; NotFound when there is none.

        `patience` (seconds without an answer) replaces the endpoint's timeout: a pull-through registry
        may answer only once it has fetched the blob.
        """

        async def once() -> int | None:
            async with self.exchange(
                "HEAD", repository, *_blob(repository, digest), patience=patience
            ) as response:
                return response.content_length

        return await self.patiently(once)

    async def blob_told(self, repository: str, digest: str) -> Told:
        """Whether the blob is in storage, as the answer to `Range: bytes=0-0` tells (see `edges`).

        A pull-through registry answers 200 and the whole blob while it is not; that
        body is never read.
        """

        async def once() -> Told:
            headers = {"Range": "bytes=0-0"}
            async with self.exchange(
                "GET", repository, *_blob(repository, digest), headers=headers
            ) as response:
                response.close()
                return told(response.status, response.headers)

        return await self.patiently(once)

    async def accepts_uploads(self, repository: str) -> bool | None:
        """Whether pushes are taken, which a pull-through cache refuses (405); None: it does not let us ask.

        Starts an upload and cancels it at once: nothing is stored.
        """
        try:
            async with self.exchange("POST", repository, f"/v2/{repository}/blobs/uploads/") as response:
                location = response.headers.get("Location", "")
            await self._cancel_upload(repository, location)
        except RegistryError as refused:
            return False if refused.status == 405 else None
        return True

    async def _cancel_upload(self, repository: str, location: str) -> None:
        url = self.located(location)
        if url.origin() == self._base.origin():
            async with self.exchange("DELETE", repository, url):
                pass

    def address(self, path: str) -> URL:
        """The address of a path of its API, such as `/v2/`."""
        return self._base.joinpath(path.lstrip("/"), encoded=True)

    def located(self, location: str) -> URL:
        """The address that a `Location` header of this registry names, absolute or not."""
        try:
            return self._base.join(URL(location, encoded=True))
        except ValueError:
            raise RegistryError(f"registry {self.endpoint.registry}: its Location is no URL") from None

    async def blob(self, repository: str, blob: Descriptor) -> AsyncGenerator[bytes, None]:
        """Stream a blob with constant memory; raises DigestMismatch after the last chunk if it lies.

        A broken connection is resumed where it broke. Close it when leaving early
        (`async with aclosing(registry.blob(...)) as chunks`). It takes one of `max_concurrency` places
        until it ends.
        """
        check = images.hasher(blob.digest)
        received, attempt = 0, 0
        while True:
            attempt, before = attempt + 1, received
            try:
                async with aclosing(self._chunks(repository, blob, received)) as chunks:
                    async for chunk in chunks:
                        received += len(chunk)
                        check.update(chunk)
                        yield chunk
                break
            except RegistryError as error:
                attempt = 1 if received - before >= PROGRESS else attempt
                await self.pause(error, attempt)
        images.confirm(check, blob.digest)

    async def _chunks(self, repository: str, blob: Descriptor, start: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` to the end; Unavailable when the connection ends too early."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        path = _blob(repository, blob.digest)
        async with self.exchange("GET", repository, *path, headers=headers, small=False) as response:
            # A registry that does not know ranges sends everything again: what we have is passed over.
            position = _first_byte(response, start) if response.status == 206 else 0
            _check_length(response, blob, position)
            async for chunk in flowing(response, self.endpoint, self._timing.clock):
                fresh = chunk[max(0, start - position) :] if position < start else chunk
                position += len(chunk)
                if position > blob.size:
                    raise _wrong_size(blob, "more")
                if fresh:
                    yield fresh
        if position < blob.size:
            raise Unavailable(
                f"registry {self.endpoint.registry}: {blob.digest} ended after {position} bytes"
            )

    @asynccontextmanager
    async def exchange(
        self,
        method: str,
        repository: str,
        path: str | URL,
        subject: str = "its API",
        *,
        headers: Mapping[str, str] | None = None,
        source: str | None = None,
        body: Sequence[bytes] | None = None,
        patience: float | None = None,
        small: bool = True,
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """A successful response, logged in where the registry asks for it; it takes one place.

        One attempt: see `patiently`. `source` is a repository that must be readable, too. A `path` that is a
        URL of another host gets no login.
        """
        url = path if isinstance(path, URL) else self.address(path)
        sent = {"Accept": ACCEPT} | dict(headers or {})
        scope = (repository, source) if source else (repository,)
        async with self._places:
            for last in (False, True):
                login = self._authorizer.header(scope) if url.origin() == self._base.origin() else None
                signed = sent | ({"Authorization": login} if login else {})
                async with self._transport.request(
                    self.endpoint, method, url, signed, body=body, patience=patience, small=small
                ) as response:
                    self._allowance.learn(response.headers)
                    if response.status < 300:
                        self._breaker.worked()
                        yield response
                        return
                    challenges = parse_challenges(response.headers.getall("WWW-Authenticate", []))
                    ours = response.url.origin() == self._base.origin()
                    if last or response.status != 401 or not ours or not challenges:
                        raise await refusal(self.endpoint.registry, subject, response)
                await self._authorizer.renew(scope, challenges, refused=login)

    async def patiently(self, once: Callable[[], Awaitable[T]]) -> T:
        """The result of `once`, which can be done twice without harm, tried again while that may help."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return await once()
            except RegistryError as error:
                await self.pause(error, attempt)

    async def pause(self, error: RegistryError, attempt: int) -> None:
        """Wait before another attempt, or raise `error` when there shall be none."""
        down = isinstance(error, Unavailable)
        patient = error.retryable and (self._breaker.patient or not down)
        wait = retries.delay(attempt, self._timing.chance, error.retry_after) if patient else None
        if wait is None:
            if down:
                self._breaker.failed()
            raise error
        await self._timing.sleep(wait)


class Registries:
    """Clients of every listed registry, sharing one connection pool and the credentials.

    An async context manager: `async with Registries(endpoints) as registries`.
    """

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        credentials: Credentials | None = None,
        *,
        agent: str | None = None,
        timing: Timing | None = None,
    ) -> None:
        """`credentials` default to docker's config.json; `agent` to `prewarm/<version>`."""
        listed = tuple(endpoints)
        self.credentials = credentials or Credentials.from_docker()
        self._contacts = Contacts(listed)
        self._agent = agent or f"prewarm/{version('prewarm')}"
        self._transport = Transport(self._contacts, self._agent)
        self.timing = timing or Timing()
        self._clients = {endpoint.registry: self._client(endpoint) for endpoint in listed}

    def of(self, registry: str) -> Registry:
        """The client of a listed registry (`docker.io`); ForbiddenHost for any other."""
        client = self._clients.get(registry)
        if client is None:
            listed = ", ".join(sorted(self._clients)) or "none"
            advice = f'add [registries."{registry}"] to allow it'
            raise ForbiddenHost(f"registry {registry} is not listed ({advice}); listed: {listed}")
        return client

    def at(self, endpoint: Endpoint) -> Registry:
        """The client of a configured cache's own registry API; asking here permits its host."""
        self._contacts.add(endpoint)
        return self._client(endpoint)

    def by_way_of(self, endpoint: Endpoint, address: str) -> Registries:
        """Clients that reach the host of `endpoint` at `address`; to be entered, as every Registries."""
        found = Registries((), self.credentials, agent=self._agent, timing=self.timing)
        found._contacts.fix(base_url(endpoint).host or "", address)
        return found

    def __contains__(self, registry: object) -> bool:
        """Whether `registry` is listed."""
        return registry in self._clients

    def _client(self, endpoint: Endpoint) -> Registry:
        return Registry(endpoint, self._transport, self.credentials, self.timing)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transport.__aexit__()


_RANGE = re.compile(r"bytes (?P<first>\d{1,18})-.*")
_WEB_PAGE = "it answered a web page, not a registry's API; check its url"


def _manifest(repository: str, reference: str) -> tuple[str, str]:
    """The path of a manifest, and its name for people."""
    separator = "@" if ":" in reference else ":"
    return f"/v2/{repository}/manifests/{reference}", f"manifest {repository}{separator}{reference}"


def _blob(repository: str, digest: str) -> tuple[str, str]:
    """The path of a blob, and its name for people."""
    return f"/v2/{repository}/blobs/{digest}", f"blob {repository}@{digest}"


def _described(response: aiohttp.ClientResponse) -> Descriptor | None:
    """The descriptor that a manifest's headers give, None when they do not name the digest."""
    digest, size = response.headers.get("Docker-Content-Digest"), response.content_length
    if digest is None or size is None:
        return None
    return Descriptor(response.content_type, images.check_digest(digest), size)


def _first_byte(response: aiohttp.ClientResponse, wanted: int) -> int:
    """Where a partial body starts (RFC 9110, 14.4); it may not leave a gap."""
    match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None or int(match["first"]) > wanted:
        raise Unavailable(f"{response.url.host} sent another part of the blob than was asked for", status=206)
    return int(match["first"])


def _check_length(response: aiohttp.ClientResponse, blob: Descriptor, position: int) -> None:
    """Refuse a body of the wrong length before it is read."""
    if response.content_length is not None and position + response.content_length != blob.size:
        raise _wrong_size(blob, f"{position + response.content_length}, not")


def _wrong_size(blob: Descriptor, found: str) -> DigestMismatch:
    return DigestMismatch(f"digest {blob.digest} cannot be met: {found} {blob.size} bytes")
