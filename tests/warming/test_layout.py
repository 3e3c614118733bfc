"""The OCI image layout cache: what lies in the folder, and when."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from prewarm.errors import CacheError, DigestMismatch, ForbiddenHost, NotFound, Unavailable
from prewarm.references import Reference
from prewarm.warming.caches.layout import LayoutConfig, open_layout
from prewarm.warming.pacing import Pace
from tests.shelf import Shelf, surroundings

API = Reference.parse("registry.test/acme/api:1")
REF_NAME = "org.opencontainers.image.ref.name"


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def config(tmp_path: Path) -> LayoutConfig:
    return LayoutConfig(path=tmp_path / "oci")


def index(tmp_path: Path) -> list[dict[str, Any]]:
    """The entries of the layout's index."""
    return list(json.loads((tmp_path / "oci/index.json").read_text())["manifests"])


def files(tmp_path: Path) -> set[str]:
    """Everything in the folder but the empty lock."""
    found = (path for path in (tmp_path / "oci").rglob("*") if path.is_file())
    return {str(path.relative_to(tmp_path / "oci")) for path in found} - {".prewarm/lock"}


async def warm(tmp_path: Path, shelf: Shelf, *references: Reference) -> list[int]:
    """Warm in one opening; bytes transferred for each."""
    async with open_layout(config(tmp_path), surroundings(shelf)) as cache:
        return [(await cache.warm(await cache.resolve(reference))).bytes for reference in references]


