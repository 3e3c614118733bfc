"""A registry that takes pushes, inside the test process, and looks twice at what it is given.

It keeps blobs per repository, as registries do, so that a blob is missing in a repository that it was never
pushed to or mounted into, and it refuses manifests that name what it lacks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from tests.fakes import OCI_INDEX, FakeRegistry, descriptor, sha256


class FakeReplica(FakeRegistry):
    """A FakeRegistry with uploads and mounts."""

    def __init__(self, *, forgets: int = 0) -> None:
        """`forgets` uploads are lost at their first status question."""
        super().__init__()
        self.forgets = forgets
        self.swallows: list[int | None] = []  # bytes of the next PATCHes that arrive before they fail
        self.deletes = True  # whether manifests may be deleted
        self.sparse = False  # whether an index may lack some of its manifests
        self.links: set[tuple[str, str]] = set()  # (repository, digest) that a blob may be asked by
        self.uploads: dict[str, bytearray] = {}
        self.order: list[str] = []  # what was stored, in order: digests of blobs, references of manifests
        self.mounts: list[tuple[str, str]] = []  # (to, from)

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        repository, name = request.match_info["repository"], request.match_info["upload"]
        if request.method == "POST":
            return self._begin(repository, request)
        if name not in self.uploads:
            return self._refuse(404, "BLOB_UPLOAD_UNKNOWN")
        if request.method == "DELETE":
            del self.uploads[name]
            return web.Response(status=204)
        if request.method == "GET" and self.forgets:
            self.forgets -= 1
            del self.uploads[name]
            return self._refuse(404, "BLOB_UPLOAD_UNKNOWN")
        arrived = await request.read()
        swallowed = self.swallows.pop(0) if request.method == "PATCH" and self.swallows else None
        if swallowed is not None:
            self.uploads[name] += arrived[:swallowed]
            return self._refuse(503, "UNAVAILABLE")
        self.uploads[name] += arrived
        if request.method == "PUT":
            return self._finish(repository, name, request.query["digest"])
        return self._progress(repository, name, 204 if request.method == "GET" else 202)

    def _begin(self, repository: str, request: web.Request) -> web.Response:
        digest, source = request.query.get("mount", ""), request.query.get("from", "")
        if (source, digest) in self.links:
            self.links.add((repository, digest))
            self.mounts.append((repository, source))
            return web.Response(status=201)
        name = f"upload-{len(self.seen)}"
        self.uploads[name] = bytearray()
        return self._progress(repository, name, 202)

    def _progress(self, repository: str, name: str, status: int) -> web.Response:
        received = len(self.uploads[name])
        headers = {
            "Location": f"/v2/{repository}/blobs/uploads/{name}?_state={received}",
            "Range": f"0-{max(received - 1, 0)}",
        }
        return web.Response(status=status, headers=headers)

    def _finish(self, repository: str, name: str, digest: str) -> web.Response:
        content = bytes(self.uploads.pop(name))
        if sha256(content) != digest:
            return self._refuse(400, "DIGEST_INVALID")
        self.blobs[digest] = content
        self.links.add((repository, digest))
        self.order.append(digest)
        return web.Response(status=201)

    async def _blob(self, request: web.Request) -> web.StreamResponse:
        if (request.match_info["repository"], request.match_info["digest"]) not in self.links:
            return self._refuse(404, "BLOB_UNKNOWN")
        return await super()._blob(request)

    async def _manifest(self, request: web.Request) -> web.StreamResponse:
        if request.method == "DELETE":
            return self._delete(request.match_info["repository"], request.match_info["reference"])
        if request.method != "PUT":
            return await super()._manifest(request)
        repository, reference = request.match_info["repository"], request.match_info["reference"]
        body = await request.read()
        document = json.loads(body)
        if not self._complete(repository, document):
            return self._refuse(400, "MANIFEST_BLOB_UNKNOWN")
        digest = self.push_manifest(repository, reference, body, request.content_type)
        self.order.append(reference)
        subject = document.get("subject", {}).get("digest") if self.lists else None
        headers = {"Docker-Content-Digest": digest} | ({"OCI-Subject": subject} if subject else {})
        return web.Response(status=201, headers=headers)

    def _delete(self, repository: str, digest: str) -> web.Response:
        """As Distribution does: by digest alone, and every tag that names it goes, too."""
        if not self.deletes:
            return self._refuse(405, "UNSUPPORTED")
        if ":" not in digest:
            return self._refuse(400, "DIGEST_INVALID")
        if (repository, digest) not in self.manifests:
            return self._refuse(404, "MANIFEST_UNKNOWN")
        body = self.manifests[repository, digest][0]
        named = [
            key for key, (content, _) in self.manifests.items() if key[0] == repository and content == body
        ]
        for key in named:
            del self.manifests[key]
        return web.Response(status=202)

    def _complete(self, repository: str, document: dict[str, Any]) -> bool:
        blobs = [*document.get("layers", []), *([document["config"]] if "config" in document else [])]
        if any((repository, blob["digest"]) not in self.links for blob in blobs):
            return False
        below = document.get("manifests", [])
        return self.sparse or all((repository, each["digest"]) in self.manifests for each in below)


def attach(
    registry: FakeRegistry,
    repository: str,
    subject: str,
    content: bytes = b"a signature",
    *,
    tag: str | None = None,
    kind: str = "application/vnd.example.signature",
) -> str:
    """Attach `content` to the manifest `subject`, or (`tag`) as cosign does; the digest of what names it."""
    config = b"{}"
    for blob in (content, config):
        registry.push_blob(blob)
    about = registry.manifests[repository, subject]
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor(config, "application/vnd.oci.empty.v1+json"),
        "layers": [descriptor(content, kind)],
    }
    if tag is None:
        document |= {"artifactType": kind, "subject": descriptor(about[0], about[1])}
    body = json.dumps(document).encode()
    return registry.push_manifest(repository, tag or sha256(body), body, document["mediaType"])


def list_by_tag(registry: FakeRegistry, repository: str, subject: str, digests: Sequence[str]) -> None:
    """What a registry without lists has in their place: an index under a tag."""
    entries = [
        descriptor(body, media_type)
        for body, media_type in (registry.manifests[repository, digest] for digest in digests)
    ]
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    registry.push_manifest(repository, subject.replace(":", "-"), index, OCI_INDEX)
