"""An OCI registry and a pull-through mirror inside the test process, with faults on demand.

    async with FakeRegistry() as origin, FakeMirror(origin) as mirror:
        origin.push_image("library/nginx", "1.25", layers=[b"..."])
        origin.fault("GET", "/blobs/", Fault(status=503), Fault(truncate=100))

Both listen on a free port of 127.0.0.1, remember every request, and wait for nothing by the clock.
The mirror has the manners of CNCF Distribution 2.8 in proxy mode: a tag is asked upstream each time, a
HEAD or GET of a cold blob answers 200 at once and fills in the background, a stored blob answers
ranges in the repository that it was fetched for, and a fill that fails is silent.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from prewarm.warming.registry import Endpoint

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def descriptor(content: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    """A descriptor of `content` as manifests have it."""
    return {"mediaType": media_type, "digest": sha256(content), "size": len(content), **more}


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request; only what is set differs from the good answer."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    truncate: int | None = None  # bytes after which the connection is cut
    corrupt: bool = False  # same length, other bytes
    hang: bool = False  # never answers
    ignore_range: bool = False


@dataclass(frozen=True)
class Seen:
    """One request that arrived, and the status it got."""

    method: str
    path: str
    headers: dict[str, str]
    status: int


@dataclass(frozen=True)
class Pushed:
    """What `push_image` stored: the digest of the tag, of each platform's manifest, and of the blobs."""

    digest: str
    manifests: tuple[str, ...]
    blobs: tuple[str, ...]


@dataclass
class BasicAuth:
    username: str = "ann"
    password: str = "basic-secret"


@dataclass
class TokenAuth:
    """Bearer tokens from `/token`; each is good for `uses` requests (None: for ever)."""

    uses: int | None = None
    username: str | None = None  # None: anonymous may have one too
    password: str = "token-secret"
    identity_token: str | None = None
    realm: str | None = None  # where the challenge points; None: this server
    expires_in: int = 300
    issued: list[str] = field(default_factory=list)
    spent: dict[str, int] = field(default_factory=dict)


