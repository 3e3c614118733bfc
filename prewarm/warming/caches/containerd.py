"""The containerd of one node or of several, as Kubernetes uses it.

Blobs are fetched and verified here, once for all nodes that lack them, and stream into each node as an
archive (image-spec, "Image Layout", in tar) that `ctr images import` reads and unpacks. What a node has is
left out of its archive. The name comes last in it: an archive that breaks off leaves no image, and containerd
drops the blobs that had arrived. Images are what a killed run resumes by.

A node has proven to hold an image when containerd's own check finds it under its name, with the digest,
complete and unpacked, ready to start.
"""

from __future__ import annotations

import asyncio
import json
import tarfile
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from prewarm.errors import CacheError, UnsupportedImage
from prewarm.references import Reference
from prewarm.warming.caches import Driver, Finding, Surroundings, Transfer
from prewarm.warming.caches.ctr import SOCKET, Import, Node, Plugins, Row, Tools, parse_address
from prewarm.warming.caches.keys import Seconds
from prewarm.warming.images import BUILDKIT_CACHE, Descriptor, Image, Platform, parse_platform
from prewarm.warming.pacing import paced
from prewarm.warming.tasks import together

NAME = "io.containerd.image.name"  # what `ctr images import` names an image by
LAYOUT = b'{"imageLayoutVersion": "1.0.0"}'
FRESH = 15.0  # seconds that a list of a node's images answers for it
BLOCK = tarfile.BLOCKSIZE

# Snapshotters that unpack whole layers: what they have unpacked can start, even where containerd has dropped
# the layers since (CRI's `discard_unpacked_layers`). With others, such as stargz, the files may be elsewhere.
LOCAL = frozenset({"overlayfs", "native", "btrfs", "zfs", "devmapper", "blockfile", "erofs"})


def _address(text: str) -> str:
    parse_address(text)
    return text


