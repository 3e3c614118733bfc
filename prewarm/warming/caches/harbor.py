"""A Harbor, told by its own API (v2.0) to fetch for itself.

`work = "replication"`: Harbor copies an image from one of its registry endpoints into a project. One policy
of the cache's own is set to the image and executed by hand; it never deletes, and no schedule of it runs.
The project has proven to hold the image when Harbor's registry answers for the tag, every manifest and blob.

`work = "preheat"`: the peers of a P2P network (Dragonfly, Kraken) fetch an image that a project has. Peers
are not ours to ask: the proof is that Harbor's execution succeeded, and it is taken for a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Literal

from pydantic import Field

from prewarm.errors import CacheError, NotFound, UnsupportedImage
from prewarm.references import Reference, served_path
from prewarm.warming.caches import Driver, Eviction, Finding, Surroundings, Transfer, notes
from prewarm.warming.caches.harbor_api import Api, ended, kilobits, preheat_policy, replication_policy
from prewarm.warming.caches.json_api import JsonApi, Who
from prewarm.warming.caches.keys import RegistryKeys, Seconds
from prewarm.warming.caches.replica import Replica, ReplicaConfig
from prewarm.warming.images import Image
from prewarm.warming.registry import Registry
from prewarm.warming.transport import trusted

FIRST_LOOK, LONGEST_LOOK = 0.5, 5.0  # seconds between two looks at an execution
PREHEATED = "preheated.json"


class HarborConfig(RegistryKeys):
    """Keys of a `harbor` cache; `url` is Harbor's own, such as https://harbor.example.com."""

    work: Literal["replication", "preheat"] = Field(
        "replication", description="copy into a project, or have the peers of a P2P network fetch"
    )
    endpoints: dict[str, str] = Field(
        {}, description='Harbor\'s registry endpoints: {"docker.io" = "hub"}; for replication'
    )
    provider: str | None = Field(
        None, description="the project's P2P provider; default: its default; for preheat"
    )
    every_peer: bool = Field(False, description="preheat all peers, not one that the others ask")
    patience: Seconds = Field(3600.0, description="how long one image may take")
    remember: Seconds = Field(86_400.0, description="how long peers are trusted to have what they fetched")


