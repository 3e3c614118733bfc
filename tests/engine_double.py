"""A Docker engine's image API inside the test process.

Written from the Docker Engine API, version 1.41 (docs/api/v1.41.yaml of moby/moby): SystemPing,
SystemVersion, SystemInfo, SystemDataUsage, ImageCreate, ImageInspect, ImageDelete and
DistributionInspect. Names without a registry, digests by familiar name and progress messages are as
engine 20.10 answers them.
"""

from __future__ import annotations

import asyncio
import base64
import json
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from prewarm.references import Reference
from prewarm.warming.images import Image


class EngineDouble:
    """An engine on a free port of 127.0.0.1, whose registry is a dictionary; an async context manager."""

    def __init__(self) -> None:
        self.registry: dict[str, Image] = {}  # what it can pull, by canonical reference
        self.images: dict[str, str] = {}  # what it has: digest by canonical reference
        self.layers: set[str] = set()
        self.used: set[str] = set()  # canonical references of images that a container uses
        self.pulls: list[str] = []
        self.logins: list[dict[str, str]] = []  # of every request that may carry one
        self.refuse: tuple[int, str] | None = None  # status and message instead of a pull
        self.error: str | None = None  # an error amid a pull
        self.stale: str | None = None  # the digest that its mirror serves instead
        self.distribution = True  # whether it has the distribution endpoint
        self.hang = False  # a pull stops amid its layers
        self.hung = asyncio.Event()
        self.left = asyncio.Event()  # the client of a hanging pull has gone

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        application = web.Application()
        router = application.router
        router.add_get("/version", self._version)
        for prefix in ("", "/v1.41"):
            router.add_get(f"{prefix}/_ping", self._ping)
        router.add_get("/v1.41/version", self._version)
        router.add_get("/v1.41/info", self._info)
        router.add_get("/v1.41/system/df", self._usage)
        router.add_delete("/v1.41/images/{name:.+}", self._delete)
        router.add_post("/v1.41/images/create", self._create)
        router.add_get("/v1.41/images/{name:.+}/json", self._inspect)
        router.add_get("/v1.41/distribution/{name:.+}/json", self._ask_registry)
        self._runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port: int = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _ping(self, request: web.Request) -> web.Response:
        return web.Response(text="OK", headers={"Api-Version": "1.41"})

    async def _version(self, request: web.Request) -> web.Response:
        about = {"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12"}
        return web.json_response({**about, "Os": "linux", "Arch": "amd64"})

    async def _info(self, request: web.Request) -> web.Response:
        mirrors = {"Mirrors": ["http://127.0.0.1:5001/"]}
        return web.json_response(
            {"Images": len(self.images), "DockerRootDir": "/var/lib/docker", "RegistryConfig": mirrors}
        )

    async def _usage(self, request: web.Request) -> web.Response:
        listed = [
            {
                "Id": digest,
                "RepoTags": [Reference.parse(name).familiar],
                "RepoDigests": None,
                "Size": 1000,
                "SharedSize": 100,
                "Containers": int(name in self.used),
            }
            for name, digest in self.images.items()
        ]
        return web.json_response({"LayersSize": 1000 * len(listed), "Images": listed})

    async def _delete(self, request: web.Request) -> web.Response:
        name = _canonical(request.match_info["name"])
        if name not in self.images:
            return _refusal(404, f"No such image: {request.match_info['name']}")
        if name in self.used:
            return _refusal(409, f"conflict: unable to remove repository reference {name!r}")
        return web.json_response([{"Untagged": name}, {"Deleted": self.images.pop(name)}])

    async def _inspect(self, request: web.Request) -> web.Response:
        name = _canonical(request.match_info["name"])
        digest = self.images.get(name)
        if digest is None:
            return _refusal(404, f"No such image: {request.match_info['name']}")
        reference = Reference.parse(name)
        known = Reference.of(reference.registry, reference.repository, digest=digest)
        return web.json_response(
            {"Id": digest, "RepoTags": [reference.familiar], "RepoDigests": [known.familiar]}
        )

    async def _ask_registry(self, request: web.Request) -> web.Response:
        self._note_login(request)
        if not self.distribution:
            return web.Response(status=404, text="page not found")
        image = self.registry.get(_canonical(request.match_info["name"]))
        if image is None:
            return _refusal(404, "manifest unknown: manifest unknown")
        root = image.root.descriptor
        described = {"mediaType": root.media_type, "digest": root.digest, "size": root.size}
        return web.json_response({"Descriptor": described, "Platforms": None})

    async def _create(self, request: web.Request) -> web.StreamResponse:
        self._note_login(request)
        name, tag = request.query["fromImage"], request.query["tag"]
        reference = Reference.parse(f"{name}@{tag}" if ":" in tag else f"{name}:{tag}")
        self.pulls.append(str(reference))
        image = self.registry.get(str(reference))
        if self.refuse or image is None:
            return _refusal(*(self.refuse or (404, f"manifest for {name}:{tag} not found: manifest unknown")))
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        await _say(response, status=f"Pulling from {reference.repository}", id=tag)
        for layer in image.root.layers or image.manifests[0].layers:
            await self._download(response, layer.digest, layer.size)
        if self.error:
            await _say(response, errorDetail={"message": self.error}, error=self.error)
        else:
            digest = self.images[str(reference)] = self.stale or image.digest
            await _say(response, status=f"Digest: {digest}")
            await _say(response, status=f"Status: Downloaded newer image for {reference.familiar}")
        return response

    async def _download(self, response: web.StreamResponse, digest: str, size: int) -> None:
        layer = digest.partition(":")[2][:12]
        if digest in self.layers:
            await _say(response, status="Already exists", progressDetail={}, id=layer)
            return
        await _say(response, status="Downloading", progressDetail={"current": 1, "total": size}, id=layer)
        if self.hang:
            self.hung.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.left.set()
        await _say(response, status="Download complete", progressDetail={}, id=layer)
        await _say(response, status="Pull complete", progressDetail={}, id=layer)
        self.layers.add(digest)

    def _note_login(self, request: web.Request) -> None:
        header = request.headers.get("X-Registry-Auth", "")
        self.logins.append(json.loads(base64.urlsafe_b64decode(header)) if header else {})


def _canonical(name: str) -> str:
    return str(Reference.parse(name))


def _refusal(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)


async def _say(response: web.StreamResponse, **message: Any) -> None:
    await response.write(json.dumps(message).encode() + b"\r\n")
