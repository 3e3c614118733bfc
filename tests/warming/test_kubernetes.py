"""The kubernetes cache, against doubles of the API server, its kubelets and OpenKruise."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from prewarm.errors import CacheError, DigestMismatch, NotFound, RateLimited
from prewarm.references import Reference
from prewarm.warming.caches.kube_objects import KubernetesConfig, verdict
from prewarm.warming.caches.kubernetes import Cluster, open_cluster
from prewarm.warming.images import Image
from prewarm.warming.registry import Timing
from tests.kube_double import KubeDouble
from tests.shelf import Shelf, surroundings

API = Reference.parse("registry.test/acme/api:1")


@asynccontextmanager
async def opened(cluster: KubeDouble, shelf: Shelf, folder: Path, **keys: Any) -> AsyncIterator[Cluster]:
    """A cache over the double's nodes, for which time passes at once."""
    shelf.timing = skipped_time(cluster)
    file = folder / "kubeconfig"
    file.write_text(json.dumps(cluster.kubeconfig()))
    config = KubernetesConfig(kubeconfig=file, **keys)
    async with open_cluster(config, surroundings(shelf)) as cache:
        yield cache


def skipped_time(cluster: KubeDouble) -> Timing:
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        await cluster.settle()

    return Timing(sleep=sleep, clock=lambda: now)


def put(cluster: KubeDouble, shelf: Shelf, *layers: bytes) -> Image:
    image = shelf.put("acme/api", "1", *(layers or (b"layer",)))
    cluster.registry[str(image.reference)] = image
    return image


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture(params=[False, True], ids=["jobs", "kruise"])
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[KubeDouble]:
    """Two nodes, without and with OpenKruise."""
    async with KubeDouble(kruise=request.param) as double:
        yield double


@pytest.fixture
async def plain() -> AsyncIterator[KubeDouble]:
    """Two nodes of a cluster with plain objects only."""
    async with KubeDouble() as double:
        yield double


async def test_every_node_has_it_and_nothing_is_left(
    cluster: KubeDouble, shelf: Shelf, tmp_path: Path
) -> None:
    """Bytes are what both nodes fetched; the objects are gone."""
    image = put(cluster, shelf, b"one", b"three")
    async with opened(cluster, shelf, tmp_path) as cache:
        transfer = await cache.warm(await cache.resolve(API))
    assert transfer.bytes == 2 * image.bytes
    for node in ("node-1", "node-2"):
        assert f"registry.test/acme/api@{image.digest}" in cluster.has(node)
    assert (cluster.jobs, cluster.pull_jobs) == ({}, {})


async def test_a_process_that_starts_knows_what_nodes_list(
    cluster: KubeDouble, shelf: Shelf, tmp_path: Path
) -> None:
    """A second run asks the API for the nodes, and makes nothing."""
    put(cluster, shelf)
    async with opened(cluster, shelf, tmp_path) as cache:
        await cache.warm(await cache.resolve(API))
    made = len(cluster.made)
    async with opened(cluster, shelf, tmp_path) as cache:
        image = await cache.resolve(API)
        assert await cache.holds(image)
        assert (await cache.warm(image)).bytes == 0
    assert len(cluster.made) == made


async def test_a_node_that_joins_is_cold(cluster: KubeDouble, shelf: Shelf, tmp_path: Path) -> None:
    """The next run warms it, and no other."""
    put(cluster, shelf)
    newcomer = cluster.nodes.pop("node-2")
    async with opened(cluster, shelf, tmp_path) as cache:
        await cache.warm(await cache.resolve(API))
    cluster.nodes["node-2"] = newcomer
    async with opened(cluster, shelf, tmp_path) as cache:
        image = await cache.resolve(API)
        assert not await cache.holds(image)
        assert await cache.missing(image) == 0.5
        assert (await cache.warm(image)).bytes == image.bytes
        assert await cache.holds(image)


