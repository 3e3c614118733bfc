"""Small valid images, pushed over the OCI API: every layer is a tar that any engine can unpack.

Content is random but seeded, so that no two images share a layer unless they are asked to.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import tarfile
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from tests.e2e.servers import program, run, skopeo

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True)
class Pushed:
    """An image as it lies in a registry: `digest` is what its tag points to."""

    repository: str
    tag: str
    digest: str
    size: int  # of the manifest
    blobs: tuple[str, ...]
    bytes: int  # of all blobs

    @property
    def path(self) -> str:
        return f"{self.repository}:{self.tag}"


def digest_of(content: bytes) -> str:
    """`sha256:<hex>` of some content."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def push_image(
    url: str,
    repository: str,
    tag: str,
    layers: Sequence[int] = (100_000,),
    *,
    architecture: str = "amd64",
    seed: str | None = None,
) -> Pushed:
    """Push an image with layers of about so many bytes; another `seed` gives other content."""
    seed = seed or f"{repository}:{tag}"
    tars = [_layer(size, f"{seed}/{place}/{architecture}") for place, size in enumerate(layers)]
    config = _json(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Labels": {"seed": seed}},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]},
        }
    )
    for blob in (config, *tars):
        push_blob(url, repository, blob)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor(CONFIG, config),
        "layers": [_descriptor(LAYER, tar) for tar in tars],
    }
    body = _json(manifest)
    push_manifest(url, repository, tag, MANIFEST, body)
    blobs = (config, *tars)
    return Pushed(
        repository,
        tag,
        digest_of(body),
        len(body),
        tuple(digest_of(blob) for blob in blobs),
        sum(len(blob) for blob in blobs),
    )


def push_index(
    url: str,
    repository: str,
    tag: str,
    architectures: Sequence[str] = ("amd64", "arm64"),
    layers: Sequence[int] = (100_000,),
) -> tuple[Pushed, dict[str, Pushed]]:
    """Push a multi-platform image; the index, and the image of each architecture."""
    parts = {
        architecture: push_image(url, repository, f"{tag}-{architecture}", layers, architecture=architecture)
        for architecture in architectures
    }
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            {
                "mediaType": MANIFEST,
                "digest": part.digest,
                "size": part.size,
                "platform": {"os": "linux", "architecture": architecture},
            }
            for architecture, part in parts.items()
        ],
    }
    body = _json(index)
    push_manifest(url, repository, tag, INDEX, body)
    blobs = tuple(blob for part in parts.values() for blob in part.blobs)
    total = sum(part.bytes for part in parts.values())
    return Pushed(repository, tag, digest_of(body), len(body), blobs, total), parts


def push_runnable(url: str, folder: Path, path: str) -> None:
    """Push busybox as an image that an engine can run, made by umoci and copied by skopeo."""
    umoci, layout, bundle = program("umoci"), folder / "layout", folder / "bundle"
    run([umoci, "init", "--layout", str(layout)])
    run([umoci, "new", "--image", f"{layout}:busy"])
    run([umoci, "unpack", "--image", f"{layout}:busy", str(bundle)])
    binaries = bundle / "rootfs/bin"
    binaries.mkdir(parents=True)
    (binaries / "busybox").write_bytes(Path(program("busybox")).read_bytes())
    (binaries / "busybox").chmod(0o755)
    run([umoci, "repack", "--image", f"{layout}:busy", str(bundle)])
    target = f"docker://{url.removeprefix('http://')}/{path}"
    skopeo("copy", "--dest-tls-verify=false", f"oci:{layout}:busy", target)


def push_blob(url: str, repository: str, blob: bytes) -> str:
    """Push one blob; its digest (distribution-spec, "Pushing a blob in two steps")."""
    _, headers = _request("POST", f"{url}/v2/{repository}/blobs/uploads/", b"")
    location = urljoin(url, headers["location"])
    digest = digest_of(blob)
    separator = "&" if "?" in location else "?"
    _request("PUT", f"{location}{separator}digest={digest}", blob, "application/octet-stream")
    return digest


def push_manifest(url: str, repository: str, tag: str, media_type: str, body: bytes) -> None:
    """Push a manifest or an index under a tag."""
    _request("PUT", f"{url}/v2/{repository}/manifests/{tag}", body, media_type)


def _request(method: str, url: str, body: bytes, media_type: str = "") -> tuple[int, dict[str, str]]:
    headers = {"Content-Type": media_type} if media_type else {}
    request = urllib.request.Request(url, data=body, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as reply:
        return reply.status, {name.lower(): value for name, value in reply.headers.items()}


def _layer(size: int, seed: str) -> bytes:
    content = random.Random(seed).randbytes(size)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(f"data/{hashlib.sha256(seed.encode()).hexdigest()[:12]}")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
