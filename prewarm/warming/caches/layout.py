"""An OCI image layout folder (image-spec v1.1, "Image Layout"), which skopeo, umoci and ctr read.

    PATH/oci-layout                  {"imageLayoutVersion": "1.0.0"}
    PATH/index.json                  one entry per image, named by its canonical reference
    PATH/blobs/sha256/HEX            manifests, configs and layers
    PATH/.prewarm/                   a lock, and blobs on their way in

`skopeo inspect oci:PATH:docker.io/library/nginx:1.25` reads an image back. A tag that points to an index
keeps that index, so that its digest is the registry's, with the manifests of the chosen platforms only:
copy one platform out of it (skopeo's default), not `--all`.

Blobs are verified while they stream into `.prewarm`, and renamed into place when they are whole;
`index.json` is replaced last. So a reader never sees half an image, and a kill leaves only files in
`.prewarm`, which the next run removes.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from prewarm.errors import CacheBusy, CacheError, UnsupportedImage
from prewarm.references import Reference
from prewarm.warming.caches import Driver, Eviction, Finding, Surroundings, Transfer
from prewarm.warming.images import OCI_INDEX, Descriptor, Image, Manifest, parse_manifest
from prewarm.warming.pacing import paced
from prewarm.warming.planning import in_units
from prewarm.warming.tasks import together

REF_NAME = "org.opencontainers.image.ref.name"  # what skopeo finds an image by
CONTAINERD_NAME = "io.containerd.image.name"  # what `ctr images import` names it
LAYOUT = '{"imageLayoutVersion": "1.0.0"}'
MAX_INDEX = 64 << 20  # bytes of index.json
BLOBS_AT_ONCE = 8  # bounds open files; the registry client bounds requests


class LayoutConfig(BaseModel):
    """Keys of a `layout` cache."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path = Field(description="the folder; made by the first run")


