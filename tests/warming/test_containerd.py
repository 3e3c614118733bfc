"""The containerd cache: what goes into each node, and what happens when one does not answer."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from prewarm.errors import CacheError, DigestMismatch, UnsupportedImage
from prewarm.references import Reference
from prewarm.warming.caches.containerd import ContainerdConfig, Nodes, open_nodes
from prewarm.warming.credentials import Credentials
from prewarm.warming.images import BUILDKIT_CACHE, OCI_INDEX
from prewarm.warming.pacing import Pace
from prewarm.warming.registry import Registries, Timing
from tests.ctr_double import complete, images
from tests.fakes import BasicAuth, FakeRegistry, Fault, descriptor, sha256
from tests.shelf import Shelf, surroundings

CTR = f"{sys.executable} -S -E {Path(__file__).parents[1] / 'ctr_double.py'}"
API = Reference.parse("registry.test/acme/api:1")


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def node(tmp_path: Path) -> Path:
    return new_node(tmp_path, "node-1")


def new_node(tmp_path: Path, name: str) -> Path:
    """The folder that is a node's socket, to the double."""
    folder = tmp_path / name
    folder.mkdir()
    return folder


def config(*nodes: Path | str, **more: Any) -> ContainerdConfig:
    return ContainerdConfig(nodes=tuple(map(str, nodes)), ctr=CTR, **more)


@asynccontextmanager
async def opened(shelf: Shelf, *nodes: Path | str, **more: Any) -> AsyncIterator[Nodes]:
    pace = more.pop("pace", None)
    async with open_nodes(config(*nodes, **more), surroundings(shelf, pace=pace)) as cache:
        yield cache


