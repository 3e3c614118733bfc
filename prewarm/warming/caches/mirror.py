"""A pull-through registry, warmed by reading through it.

The proof that it holds a blob is `Range: bytes=0-0` answered with 206: a pull-through cache knows ranges
only of what it has stored, and answers 200 with the whole blob (which is not read) while it has not. A web
cache or CDN before a registry tells hits in headers instead, and a hit is its proof (see `edges`).
What CNCF Distribution 2.8 does, measured:

* A HEAD on a cold blob answers 200 and starts a fill. The 200 proves nothing: it also comes with a full
  disk or a corrupt upstream, when nothing is ever stored.
* So does the question for the proof, and every other: no request tells that a blob is missing without
  fetching it. `holds` therefore looks at the mirror's list of repositories first, which names those that
  have blobs and costs the upstream nothing; then it asks about the smallest blob, a config of a few
  kilobytes, and stops where one is missing. What it found missing is remembered for a day, in a file, so
  that plan after plan does not fill the image blob by blob.
* Blobs are stored once, but a repository has those only that were fetched for it: the layer that two
  repositories share is fetched twice.
* A fill by the question costs the upstream 1.01 of the blob's bytes, a fill by HEAD twice the bytes. So
  `warm` asks, asks again a moment later, and only then sends the HEAD.
* Every question during a fill costs the upstream the beginning of another GET: intervals grow.

A fill that does not take within its time is tried once more by reading the blob through the mirror,
verified and thrown away; then either the proof comes, or the image is not called warm.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from prewarm.errors import CacheError, NotFound, TagMoved
from prewarm.references import Reference, rewrite
from prewarm.warming import deletions, listings
from prewarm.warming.caches import Driver, Eviction, Finding, Surroundings, Transfer, notes
from prewarm.warming.caches.edges import Edges
from prewarm.warming.caches.keys import RegistryKeys, Seconds, eviction, reached
from prewarm.warming.images import Descriptor, Image
from prewarm.warming.products import Product
from prewarm.warming.registry import Registry
from prewarm.warming.tasks import together

FIRST_LOOK = 0.2  # seconds before a blob is asked about again
GROWTH = 1.5  # of the interval between two questions
QUICK = 50e6  # bytes per second of a fill that is worth awaiting before the HEAD
QUICK_LOOKS = 5.0  # seconds that this takes at most
SLOW = 1e6  # bytes per second of the slowest fill that is still awaited
PATIENCE = 60.0  # seconds beside that
QUICK_PATIENCE = 10.0  # seconds, and SLOW_BUT_MOVING, where reading through may still follow
SLOW_BUT_MOVING = 4e6  # bytes per second
AFTER_READING = 10.0  # seconds: by then the mirror has had every byte
ASKED = "asked.json"
REMEMBERED = 86_400.0  # seconds that a blob found missing is not asked about again


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"{text!r} is no address; examples: 203.0.113.7, 2001:db8::7") from None


class MirrorConfig(RegistryKeys):
    """Keys of a `mirror` cache."""

    fill: Literal["auto", "head", "get"] = Field(
        "auto", description="by HEAD, by reading blobs through, or by HEAD first and reading where it fails"
    )
    fill_timeout: Seconds | None = Field(
        None,
        description="how long a HEAD's fill may take; default by size, and shorter where reading may follow",
    )
    edges: tuple[Annotated[str, AfterValidator(_address)], ...] = Field(
        (), description="addresses of the hosts that answer for the url's name, each warmed in turn"
    )


class Asked:
    """What questions found missing, and so had filled; kept in a file, for the plans that follow."""

    def __init__(self, file: Path | None) -> None:
        """`file` need not exist; without one, this object's own questions are remembered."""
        self._file = file
        self._at = _times(file) if file else {}  # seconds since the epoch, by path@digest

    def lately(self, path: str, blobs: Iterable[Descriptor], now: float) -> bool:
        """Whether one of the blobs was found missing within a day, and not warmed since."""
        return any(now - self._at.get(_key(path, blob), 0.0) < REMEMBERED for blob in blobs)

    def note(self, path: str, blob: Descriptor, now: float) -> None:
        """The blob was found missing at `now`."""
        self._at = {key: at for key, at in self._at.items() if now - at < REMEMBERED}
        self._at[_key(path, blob)] = now
        self._keep()

    def forget(self, path: str, blobs: Iterable[Descriptor]) -> None:
        """The blobs are stored now."""
        known = [key for blob in blobs if (key := _key(path, blob)) in self._at]
        for key in known:
            del self._at[key]
        if known:
            self._keep()

    def _keep(self) -> None:
        if self._file is not None:
            notes.write(self._file, self._at)  # a reminder that is lost costs the mirror a few kilobytes


def _key(path: str, blob: Descriptor) -> str:
    return f"{path}@{blob.digest}"


def _times(file: Path) -> dict[str, float]:
    """What an earlier process kept; what is no time is passed over."""
    return {key: float(at) for key, at in notes.read(file).items() if isinstance(at, int | float)}


