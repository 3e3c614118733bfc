"""Another registry, into which images are copied: a region's, an office's, a project of its own.

Only what is missing travels. A blob that the registry has under another repository is mounted from there; the
others stream from the source to it, verified on the way, in requests that resume. Manifests keep their
exact bytes, so that every digest is the source's. The order makes half a copy invisible: blobs, manifests
below an index, signatures and what else is attached, and the tag last.

The registry has proven to hold an image when its tag names the digest and it answers for every manifest and
blob. Nothing is deleted but by `prewarm prune --apply`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from prewarm.errors import CacheError, NotFound, PrewarmError, RegistryError, Unavailable
from prewarm.quantities import parse_bytes
from prewarm.references import Reference, rewrite, served_path
from prewarm.warming import deletions
from prewarm.warming.caches import Driver, Eviction, Finding, Surroundings, Transfer, notes
from prewarm.warming.caches.keys import RegistryKeys, eviction, reached
from prewarm.warming.images import WHOLE, Descriptor, Image, Manifest
from prewarm.warming.pacing import paced
from prewarm.warming.referrers import Companion, Referrers, index_of, tag_of
from prewarm.warming.registry import Registry
from prewarm.warming.tasks import together
from prewarm.warming.uploads import CHUNK, MAX_CHUNK, Uploads

BLOBS_AT_ONCE = 4  # that are sent; each holds one chunk in memory
UPLOADS = 2  # of one blob, where the registry forgets the first
PLACES = "places.json"
MAX_PLACES = 50_000  # blobs whose repository is remembered


class ReplicaConfig(RegistryKeys):
    """Keys of a `replica` cache."""

    index: Literal["whole", "platforms"] = Field(
        "whole",
        description="every platform of an image, or its `platforms` alone, where the registry lets us",
    )
    referrers: bool = Field(True, description="whether signatures, attestations and SBOMs come along")
    chunk: Annotated[int, BeforeValidator(parse_bytes), Field(ge=1 << 16, le=MAX_CHUNK)] = Field(
        CHUNK, description="bytes of one upload request"
    )


class Places:
    """Which repository has a blob: where to mount it from. Kept in a file, for the runs that follow.

    No proof of anything: a mount from a place that has lost the blob is refused, and the blob sent.
    """

    def __init__(self, file: Path | None) -> None:
        """`file` need not exist; without one, nothing is kept."""
        self._file = file
        self._kept = {digest: str(path) for digest, path in notes.read(file).items()} if file else {}
        self._found: dict[str, str] = {}

    def of(self, digest: str) -> str | None:
        """A repository that has, or had, the blob."""
        return self._found.get(digest) or self._kept.get(digest)

    def add(self, digest: str, path: str) -> None:
        """`path` has the blob."""
        self._found.setdefault(digest, path)

    def keep(self) -> None:
        """Write what was found, and what was known before as far as there is room."""
        if self._file and self._found:
            older = {digest: path for digest, path in self._kept.items() if digest not in self._found}
            notes.write(self._file, dict(islice((self._found | older).items(), MAX_PLACES)))


class Replica:
    """The cache in one registry that takes pushes."""

    def __init__(self, registry: Registry, config: ReplicaConfig, surroundings: Surroundings) -> None:
        self._registry = registry
        self._config = config
        self._surroundings = surroundings
        self._uploads = Uploads(registry, config.chunk)
        self._listed = Referrers(registry, by_list=False)  # what we write is seen at once
        self._sources: dict[str, Referrers] = {}
        self._companions: dict[tuple[str, str], tuple[Companion, ...]] = {}  # by source's name and digest
        self._proven: set[tuple[str, str]] = set()  # (path, digest) of what the registry has answered for
        self._places = Places(surroundings.folder / PLACES if surroundings.folder.name else None)
        self._copying: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # by digest
        self._sending = asyncio.Semaphore(BLOBS_AT_ONCE)
        self._claimed: dict[str, str] = {}  # the source of each path

    async def resolve(self, reference: Reference) -> Image:
        """What `reference` stands for at its source now, and what is attached to it."""
        self._path(reference)
        source, named = self._source(reference)
        wanted = WHOLE if self._config.index == "whole" else self._surroundings.platforms
        image = replace(await source.resolve(named.repository, named.target, wanted), reference=reference)
        await self._attached(image)
        return image

    async def holds(self, image: Image) -> bool:
        """Whether the tag names this digest and the registry answers for everything that belongs to it."""
        path = self._path(image.reference)
        if not await self._names(path, image.reference.target, image.digest):
            return False
        below = [manifest.descriptor.digest for manifest in image.manifests]
        if not all(await together([self._names(path, digest, digest) for digest in below])):
            return False
        if not all(await together([self._has(path, blob) for blob in image.blobs])):
            return False
        companions = await self._attached(image)
        return all(await together([self._has_attached(path, each) for each in companions]))

    async def warm(self, image: Image) -> Transfer:
        """Copy what is missing; the tag is put when everything that it leads to is there."""
        path = self._path(image.reference)
        companions = await self._attached(image)
        attached = [blob for each in companions for blob in each.manifest.blobs]
        blobs = {blob.digest: blob for blob in (*image.blobs, *attached)}
        moved = await together([self._copy(image.reference, path, blob) for blob in blobs.values()])
        for manifest in reversed(image.manifests):  # what an index names before the index
            if manifest.descriptor.digest != image.digest:
                await self._put(path, manifest.descriptor.digest, manifest)
        await self._attach(path, companions)
        await self._put(path, image.reference.target, image.root)
        if not await self._names(path, image.reference.target, image.digest):
            host = self._registry.endpoint.registry
            raise CacheError(
                f"{host}/{path} took the manifest, but {image.reference.target} does not name it"
            )
        return Transfer(sum(moved), f"{path} names {image.digest[:19]}…, and has its {len(blobs)} blobs")

    async def current(self, reference: Reference) -> str:
        """The digest that `reference` has at its source now."""
        source, named = self._source(reference)
        return (await source.head_manifest(named.repository, named.target)).digest

    async def evict(self, images: Sequence[Reference], *, apply: bool) -> Eviction:
        """Delete images that no other tag needs; the registry's garbage collection frees their blobs."""
        registry = self._surroundings.registries.at(
            self._config.endpoint(self._surroundings.name, "pull,delete")
        )
        placed = [(image, self._path(image)) for image in images]
        self._proven.clear()
        return eviction(await deletions.remove(registry, placed, apply=apply))

    async def check(self) -> list[Finding]:
        """Whether the registry answers, lets us in and takes pushes where images will go."""
        found = await reached(self._registry)
        if not all(finding.ok for finding in found):
            return found
        places = [f"{prefix.rstrip('/')}/prewarm-check" for prefix in self._surroundings.rewrite.values()]
        return found + [await self._takes_pushes(path.lstrip("/")) for path in places or ["prewarm/check"]]

    def close(self) -> None:
        """Remember where blobs are."""
        self._places.keep()

    # --- names ---

    def _path(self, reference: Reference) -> str:
        """The repository's path on the replica; CacheError when another source has taken it."""
        source = self._named(reference).name
        if reference.registry == self._registry.endpoint.registry:
            path = reference.repository
        else:
            path = served_path(reference, self._surroundings.rewrite)
        owner = self._claimed.setdefault(path, source)
        if owner != source:
            advice = f'rewrite = {{"{reference.registry}/" = "…"}} keeps them apart'
            raise CacheError(f"{path} of the replica would be both {owner} and {source}; {advice}")
        return path

    def _named(self, reference: Reference) -> Reference:
        """The reference at its source: a log of the replica itself names the replica."""
        if reference.registry != self._registry.endpoint.registry:
            return reference
        back = {to: name for name, to in self._surroundings.rewrite.items() if to}
        name = rewrite(reference.repository, back)
        if name != reference.repository:
            registry, _, repository = name.partition("/")
            return Reference.of(registry, repository, reference.tag, reference.digest)
        if self._surroundings.upstream is None:
            advice = "`upstream` or `rewrite` of the cache would tell"
            raise CacheError(f"{reference}: where the replica has it from is not known; {advice}")
        return replace(reference, registry=self._surroundings.upstream)

    def _source(self, reference: Reference) -> tuple[Registry, Reference]:
        """The registry to copy from, and the name there; ForbiddenHost when it is not listed."""
        named = self._named(reference)
        return self._surroundings.registries.of(named.registry), named

    # --- what there is ---

    async def _names(self, path: str, reference: str, digest: str) -> bool:
        """Whether the registry has the manifest under `reference`."""
        if reference == digest and (path, digest) in self._proven:
            return True
        try:
            found = (await self._registry.head_manifest(path, reference)).digest == digest
        except NotFound:
            return False
        if found:
            self._proven.add((path, digest))
        return found

    async def _has(self, path: str, blob: Descriptor) -> bool:
        """Whether the registry has the blob in this repository."""
        if (path, blob.digest) not in self._proven:
            try:
                size = await self._registry.head_blob(path, blob.digest)
            except NotFound:
                return False
            if size is not None and size != blob.size:
                return False
            self._note(path, blob)
        return True

    async def _has_attached(self, path: str, companion: Companion) -> bool:
        digest = companion.manifest.descriptor.digest
        if companion.tag is not None:
            return await self._names(path, companion.tag, digest)
        listed = await self._listed.listed(path, companion.subject)
        return digest in {each.digest for each in listed}

    async def _attached(self, image: Image) -> tuple[Companion, ...]:
        """What is attached to the image at its source; asked once."""
        if not self._config.referrers:
            return ()
        source, named = self._source(image.reference)
        key = named.name, image.digest
        if key not in self._companions:
            finder = self._sources.setdefault(named.registry, Referrers(source))
            self._companions[key] = await finder.of(named.repository, image)
        return self._companions[key]

    def _note(self, path: str, blob: Descriptor) -> None:
        self._proven.add((path, blob.digest))
        self._places.add(blob.digest, path)

    # --- copying ---

    async def _copy(self, reference: Reference, path: str, blob: Descriptor) -> int:
        """Bytes that were sent: none where the registry has the blob here, or under another name.

        One copy of a blob at a time, so that the second repository that needs it mounts the first one's.
        """
        async with self._copying[blob.digest], self._sending:
            if await self._has(path, blob):
                return 0
            sent = 0 if await self._mount(reference, path, blob) else await self._send(reference, path, blob)
            self._note(path, blob)
            return sent

    async def _mount(self, reference: Reference, path: str, blob: Descriptor) -> bool:
        source, named = self._source(reference)
        same = source.endpoint.url.rstrip("/") == self._config.url.rstrip("/")
        candidates = dict.fromkeys((self._places.of(blob.digest), named.repository if same else None))
        for candidate in candidates:
            if candidate and candidate != path and await self._uploads.mounted(path, blob, candidate):
                return True
        return False

    async def _send(self, reference: Reference, path: str, blob: Descriptor) -> int:
        """Stream the blob across; once more from the start where the registry forgot the upload."""
        source, named = self._source(reference)
        for attempt in range(1, UPLOADS + 1):
            try:
                blobs = source.blob(named.repository, blob)
                async with aclosing(paced(blobs, self._surroundings.pace)) as chunks:
                    await self._uploads.blob(path, blob, chunks)
                break
            except (Unavailable, NotFound):
                if await self._has(path, blob):  # it was only the answer that got lost
                    break
                if attempt == UPLOADS:
                    raise
        return blob.size

    async def _put(self, path: str, reference: str, manifest: Manifest) -> str | None:
        """Put a manifest that is not there yet; the subject that the registry lists it under."""
        if await self._names(path, reference, manifest.descriptor.digest):
            return None
        try:
            return await self._uploads.manifest(path, reference, manifest)
        except RegistryError as refused:
            raise self._explained(refused, manifest) from refused

    def _explained(self, refused: RegistryError, manifest: Manifest) -> PrewarmError:
        """A registry that wants every platform of an index says it in a code."""
        partly = self._config.index == "platforms" and manifest.manifests
        if partly and refused.code in ("MANIFEST_BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "MANIFEST_INVALID"):
            advice = 'index = "whole" copies all of them'
            return CacheError(
                f"the replica takes no index without all of its platforms; {advice} ({refused})"
            )
        return refused

    async def _attach(self, path: str, companions: Iterable[Companion]) -> None:
        """Put what is attached, and the tag that lists it where the registry keeps no lists."""
        unlisted: defaultdict[str, list[Manifest]] = defaultdict(list)
        for each in companions:
            if await self._has_attached(path, each):
                continue
            digest = each.manifest.descriptor.digest
            subject = await self._uploads.manifest(path, each.tag or digest, each.manifest)
            if each.tag is None and subject is None:
                unlisted[each.subject].append(each.manifest)
        for subject, manifests in unlisted.items():
            await self._list(path, subject, manifests)

    async def _list(self, path: str, subject: str, manifests: list[Manifest]) -> None:
        try:
            present = await self._registry.manifest(path, tag_of(subject))
        except NotFound:
            present = None
        await self._uploads.manifest(path, tag_of(subject), index_of(present, manifests))

    async def _takes_pushes(self, path: str) -> Finding:
        takes = await self._registry.accepts_uploads(path)
        if takes is None:
            advice = f"`docker login {self._registry.endpoint.registry}` with a login that may push there"
            return Finding("pushes", False, f"none are taken to {path}: {advice}, or create the repository")
        if not takes:
            return Finding("pushes", False, "refused, as a pull-through cache does; its driver is `mirror`")
        return Finding("pushes", True, f"taken, such as to {path}")


@asynccontextmanager
async def open_replica(config: ReplicaConfig, surroundings: Surroundings) -> AsyncIterator[Replica]:
    """A replica cache at `config.url`."""
    registry = surroundings.registries.at(config.endpoint(surroundings.name, "pull,push"))
    replica = Replica(registry, config, surroundings)
    try:
        yield replica
    finally:
        await asyncio.to_thread(replica.close)


DRIVER = Driver(
    name="replica",
    summary="another registry, into which images are copied with their signatures: regional replication",
    privilege="to push to the replica; to pull from the sources",
    config=ReplicaConfig,
    open=open_replica,
)