class Layout:
    """The cache over one folder; nothing is written before the first `warm`."""

    def __init__(self, root: Path, surroundings: Surroundings) -> None:
        self.root = root
        self._surroundings = surroundings
        self._incoming: _Incoming | None = None
        self._opening = asyncio.Lock()
        self._fetching: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._places = asyncio.Semaphore(BLOBS_AT_ONCE)
        self._seen: tuple[tuple[int, int], dict[str, str]] | None = None

    async def resolve(self, reference: Reference) -> Image:
        """What `reference` stands for at its registry, or at this cache's upstream, now."""
        registry, path = self._surroundings.origin(reference)
        image = await registry.resolve(path, reference.target, self._surroundings.platforms)
        return replace(image, reference=reference)

    async def holds(self, image: Image) -> bool:
        """Whether the name points to this digest and every manifest and blob is there, whole."""
        if self._names().get(str(image.reference)) != image.digest:
            return False
        return all(self._stored(content) for content in _contents(image))

    async def warm(self, image: Image) -> Transfer:
        """Fetch the missing blobs, then write the manifests, then the name."""
        incoming = await self._ready()
        moved = await together([self._fetch(incoming, image, blob) for blob in image.blobs])
        with _in_words(self.root):
            await _uninterrupted(self._publish, image, incoming.folder)
        return Transfer(sum(moved), "every blob is stored under the digest it was verified to have")

    async def current(self, reference: Reference) -> str:
        """The digest that `reference` has at its registry now."""
        return await self._surroundings.current(reference)

    async def evict(self, images: Sequence[Reference], *, apply: bool) -> Eviction:
        """Drop the names from the index, then every blob that no name leads to any more."""
        if not self._names():
            return Eviction((), 0)
        with _in_words(self.root):
            return await asyncio.to_thread(self._evict, {str(image) for image in images}, apply)

    async def check(self) -> list[Finding]:
        """Whether the folder can be written, what it holds and how much room is left."""
        place = next(folder for folder in (self.root, *self.root.absolute().parents) if folder.exists())
        writable = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
        absent = "" if self.root.exists() else " (not there yet; the first run makes it)"
        words = "can be written" if writable else f"cannot be written: {place} denies it"
        free = shutil.disk_usage(place).free
        return [
            Finding("reachable", writable, f"{self.root} {words}{absent}"),
            Finding("content", True, f"{len(self._names())} images"),
            Finding("space", free > 0, f"{in_units(free)} free"),
        ]

    def close(self) -> None:
        """Remove what was not finished."""
        if self._incoming is not None:
            self._incoming.close()

    async def _ready(self) -> _Incoming:
        async with self._opening:
            if self._incoming is None:
                with _in_words(self.root):
                    self._incoming = await asyncio.to_thread(_Incoming, self.root)
            return self._incoming

    async def _fetch(self, incoming: _Incoming, image: Image, blob: Descriptor) -> int:
        """Bytes that were transferred; a blob that two images share is fetched once."""
        async with self._places, self._fetching[blob.digest]:
            if self._stored(blob):
                return 0
            part = incoming.folder / blob.digest.replace(":", "-")
            try:
                await self._stream(image.reference, blob, part)
                with _in_words(self.root):
                    _move(part, self._path(blob.digest))
            finally:
                part.unlink(missing_ok=True)
            return blob.size

    async def _stream(self, reference: Reference, blob: Descriptor, part: Path) -> None:
        """Write the blob to `part`; on return its digest is verified and it is on the disk."""
        registry, path = self._surroundings.origin(reference)
        with _in_words(self.root):
            file = part.open("wb")
        with file:
            async with aclosing(paced(registry.blob(path, blob), self._surroundings.pace)) as chunks:
                async for chunk in chunks:
                    with _in_words(self.root):
                        file.write(chunk)
            with _in_words(self.root):
                file.flush()
                await _uninterrupted(os.fsync, file.fileno())

    def _path(self, digest: str) -> Path:
        algorithm, _, encoded = digest.partition(":")
        return self.root / "blobs" / algorithm / encoded

    def _stored(self, content: Descriptor) -> bool:
        """Content is renamed into place only when it is verified, so that existence and size are proof."""
        try:
            return self._path(content.digest).stat().st_size == content.size
        except OSError:
            return False

    def _names(self) -> dict[str, str]:
        """Digest by name; `index.json` is read again only when it was replaced."""
        try:
            status = (self.root / "index.json").stat()
        except OSError:
            return {}
        version = (status.st_ino, status.st_mtime_ns)
        if self._seen is None or self._seen[0] != version:
            entries = _read_index(self.root)["manifests"]
            self._seen = version, {name: entry["digest"] for entry in entries if (name := _name(entry))}
        return self._seen[1]

    def _publish(self, image: Image, incoming: Path) -> None:
        """Manifests first, then the name, so that whoever finds the name finds everything."""
        for manifest in _manifests(image):
            target = self._path(manifest.descriptor.digest)
            if not self._stored(manifest.descriptor):
                _write(target, manifest.body, incoming)
        for folder in {self._path(content.digest).parent for content in _contents(image)}:
            _sync_folder(folder)
        with _locked(self.root):
            if not (self.root / "oci-layout").exists():
                _write(self.root / "oci-layout", LAYOUT.encode(), incoming)
            _replace_index(self.root, _with_entry(_read_index(self.root), image), incoming)

    def _evict(self, names: set[str], apply: bool) -> Eviction:
        """Only what these images brought is looked at: blobs that nobody names may be on their way in."""
        with _locked(self.root):
            index = _read_index(self.root)
            going = [entry for entry in index["manifests"] if _name(entry) in names]
            staying = [entry for entry in index["manifests"] if _name(entry) not in names]
            kept = self._reachable(staying)
            freed = {path: size for path, size in self._reachable(going).items() if path not in kept}
            if apply and going:
                self._refuse_while_warming()
                _replace_index(self.root, index | {"manifests": staying}, _state(self.root))
                for path in freed:
                    path.unlink(missing_ok=True)
        return Eviction(tuple(sorted(_name(entry) for entry in going)), sum(freed.values()))

    def _reachable(self, entries: Iterable[dict[str, Any]]) -> dict[Path, int]:
        """The files that these entries of the index lead to, with their sizes; only those that are there."""
        found: dict[Path, int] = {}
        left = [(str(entry["digest"]), True) for entry in entries]
        while left:
            digest, is_manifest = left.pop()
            path = self._path(digest)
            if path in found or not path.is_file():  # an index keeps the platforms that were not chosen
                continue
            found[path] = path.stat().st_size
            if is_manifest:
                manifest = _parsed(path)
                left += [(each.digest, True) for each in manifest.manifests]
                left += [(each.digest, False) for each in manifest.blobs]
        return found

    def _refuse_while_warming(self) -> None:
        """A process that warms may count on blobs that no name leads to yet."""
        own = self._incoming and self._incoming.folder
        for folder in _state(self.root).glob("incoming-*"):
            if folder != own and not _is_dead(folder):
                raise CacheBusy(f"{self.root} is being warmed by another process; try again when it is done")


