"""A registry forgets an image, its platforms and signatures, and nothing that another tag needs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from prewarm.errors import CacheError
from prewarm.references import Reference
from prewarm.warming.credentials import Credentials
from prewarm.warming.deletions import Removal, remove
from prewarm.warming.registry import Registries
from tests.fakes import FakeRegistry, Fault
from tests.replica_double import FakeReplica, attach

OLD, NEW = Reference.parse("docker.io/acme/api:1"), Reference.parse("docker.io/acme/api:2")


@pytest.fixture
async def store() -> AsyncIterator[FakeReplica]:
    """A registry that lets manifests be deleted."""
    async with FakeReplica() as registry:
        yield registry


async def removed(store: FakeRegistry, *references: Reference, apply: bool = True) -> Removal:
    async with Registries([store.endpoint], Credentials()) as registries:
        placed = [(reference, "acme/api") for reference in references]
        (removal,) = await remove(registries.of(store.endpoint.registry), placed, apply=apply)
    return removal


def names(store: FakeRegistry) -> set[str]:
    return {reference for _, reference in store.manifests}


async def test_a_dry_run_deletes_nothing(store: FakeReplica) -> None:
    """It asks, and tells the bytes that only this image needs."""
    store.push_image("acme/api", "1", [b"base" * 100, b"old"])
    store.push_image("acme/api", "2", [b"base" * 100, b"new"])
    before = names(store)
    found = await removed(store, OLD, apply=False)
    assert (found.removed, found.bytes) == ((str(OLD),), len(b"old"))
    assert names(store) == before
    assert not [request for request in store.seen if request.method == "DELETE"]


async def test_an_image_that_another_tag_names_stays(store: FakeReplica) -> None:
    """Deleting by digest would take the other tag along."""
    store.push_image("acme/api", "1")
    store.push_image("acme/api", "latest")
    found = await removed(store, OLD)
    assert found.removed == ()
    assert found.kept == {str(OLD): "tag latest is the same image, and stays"}
    assert "1" in names(store)


async def test_platforms_and_signatures_go_with_their_image(store: FakeReplica) -> None:
    """What the index named, and cosign's tags; another image's stay."""
    old = store.push_image("acme/api", "1", platforms=("linux/amd64", "linux/arm64"))
    new = store.push_image("acme/api", "2", [b"other"])
    for pushed in (old, new):
        tag = f"{pushed.digest.replace(':', '-')}.sig"
        attach(store, "acme/api", pushed.digest, pushed.digest.encode(), tag=tag)
    await removed(store, OLD)
    left = names(store)
    assert not left & {"1", old.digest, *old.manifests, f"{old.digest.replace(':', '-')}.sig"}
    assert {"2", new.digest, f"{new.digest.replace(':', '-')}.sig"} <= left


async def test_a_platform_that_another_index_names_stays(store: FakeReplica) -> None:
    """The child of two indexes is deleted with the last of them."""
    old = store.push_image("acme/api", "1", platforms=("linux/amd64", "linux/arm64"))
    new = store.push_image("acme/api", "2", platforms=("linux/amd64", "linux/s390x"))
    await removed(store, OLD)
    assert names(store) >= {"2", *new.manifests}
    await removed(store, NEW)
    assert not names(store) & {*old.manifests, *new.manifests}


async def test_a_registry_that_deletes_nothing_says_how_it_would(store: FakeReplica) -> None:
    """405, as a pull-through cache answers, and Distribution without its setting."""
    store.push_image("acme/api", "1")
    store.deletes = False
    with pytest.raises(CacheError, match=r"refuses to delete images \(405\).*storage\.delete\.enabled"):
        await removed(store, OLD)
    assert "1" in names(store)


async def test_a_login_that_may_not_delete_is_told(store: FakeReplica) -> None:
    """403 is about the login, not about the registry."""
    store.push_image("acme/api", "1")
    store.fault("DELETE", "/manifests/", Fault(status=403), forever=True)
    with pytest.raises(CacheError, match=r"the login for .* may not delete in acme/api"):
        await removed(store, OLD)


async def test_without_a_list_of_tags_nothing_goes(store: FakeReplica) -> None:
    """Nobody could tell what else would go."""
    store.push_image("acme/api", "1")
    store.fault("GET", "/tags/list", Fault(status=403), forever=True)
    found = await removed(store, OLD)
    assert found.kept == {str(OLD): "the tags of acme/api cannot be listed"}
    assert "1" in names(store)