class FakeRegistry:
    """A registry whose content is two dictionaries; an async context manager."""

    def __init__(self, auth: BasicAuth | TokenAuth | None = None) -> None:
        self.auth = auth
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[bytes, str]] = {}  # (repository, tag or digest)
        self.lists = False  # referrers, by their subject (distribution-spec 1.1)
        self.quota: int | None = None  # pulls that are left of 100, as Docker Hub counts them
        self.seen: list[Seen] = []
        self.hung = asyncio.Event()  # a request has begun to hang
        self.released = asyncio.Event()  # lets hanging requests end
        self._faults: list[tuple[str, str, list[Fault], bool]] = []

    # --- content and faults

    def push_blob(self, content: bytes) -> str:
        digest = sha256(content)
        self.blobs[digest] = content
        return digest

    def push_manifest(
        self, repository: str, reference: str, document: dict[str, Any] | bytes, media_type: str
    ) -> str:
        """Store a manifest under its digest and `reference`; returns the digest."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        digest = sha256(body)
        self.manifests[repository, digest] = self.manifests[repository, reference] = (body, media_type)
        return digest

    def push_image(
        self,
        repository: str,
        tag: str,
        layers: Sequence[bytes] = (b"layer",),
        platforms: Sequence[str] = (),
    ) -> Pushed:
        """Push an image; with `platforms`, an index with one manifest for each (same layers)."""
        manifests, blobs = [], [self.push_blob(layer) for layer in layers]
        entries = []
        for name in platforms or ("linux/amd64",):
            system, _, rest = name.partition("/")
            architecture, _, variant = rest.partition("/")
            config = json.dumps({"os": system, "architecture": architecture, "variant": variant}).encode()
            blobs.append(self.push_blob(config))
            document = {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": descriptor(config, OCI_CONFIG),
                "layers": [descriptor(layer, OCI_LAYER) for layer in layers],
            }
            digest = self.push_manifest(repository, tag, document, OCI_MANIFEST)
            platform = {"os": system, "architecture": architecture} | (
                {"variant": variant} if variant else {}
            )
            body = self.manifests[repository, digest][0]
            entries.append(descriptor(body, OCI_MANIFEST, platform=platform))
            manifests.append(digest)
        if platforms:
            index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
            digest = self.push_manifest(repository, tag, index, OCI_INDEX)
        return Pushed(digest, tuple(manifests), tuple(blobs))

    def fault(self, method: str, path: str, *faults: Fault, forever: bool = False) -> None:
        """Let the next requests whose path contains `path` go wrong, one fault each."""
        self._faults.append((method, path, list(faults), forever))

    def stocked(self) -> set[str]:
        """The repositories that have blobs."""
        return {repository for repository, _ in self.manifests}

    # --- what tests look at

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.host, self.url, timeout=5.0)

    def asked(self, method: str, path: str) -> list[Seen]:
        """The requests of `method` whose path contains `path`."""
        return [request for request in self.seen if request.method == method and path in request.path]

    # --- the server

    async def __aenter__(self) -> Self:
        application = web.Application(middlewares=[self._watch])
        self.routes(application)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port: int = self._runner.addresses[0][1]
        return self

    def routes(self, application: web.Application) -> None:
        """The registry's paths."""
        application.router.add_route("*", "/token", self._token)
        application.router.add_route("*", "/v2/", self._base)
        application.router.add_route("GET", "/v2/_catalog", self._catalog)
        application.router.add_route("GET", "/v2/{repository:.+}/tags/list", self._tags)
        application.router.add_route("*", "/v2/{repository:.+}/manifests/{reference}", self._manifest)
        application.router.add_route("GET", "/v2/{repository:.+}/referrers/{digest}", self._referrers)
        application.router.add_route("*", "/v2/{repository:.+}/blobs/uploads/{upload:.*}", self._upload)
        application.router.add_route("*", "/v2/{repository:.+}/blobs/{digest}", self._blob)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        await self._runner.cleanup()

    @web.middleware
    async def _watch(self, request: web.Request, handler: Any) -> web.StreamResponse:
        fault = self._take_fault(request)
        if fault and fault.hang:
            self._note(request, 0)
            self.hung.set()
            await self.released.wait()
        response: web.StreamResponse = self._challenge(request) or await handler(request)
        if fault:
            response = await self._spoil(request, response, fault)
        self._note(request, response.status)
        return response

    def _note(self, request: web.Request, status: int) -> None:
        self.seen.append(Seen(request.method, request.path_qs, dict(request.headers), status))

    def _take_fault(self, request: web.Request) -> Fault | None:
        for method, path, faults, forever in self._faults:
            if faults and method == request.method and path in request.path:
                return faults[0] if forever else faults.pop(0)
        return None

    async def _spoil(
        self, request: web.Request, response: web.StreamResponse, fault: Fault
    ) -> web.StreamResponse:
        good = bytes(response.body) if isinstance(response, web.Response) and response.body else b""  # type: ignore[arg-type]
        if fault.ignore_range and request.headers.get("Range"):
            good = self.blobs[request.match_info["digest"]]
            response = web.Response(body=good)
        body = good if fault.body is None else fault.body
        if fault.corrupt:
            body = bytes(byte ^ 0xFF for byte in body)
        status = fault.status or response.status
        if fault.truncate is None:
            kept = (
                {} if fault.status else {k: v for k, v in response.headers.items() if k != "Content-Length"}
            )
            return web.Response(status=status, body=body, headers=kept | fault.headers)
        broken = web.StreamResponse(status=status, headers=response.headers)
        broken.content_length = len(body)
        await broken.prepare(request)
        await broken.write(body[: fault.truncate])
        assert request.transport is not None
        request.transport.close()
        return broken

    # --- who may come in

    def _challenge(self, request: web.Request) -> web.Response | None:
        """401 with a challenge, or None when the request may pass."""
        if self.auth is None or request.path == "/token":
            return None
        given = request.headers.get("Authorization", "")
        if isinstance(self.auth, BasicAuth):
            pair = f"{self.auth.username}:{self.auth.password}".encode()
            good = given == "Basic " + base64.b64encode(pair).decode()
            asked = 'Basic realm="fake"'
        else:
            good = self._spend(given.removeprefix("Bearer "), self.auth)
            realm = self.auth.realm or f"{self.url}/token"
            asked = f'Bearer realm="{realm}",service="fake",scope="registry:catalog:*"'
        return None if good else self._refuse(401, "UNAUTHORIZED", {"WWW-Authenticate": asked})

    def _spend(self, token: str, auth: TokenAuth) -> bool:
        if token not in auth.issued:
            return False
        auth.spent[token] = auth.spent.get(token, 0) + 1
        return auth.uses is None or auth.spent[token] <= auth.uses

    async def _token(self, request: web.Request) -> web.Response:
        auth = self.auth
        assert isinstance(auth, TokenAuth)
        form = await request.post() if request.method == "POST" else {}
        if auth.identity_token is not None:
            good = form.get("refresh_token") == auth.identity_token
        elif auth.username is not None:
            pair = f"{auth.username}:{auth.password}".encode()
            good = request.headers.get("Authorization") == "Basic " + base64.b64encode(pair).decode()
        else:
            good = True
        if not good:
            return self._refuse(401, "UNAUTHORIZED")
        auth.issued.append(f"token-{len(auth.issued) + 1}")
        return web.json_response({"token": auth.issued[-1], "expires_in": auth.expires_in})

    def _refuse(self, status: int, code: str, headers: dict[str, str] | None = None) -> web.Response:
        document = {"errors": [{"code": code, "message": code.lower().replace("_", " "), "detail": None}]}
        return web.json_response(document, status=status, headers=headers)

    # --- the API

    async def _base(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({}, headers={"Docker-Distribution-Api-Version": "registry/2.0"})

    async def _catalog(self, request: web.Request) -> web.StreamResponse:
        names = sorted(name for name in self.stocked() if name > request.query.get("last", ""))
        return web.json_response({"repositories": names[: int(request.query.get("n", 100))]})

    async def _tags(self, request: web.Request) -> web.StreamResponse:
        repository = request.match_info["repository"]
        names = sorted(tag for name, tag in self.manifests if name == repository and ":" not in tag)
        if not names:
            return self._refuse(404, "NAME_UNKNOWN")
        rest = [name for name in names if name > request.query.get("last", "")]
        return web.json_response({"name": repository, "tags": rest[: int(request.query.get("n", len(rest)))]})

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        location = f"{request.path}one?_state=x"
        return web.Response(status=204 if request.method == "DELETE" else 202, headers={"Location": location})

    async def _manifest(self, request: web.Request) -> web.StreamResponse:
        found = self.manifests.get((request.match_info["repository"], request.match_info["reference"]))
        if found is None:
            return self._refuse(404, "MANIFEST_UNKNOWN")
        body, media_type = found
        headers = {"Content-Type": media_type, "Docker-Content-Digest": sha256(body)}
        if self.quota is not None:
            if request.method == "GET":
                if not self.quota:
                    return self._refuse(429, "TOOMANYREQUESTS")
                self.quota -= 1
            left = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": f"{self.quota};w=21600"}
            headers |= left
        return web.Response(body=body, headers=headers)

    async def _referrers(self, request: web.Request) -> web.StreamResponse:
        if not self.lists:
            return self._refuse(404, "NOT_FOUND")
        entries = {
            sha256(body): descriptor(body, media_type)
            for (repository, _), (body, media_type) in self.manifests.items()
            if repository == request.match_info["repository"]
            and json.loads(body).get("subject", {}).get("digest") == request.match_info["digest"]
        }
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries.values())}
        return web.json_response(index, content_type=OCI_INDEX)

    async def _blob(self, request: web.Request) -> web.StreamResponse:
        content = self.blobs.get(request.match_info["digest"])
        if content is None:
            return self._refuse(404, "BLOB_UNKNOWN")
        return self._stored(request, content)

    def _stored(self, request: web.Request, content: bytes) -> web.Response:
        """The answer of a blob in storage: ranges, and the headers that go with it."""
        headers = {"Accept-Ranges": "bytes", "Cache-Control": "max-age=31536000"}
        asked = request.http_range
        if asked.start is None:
            return web.Response(body=content, headers=headers)
        stop = min(asked.stop or len(content), len(content))
        headers["Content-Range"] = f"bytes {asked.start}-{stop - 1}/{len(content)}"
        return web.Response(status=206, body=content[asked.start : stop], headers=headers)


