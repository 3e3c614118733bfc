"""What belongs to an image without being part of it: signatures, attestations, SBOMs.

Three ways of attaching them are known, and all are looked for:

* manifests with a `subject`, which the registry lists (distribution-spec v1.1, "Listing Referrers");
* the same where the registry keeps no lists: an index under the tag `sha256-HEX` ("Referrers Tag Schema");
* cosign's tags `sha256-HEX.sig`, `.att` and `.sbom` (cosign, "SIGNATURE_SPEC").
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from prewarm.errors import NotFound, RegistryError, UnsupportedImage
from prewarm.warming import images, listings
from prewarm.warming.images import OCI_INDEX, Descriptor, Image, Manifest
from prewarm.warming.registry import Registry
from prewarm.warming.tasks import together
from prewarm.warming.transport import read

COSIGN = ("sig", "att", "sbom")
MAX_DEPTH = 3  # of what is attached to what is attached: the signature of an SBOM
MAX_TAGS = 2000  # of a repository, beyond which each tag is asked for by itself
MAX_COMPANIONS = 200  # of one image; more is refused


@dataclass(frozen=True, slots=True)
class Companion:
    """A manifest that is attached to the digest `subject`: by its own `tag`, or by its subject field."""

    manifest: Manifest
    subject: str
    tag: str | None = None


class Referrers:
    """Looks for what is attached to images of one registry."""

    def __init__(self, registry: Registry, *, by_list: bool = True) -> None:
        """With `by_list`, the tags of a repository are listed once, and remembered for all of its images."""
        self._registry = registry
        self._lists: bool | None = None  # whether the registry lists referrers; None: not known yet
        self._by_list = by_list
        self._tags: dict[str, frozenset[str] | None] = {}  # by repository; None: it has no short list
        self._asking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # by repository

    async def of(self, repository: str, image: Image) -> tuple[Companion, ...]:
        """Everything that is attached to the image or to one of its manifests, subjects first.

        Raises RegistryError when the registry cannot tell.
        """
        digests = dict.fromkeys(each.descriptor.digest for each in (image.root, *image.manifests))
        found: dict[str, Companion] = {}
        level = list(digests)
        for _ in range(MAX_DEPTH):
            answers = await together([self._attached(repository, digest) for digest in level])
            fresh = [
                each for answer in answers for each in answer if each.manifest.descriptor.digest not in found
            ]
            found |= {each.manifest.descriptor.digest: each for each in fresh}
            if len(found) > MAX_COMPANIONS:
                raise RegistryError(
                    f"{image.reference} has more than {MAX_COMPANIONS} signatures and attachments"
                )
            level = [each.manifest.descriptor.digest for each in fresh if each.tag is None]
        return tuple(found.values())

    async def _attached(self, repository: str, digest: str) -> list[Companion]:
        listed = await self.listed(repository, digest)
        by_subject = [self._one(repository, each.digest, digest) for each in listed]
        named = [f"{tag_of(digest)}.{kind}" for kind in COSIGN]
        by_tag = [self._tagged(repository, tag, digest) for tag in await self._existing(repository, named)]
        found = await together([*by_subject, *by_tag])
        return [each for each in found if each is not None]

    async def listed(self, repository: str, digest: str) -> tuple[Descriptor, ...]:
        """What is attached to `digest` by its subject field: the registry's list, or the tag in its place."""
        if self._lists is not False:
            answer = await self._ask(repository, digest)
            self._lists = answer is not None
            if answer is not None:
                return answer
        if not await self._existing(repository, [tag_of(digest)]):
            return ()
        try:
            return (await self._registry.manifest(repository, tag_of(digest))).manifests
        except NotFound:
            return ()

    async def _existing(self, repository: str, tags: Sequence[str]) -> list[str]:
        """Those of `tags` that may exist."""
        if not self._by_list:
            return list(tags)
        async with self._asking[repository]:
            if repository not in self._tags:
                self._tags[repository] = await listings.tags(self._registry, repository, MAX_TAGS)
        known = self._tags[repository]
        return [tag for tag in tags if known is None or tag in known]

    async def _ask(self, repository: str, digest: str) -> tuple[Descriptor, ...] | None:
        """What the registry lists, None where it keeps no lists."""

        async def once() -> tuple[Descriptor, ...]:
            path = f"/v2/{repository}/referrers/{digest}"
            async with self._registry.exchange("GET", repository, path, f"referrers of {digest}") as response:
                body = await read(response, images.MAX_MANIFEST)
                return images.parse_manifest(body, OCI_INDEX).manifests

        try:
            return await self._registry.patiently(once)
        except RegistryError as refused:
            if refused.retryable:
                raise
            return None
        except UnsupportedImage:  # a proxy's page
            return None

    async def _one(self, repository: str, digest: str, subject: str) -> Companion | None:
        try:
            return Companion(await self._registry.manifest(repository, digest), subject)
        except NotFound:  # deleted, and still listed
            return None

    async def _tagged(self, repository: str, tag: str, subject: str) -> Companion | None:
        try:
            await self._registry.head_manifest(repository, tag)  # which costs no pull where there is none
            return Companion(await self._registry.manifest(repository, tag), subject, tag)
        except NotFound:
            return None


def tag_of(digest: str) -> str:
    """The tag under which what is attached to `digest` is found without lists.

    >>> tag_of("sha256:0af1")
    'sha256-0af1'
    """
    algorithm, _, encoded = digest.partition(":")
    return f"{algorithm}-{encoded}"


def index_of(present: Manifest | None, attached: Iterable[Manifest]) -> Manifest:
    """The index under `tag_of(subject)`: what it has at `present`, and `attached`."""
    before: list[dict[str, Any]] = json.loads(present.body).get("manifests", []) if present else []
    entries = {entry["digest"]: entry for entry in before}
    entries |= {each.descriptor.digest: _entry(each) for each in attached}
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries.values())}
    body = json.dumps(document).encode()
    return images.parse_manifest(body, OCI_INDEX)


def _entry(manifest: Manifest) -> dict[str, Any]:
    """The descriptor of an attached manifest, as a registry would list it."""
    document = json.loads(manifest.body)
    kind = document.get("artifactType") or (manifest.config.media_type if manifest.config else None)
    entry = {
        "mediaType": manifest.descriptor.media_type,
        "digest": manifest.descriptor.digest,
        "size": manifest.descriptor.size,
    }
    return entry | {
        name: value
        for name, value in (("artifactType", kind), ("annotations", document.get("annotations")))
        if value
    }
