"""Manifests, indexes and layers: what must be fetched to have an image.

Words and media types are those of the OCI image-spec (v1.1) and Docker's schema 2. Everything a
registry says is checked here, once: sizes, digests, types and counts; what is returned is valid.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prewarm.errors import DigestMismatch, UnsupportedImage
from prewarm.references import HEX_LENGTHS, Reference

if TYPE_CHECKING:
    from hashlib import _Hash

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
ACCEPTED = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)
BUILDKIT_CACHE = "application/vnd.buildkit.cacheconfig.v0"

# Licensed layers that registries name but clients fetch elsewhere, or not at all (image-spec, "Layer").
FOREIGN = (
    "application/vnd.docker.image.rootfs.foreign.",
    "application/vnd.oci.image.layer.nondistributable.",
)

MAX_MANIFEST = 4 << 20  # bytes; what registries must accept at most (distribution-spec, "Pushing Manifests")
MAX_DESCRIPTORS = 20_000  # more than 4 MiB can hold of real ones


@dataclass(frozen=True, slots=True)
class Platform:
    """`os/architecture[/variant]`, as in the image index (image-spec, "Image Index")."""

    os: str = "linux"
    architecture: str = "amd64"
    variant: str | None = None

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a manifest says of a piece of content (image-spec, "Content Descriptors")."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    urls: tuple[str, ...] = ()  # never contacted

    @property
    def foreign(self) -> bool:
        """Whether this is a layer that registries need not store."""
        return self.media_type.startswith(FOREIGN)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or an index: its exact bytes and what they name.

    `layers` are those of a manifest, or of an index that names blobs (BuildKit's cache references).
    """

    descriptor: Descriptor
    body: bytes
    manifests: tuple[Descriptor, ...] = ()  # of an index
    config: Descriptor | None = None  # of a manifest
    layers: tuple[Descriptor, ...] = ()

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Config and layers, without foreign layers, as they are listed."""
        named = (self.config, *self.layers) if self.config else self.layers
        return tuple(blob for blob in named if not blob.foreign)


@dataclass(frozen=True, slots=True)
class Image:
    """An image resolved to content: every manifest and every blob that its platforms need.

    `root` is what the tag points to (an index or a manifest); `manifests` are the ones below it that
    were chosen (just `root` when it is no index). `blobs` are distinct, config and layers, without
    foreign layers.
    """

    reference: Reference
    root: Manifest
    manifests: tuple[Manifest, ...]
    blobs: tuple[Descriptor, ...]

    @property
    def digest(self) -> str:
        return self.root.descriptor.digest

    @property
    def bytes(self) -> int:
        """Bytes of all blobs; manifests are noise beside them."""
        return sum(blob.size for blob in self.blobs)


def assemble(reference: Reference, root: Manifest, chosen: Iterable[Manifest]) -> Image:
    """The image of `root` and the manifests chosen below it; () when root is no index."""
    manifests = tuple(chosen) or (root,)
    return Image(reference, root, manifests, distinct_blobs(manifests))


def distinct_blobs(manifests: Iterable[Manifest]) -> tuple[Descriptor, ...]:
    """Every blob that the manifests name, once, in order; UnsupportedImage when two sizes are claimed."""
    found: dict[str, Descriptor] = {}
    for blob in (blob for manifest in manifests for blob in manifest.blobs):
        first = found.setdefault(blob.digest, blob)
        if first.size != blob.size:
            raise UnsupportedImage(f"{blob.digest} is said to have {first.size} bytes and {blob.size} bytes")
    return tuple(found.values())


class Whole:
    """Instead of platforms: everything that an index names, attestations too."""


WHOLE = Whole()

# --- platforms ---------------------------------------------------------------------------------------


def parse_platform(text: str) -> Platform:
    """`os/architecture[/variant]`; raises UnsupportedImage.

    >>> parse_platform("linux/arm64/v8")
    Platform(os='linux', architecture='arm64', variant='v8')
    """
    parts = text.strip().lower().split("/")
    if len(parts) not in (2, 3) or not all(part.isascii() and part.isalnum() for part in parts):
        raise UnsupportedImage(f"{text[:80]!r} is no platform; expected os/architecture, such as linux/arm64")
    return Platform(*parts)


def choose(index: Manifest, platforms: tuple[Platform, ...] | Whole = ()) -> tuple[Descriptor, ...]:
    """The manifests of `index` that serve `platforms` (default linux/amd64), in the order asked.

    Attestations are left out, and platforms that the image does not offer; UnsupportedImage when it
    offers none of them. An index that names no platforms at all (nested or artifact) gives everything.
    """
    if isinstance(platforms, Whole):
        return tuple({entry.digest: entry for entry in index.manifests}.values())
    wanted = platforms or (Platform(),)
    offered = [entry for entry in index.manifests if not _is_attestation(entry)]
    if not any(entry.platform for entry in offered):
        return tuple(offered)
    found = [entry for platform in wanted if (entry := _best(offered, platform))]
    if not found:
        names = ", ".join(dict.fromkeys(str(entry.platform) for entry in offered if entry.platform))
        raise UnsupportedImage(
            f"no image for {' or '.join(map(str, wanted))}; it is offered for {names[:300]}"
        )
    return tuple({entry.digest: entry for entry in found}.values())


def _best(offered: Iterable[Descriptor], wanted: Platform) -> Descriptor | None:
    """The closest variant: the same, else the one without, else (nothing asked) the first offered."""
    same = [
        entry
        for entry in offered
        if entry.platform
        and (entry.platform.os, entry.platform.architecture) == (wanted.os, wanted.architecture)
    ]
    variant = _variant(wanted)
    for entry in same:
        if entry.platform and _variant(entry.platform) == variant:
            return entry
    older = [entry for entry in same if variant is None or _is_older(entry, variant)]
    return max(older, key=lambda entry: _variant(entry.platform or wanted) or "", default=None)


def _variant(platform: Platform) -> str | None:
    """The variant, without those that say nothing: arm64 is v8, amd64 is v1 (containerd, "platforms")."""
    implied = {"arm64": "v8", "amd64": "v1"}.get(platform.architecture)
    return None if platform.variant == implied else platform.variant


def _is_older(entry: Descriptor, variant: str) -> bool:
    """Whether a machine of `variant` runs this: arm/v7 runs v6 and v5, and what names no variant."""
    return entry.platform is not None and (_variant(entry.platform) or "") < variant


def _is_attestation(entry: Descriptor) -> bool:
    """BuildKit's provenance and SBOMs sit in the index as platform unknown/unknown."""
    unknown = entry.platform is not None and entry.platform.os == "unknown"
    return unknown or "vnd.docker.reference.type" in entry.annotations