async def test_the_error_names_the_nodes_that_failed(
    cluster: KubeDouble, shelf: Shelf, tmp_path: Path
) -> None:
    """The others are warm; the kind of the error is that of the registry's refusal."""
    put(cluster, shelf)
    cluster.errors["node-2"] = ["pull QPS exceeded: toomanyrequests: You have reached your pull rate limit"]
    async with opened(cluster, shelf, tmp_path) as cache:
        image = await cache.resolve(API)
        with pytest.raises(RateLimited, match=r"1 of 2 nodes failed; node-2: .* says: pull QPS exceeded"):
            await cache.warm(image)
        assert not await cache.holds(image)
        assert (await cache.warm(image)).bytes == image.bytes
    assert (cluster.jobs, cluster.pull_jobs) == ({}, {})


async def test_another_digest_is_refused(cluster: KubeDouble, shelf: Shelf, tmp_path: Path) -> None:
    """A mirror in the cluster that serves an old image is told."""
    put(cluster, shelf)
    cluster.stale = "sha256:" + "0" * 64
    async with opened(cluster, shelf, tmp_path) as cache:
        with pytest.raises(DigestMismatch, match="its mirror serves an old one"):
            await cache.warm(await cache.resolve(API))


async def test_only_ready_nodes_that_match_count(plain: KubeDouble, shelf: Shelf, tmp_path: Path) -> None:
    """A node of another pool, and one that is down, are no places where a pod will start."""
    put(plain, shelf)
    plain.nodes["node-1"]["metadata"]["labels"] = {"pool": "web"}
    async with opened(plain, shelf, tmp_path, selector="pool=ci") as cache:
        await cache.warm(await cache.resolve(API))
    assert plain.has("node-1") == set()
    plain.nodes["node-2"]["status"]["conditions"][1]["status"] = "Unknown"
    async with opened(plain, shelf, tmp_path, selector="pool=ci") as cache:
        with pytest.raises(CacheError, match=r"no nodes of .* match 'pool=ci' and are ready \(1 are not\)"):
            await cache.holds(Image(API, shelf.images["acme/api", "1"].root, (), ()))


async def test_nodes_are_served_for_their_own_platform(
    plain: KubeDouble, shelf: Shelf, tmp_path: Path
) -> None:
    """An image that has nothing for a node's platform is no matter of that node."""
    image = shelf.put("acme/api", "1", b"layer", index=True)
    plain.registry[str(API)] = image
    plain.nodes["node-2"]["status"]["nodeInfo"]["architecture"] = "s390x"
    async with opened(plain, shelf, tmp_path) as cache:
        transfer = await cache.warm(await cache.resolve(API))
        assert await cache.holds(image)
    assert transfer.bytes == image.bytes
    assert plain.has("node-2") == set()


async def test_a_kubelet_that_names_no_digest_is_asked_again(
    plain: KubeDouble, shelf: Shelf, tmp_path: Path
) -> None:
    """CRI-O fails before the container has a status: the node's own list is the proof."""
    image = put(plain, shelf)
    plain.crio = True
    async with opened(plain, shelf, tmp_path) as cache:
        await cache.warm(await cache.resolve(API))
    plain.lists = False
    moved = put(plain, shelf, b"new")
    async with opened(plain, shelf, tmp_path) as cache:
        with pytest.raises(CacheError, match="does not name the digest"):
            await cache.warm(await cache.resolve(API))
    assert moved.digest != image.digest


async def test_no_more_nodes_pull_at_once_than_allowed(shelf: Shelf, tmp_path: Path) -> None:
    """A thousand Jobs would trouble the API server, and a thousand pulls the mirror."""
    async with KubeDouble(*(f"node-{number}" for number in range(9))) as many:
        put(many, shelf)
        async with opened(many, shelf, tmp_path, parallel=4) as cache:
            await cache.warm(await cache.resolve(API))
        assert len(many.made) == 9
        assert many.at_once == 4


async def test_a_node_that_hangs_fails_in_its_time(plain: KubeDouble, shelf: Shelf, tmp_path: Path) -> None:
    """The other node is warm; the Job is removed."""
    put(plain, shelf)
    plain.hanging.add("node-2")
    async with opened(plain, shelf, tmp_path, timeout="30s") as cache:
        with pytest.raises(CacheError, match="node-2: it was not through after 30 s"):
            await cache.warm(await cache.resolve(API))
    assert plain.has("node-1")
    assert plain.jobs == {}