async def test_a_warm_image_lies_there_by_the_specification(tmp_path: Path, shelf: Shelf) -> None:
    """A layout file, an index entry by name, and each content under its digest."""
    image = shelf.put("acme/api", "1", b"layer one", b"layer two")
    [count] = await warm(tmp_path, shelf, API)
    assert count == image.bytes
    assert json.loads((tmp_path / "oci/oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    [entry] = index(tmp_path)
    assert entry["digest"] == image.digest
    assert entry["annotations"][REF_NAME] == "registry.test/acme/api:1"
    blobs = list((tmp_path / "oci/blobs/sha256").iterdir())
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in blobs)
    assert len(blobs) == 4  # manifest, config, two layers


async def test_an_index_is_kept_with_the_chosen_manifests(tmp_path: Path, shelf: Shelf) -> None:
    """The tag's digest stays the registry's; the other platform's manifest is not there."""
    image = shelf.put("acme/api", "1", b"layer", index=True)
    await warm(tmp_path, shelf, API)
    assert index(tmp_path)[0]["digest"] == image.digest
    stored = {path.name for path in (tmp_path / "oci/blobs/sha256").iterdir()}
    leaf, other = (each.digest.removeprefix("sha256:") for each in image.root.manifests)
    assert leaf in stored
    assert other not in stored


async def test_repositories_live_side_by_side_and_share_layers(tmp_path: Path, shelf: Shelf) -> None:
    """The shared layer travels once."""
    shelf.put("acme/api", "1", b"base", b"api")
    shelf.put("acme/web", "1", b"base", b"web")
    await warm(tmp_path, shelf, API, Reference.parse("registry.test/acme/web:1"))
    assert [entry["annotations"][REF_NAME] for entry in index(tmp_path)] == [
        "registry.test/acme/api:1",
        "registry.test/acme/web:1",
    ]
    assert len(shelf.fetched) == len(set(shelf.fetched))


async def test_two_warms_at_once_fetch_a_shared_layer_once(tmp_path: Path, shelf: Shelf) -> None:
    """The second waits for the first and transfers only its own."""
    first = shelf.put("acme/api", "1", b"base", b"api")
    second = shelf.put("acme/web", "1", b"base", b"web!")
    async with open_layout(config(tmp_path), surroundings(shelf)) as cache:
        transfers = await asyncio.gather(cache.warm(first), cache.warm(second))
    assert sorted(shelf.fetched) == sorted(set(shelf.fetched))
    assert sum(transfer.bytes for transfer in transfers) == len(b"baseapiweb!") + sum(
        each.root.config.size for each in (first, second) if each.root.config
    )


async def test_a_moved_tag_replaces_the_name(tmp_path: Path, shelf: Shelf) -> None:
    """One entry per name; the image of before is not held under it any more."""
    old = shelf.put("acme/api", "1", b"old")
    await warm(tmp_path, shelf, API)
    new = shelf.put("acme/api", "1", b"new")
    await warm(tmp_path, shelf, API)
    assert [entry["digest"] for entry in index(tmp_path)] == [new.digest]
    async with open_layout(config(tmp_path), surroundings(shelf)) as cache:
        assert await cache.holds(new)
        assert not await cache.holds(old)


async def test_a_lying_blob_never_gets_its_name(tmp_path: Path, shelf: Shelf) -> None:
    """The error is passed on; no blob of that digest, no index, no remains."""
    image = shelf.put("acme/api", "1", b"layer")
    shelf.lies.add(image.blobs[1].digest)
    with pytest.raises(DigestMismatch):
        await warm(tmp_path, shelf, API)
    assert not any(image.blobs[1].digest.removeprefix("sha256:") in name for name in files(tmp_path))
    assert not (tmp_path / "oci/index.json").exists()


async def test_what_is_stored_is_not_fetched_again_after_a_failure(tmp_path: Path, shelf: Shelf) -> None:
    """The next run fetches only what is missing."""
    shelf.put("acme/base", "1", b"base")
    await warm(tmp_path, shelf, Reference.parse("registry.test/acme/base:1"))
    config_blob, base, layer = shelf.put("acme/api", "1", b"base", b"layer").blobs
    shelf.faults[layer.digest] = [Unavailable("connection reset")]
    with pytest.raises(Unavailable):
        await warm(tmp_path, shelf, API)
    await warm(tmp_path, shelf, API)
    assert shelf.fetched.count(layer.digest) == 2
    assert shelf.fetched.count(base.digest) == 1
    assert config_blob.digest in shelf.fetched


async def test_a_cancelled_warm_leaves_nothing_half_visible(tmp_path: Path, shelf: Shelf) -> None:
    """The half blob is gone, the name was never written."""
    image = shelf.put("acme/api", "1", b"layer")
    shelf.hanging.add(image.blobs[1].digest)
    async with open_layout(config(tmp_path), surroundings(shelf)) as cache:
        task = asyncio.ensure_future(cache.warm(image))
        await shelf.hung.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not await cache.holds(image)
    assert files(tmp_path) <= {f"blobs/{image.blobs[0].digest.replace(':', '/')}"}


async def test_remains_of_a_killed_run_are_removed_and_those_of_a_living_one_kept(
    tmp_path: Path, shelf: Shelf
) -> None:
    """A folder on its way in belongs to whoever holds its lock."""
    shelf.put("acme/api", "1", b"layer")
    dead = tmp_path / "oci/.prewarm/incoming-dead"
    dead.mkdir(parents=True)
    (dead / "half").write_bytes(b"half a blob")
    async with open_layout(config(tmp_path), surroundings(shelf)) as living:
        await living.warm(await living.resolve(API))
        alive = set((tmp_path / "oci/.prewarm").glob("incoming-*"))
        assert len(alive) == 1
        assert dead not in alive
        async with open_layout(config(tmp_path), surroundings(shelf)) as other:
            await other.warm(await other.resolve(API))
            assert alive < set((tmp_path / "oci/.prewarm").glob("incoming-*"))
    assert set((tmp_path / "oci/.prewarm").glob("incoming-*")) == set()


async def test_writers_at_once_lose_no_name(tmp_path: Path, shelf: Shelf) -> None:
    """Twenty openings write the same index."""
    names = [f"app{i}" for i in range(20)]
    for name in names:
        shelf.put(f"acme/{name}", "1", name.encode())
    await asyncio.gather(
        *(warm(tmp_path, shelf, Reference.parse(f"registry.test/acme/{name}:1")) for name in names)
    )
    assert len(index(tmp_path)) == len(names)


async def test_a_truncated_blob_is_not_held(tmp_path: Path, shelf: Shelf) -> None:
    """Size is checked on every look, and the blob is fetched again."""
    image = shelf.put("acme/api", "1", b"layer")
    await warm(tmp_path, shelf, API)
    layer = tmp_path / "oci/blobs" / image.blobs[1].digest.replace(":", "/")
    layer.write_bytes(b"lay")
    async with open_layout(config(tmp_path), surroundings(shelf)) as cache:
        assert not await cache.holds(image)
        await cache.warm(image)
        assert await cache.holds(image)
    assert layer.read_bytes() == b"layer"


async def test_looking_writes_nothing(tmp_path: Path, shelf: Shelf) -> None:
    """A plan asks what is held; the folder appears with the first warm only."""
    image = shelf.put("acme/api", "1", b"layer")
    async with open_layout(config(tmp_path), surroundings(shelf)) as cache:
        assert not await cache.holds(image)
        await cache.check()
    assert not (tmp_path / "oci").exists()


async def test_entries_of_other_tools_stay(tmp_path: Path, shelf: Shelf) -> None:
    """A layout that skopeo began is continued."""
    shelf.put("acme/api", "1", b"layer")
    (tmp_path / "oci").mkdir()
    entry = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:ff", "size": 1}
    (tmp_path / "oci/index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    await warm(tmp_path, shelf, API)
    assert index(tmp_path)[0] == entry
    assert len(index(tmp_path)) == 2


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"manifests": [1]}', '{"manifests": [{"digest": 1}]}', "[" * 9999]
)
async def test_a_folder_with_something_else_is_refused(tmp_path: Path, shelf: Shelf, text: str) -> None:
    """Nothing that is no layout is written over."""
    shelf.put("acme/api", "1", b"layer")
    (tmp_path / "oci").mkdir()
    (tmp_path / "oci/index.json").write_text(text)
    with pytest.raises(CacheError, match=r"index\.json is no image index"):
        await warm(tmp_path, shelf, API)
    assert (tmp_path / "oci/index.json").read_text() == text


