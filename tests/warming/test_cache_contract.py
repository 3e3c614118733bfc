"""Every built-in cache, and the smallest possible one, keeps the contract."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from prewarm import plugins
from prewarm.errors import DigestMismatch
from prewarm.references import Reference
from prewarm.warming.caches import Cache, Driver, Surroundings
from prewarm.warming.caches.containerd import ContainerdConfig, open_nodes
from prewarm.warming.caches.docker import DockerConfig, open_engine
from prewarm.warming.caches.harbor import HarborConfig, open_harbor
from prewarm.warming.caches.kube_objects import KubernetesConfig
from prewarm.warming.caches.kubernetes import open_cluster
from prewarm.warming.caches.layout import LayoutConfig, open_layout
from prewarm.warming.caches.replica import ReplicaConfig, open_replica
from prewarm.warming.credentials import Credentials
from prewarm.warming.registry import Registries, Timing
from tests.contracts_caches import CACHE_CHECKS, World
from tests.engine_double import EngineDouble
from tests.fakes import FakeMirror, FakeRegistry, Fault, sha256
from tests.harbor_double import PASSWORD, USER, HarborDouble
from tests.kube_double import KubeDouble
from tests.memory_cache import MemoryCache, image_of
from tests.replica_double import FakeReplica
from tests.shelf import Shelf, surroundings

CTR = f"{sys.executable} -S -E {Path(__file__).parents[1] / 'ctr_double.py'}"


class SkippedTime:
    """Time passes at once: a sleep ends when the mirror's fills are through."""

    def __init__(self, settled: Callable[[], Awaitable[None]]) -> None:
        self.now = 0.0
        self.settled = settled

    def timing(self) -> Timing:
        return Timing(sleep=self.sleep, clock=lambda: self.now)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)
        await self.settled()


@asynccontextmanager
async def over_http(hub: FakeRegistry, timing: Timing | None = None) -> AsyncIterator[Surroundings]:
    """Surroundings in which `hub` is docker.io."""
    listed = [replace(hub.endpoint, registry="docker.io")]
    async with Registries(listed, Credentials(), timing=timing) as registries:
        yield Surroundings("test", registries, upstream="docker.io")


def around(hub: FakeRegistry, cache: Cache) -> World:
    """The world of a cache whose upstream is `hub`."""

    def spoil(layer: bytes, fault: Fault, forever: bool) -> None:
        hub.fault("GET", f"/blobs/{sha256(layer)}", fault, forever=forever)

    return World(
        cache,
        push=lambda reference, layers: hub.push_image(reference.repository, reference.tag or "", layers),
        corrupt=lambda layer: spoil(layer, Fault(corrupt=True), forever=True),
        stall=lambda layer: spoil(layer, Fault(hang=True), forever=False),
        stalled=hub.hung.wait,
    )


@asynccontextmanager
async def layout(folder: Path) -> AsyncIterator[World]:
    async with (
        FakeRegistry() as hub,
        over_http(hub) as surrounding,
        open_layout(LayoutConfig(path=folder / "oci"), surrounding) as cache,
    ):
        yield around(hub, cache)


@asynccontextmanager
async def mirror(folder: Path) -> AsyncIterator[World]:
    driver: Driver = plugins.load(plugins.CACHES, "mirror")
    async with (
        FakeRegistry() as hub,
        FakeMirror(hub) as front,
        over_http(hub, SkippedTime(front.settle).timing()) as surrounding,
        driver.open(driver.config.model_validate({"url": front.url}), surrounding) as cache,
    ):
        yield replace(around(hub, cache), forgets=False)


@asynccontextmanager
async def docker(folder: Path) -> AsyncIterator[World]:
    shelf = Shelf("docker.io")
    async with (
        EngineDouble() as engine,
        open_engine(DockerConfig(url=engine.url), surroundings(shelf)) as cache,
    ):

        def push(reference: Reference, layers: list[bytes]) -> None:
            engine.registry[str(reference)] = shelf.put(reference.repository, reference.tag or "", *layers)

        def corrupt(layer: bytes) -> None:
            engine.error = f"filesystem layer verification failed for digest {sha256(layer)}"

        def stall(layer: bytes) -> None:
            engine.hang = True

        async def stalled() -> None:
            await engine.hung.wait()
            engine.hang = False

        yield World(cache, push, corrupt, stall, stalled)