def _parsed(path: Path) -> Manifest:
    """A manifest of the folder; CacheError when what it names cannot be told."""
    try:
        return parse_manifest(path.read_bytes())
    except UnsupportedImage as unknown:
        raise CacheError(f"{path} cannot be read ({unknown}), so nothing is removed") from unknown


class _Incoming:
    """A folder for files on their way in, held by a lock that dies with its process.

    Folders that no living process holds are remains of a killed run: they are removed here.
    """

    def __init__(self, root: Path) -> None:
        (root / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        with _locked(root):
            for folder in _state(root).glob("incoming-*"):
                _remove_if_dead(folder)
            self.folder = Path(tempfile.mkdtemp(prefix="incoming-", dir=_state(root)))
            self._lock = os.open(self.folder, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


def _remove_if_dead(folder: Path) -> None:
    if _is_dead(folder):
        shutil.rmtree(folder)


def _is_dead(folder: Path) -> bool:
    """Whether no living process holds it. Nobody takes one up again, so that it stays so."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)


def _state(root: Path) -> Path:
    return root / ".prewarm"


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """One writer of `index.json` at a time, over all processes; held for moments."""
    _state(root).mkdir(parents=True, exist_ok=True)
    descriptor = os.open(_state(root) / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read_index(root: Path) -> dict[str, Any]:
    """The index as it is, or an empty one; CacheError when it is no image index."""
    path = root / "index.json"
    try:
        with path.open("rb") as file:
            index = json.loads(file.read(MAX_INDEX))
        entries = index["manifests"]
        if all(isinstance(entry["digest"], str) and isinstance(_name(entry), str) for entry in entries):
            return dict(index)
    except FileNotFoundError:
        return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        pass
    raise CacheError(f"{path} is no image index; move the folder away, or name an empty one as `path`")


def _with_entry(index: dict[str, Any], image: Image) -> dict[str, Any]:
    """The index with the image under its name, in place of what had that name."""
    name, root = str(image.reference), image.root.descriptor
    entry = {
        "mediaType": root.media_type,
        "digest": root.digest,
        "size": root.size,
        "annotations": {REF_NAME: name, CONTAINERD_NAME: name},
    }
    others = [other for other in index["manifests"] if _name(other) != name]
    return index | {"manifests": [*others, entry]}


def _name(entry: dict[str, Any]) -> str:
    """The name of an entry of the index; "" when it has none."""
    name = (entry.get("annotations") or {}).get(REF_NAME, "")
    return str(name)


def _manifests(image: Image) -> list[Manifest]:
    """Every manifest to keep, the leaves first: what names another comes after it."""
    distinct = {manifest.descriptor.digest: manifest for manifest in (*image.manifests, image.root)}
    return list(distinct.values())


def _contents(image: Image) -> list[Descriptor]:
    return [*(manifest.descriptor for manifest in _manifests(image)), *image.blobs]


def _replace_index(root: Path, index: dict[str, Any], folder: Path) -> None:
    """Replace `index.json` at once and for good, by way of `folder`."""
    _write(root / "index.json", json.dumps(index, indent=1).encode(), folder)
    _sync_folder(root)


def _write(target: Path, content: bytes, folder: Path) -> None:
    """Replace `target` at once and for good, by way of `folder` on the same filesystem."""
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(file.name, 0o644)  # temporary files are made for their owner alone
    _move(Path(file.name), target)


def _move(part: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part.replace(target)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _in_words(root: Path) -> Iterator[None]:
    """A full disk or a missing permission is the cache's refusal."""
    try:
        yield
    except OSError as refused:
        raise CacheError(f"{root} cannot be written: {refused.strerror or refused}") from refused


async def _uninterrupted(function: Callable[..., None], *arguments: Any) -> None:
    """Call in a thread; a cancellation waits for its end, so that no thread outlives what it works on."""
    work = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.gather(work, return_exceptions=True)
        raise


@asynccontextmanager
async def open_layout(config: LayoutConfig, surroundings: Surroundings) -> AsyncIterator[Layout]:
    """A layout cache at `config.path`."""
    layout = Layout(config.path.expanduser(), surroundings)
    try:
        yield layout
    finally:
        layout.close()


DRIVER = Driver(
    name="layout",
    summary="an OCI image layout folder, for air-gapped sites, transport and tests",
    privilege="write access to the folder",
    config=LayoutConfig,
    open=open_layout,
)