class Mirror:
    """The cache behind one pull-through registry."""

    def __init__(self, registry: Registry, config: MirrorConfig, surroundings: Surroundings) -> None:
        self._registry = registry
        self._config = config
        self._surroundings = surroundings
        self._timing = surroundings.registries.timing
        self._absent: set[tuple[str, str]] = set()  # (path, digest) found missing, and perhaps filling since
        self._asked = Asked(surroundings.folder / ASKED if surroundings.folder.name else None)
        self._filling: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # by digest
        self._filled: set[str] = set()  # paths that this object has filled
        self._signs: dict[str, str] = {}  # by digest: how a blob was proven to be stored
        self._turn = asyncio.Lock()
        self._listing = asyncio.Lock()
        self._listed: tuple[frozenset[str] | None] | None = (
            None  # the answer to the one question for the list
        )

    async def resolve(self, reference: Reference) -> Image:
        """What `reference` stands for now, asked through the mirror so that it stores the manifests."""
        path = self._path(reference)
        image = await self._registry.resolve(path, reference.target, self._surroundings.platforms)
        return replace(image, reference=reference)

    async def holds(self, image: Image) -> bool:
        """Whether the tag is up to date (a mirror asks its upstream) and every blob proven to be stored."""
        path = self._path(image.reference)
        try:
            current = await self._registry.head_manifest(path, image.reference.target)
            if current.digest != image.digest:
                return False
            if not await self._may_hold(path):
                return False
            return await self._has(path, image)
        except NotFound:
            return False

    async def warm(self, image: Image) -> Transfer:
        """Have the mirror fetch what it lacks; `bytes` are those of the blobs that were missing."""
        path = self._path(image.reference)
        await self._read_manifests(path, image)
        self._filled.add(path)
        moved = await together(self._fill(path, blob) for blob in image.blobs)
        self._asked.forget(path, image.blobs)
        signs = " and ".join(sorted({self._signs[blob.digest] for blob in image.blobs}))
        return Transfer(sum(moved), f"{len(image.blobs)} blobs answered {signs}")

    async def current(self, reference: Reference) -> str:
        """The digest that `reference` has now: a mirror passes the HEAD of a tag on to its upstream."""
        return (await self._registry.head_manifest(self._path(reference), reference.target)).digest

    async def evict(self, images: Sequence[Reference], *, apply: bool) -> Eviction:
        """Delete what the mirror lets us; a pull-through cache as Distribution's refuses (CacheError)."""
        registry = self._surroundings.registries.at(
            self._config.endpoint(self._surroundings.name, "pull,delete")
        )
        placed = [(image, self._path(image)) for image in images]
        for path in dict.fromkeys(path for _, path in placed):
            await deletions.check_allowed(registry, path)
        return eviction(await deletions.remove(registry, placed, apply=apply))

    async def check(self) -> list[Finding]:
        """Whether the mirror answers, lets us in, and is a pull-through cache at all."""
        found = await reached(self._registry)
        if not all(finding.ok for finding in found):
            return found
        return [
            *found,
            _manners(await self._registry.product(), bool(self._surroundings.rewrite)),
            _pull_through(await self._registry.accepts_uploads("prewarm/check")),
        ]

    def _path(self, reference: Reference) -> str:
        """The repository's path on the mirror; CacheError for what it does not serve."""
        name = rewrite(reference.name, self._surroundings.rewrite)
        if name != reference.name:
            return name
        upstream, itself = self._surroundings.upstream, self._registry.endpoint.registry
        if upstream and reference.registry not in (upstream, itself):
            advice = f'rewrite = {{"{reference.registry}/" = "…"}} names where it has it'
            raise CacheError(f"{reference}: the mirror {self._surroundings.name} serves {upstream}; {advice}")
        return reference.repository

    async def _read_manifests(self, path: str, image: Image) -> None:
        """Read every manifest through the mirror; TagMoved when the tag points elsewhere by now."""
        root = await self._registry.manifest(path, image.reference.target)
        if root.descriptor.digest != image.digest:
            raise TagMoved(f"{image.reference} moved to {root.descriptor.digest} meanwhile")
        for manifest in image.manifests:
            if manifest.descriptor.digest != image.digest:
                await self._registry.manifest(path, manifest.descriptor.digest)

    async def _has(self, path: str, image: Image) -> bool:
        """Whether every blob is stored, as far as one question may ask: the first that is missing ends it."""
        now = self._timing.wall()
        if self._asked.lately(path, image.blobs, now):
            return False
        for blob in sorted(image.blobs, key=lambda blob: blob.size):
            if not await self._held(path, blob):
                self._asked.note(path, blob, now)
                return False
        return True

    async def _fill(self, path: str, blob: Descriptor) -> int:
        """Bytes that the mirror had to fetch; returns when it has proven to hold the blob.

        One fill of a blob at a time: the mirror stores none for a second repository meanwhile, and what two
        images of one repository share is counted once.
        """
        async with self._filling[blob.digest]:
            return await self._fill_alone(path, blob)

    async def _fill_alone(self, path: str, blob: Descriptor) -> int:
        was_absent = (path, blob.digest) in self._absent
        if await self._held_in_turn(path, blob):
            self._absent.discard((path, blob.digest))
            return blob.size if was_absent else 0
        held = self._config.fill != "get" and await self._fill_by_head(path, blob)
        if not held and self._config.fill != "head":
            held = await self._fill_by_reading(path, blob)
        if not held:
            raise self._never_stored(blob)
        self._absent.discard((path, blob.digest))
        return blob.size

    async def _held_in_turn(self, path: str, blob: Descriptor) -> bool:
        """Ask, which starts a fill whose bytes do not pass us: so their turn is awaited before it."""
        pace = self._surroundings.pace
        if pace is None:
            return await self._held(path, blob)
        async with self._turn:
            await pace.take(blob.size)
            held = await self._held(path, blob)
            if held:
                pace.give_back(blob.size)
            return held

    async def _fill_by_head(self, path: str, blob: Descriptor) -> bool:
        """Whether the mirror fetches the blob by itself."""
        if await self._becomes_held(path, blob, min(FIRST_LOOK + blob.size / QUICK, QUICK_LOOKS)):
            return True
        seconds = self._fill_seconds(blob)
        await self._registry.head_blob(path, blob.digest, patience=max(seconds, self._config.timeout))
        return await self._becomes_held(path, blob, seconds)

    async def _fill_by_reading(self, path: str, blob: Descriptor) -> bool:
        """Whether the mirror stores the blob while it is read through; the bytes are verified, not kept."""
        async with aclosing(self._registry.blob(path, blob)) as chunks:
            async for _ in chunks:
                pass
        seconds = min(self._fill_seconds(blob), AFTER_READING)
        return await self._held(path, blob) or await self._becomes_held(path, blob, seconds)

    async def _becomes_held(self, path: str, blob: Descriptor, seconds: float) -> bool:
        """Ask in growing intervals until the mirror proves to hold the blob, or `seconds` have passed."""
        end, pause = self._timing.clock() + seconds, FIRST_LOOK
        while (left := end - self._timing.clock()) > 0:
            await self._timing.sleep(min(pause, left))
            if await self._held(path, blob):
                return True
            pause *= GROWTH
        return False

    async def _may_hold(self, path: str) -> bool:
        """Whether the repository may have blobs at the mirror; yes where the mirror does not tell."""
        async with self._listing:
            self._listed = self._listed or (await listings.repositories(self._registry),)
        (known,) = self._listed
        return known is None or path in known or path in self._filled

    async def _held(self, path: str, blob: Descriptor) -> bool:
        told = await self._registry.blob_told(path, blob.digest)
        if told.stored:
            self._signs[blob.digest] = told.sign
        else:
            self._absent.add((path, blob.digest))
        return told.stored

    def _fill_seconds(self, blob: Descriptor) -> float:
        if self._config.fill_timeout is not None:
            return self._config.fill_timeout
        if self._config.fill == "head":
            return PATIENCE + blob.size / SLOW
        return QUICK_PATIENCE + blob.size / SLOW_BUT_MOVING

    def _never_stored(self, blob: Descriptor) -> CacheError:
        host, seconds = self._registry.endpoint.registry, self._fill_seconds(blob)
        return CacheError(
            f"the mirror {host} answers for {blob.digest} ({blob.size} bytes) but did not store it "
            f"within {seconds:.0f} s; is its disk full, or its upstream's copy corrupt?"
        )