@asynccontextmanager
async def replica(folder: Path) -> AsyncIterator[World]:
    async with (
        FakeRegistry() as hub,
        FakeReplica() as target,
        over_http(hub) as surrounding,
        open_replica(ReplicaConfig(url=target.url), surrounding) as cache,
    ):
        yield around(hub, cache)


@asynccontextmanager
async def containerd(folder: Path) -> AsyncIterator[World]:
    (folder / "node").mkdir()
    config = ContainerdConfig(nodes=(str(folder / "node"),), ctr=CTR)
    async with FakeRegistry() as hub, over_http(hub) as surrounding, open_nodes(config, surrounding) as cache:
        yield around(hub, cache)


@asynccontextmanager
async def kubernetes(folder: Path, kruise: bool = False) -> AsyncIterator[World]:
    shelf = Shelf("docker.io")
    async with KubeDouble("node-1", kruise=kruise) as cluster:
        shelf.timing = SkippedTime(cluster.settle).timing()
        file = folder / "kubeconfig"
        file.write_text(json.dumps(cluster.kubeconfig()))
        async with open_cluster(KubernetesConfig(kubeconfig=file), surroundings(shelf)) as cache:

            def push(reference: Reference, layers: list[bytes]) -> None:
                image = shelf.put(reference.repository, reference.tag or "", *layers)
                cluster.registry[str(reference)] = image

            def corrupt(layer: bytes) -> None:
                cluster.broken.add("node-1")
                digest = sha256(layer)
                cluster.errors["node-1"] = [
                    f"failed commit on ref: unexpected commit digest, expected {digest}"
                ]

            def stall(layer: bytes) -> None:
                cluster.hanging.add("node-1")

            async def stalled() -> None:
                await cluster.hung.wait()
                cluster.hanging.clear()

            yield World(cache, push, corrupt, stall, stalled)


def kruise(folder: Path) -> AbstractAsyncContextManager[World]:
    return kubernetes(folder, kruise=True)


@asynccontextmanager
async def harbor(folder: Path) -> AsyncIterator[World]:
    async with FakeRegistry() as hub, HarborDouble(hub) as target:
        logins = Credentials(
            {"auths": {target.host: {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}}}
        )
        listed = [replace(hub.endpoint, registry="docker.io")]
        timing = SkippedTime(target.settle).timing()
        config = HarborConfig(url=target.url, endpoints={"docker.io": "dockerhub"})
        async with (
            Registries(listed, logins, timing=timing) as registries,
            open_harbor(config, Surroundings("test", registries, rewrite={"docker.io/": "hub/"})) as cache,
        ):
            yield around(hub, cache)


@asynccontextmanager
async def memory(folder: Path) -> AsyncIterator[World]:
    cache = MemoryCache()

    def push(reference: Reference, layers: list[bytes]) -> None:
        cache.upstream[str(reference)] = image_of(str(reference), *layers)

    def corrupt(layer: bytes) -> None:
        for name in cache.upstream:
            cache.faults[name] = [DigestMismatch(f"the content is not {sha256(layer)}")]

    def stall(layer: bytes) -> None:
        cache.hanging = set(cache.upstream)

    async def stalled() -> None:
        await cache.hung.wait()
        cache.hanging = set()

    yield World(cache, push, corrupt, stall, stalled)


@pytest.mark.parametrize("check", CACHE_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    "world",
    [memory, layout, mirror, docker, replica, containerd, kubernetes, kruise, harbor],
    ids=lambda world: world.__name__,
)
async def test_a_cache_keeps_the_contract(
    check: Callable[[World], Awaitable[None]],
    world: Callable[[Path], AbstractAsyncContextManager[World]],
    tmp_path: Path,
) -> None:
    """Each promise, in a fresh world."""
    async with world(tmp_path) as fresh:
        await check(fresh)


def test_every_built_in_cache_is_listed_and_says_what_it_needs() -> None:
    """A person chooses by summary and privilege."""
    for name in plugins.names(plugins.CACHES):
        driver: Driver = plugins.load(plugins.CACHES, name)
        assert driver.name == name
        assert driver.summary
        assert driver.privilege