class FakeMirror(FakeRegistry):
    """A pull-through cache of `upstream`, as Distribution 2.8 behaves.

    `disk` bounds the bytes it can store; `fills` says which requests fill a cold blob: HEAD, a GET of
    the whole, or a probe (a GET of a range, which is answered with the whole).
    """

    def __init__(
        self,
        upstream: FakeRegistry,
        *,
        disk: int | None = None,
        fills: frozenset[str] = frozenset({"HEAD", "GET", "probe"}),
        prefix: str = "",
    ) -> None:
        super().__init__()
        self.upstream = upstream
        self.disk = disk
        self.fills = fills
        self.prefix = prefix  # of repositories on this mirror, such as "dockerhub-proxy/"
        self.filling: set[asyncio.Task[None]] = set()
        self.links: set[tuple[str, str]] = set()  # (repository, digest) of blobs that were fetched for it

    async def settle(self) -> None:
        """Return when no fill is under way."""
        while self.filling:
            await asyncio.gather(*self.filling)

    def stocked(self) -> set[str]:
        return {repository for repository, _ in self.links}

    def store(self, repository: str, content: bytes) -> None:
        """Have the blob, as if somebody had pulled it."""
        self.links.add((repository, self.push_blob(content)))

    def evict(self) -> None:
        """Forget everything, as an emptied disk does."""
        self.links.clear()
        self.blobs.clear()
        self.manifests.clear()

    async def __aenter__(self) -> Self:
        self._client = aiohttp.ClientSession(auto_decompress=False)
        return await super().__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.settle()
        await self._client.close()
        await super().__aexit__(kind, error, trace)

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        return self._refuse(405, "UNSUPPORTED")

    async def _manifest(self, request: web.Request) -> web.StreamResponse:
        repository, reference = request.match_info["repository"], request.match_info["reference"]
        if request.method == "DELETE":
            return self._refuse(405, "UNSUPPORTED")
        if reference.startswith("sha256:") and (repository, reference) in self.manifests:
            return await super()._manifest(request)
        status, body, media_type = await self._fetch(repository, f"manifests/{reference}")
        if status == 200:
            self.push_manifest(repository, reference, body, media_type)
        elif status is not None:
            return web.Response(status=status, body=body)
        return await super()._manifest(request)

    async def _blob(self, request: web.Request) -> web.StreamResponse:
        repository, digest = request.match_info["repository"], request.match_info["digest"]
        if (repository, digest) in self.links:
            return self._stored(request, self.blobs[digest])
        status, body, _ = await self._fetch(repository, f"blobs/{digest}")
        if status != 200:
            return web.Response(status=status or 502, body=body)
        if ("probe" if "Range" in request.headers else request.method) in self.fills:
            task = asyncio.create_task(self._fill(repository, digest))
            self.filling.add(task)
            task.add_done_callback(self.filling.discard)
        return web.Response(body=body)

    async def _fill(self, repository: str, digest: str) -> None:
        """Store the blob; in silence when it is corrupt or the disk is full."""
        status, body, _ = await self._fetch(repository, f"blobs/{digest}")
        others = sum(len(blob) for stored, blob in self.blobs.items() if stored != digest)
        fits = self.disk is None or others + len(body) <= self.disk
        if status == 200 and sha256(body) == digest and fits:
            self.store(repository, body)

    async def _fetch(self, repository: str, rest: str) -> tuple[int | None, bytes, str]:
        """Status, body and media type from upstream; None when it does not answer."""
        url = f"{self.upstream.url}/v2/{repository.removeprefix(self.prefix)}/{rest}"
        try:
            async with self._client.get(url) as response:
                return response.status, await response.read(), response.content_type
        except aiohttp.ClientError:
            return None, b"", ""