def _manners(product: Product | None, renamed: bool) -> Finding:
    """Which product it is; a problem where its images have a prefix that nobody named."""
    if product is None:
        return Finding("product", True, "it does not tell which product it is")
    advice = f": {product.advice}" if product.advice and not renamed else ""
    return Finding("product", renamed or not product.prefixed, f"{product.name}{advice}")


def _pull_through(accepts_uploads: bool | None) -> Finding:
    if accepts_uploads:
        advice = "an ordinary registry holds what is pushed to it; was its proxy section left out?"
        return Finding("pull-through", False, f"it accepts pushes: {advice}")
    if accepts_uploads is None:
        return Finding("pull-through", True, "cannot be told: this login may not ask")
    return Finding("pull-through", True, "it refuses pushes, as a pull-through cache does")


@asynccontextmanager
async def _open(config: MirrorConfig, surroundings: Surroundings) -> AsyncIterator[Mirror | Edges]:
    endpoint = config.endpoint(surroundings.name)
    if not config.edges:
        yield Mirror(surroundings.registries.at(endpoint), config, surroundings)
        return
    async with AsyncExitStack() as opened:
        edges: dict[str, Mirror] = {}
        for address in config.edges:
            registries = surroundings.registries.by_way_of(endpoint, address)
            await opened.enter_async_context(registries)
            folder = surroundings.folder / address.replace(":", "-") if surroundings.folder.name else Path()
            own = replace(surroundings, registries=registries, folder=folder)
            edges[address] = Mirror(registries.at(endpoint), config, own)
        yield Edges(edges)


DRIVER = Driver(
    name="mirror",
    summary="a pull-through registry (Distribution and its like), filled by HEAD or by reading through it",
    privilege="to pull from the mirror; nothing else",
    config=MirrorConfig,
    open=_open,
    pull_through=True,
)