class Harbor:
    """The cache in one Harbor."""

    def __init__(
        self, api: Api, registry: Registry, config: HarborConfig, surroundings: Surroundings
    ) -> None:
        self._api = api
        self._registry = registry
        self._config = config
        self._surroundings = surroundings
        self._timing = surroundings.registries.timing
        keys = config.model_dump(include=set(RegistryKeys.model_fields))
        self._copy = Replica(registry, ReplicaConfig(**keys, referrers=False), surroundings)
        self._setting = asyncio.Lock()  # the policy is one: it is set and executed for an image at a time
        self._file = surroundings.folder / PREHEATED if surroundings.folder.name else None
        self._preheated: dict[str, float] = notes.read(self._file) if self._file else {}

    async def resolve(self, reference: Reference) -> Image:
        """What `reference` stands for at its source (replication), or in Harbor itself (preheat)."""
        if not reference.tag or reference.digest:
            raise UnsupportedImage(f"{reference}: Harbor fetches by tag, not by digest")
        if self._config.work == "replication":
            self._endpoint(reference)
            return await self._copy.resolve(reference)
        image = await self._registry.resolve(
            self._path(reference), reference.target, self._surroundings.platforms
        )
        return replace(image, reference=reference)

    async def holds(self, image: Image) -> bool:
        """Whether Harbor's registry has it all; of peers, whether they fetched it not long ago."""
        if self._config.work == "replication":
            return await self._copy.holds(image)
        at = self._preheated.get(self._key(image))
        return isinstance(at, int | float) and self._timing.wall() - at < self._config.remember

    async def warm(self, image: Image) -> Transfer:
        """Have Harbor fetch it, and wait; the execution is stopped when we are."""
        if await self.holds(image):
            return Transfer(0, "Harbor had it")
        work = self._replicate if self._config.work == "replication" else self._preheat
        missing = await self._missing(image) if self._config.work == "replication" else image.bytes
        async with self._setting:
            path = await work(image)
        await self._through(path, image)
        if self._config.work == "preheat":
            self._remember(image)
            return Transfer(missing, f"execution {path.rpartition('/')[2]} succeeded; peers do not tell more")
        if not await self._copy.holds(image):
            raise CacheError(
                f"Harbor's execution {path.rpartition('/')[2]} succeeded, but {self._path(image.reference)} "
                f"does not name {image.digest}, or lacks a part of it"
            )
        return Transfer(missing, "Harbor's registry names the digest, and has its blobs")

    async def current(self, reference: Reference) -> str:
        """The digest that `reference` has now, where it is fetched from."""
        if self._config.work == "replication":
            return await self._copy.current(reference)
        return (await self._registry.head_manifest(self._path(reference), reference.target)).digest

    async def evict(self, images: Sequence[Reference], *, apply: bool) -> Eviction:
        """Delete what was replicated; Harbor's garbage collection frees it. Peers forget by themselves."""
        if self._config.work == "preheat":
            raise CacheError("the peers of a P2P network forget by themselves; Harbor cannot tell them to")
        return await self._copy.evict(images, apply=apply)

    async def check(self) -> list[Finding]:
        """Whether Harbor answers and lets us in, and has the projects and endpoints that we name."""
        try:
            version = await self._api.version()
        except CacheError as refused:
            return [Finding("reachable", False, str(refused))]
        login = await self._registry.login()
        words = (
            "docker's login" if login else f"none stored; `docker login {self._registry.endpoint.registry}`"
        )
        projects = sorted({to.partition("/")[0] for to in self._surroundings.rewrite.values() if to})
        return [
            Finding("reachable", True, f"{self._config.url}: Harbor {version}"),
            Finding("credentials", login is not None, words),
            *[await self._check_project(project) for project in projects],
            *[await self._check_endpoint(name) for name in self._config.endpoints.values()],
        ]

    # --- names ---

    def _path(self, reference: Reference) -> str:
        """The repository's path in Harbor, its project first."""
        if reference.registry == self._registry.endpoint.registry:
            return reference.repository
        return served_path(reference, self._surroundings.rewrite)

    def _endpoint(self, reference: Reference) -> str:
        name = self._config.endpoints.get(reference.registry)
        if name is None:
            advice = f'endpoints = {{"{reference.registry}" = "…"}} names the one that Harbor has for it'
            raise CacheError(f"{reference}: Harbor is not told where to copy it from; {advice}")
        return name

    def _name(self) -> str:
        """Our policy's name: lower case, digits and dashes."""
        safe = "".join(each if each.isascii() and each.isalnum() else "-" for each in self._surroundings.name)
        return f"prewarm-{safe.lower().strip('-')}"

    def _key(self, image: Image) -> str:
        return f"{self._path(image.reference)}@{image.digest}"

    # --- working ---

    async def _replicate(self, image: Image) -> str:
        source = await self._api.endpoint(self._endpoint(image.reference))
        pace = self._surroundings.pace
        policy = replication_policy(self._name(), source, image.reference, self._path(image.reference))
        return await self._api.replicate(policy | ({"speed": kilobits(pace.rate)} if pace else {}))

    async def _preheat(self, image: Image) -> str:
        project, _, repository = self._path(image.reference).partition("/")
        provider = await self._api.provider(project, self._config.provider)
        id = int((await self._api.project(project))["project_id"])
        policy = preheat_policy(self._name(), id, provider, repository, image.reference.target)
        scope = "all_peers" if self._config.every_peer else "single_peer"
        return await self._api.preheat(project, policy | {"scope": scope})

    async def _through(self, path: str, image: Image) -> None:
        """Return when the execution has succeeded; raises what it failed for."""
        end, pause = self._timing.clock() + self._config.patience, FIRST_LOOK
        try:
            while self._timing.clock() < end:
                await self._timing.sleep(pause)
                pause = min(pause * 1.5, LONGEST_LOOK)
                if ended(await self._api.execution(path), path, image):
                    return
        except asyncio.CancelledError:
            await asyncio.shield(asyncio.gather(self._api.stop(path), return_exceptions=True))
            raise
        await self._api.stop(path)
        raise CacheError(f"Harbor was not through with {image.reference} after {self._config.patience:.0f} s")

    async def _missing(self, image: Image) -> int:
        """Bytes of the blobs that the project's repository lacks."""
        path, missing = self._path(image.reference), 0
        for blob in image.blobs:
            try:
                await self._registry.head_blob(path, blob.digest)
            except NotFound:
                missing += blob.size
        return missing

    def _remember(self, image: Image) -> None:
        now = self._timing.wall()
        fresh = {key: at for key, at in self._preheated.items() if now - at < self._config.remember}
        self._preheated = fresh | {self._key(image): now}
        if self._file is not None:
            notes.write(self._file, self._preheated)

    # --- checking ---

    async def _check_project(self, name: str) -> Finding:
        try:
            project = await self._api.project(name)
        except CacheError as refused:
            return Finding("project", False, f"{name}: {refused}; create it, or give our login a role in it")
        if self._config.work == "preheat":
            return await self._check_provider(name)
        if project.get("registry_id"):
            advice = "a proxy-cache project fills by being read: its driver is `mirror`"
            return Finding("project", False, f"{name} takes no copies: {advice}")
        return Finding("project", True, f"{name} is there")

    async def _check_provider(self, project: str) -> Finding:
        try:
            await self._api.provider(project, self._config.provider)
        except CacheError as refused:
            return Finding("peers", False, str(refused))
        return Finding("peers", True, f"{project} is there, and has P2P peers")

    async def _check_endpoint(self, name: str) -> Finding:
        try:
            await self._api.endpoint(name)
        except CacheError as refused:
            return Finding("endpoint", False, str(refused))
        return Finding("endpoint", True, f"Harbor knows {name}")


@asynccontextmanager
async def open_harbor(config: HarborConfig, surroundings: Surroundings) -> AsyncIterator[Harbor]:
    """A harbor cache; Harbor is first contacted when something is asked of it."""
    registry = surroundings.registries.at(config.endpoint(surroundings.name))
    login = await registry.login()
    headers = {"Accept": "application/json"} | ({"Authorization": login.basic} if login else {})
    who = Who("Harbor API", f"try `docker login {registry.endpoint.registry}` with a robot account")
    async with JsonApi(config.url, who, lambda: headers, trusted(config.ca_file), config.timeout) as api:
        yield Harbor(Api(api), registry, config, surroundings)


DRIVER = Driver(
    name="harbor",
    summary="a Harbor that fetches for itself: replication into a project, or P2P preheating of peers",
    privilege="a robot account: of the system for replication, of the project for preheating",
    config=HarborConfig,
    open=open_harbor,
)
