"""Manifests, indexes and layers: what must be fetched to have an image.

Words and media types are those of the OCI image-spec (v1.1) and Docker's schema 2.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from prewarm.references import Reference


@dataclass(frozen=True, slots=True)
class Platform:
    """`os/architecture[/variant]`, as in the image index (image-spec, "Image Index")."""

    os: str = "linux"
    architecture: str = "amd64"
    variant: str | None = None


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a manifest says of a piece of content (image-spec, "Content Descriptors")."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or an index: its exact bytes and what they name."""

    descriptor: Descriptor
    body: bytes
    manifests: tuple[Descriptor, ...] = ()     # of an index
    config: Descriptor | None = None           # of a manifest
    layers: tuple[Descriptor, ...] = ()        # of a manifest


@dataclass(frozen=True, slots=True)
class Image:
    """An image resolved to content: every manifest and every blob that its platforms need.

    `root` is what the tag points to (an index or a manifest); `manifests` are the platform manifests
    that were chosen (just `root` when it is no index). `blobs` are distinct, config and layers,
    without foreign layers.
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