async def test_a_place_that_cannot_be_written_is_said_in_words(tmp_path: Path, shelf: Shelf) -> None:
    """A file where the folder should be."""
    shelf.put("acme/api", "1", b"layer")
    (tmp_path / "oci").write_text("a file")
    with pytest.raises(CacheError, match="cannot be written"):
        await warm(tmp_path, shelf, API)


async def test_unknown_images_and_unlisted_registries_are_refused(tmp_path: Path, shelf: Shelf) -> None:
    """Each by its own error."""
    async with open_layout(config(tmp_path), surroundings(shelf)) as cache:
        with pytest.raises(NotFound):
            await cache.resolve(API)
        with pytest.raises(ForbiddenHost):
            await cache.resolve(Reference.parse("other.test/acme/api:1"))


async def test_an_upstream_serves_images_of_other_registries(tmp_path: Path) -> None:
    """Names are rewritten for the upstream; the layout keeps the asked name."""
    shelf = Shelf("harbor.test")
    shelf.put("dockerhub-proxy/library/nginx", "1.25", b"layer")
    around = surroundings(shelf, upstream="harbor.test", rewrite={"docker.io/": "dockerhub-proxy/"})
    async with open_layout(config(tmp_path), around) as cache:
        image = await cache.resolve(Reference.parse("nginx:1.25"))
        await cache.warm(image)
        assert await cache.holds(image)
    assert index(tmp_path)[0]["annotations"][REF_NAME] == "docker.io/library/nginx:1.25"


async def test_check_tells_what_a_person_should_know(tmp_path: Path, shelf: Shelf) -> None:
    """Before the first run and after it."""
    shelf.put("acme/api", "1", b"layer")
    async with open_layout(config(tmp_path), surroundings(shelf)) as cache:
        findings = {finding.subject: finding for finding in await cache.check()}
        assert findings["reachable"].ok
        assert "the first run makes it" in findings["reachable"].message
        await cache.warm(await cache.resolve(API))
        findings = {finding.subject: finding for finding in await cache.check()}
        assert findings["content"].message == "1 images"
        assert findings["space"].message.endswith("free")


async def test_what_streams_into_the_folder_keeps_the_pace(tmp_path: Path, shelf: Shelf) -> None:
    """All transfers of the cache share one rate."""
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    shelf.put("acme/api", "1", bytes(40_000), bytes(60_001))
    pace = Pace(10_000, lambda: now, sleep)
    async with open_layout(config(tmp_path), surroundings(shelf, pace=pace)) as cache:
        await cache.warm(await cache.resolve(API))

    assert 6 <= now <= 15  # 100 kB but for the last chunk
