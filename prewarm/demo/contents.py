"""What the images of the synthetic workload consist of: real manifests over small stand-in blobs.

A layer that the logs call 30 MB is served as 30 kB of pseudo-random bytes (`SCALE` to one), so that
every digest in the logs is the digest of something the demo's origin can serve in seconds. The bytes are
no file system: images can be pulled and verified, not run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

SCALE = 1000
"""Logged bytes per byte that the origin serves."""

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer: `size` bytes as served, `size * SCALE` as logged; `seed` regenerates its content."""

    digest: str
    size: int
    seed: str

    @property
    def logged(self) -> int:
        return self.size * SCALE

    def content(self) -> bytes:
        return hashlib.shake_256(self.seed.encode()).digest(self.size)


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON document that has a digest: an index, a manifest or a config."""

    media_type: str
    body: bytes

    @property
    def digest(self) -> str:
        return digest_of(self.body)


@dataclass(frozen=True, slots=True)
class Version:
    """What a tag pointed to from `since` on: an index of one linux/amd64 manifest."""

    since: datetime
    digest: str
    index: Document
    manifest: Document
    config: Document
    layers: tuple[Layer, ...]

    @property
    def blobs(self) -> tuple[tuple[str, int], ...]:
        """(digest, bytes as logged) of config and layers, as a plan counts them."""
        return (
            (self.config.digest, len(self.config.body)),
            *((layer.digest, layer.logged) for layer in self.layers),
        )


Catalogue = Mapping[tuple[str, str], tuple[Version, ...]]
"""(repository, tag) -> its versions, oldest first."""


def digest_of(body: bytes) -> str:
    """`sha256:…` of these bytes (image-spec, "Digests")."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def layer(seed: str, megabytes: float) -> Layer:
    """A layer that the logs call `megabytes` MB."""
    size = max(1, int(megabytes * 1_000_000 / SCALE))
    return Layer(digest_of(hashlib.shake_256(seed.encode()).digest(size)), size, seed)


def version(name: str, since: datetime, layers: tuple[Layer, ...]) -> Version:
    """The image `name` made of `layers`, pushed at `since`."""
    config = _document(CONFIG, _config(name, since, layers))
    manifest = _document(MANIFEST, _manifest(config, layers))
    index = _document(INDEX, _index(manifest))
    return Version(since, index.digest, index, manifest, config, layers)


def at(versions: tuple[Version, ...], time: datetime) -> Version | None:
    """The version that the tag pointed to at `time`; None before its first push."""
    current = None
    for candidate in versions:
        if candidate.since > time:
            break
        current = candidate
    return current


def every(catalogue: Catalogue) -> Iterator[tuple[str, str, Version]]:
    """(repository, tag, version), in the catalogue's order."""
    for (repository, tag), versions in catalogue.items():
        for one in versions:
            yield repository, tag, one


def _document(media_type: str, value: object) -> Document:
    return Document(media_type, json.dumps(value, separators=(",", ":"), sort_keys=True).encode())


def _config(name: str, since: datetime, layers: tuple[Layer, ...]) -> object:
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": since.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "config": {"Labels": {"org.opencontainers.image.title": name, "synthetic": "true"}},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
    }


def _manifest(config: Document, layers: tuple[Layer, ...]) -> object:
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor(config),
        "layers": [{"mediaType": LAYER, "digest": layer.digest, "size": layer.size} for layer in layers],
    }


def _index(manifest: Document) -> object:
    platform = {"os": "linux", "architecture": "amd64"}
    return {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [{**_descriptor(manifest), "platform": platform}],
    }


def _descriptor(document: Document) -> dict[str, object]:
    return {
        "mediaType": document.media_type,
        "digest": document.digest,
        "size": len(document.body),
    }