class ContainerdConfig(BaseModel):
    """Keys of a `containerd` cache."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    nodes: tuple[Annotated[str, AfterValidator(_address)], ...] = Field(
        (SOCKET,), min_length=1, description="sockets of this machine, or ssh://user@node; all hold the same"
    )
    namespace: str = Field(
        "k8s.io", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="k8s.io is Kubernetes'"
    )
    snapshotter: str | None = Field(
        None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="the kubelet's; default containerd's own"
    )
    platform: str | None = Field(None, description="os/architecture[/variant]; default: the nodes' own")
    ctr: str = Field("ctr", min_length=1, description="the program, such as `k3s ctr`")
    ssh: str = Field("ssh", min_length=1, description="the program and its options, such as `ssh -i KEY`")
    timeout: Seconds = Field(300.0, description="how long a node may take to answer, or to unpack an image")


@dataclass(frozen=True, slots=True)
class _Taker:
    """A node that an archive goes to, and what that leaves out."""

    running: Import
    has: frozenset[str]

    @property
    def broken(self) -> bool:
        return self.running.broken


class Nodes:
    """The cache over the containerds of one configuration."""

    def __init__(self, config: ContainerdConfig, surroundings: Surroundings) -> None:
        self._config = config
        self._surroundings = surroundings
        tools = Tools(config.ctr, config.ssh, config.namespace, config.snapshotter, config.timeout)
        self._nodes = [Node(address, tools) for address in config.nodes]
        self._clock = surroundings.registries.timing.clock
        self._seen: dict[str, tuple[float, dict[str, Row]]] = {}
        self._looking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._fetching: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # by digest
        self._platform: Platform | None = parse_platform(config.platform) if config.platform else None
        self._telling = asyncio.Lock()

    async def resolve(self, reference: Reference) -> Image:
        """What `reference` stands for at its registry now, for the nodes' platform."""
        registry, path = self._surroundings.origin(reference)
        image = await registry.resolve(path, reference.target, (await self._their_platform(),))
        if any(layer.media_type == BUILDKIT_CACHE for layer in image.root.layers):
            raise UnsupportedImage(f"{reference} is a build cache, which no node can start")
        return replace(image, reference=reference)

    async def holds(self, image: Image) -> bool:
        """Whether every node has the image under its name, ready to start; a node that is down has not."""
        return not await self.missing(image)

    async def missing(self, image: Image) -> float:
        """The share of nodes that have not; raises when none of them answers."""
        answers = await asyncio.gather(*(self._listed(node) for node in self._nodes), return_exceptions=True)
        rows = [answer for answer in answers if not isinstance(answer, BaseException)]
        if not rows:
            raise next(answer for answer in answers if isinstance(answer, BaseException))
        return 1 - sum(self._ready(each, image) for each in rows) / len(answers)

    async def warm(self, image: Image) -> Transfer:
        """Send each node what it lacks; CacheError names the nodes that did not take it."""
        async with AsyncExitStack() as held:
            for digest in sorted(blob.digest for blob in image.blobs):  # what two images share travels once
                await held.enter_async_context(self._fetching[digest])
            moved, refused = await self._send(image)
        refused += await self._unproven(image, {error.address for error in refused})
        if refused:
            raise CacheError("; ".join(error.words for error in refused))
        count = f"{len(self._nodes)} nodes have" if len(self._nodes) > 1 else "containerd has"
        return Transfer(moved, f"{count} it under its name, complete and unpacked")

    async def current(self, reference: Reference) -> str:
        """The digest that `reference` has at its registry now."""
        return await self._surroundings.current(reference)

    async def check(self) -> list[Finding]:
        """Of each node: does containerd answer, can its snapshotter be used, what does it hold?"""
        answers = await asyncio.gather(*(self._check(node) for node in self._nodes))
        return [finding for findings in answers for finding in findings]

    # --- asking ---

    async def _their_platform(self) -> Platform:
        """The platform that all nodes have; CacheError when they differ."""
        async with self._telling:
            if self._platform is None:
                answers = await asyncio.gather(
                    *(node.plugins() for node in self._nodes), return_exceptions=True
                )
                told = [answer.platform for answer in answers if isinstance(answer, Plugins)]
                if not told:
                    raise next(answer for answer in answers if isinstance(answer, BaseException))
                if len(set(told)) > 1:
                    names = ", ".join(sorted({str(platform) for platform in told}))
                    raise CacheError(f"the nodes differ ({names}); a cache is for nodes of one platform")
                self._platform = told[0]
            return self._platform

    async def _listed(self, node: Node) -> dict[str, Row]:
        """All images of the node, asked once for many questions."""
        async with self._looking[node.address]:
            at, rows = self._seen.get(node.address, (-FRESH, {}))
            if self._clock() - at >= FRESH:
                rows = await node.images()
                self._seen[node.address] = self._clock(), rows
            return rows

    def _ready(self, rows: dict[str, Row], image: Image) -> bool:
        row = rows.get(_names(image)[0])
        if row is None or row.digest != image.digest or not row.unpacked:
            return False
        return row.complete or (self._config.snapshotter or "overlayfs") in LOCAL

    async def _unproven(self, image: Image, failed: set[str]) -> list[_Refused]:
        """The nodes, of those that did not fail before, that have not proven to hold the image."""
        names = _names(image)

        async def ask(node: Node) -> _Refused | None:
            self._seen.pop(node.address, None)
            try:
                if self._ready(await node.images(*names), image):
                    return None
            except CacheError as refused:
                return _Refused(node.address, str(refused))
            words = f"containerd at {node.address} took {names[0]}, but does not hold it whole"
            return _Refused(node.address, words)

        left = [node for node in self._nodes if node.address not in failed]
        return [refused for refused in await together([ask(node) for node in left]) if refused]

    async def _check(self, node: Node) -> list[Finding]:
        try:
            version, plugins, images = await node.version(), await node.plugins(), await node.images()
        except CacheError as refused:
            return [Finding("reachable", False, str(refused))]
        wanted = self._config.snapshotter or "overlayfs"
        works = wanted in plugins.snapshotters
        known = ", ".join(sorted(plugins.snapshotters)) or "none"
        words = f"{wanted} works" if works else f"{wanted} does not work there; what does: {known}"
        tags = sum(1 for name in images if "@" not in name and not name.startswith("sha256:"))
        return [
            Finding("reachable", True, f"{node.address}: containerd {version}, {plugins.platform}"),
            Finding("snapshotter", works, f"{node.address}: {words}"),
            Finding("content", True, f"{node.address}: {tags} images in {self._config.namespace}"),
        ]

    # --- sending ---

    async def _send(self, image: Image) -> tuple[int, list[_Refused]]:
        """Bytes that were fetched, and the nodes that refused."""
        refused: list[_Refused] = []
        async with AsyncExitStack() as running:
            takers = []
            for node in self._nodes:
                try:
                    if self._ready(await node.images(*_names(image)), image):
                        continue
                    has = await node.content()
                    started = await running.enter_async_context(node.importing(self._asked_platform()))
                    takers.append(_Taker(started, has))
                except CacheError as error:
                    refused.append(_Refused(node.address, str(error)))
            moved = await self._archive(image, takers)
            for taker in takers:
                failed = await taker.running.finish()
                if failed is not None:
                    refused.append(_Refused(taker.running.node.address, str(failed)))
        return moved, refused

    def _asked_platform(self) -> Platform | None:
        return self._platform if self._config.platform else None

    async def _archive(self, image: Image, takers: Sequence[_Taker]) -> int:
        """Write the archive into every node; bytes that were fetched for it."""
        moved = 0
        await _write(takers, _entry("oci-layout", LAYOUT))
        for blob in image.blobs:
            lacking = [taker for taker in takers if blob.digest not in taker.has and not taker.broken]
            if lacking:
                await self._stream(image.reference, blob, lacking)
                moved += blob.size
        manifests = {each.descriptor.digest: each for each in (*image.manifests, image.root)}
        for digest, manifest in manifests.items():
            await _write(takers, _entry(_path(digest), manifest.body))
        await _write(takers, _entry("index.json", _index(image)) + bytes(2 * BLOCK))
        return moved

    async def _stream(self, reference: Reference, blob: Descriptor, takers: Sequence[_Taker]) -> None:
        registry, path = self._surroundings.origin(reference)
        await _write(takers, _header(_path(blob.digest), blob.size))
        async with aclosing(paced(registry.blob(path, blob), self._surroundings.pace)) as chunks:
            async for chunk in chunks:
                await _write(takers, chunk)
                if all(taker.broken for taker in takers):
                    return  # nobody listens any more; each says why when it is asked
        await _write(takers, bytes(-blob.size % BLOCK))