async def test_a_pod_runs_nothing_and_may_nothing(plain: KubeDouble, shelf: Shelf, tmp_path: Path) -> None:
    """It pulls always, with the secrets; clusters that enforce the restricted standard let it in."""
    put(plain, shelf)
    async with opened(plain, shelf, tmp_path, pull_secrets=("hub",)) as cache:
        await cache.warm(await cache.resolve(API))
    job = plain.made[0]
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (container["image"], container["imagePullPolicy"]) == (str(API), "Always")
    assert container["command"] == ["/prewarm-pulls-and-starts-nothing"]
    assert pod["imagePullSecrets"] == [{"name": "hub"}]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["ttlSecondsAfterFinished"] == 60


async def test_a_cancelled_warm_removes_its_jobs(plain: KubeDouble, shelf: Shelf, tmp_path: Path) -> None:
    """Nothing goes on pulling behind our back."""
    put(plain, shelf)
    plain.hanging |= {"node-1", "node-2"}
    async with opened(plain, shelf, tmp_path) as cache:
        warm = asyncio.ensure_future(cache.warm(await cache.resolve(API)))
        await plain.hung.wait()
        warm.cancel()
        await asyncio.gather(warm, return_exceptions=True)
    assert plain.jobs == {}


async def test_what_a_killed_run_left_is_removed(plain: KubeDouble, shelf: Shelf, tmp_path: Path) -> None:
    """By our labels and the cache's name; another cache's and other people's Jobs stay."""
    put(plain, shelf)
    ours = {"app.kubernetes.io/managed-by": "prewarm"}
    for name, labels in (
        ("left", ours | {"prewarm/cache": "test"}),
        ("other", ours | {"prewarm/cache": "x"}),
    ):
        plain.jobs[name] = {"metadata": {"name": name, "labels": labels}}
    async with opened(plain, shelf, tmp_path) as cache:
        await cache.warm(await cache.resolve(API))
    assert set(plain.jobs) == {"other"}


async def test_an_image_that_no_kubelet_finds(cluster: KubeDouble, shelf: Shelf, tmp_path: Path) -> None:
    """Gone between our question and the pull."""
    put(cluster, shelf)
    cluster.registry.clear()
    async with opened(cluster, shelf, tmp_path) as cache:
        with pytest.raises(NotFound):
            await cache.warm(await cache.resolve(API))


async def test_check_says_what_is_missing(cluster: KubeDouble, shelf: Shelf, tmp_path: Path) -> None:
    """Permissions one by one, pull secrets, nodes."""
    cluster.secrets.add("hub")
    resource = "imagepulljobs" if cluster.kruise else "jobs"
    cluster.denied.add(("create", resource))
    async with opened(cluster, shelf, tmp_path, pull_secrets=("hub", "gone")) as cache:
        findings = await cache.check()
    bad = [finding.message for finding in findings if not finding.ok]
    assert bad == [
        f"we may not create {resource} in namespace warm; a Role that allows it, bound to our account, would",
        'pull secret gone: the Kubernetes API says: secrets "gone" not found',
    ]
    assert any("Kubernetes v1.29.4" in finding.message for finding in findings)


async def test_a_refusal_is_the_servers_own_words(plain: KubeDouble, shelf: Shelf, tmp_path: Path) -> None:
    """Whoever reads it can write the Role."""
    put(plain, shelf)
    plain.denied.add(("create", "jobs"))
    async with opened(plain, shelf, tmp_path) as cache:
        with pytest.raises(CacheError, match='User "warmer" cannot create resource "jobs"'):
            await cache.warm(await cache.resolve(API))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            {"phase": "Failed", "reason": "OutOfpods", "message": "Node didn't have enough resource"},
            "resource",
        ),
        ({"phase": "Failed", "reason": "NodeAffinity"}, "NodeAffinity"),
    ],
)
def test_a_pod_that_its_node_turns_away_says_why(status: dict[str, Any], words: str) -> None:
    """No container was ever made."""
    answer = verdict({"status": status})
    assert isinstance(answer, CacheError)
    assert words in str(answer)


def test_a_pod_that_is_still_pulling_says_nothing() -> None:
    """Neither does one that nobody has looked at."""
    creating = {"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}
    assert verdict({"status": creating}) is None
    assert verdict({}) is None