def calls(node: Path) -> list[str]:
    """Every command line that the node's ctr saw, after its options."""
    path = node / "calls"
    return [" ".join(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


async def test_an_image_has_the_names_that_kubernetes_asks_by(shelf: Shelf, node: Path) -> None:
    """By tag and by digest, in the namespace of the kubelet."""
    image = shelf.put("acme/api", "1", b"layer")
    async with opened(shelf, node) as cache:
        await cache.warm(await cache.resolve(API))
    assert set(images(node)) == {"registry.test/acme/api:1", f"registry.test/acme/api@{image.digest}"}
    assert all("--namespace k8s.io" in call for call in calls(node))


async def test_an_index_keeps_its_digest(shelf: Shelf, node: Path) -> None:
    """The node gets the index and its own platform."""
    image = shelf.put("acme/api", "1", b"layer", index=True)
    async with opened(shelf, node) as cache:
        await cache.warm(await cache.resolve(API))
        assert await cache.holds(image)
    assert images(node)["registry.test/acme/api:1"]["digest"] == image.digest
    assert complete(node, image.digest)


async def test_only_what_a_node_lacks_is_fetched(shelf: Shelf, node: Path) -> None:
    """The base of the first image is not sent for the second."""
    shelf.put("acme/api", "1", b"base", b"api")
    shelf.put("acme/web", "1", b"base", b"web")
    async with opened(shelf, node) as cache:
        for reference in (API, Reference.parse("registry.test/acme/web:1")):
            await cache.warm(await cache.resolve(reference))
    assert shelf.fetched.count(sha256(b"base")) == 1


async def test_several_nodes_are_fed_from_one_fetch(tmp_path: Path, shelf: Shelf) -> None:
    """Each holds the image; the registry was asked once, and only for the nodes that lack it."""
    nodes = [new_node(tmp_path, name) for name in ("one", "two", "three")]
    image = shelf.put("acme/api", "1", b"layer", b"more")
    async with opened(shelf, nodes[0]) as first:
        await first.warm(await first.resolve(API))
    shelf.fetched.clear()
    async with opened(shelf, *nodes) as cache:
        assert not await cache.holds(image)
        transfer = await cache.warm(image)
        assert await cache.holds(image)
    assert transfer.bytes == image.bytes
    assert len(shelf.fetched) == len(set(shelf.fetched)) == len(image.blobs)
    assert sum("images import" in call for call in calls(nodes[0])) == 1


async def test_a_node_that_is_down_is_named_and_the_others_are_warmed(tmp_path: Path, shelf: Shelf) -> None:
    """The image is not called warm; the next run needs the node that failed alone."""
    up, down = new_node(tmp_path, "up"), new_node(tmp_path, "down")
    (down / "down").touch()
    image = shelf.put("acme/api", "1", b"layer")
    async with opened(shelf, up, down) as cache:
        assert not await cache.holds(await cache.resolve(API))
        with pytest.raises(CacheError, match=f"no containerd answers at {down}"):
            await cache.warm(image)
        assert await cache.missing(image) == 0.5
    assert "registry.test/acme/api:1" in images(up)
    (down / "down").unlink()
    async with opened(shelf, up, down) as cache:
        await cache.warm(image)
        assert await cache.holds(image)
    assert sum("images import" in call for call in calls(up)) == 1


async def test_with_all_nodes_down_nobody_is_asked_for_bytes(shelf: Shelf, node: Path) -> None:
    """A plan says so."""
    (node / "down").touch()
    image = shelf.put("acme/api", "1", b"layer")
    async with opened(shelf, node) as cache:
        with pytest.raises(CacheError, match="is it running"):
            await cache.holds(image)
        with pytest.raises(CacheError, match="is it running"):
            await cache.warm(image)
    assert not shelf.fetched


async def test_a_full_disk_is_said_in_the_nodes_words(shelf: Shelf, node: Path) -> None:
    """Big content, so that the node stops listening in the middle of it."""
    (node / "full").touch()
    image = shelf.put("acme/api", "1", bytes(2_000_000), bytes(2_000_001))
    async with opened(shelf, node) as cache:
        with pytest.raises(CacheError, match="no space left on device"):
            await cache.warm(image)


async def test_an_import_that_lies_is_found_out(shelf: Shelf, node: Path) -> None:
    """Exit 0 is no proof."""
    (node / "lies").touch()
    image = shelf.put("acme/api", "1", b"layer")
    async with opened(shelf, node) as cache:
        with pytest.raises(CacheError, match="does not hold it whole"):
            await cache.warm(image)


async def test_a_rotten_blob_leaves_no_name(shelf: Shelf, node: Path) -> None:
    """The archive breaks off before the index that names the image."""
    image = shelf.put("acme/api", "1", b"layer")
    shelf.lies.add(image.blobs[1].digest)
    async with opened(shelf, node) as cache:
        with pytest.raises(DigestMismatch):
            await cache.warm(image)
        assert not await cache.holds(image)
    assert images(node) == {}


async def test_a_moved_tag_is_not_ready(shelf: Shelf, node: Path) -> None:
    """The digest under the name counts."""
    old = shelf.put("acme/api", "1", b"old")
    async with opened(shelf, node) as cache:
        await cache.warm(old)
        new = shelf.put("acme/api", "1", b"new")
        assert await cache.holds(old)
        assert not await cache.holds(new)


@pytest.mark.parametrize(("snapshotter", "held"), [(None, True), ("native", True), ("stargz", False)])
async def test_layers_that_were_dropped_after_unpacking_are_not_missed(
    shelf: Shelf, node: Path, snapshotter: str | None, held: bool
) -> None:
    """Where the snapshot is local; a lazy snapshotter's may be elsewhere."""
    image = shelf.put("acme/api", "1", b"layer")
    async with opened(shelf, node, snapshotter=snapshotter) as cache:
        await cache.warm(image)
        (node / "blobs" / sha256(b"layer").removeprefix("sha256:")).unlink()
    async with opened(shelf, node, snapshotter=snapshotter) as cache:
        assert await cache.holds(image) is held


async def test_a_thousand_images_are_confirmed_by_one_question(shelf: Shelf, node: Path) -> None:
    """The list of a node's images answers for all of them, for a while."""
    held = [shelf.put("acme/api", str(number), b"layer") for number in range(20)]
    async with opened(shelf, node) as cache:
        for image in held:
            assert not await cache.holds(image)
    assert sum("images check" in call for call in calls(node)) == 1


async def test_two_images_that_share_a_layer_fetch_it_once(shelf: Shelf, node: Path) -> None:
    """The second waits for the first."""
    first = shelf.put("acme/api", "1", b"base", b"api")
    second = shelf.put("acme/web", "1", b"base", b"web")
    async with opened(shelf, node) as cache:
        await asyncio.gather(cache.warm(first), cache.warm(second))
    assert shelf.fetched.count(sha256(b"base")) == 1


async def test_nodes_of_two_platforms_are_refused(tmp_path: Path, shelf: Shelf) -> None:
    """Each platform is a cache of its own."""
    nodes = [new_node(tmp_path, name) for name in ("amd", "arm")]
    (nodes[1] / "platform").write_text("linux/arm64/v8")
    shelf.put("acme/api", "1", b"layer")
    async with opened(shelf, *nodes) as cache:
        with pytest.raises(CacheError, match="linux/amd64, linux/arm64/v8"):
            await cache.resolve(API)


async def test_another_node_is_reached_through_ssh(tmp_path: Path, shelf: Shelf, node: Path) -> None:
    """The far shell gets one command; content goes in by standard input."""
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\necho "$@" >> "$0.log"\nfor last; do :; done\nexec sh -c "$last"\n')
    ssh.chmod(0o755)
    image = shelf.put("acme/api", "1", b"layer")
    async with opened(shelf, f"ssh://root@node-2{node}", ssh=f"{ssh} -i key") as cache:
        await cache.warm(image)
        assert await cache.holds(image)
    assert "-i key -o BatchMode=yes" in (tmp_path / "ssh.log").read_text()


async def test_no_login_is_ever_on_a_command_line(node: Path) -> None:
    """The registry wants one; the node is not told."""
    async with FakeRegistry(BasicAuth("ann", "basic-secret")) as registry:
        registry.push_image("acme/api", "1", [b"layer"])
        logins = Credentials({"auths": {registry.host: {"username": "ann", "password": "basic-secret"}}})
        async with Registries([registry.endpoint], logins, timing=Timing()) as registries:
            around = surroundings(Shelf())
            around = type(around)("test", registries)
            async with open_nodes(config(node), around) as cache:
                await cache.warm(await cache.resolve(Reference.parse(f"{registry.host}/acme/api:1")))
    assert images(node)
    assert "secret" not in (node / "calls").read_text()
    assert "ann" not in (node / "calls").read_text()


async def test_a_build_cache_is_no_image(node: Path) -> None:
    """It is refused before anything is fetched."""
    async with FakeRegistry() as registry:
        entry = descriptor(b"{}", BUILDKIT_CACHE)
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
        registry.push_blob(b"{}")
        registry.push_manifest("acme/api", "cache", index, OCI_INDEX)
        registry.fault("GET", "/blobs/", Fault(status=500), forever=True)
        async with Registries([registry.endpoint], Credentials()) as registries:
            around = type(surroundings(Shelf()))("test", registries)
            async with open_nodes(config(node), around) as cache:
                with pytest.raises(UnsupportedImage, match="build cache"):
                    await cache.resolve(Reference.parse(f"{registry.host}/acme/api:cache"))


async def test_what_streams_into_nodes_keeps_the_pace(shelf: Shelf, node: Path) -> None:
    """Bytes are paid for once, however many nodes take them."""
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    image = shelf.put("acme/api", "1", bytes(40_000), bytes(60_001))
    async with opened(shelf, node, pace=Pace(10_000, lambda: now, sleep)) as cache:
        await cache.warm(image)
    assert 3 <= now <= 15


async def test_check_says_what_works(shelf: Shelf, node: Path) -> None:
    """Version, platform, snapshotter and content of each node."""
    image = shelf.put("acme/api", "1", b"layer")
    async with opened(shelf, node) as cache:
        await cache.warm(image)
        findings = {finding.subject: finding for finding in await cache.check()}
    assert all(finding.ok for finding in findings.values())
    assert "containerd 1.6.20, linux/amd64" in findings["reachable"].message
    assert findings["content"].message.endswith("1 images in k8s.io")


async def test_check_explains_what_does_not(tmp_path: Path, shelf: Shelf, node: Path) -> None:
    """A snapshotter that is not there, a socket that nobody answers, a program that is not installed."""
    async with opened(shelf, node, tmp_path / "gone", snapshotter="devmapper") as cache:
        broken = [finding.message for finding in await cache.check() if not finding.ok]
    assert len(broken) == 2
    assert "devmapper does not work there; what does: overlayfs" in broken[0]
    assert "is it running, and may we use its socket?" in broken[1]
    settings = ContainerdConfig(nodes=(str(node),), ctr="no-such-ctr")
    async with open_nodes(settings, surroundings(shelf)) as cache:
        [missing] = await cache.check()
    assert "no-such-ctr cannot be run" in missing.message


@pytest.mark.parametrize(
    "keys",
    [{"nodes": ["node-2"]}, {"nodes": []}, {"namespace": "-x"}, {"snapshotter": "--all"}, {"nodez": []}],
)
def test_keys_that_cannot_be_used_are_refused(keys: dict[str, Any]) -> None:
    """Before a command line is made of them."""
    with pytest.raises(ValidationError):
        ContainerdConfig.model_validate(keys)