@dataclass(frozen=True, slots=True)
class _Refused:
    """A node, and why it does not hold an image."""

    address: str
    words: str


async def _write(takers: Iterable[_Taker], data: bytes) -> None:
    """Into all nodes, as fast as the slowest takes it."""
    if data:
        await together([taker.running.write(data) for taker in takers])


def _names(image: Image) -> list[str]:
    """What the image is called on a node: by its tag where there is one, and by its digest, as CRI does."""
    reference = image.reference
    pinned = f"{reference.name}@{image.digest}"
    return (
        [pinned] if reference.digest or not reference.tag else [f"{reference.name}:{reference.tag}", pinned]
    )


def _index(image: Image) -> bytes:
    """The archive's index: the image under each of its names."""
    root = image.root.descriptor
    entry = {"mediaType": root.media_type, "digest": root.digest, "size": root.size}
    entries = [entry | {"annotations": {NAME: name}} for name in _names(image)]
    return json.dumps({"schemaVersion": 2, "manifests": entries}).encode()


def _path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _header(name: str, size: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry.tobuf(tarfile.GNU_FORMAT)


def _entry(name: str, content: bytes) -> bytes:
    return _header(name, len(content)) + content + bytes(-len(content) % BLOCK)


@asynccontextmanager
async def open_nodes(config: ContainerdConfig, surroundings: Surroundings) -> AsyncIterator[Nodes]:
    """A containerd cache; nodes are first contacted when something is asked of them."""
    yield Nodes(config, surroundings)


DRIVER = Driver(
    name="containerd",
    summary="the containerd of one node or several: Kubernetes' images, unpacked and ready to start",
    privilege="containerd's socket, which is as good as root on its node; over ssh, a login that may use it",
    config=ContainerdConfig,
    open=open_nodes,
)