# --- digests -----------------------------------------------------------------------------------------


def hasher(digest: str) -> _Hash:
    """A fresh hash of the digest's algorithm."""
    return hashlib.new(digest.partition(":")[0], usedforsecurity=False)


def digest_of(body: bytes) -> str:
    """The canonical (sha256) digest of `body`."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def verify(body: bytes, digest: str) -> None:
    """Raise DigestMismatch unless `body` has this digest."""
    check = hasher(digest)
    check.update(body)
    confirm(check, digest)


def confirm(check: _Hash, digest: str) -> None:
    """Raise DigestMismatch unless what `check` has seen has this digest."""
    found = f"{check.name}:{check.hexdigest()}"
    if found != digest:
        raise DigestMismatch(f"digest {digest} was promised, the content is {found}")


# --- parsing -----------------------------------------------------------------------------------------


def parse_manifest(body: bytes, media_type: str | None = None, digest: str | None = None) -> Manifest:
    """Parse the exact bytes of a manifest or an index; `media_type` is the response's Content-Type.

    With `digest`, the body must have it (else DigestMismatch) and keeps it as its name.
    Raises UnsupportedImage for schema 1, unknown kinds and whatever does not follow the specs.
    """
    if digest:
        verify(body, check_digest(digest))
    document = _document(body)
    kind = _kind(document, media_type)
    descriptor = Descriptor(kind, digest or digest_of(body), len(body))
    if kind in INDEXES:
        return _index(descriptor, body, document)
    config = _descriptor(document.get("config"), "config")
    return Manifest(descriptor, body, config=config, layers=_descriptors(document, "layers"))


def _index(descriptor: Descriptor, body: bytes, document: dict[str, Any]) -> Manifest:
    entries = _descriptors(document, "manifests")
    if any(entry.media_type == BUILDKIT_CACHE for entry in entries):
        return Manifest(descriptor, body, layers=entries)
    known = tuple(entry for entry in entries if entry.media_type in INDEXES | MANIFESTS)
    return Manifest(descriptor, body, manifests=known)


def _document(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_MANIFEST:
        raise UnsupportedImage(f"the manifest has {len(body)} bytes; at most {MAX_MANIFEST} are read")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:  # ValueError: also what is not UTF-8, huge numbers
        start = ascii(body[:40].decode("latin-1"))
        raise UnsupportedImage(f"the manifest is not JSON but starts with {start}") from error
    return _object(document, "the manifest")


def _kind(document: dict[str, Any], header: str | None) -> str:
    """The media type: what the document says, else the header, else its shape.

    A document that could be read as both is refused: two clients would see two images (CVE-2021-41190).
    """
    if document.get("schemaVersion") == 1 or "fsLayers" in document:
        raise UnsupportedImage(
            "a schema 1 manifest, retired in 2019; push the image again with a current client"
        )
    is_index, is_manifest = "manifests" in document, "layers" in document or "config" in document
    if is_index == is_manifest:
        problem = "both an index and a manifest" if is_index else "neither an index nor a manifest"
        raise UnsupportedImage(f"the document is {problem}; expected one of `manifests` and `layers`")
    header = (header or "").partition(";")[0].strip().lower()
    fitting = INDEXES if is_index else MANIFESTS
    kind = document.get("mediaType") or (
        header if header in fitting else OCI_INDEX if is_index else OCI_MANIFEST
    )
    if not isinstance(kind, str) or kind not in fitting:
        raise UnsupportedImage(f"media type {_shown(kind)} is not one of {', '.join(sorted(fitting))}")
    return kind


def _descriptors(document: dict[str, Any], name: str) -> tuple[Descriptor, ...]:
    entries = document.get(name, [])
    if not isinstance(entries, list) or len(entries) > MAX_DESCRIPTORS:
        raise UnsupportedImage(f"`{name}` of the manifest should be a list of at most {MAX_DESCRIPTORS}")
    return tuple(_descriptor(entry, f"{name}[{at}]") for at, entry in enumerate(entries))


def _descriptor(value: object, where: str) -> Descriptor:
    fields = _object(value, f"`{where}`")
    urls = fields.get("urls") or []
    if not isinstance(urls, list):
        raise UnsupportedImage(f"`{where}.urls` should be a list")
    return Descriptor(
        media_type=_text(fields, "mediaType", where),
        digest=check_digest(_text(fields, "digest", where)),
        size=_size(fields.get("size"), where),
        platform=_platform(fields.get("platform"), where),
        annotations=_annotations(fields.get("annotations"), where),
        urls=tuple(str(url) for url in urls),
    )


def check_digest(text: str) -> str:
    """`text` when it is a digest that can be verified here; UnsupportedImage otherwise."""
    algorithm, _, value = text.partition(":")
    length = HEX_LENGTHS.get(algorithm)
    if length is None:
        known = ", ".join(HEX_LENGTHS)
        raise UnsupportedImage(f"digest {_shown(text)} is of no known algorithm; known: {known}")
    if len(value) != length or not set(value) <= set("0123456789abcdef"):
        raise UnsupportedImage(f"digest {_shown(text)} should have {length} hexadecimal characters")
    return text


def _size(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise UnsupportedImage(f"`{where}.size` is {_shown(value)}; expected a number of bytes")
    return value


def _platform(value: object, where: str) -> Platform | None:
    if value is None:
        return None
    fields = _object(value, f"`{where}.platform`")
    variant = _text(fields, "variant", f"{where}.platform") if fields.get("variant") else None
    return Platform(
        _text(fields, "os", f"{where}.platform"),
        _text(fields, "architecture", f"{where}.platform"),
        variant,
    )


def _annotations(value: object, where: str) -> dict[str, str]:
    found = _object({} if value is None else value, f"`{where}.annotations`")
    if not all(isinstance(text, str) for text in found.values()):
        raise UnsupportedImage(f"`{where}.annotations` should map texts to texts")
    return found


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UnsupportedImage(f"{where} should be a JSON object, not {_shown(value)}")
    return value


def _text(fields: dict[str, Any], name: str, where: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise UnsupportedImage(f"`{where}.{name}` is {_shown(value)}; expected a text")
    return value


def _shown(value: object) -> str:
    """Printable and bounded: a hostile value never reaches a terminal raw."""
    return ascii(value)[:100] if isinstance(value, str | int | float | None) else type(value).__name__
