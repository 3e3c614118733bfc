"""Removing images from a registry (distribution-spec v1.1, "Content Management").

A manifest is deleted by its digest, and with it every tag that names it: so an image stays while another tag
leads to it. What an index names goes after the index, and signatures after what they sign. Blobs are freed
by the registry's own garbage collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prewarm.errors import CacheError, NotFound, RegistryError, Unauthorized, UnsupportedImage
from prewarm.references import Reference
from prewarm.warming import listings
from prewarm.warming.images import Manifest
from prewarm.warming.referrers import tag_of
from prewarm.warming.registry import Registry
from prewarm.warming.tasks import together

NOBODY = "sha256:" + "0" * 64
MAX_DEPTH = 3  # of indexes in indexes


@dataclass(frozen=True, slots=True)
class Removal:
    """What a registry was made to forget, or would be: names, bytes, and what stays for which reason."""

    removed: tuple[str, ...]
    bytes: int
    kept: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Tag:
    """What a tag leads to: its digest first, then what an index names; and the blobs."""

    digests: tuple[str, ...]
    blobs: Mapping[str, int]


async def check_allowed(registry: Registry, repository: str) -> None:
    """Ask for a manifest that nobody has to be deleted; CacheError where nothing may be deleted."""
    host = registry.endpoint.registry
    try:
        await _delete(registry, repository, NOBODY)
    except Unauthorized as refused:
        raise CacheError(f"the login for {host} may not delete in {repository} ({refused})") from refused
    except RegistryError as refused:
        if refused.status == 405:
            advice = "a pull-through cache never does; Distribution does with storage.delete.enabled: true"
            raise CacheError(f"{host} refuses to delete images (405): {advice}") from refused
        if refused.status not in (400, 404):
            raise


async def remove(
    registry: Registry, placed: Iterable[tuple[Reference, str]], *, apply: bool
) -> tuple[Removal, ...]:
    """Remove images, each with the repository it has on the registry; one Removal for each repository.

    Without `apply`, nothing is asked that changes anything. Raises RegistryError and CacheError.
    """
    by_path: dict[str, list[Reference]] = {}
    for reference, path in placed:
        by_path.setdefault(path, []).append(reference)
    return tuple([await _remove(registry, path, each, apply) for path, each in by_path.items()])


async def _remove(registry: Registry, path: str, going: Sequence[Reference], apply: bool) -> Removal:
    if apply:
        await check_allowed(registry, path)
    tags = await listings.tags(registry, path)
    if tags is None:
        return Removal((), 0, {str(each): f"the tags of {path} cannot be listed" for each in going})
    known = await _tags(registry, path, sorted(tags | {each.target for each in going}))
    leaving = {str(each): known[each.target] for each in going if each.target in known}
    signed, wanted = _signatures(leaving.values()), {each.target for each in going}
    staying = {name: tag for name, tag in known.items() if name not in wanted and not name.startswith(signed)}
    kept = {image: reason for image, tag in leaving.items() if (reason := _still_named(tag, staying))}
    gone = {image: tag for image, tag in leaving.items() if image not in kept}
    signatures = _signatures(gone.values())
    removed = [*gone.values(), *(tag for name, tag in known.items() if name.startswith(signatures))]
    left = [*staying.values(), *(leaving[image] for image in kept)]
    needed = {digest for tag in left for digest in (*tag.digests, *tag.blobs)}
    if apply:
        for digest in dict.fromkeys(digest for tag in removed for digest in tag.digests):
            if digest not in needed:
                await _delete(registry, path, digest, missing_is_fine=True)
    freed = {digest: size for tag in removed for digest, size in tag.blobs.items() if digest not in needed}
    return Removal(tuple(gone), sum(freed.values()), kept)


def _signatures(tags: Iterable[_Tag]) -> tuple[str, ...]:
    return tuple(tag_of(digest) for tag in tags for digest in tag.digests)


def _still_named(tag: _Tag, staying: Mapping[str, _Tag]) -> str | None:
    """Why an image cannot go: deleting its digest would take another tag along."""
    others = sorted(name for name, other in staying.items() if tag.digests[0] in other.digests)
    return f"tag {others[0]} is the same image, and stays" if others else None


async def _tags(registry: Registry, path: str, names: Sequence[str]) -> dict[str, _Tag]:
    """What each tag, or digest, leads to; without those that are not there."""
    found = await together([_tag(registry, path, name) for name in names])
    return {name: tag for name, tag in zip(names, found, strict=True) if tag is not None}


async def _tag(registry: Registry, path: str, name: str) -> _Tag | None:
    digests: list[str] = []
    blobs: dict[str, int] = {}
    level = [name]
    for _ in range(MAX_DEPTH):
        below: list[str] = []
        for each in level:
            manifest = await _manifest(registry, path, each)
            if manifest is not None:
                digests.append(manifest.descriptor.digest)
                blobs |= {blob.digest: blob.size for blob in manifest.blobs}
                below += [child.digest for child in manifest.manifests]
        level = below
    return _Tag(tuple(dict.fromkeys(digests)), blobs) if digests else None


async def _manifest(registry: Registry, path: str, name: str) -> Manifest | None:
    """A manifest; None where it is not there, such as a platform that was not copied."""
    try:
        return await registry.manifest(path, name)
    except NotFound:
        return None
    except UnsupportedImage as unknown:
        raise CacheError(f"{path}:{name} cannot be read ({unknown}), so nothing is removed") from unknown


async def _delete(registry: Registry, path: str, digest: str, *, missing_is_fine: bool = False) -> None:
    async def once() -> None:
        async with registry.exchange("DELETE", path, f"/v2/{path}/manifests/{digest}", f"{path}@{digest}"):
            pass

    try:
        await registry.patiently(once)
    except NotFound:
        if not missing_is_fine:
            raise
