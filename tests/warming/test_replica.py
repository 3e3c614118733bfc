"""The replica cache: what travels to another registry, in which order, and under which name."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prewarm.errors import CacheError, DigestMismatch, ForbiddenHost, RegistryError
from prewarm.references import Reference
from prewarm.warming.caches import Surroundings
from prewarm.warming.caches.replica import Replica, ReplicaConfig, open_replica
from prewarm.warming.credentials import Credentials
from prewarm.warming.images import parse_platform
from prewarm.warming.pacing import Pace
from prewarm.warming.registry import Registries, Timing
from tests.fakes import OCI_INDEX, BasicAuth, FakeMirror, FakeRegistry, Fault, TokenAuth, descriptor, sha256
from tests.replica_double import FakeReplica, attach, list_by_tag

API, WEB = Reference.parse("docker.io/acme/api:1"), Reference.parse("docker.io/acme/web:1")
CHUNK = 1 << 16


async def no_sleep(seconds: float) -> None:
    """Retries come at once."""


@asynccontextmanager
async def opened(
    source: FakeRegistry,
    target: FakeRegistry,
    config: dict[str, Any] | None = None,
    credentials: Credentials | None = None,
    **more: Any,
) -> AsyncIterator[Replica]:
    """The cache that copies from docker.io, which is `source`, to `target`."""
    listed = [replace(source.endpoint, registry="docker.io"), replace(source.endpoint, registry="ghcr.io")]
    timing = Timing(sleep=no_sleep)
    async with Registries(listed, credentials or Credentials(), timing=timing) as registries:
        around = Surroundings("test", registries, **more)
        settings = ReplicaConfig.model_validate({"url": target.url, **(config or {})})
        async with open_replica(settings, around) as cache:
            yield cache


async def warm(cache: Replica, *references: Reference) -> list[int]:
    """Bytes sent for each."""
    return [(await cache.warm(await cache.resolve(each))).bytes for each in references]


async def test_a_copy_has_the_digests_of_its_source() -> None:
    """Index, manifests and blobs are the very bytes; the tag leads to all of them."""
    async with FakeRegistry() as source, FakeReplica() as target, opened(source, target) as cache:
        pushed = source.push_image("acme/api", "1", [b"layer"], platforms=["linux/amd64", "linux/arm64"])
        await warm(cache, API)
    assert target.manifests["acme/api", "1"] == source.manifests["acme/api", "1"]
    assert {("acme/api", digest) for digest in pushed.manifests} <= set(target.manifests)
    assert set(pushed.blobs) == set(target.blobs)


async def test_the_tag_comes_last() -> None:
    """Whoever finds the name finds everything: blobs, platforms, signatures before it."""
    async with FakeRegistry() as source, FakeReplica() as target, opened(source, target) as cache:
        pushed = source.push_image("acme/api", "1", [b"layer"], platforms=["linux/amd64"])
        signature = attach(source, "acme/api", pushed.digest, tag=f"sha256-{pushed.digest[7:]}.sig")
        await warm(cache, API)
    assert target.order[-1] == "1"
    places = [target.order.index(each) for each in (pushed.blobs[0], pushed.manifests[0])]
    assert places == sorted(places)
    assert signature in {sha256(body) for body, _ in target.manifests.values()}


async def test_a_failure_leaves_the_old_tag_as_it_was() -> None:
    """Half a copy is never visible."""
    async with FakeRegistry() as source, FakeReplica() as target, opened(source, target) as cache:
        source.push_image("acme/api", "1", [b"old"])
        await warm(cache, API)
        before = target.manifests["acme/api", "1"]
        source.push_image("acme/api", "1", [b"new", b"rotten"])
        source.fault("GET", sha256(b"rotten"), Fault(corrupt=True), forever=True)
        with pytest.raises(DigestMismatch, match="digest"):
            await warm(cache, API)
    assert target.manifests["acme/api", "1"] == before
    assert sha256(b"rotten") not in target.blobs
    assert not target.uploads  # what was begun was given up


async def test_only_missing_blobs_are_read() -> None:
    """The base of the second build stays where it is."""
    async with FakeRegistry() as source, FakeReplica() as target, opened(source, target) as cache:
        source.push_image("acme/api", "1", [b"base", b"one"])
        source.push_image("acme/api", "2", [b"base", b"two"])
        await warm(cache, API, Reference.parse("docker.io/acme/api:2"))
    assert len(source.asked("GET", f"blobs/{sha256(b'base')}")) == 1


async def test_a_blob_of_another_repository_is_mounted() -> None:
    """No byte of it is read twice, also when both are copied by different runs."""
    async with FakeRegistry() as source, FakeReplica() as target, opened(source, target) as cache:
        source.push_image("acme/api", "1", [b"base", b"api"])
        source.push_image("acme/web", "1", [b"base", b"web"])
        _, second = await warm(cache, API, WEB)
    assert ("acme/web", "acme/api") in target.mounts
    assert second == len(b"web")  # the config is the same, too
    assert len(source.asked("GET", f"blobs/{sha256(b'base')}")) == 1


async def test_the_next_run_mounts_what_this_one_copied(tmp_path: Path) -> None:
    """Where blobs are is kept in the driver's folder."""
    async with FakeRegistry() as source, FakeReplica() as target:
        source.push_image("acme/api", "1", [b"base", b"api"])
        source.push_image("acme/web", "1", [b"base", b"web"])
        for reference in (API, WEB):
            async with opened(source, target, folder=tmp_path / "test") as cache:
                await warm(cache, reference)
    assert ("acme/web", "acme/api") in target.mounts


async def test_a_place_that_lost_its_blob_costs_a_transfer_only(tmp_path: Path) -> None:
    """A mount that is refused is followed by the blob itself."""
    (tmp_path / "test").mkdir()
    (tmp_path / "test/places.json").write_text(json.dumps({sha256(b"layer"): "acme/gone"}))
    async with (
        FakeRegistry() as source,
        FakeReplica() as target,
        opened(source, target, folder=tmp_path / "test") as cache,
    ):
        source.push_image("acme/api", "1", [b"layer"])
        await warm(cache, API)
        assert await cache.holds(await cache.resolve(API))
    assert not target.mounts
    assert not target.uploads


async def test_big_blobs_travel_in_chunks_and_go_on_where_a_request_broke() -> None:
    """The registry says what it has; the rest follows, and the digest is right."""
    layer = bytes(range(256)) * 1024  # four chunks
    async with (
        FakeRegistry() as source,
        FakeReplica() as target,
        opened(source, target, {"chunk": CHUNK}) as cache,
    ):
        source.push_image("acme/api", "1", [layer])
        target.fault("PATCH", "uploads", Fault(), Fault(status=503))  # which has stored its bytes, and fails
        [sent] = await warm(cache, API)
    patches = target.asked("PATCH", "uploads")
    ranges = [each.headers["Content-Range"] for each in patches]
    assert ranges == ["0-65535", "65536-131071", "131072-196607", "196608-262143"]
    assert target.blobs[sha256(layer)] == layer
    assert sent >= len(layer)
    assert len(source.asked("GET", f"blobs/{sha256(layer)}")) == 1


async def test_an_upload_that_the_registry_forgot_begins_anew() -> None:
    """Once; the second time the error is passed on."""
    layer = bytes(3 * CHUNK)
    async with (
        FakeRegistry() as source,
        FakeReplica(forgets=1) as target,
        opened(source, target, {"chunk": CHUNK}) as cache,
    ):
        source.push_image("acme/api", "1", [layer])
        target.fault("PATCH", "uploads", Fault(), Fault(status=503))
        await warm(cache, API)
        assert await cache.holds(await cache.resolve(API))
    assert len(source.asked("GET", f"blobs/{sha256(layer)}")) == 2


@pytest.mark.parametrize("lists", [True, False])
@pytest.mark.parametrize("kept", [True, False])
async def test_what_is_attached_comes_along(lists: bool, kept: bool) -> None:
    """From a registry that lists referrers or has a tag for them, to either."""
    async with FakeRegistry() as source, FakeReplica() as target:
        source.lists, target.lists = lists, kept
        pushed = source.push_image("acme/api", "1", [b"layer"])
        sbom = attach(source, "acme/api", pushed.digest, b"an SBOM", kind="application/spdx+json")
        signature = attach(source, "acme/api", sbom, b"signs the SBOM")
        if not lists:
            list_by_tag(source, "acme/api", pushed.digest, [sbom])
            list_by_tag(source, "acme/api", sbom, [signature])
        async with opened(source, target) as cache:
            await warm(cache, API)
            assert await cache.holds(await cache.resolve(API))
    assert target.blobs[sha256(b"an SBOM")]
    tag = ("acme/api", pushed.digest.replace(":", "-"))
    assert {("acme/api", sbom), ("acme/api", signature)} <= set(target.manifests)
    assert (tag in target.manifests) is not kept
    if not kept:
        [entry] = json.loads(target.manifests[tag][0])["manifests"]
        assert entry["digest"] == sbom
        assert entry["artifactType"] == "application/spdx+json"


async def test_a_signature_that_came_later_is_missing() -> None:
    """The same digest without its new signature is not held."""
    async with FakeRegistry() as source, FakeReplica() as target:
        pushed = source.push_image("acme/api", "1", [b"layer"])
        async with opened(source, target) as cache:
            await warm(cache, API)
        attach(source, "acme/api", pushed.digest, tag=f"sha256-{pushed.digest[7:]}.sig")
        async with opened(source, target) as cache:
            image = await cache.resolve(API)
            assert not await cache.holds(image)
            await cache.warm(image)
            assert await cache.holds(image)


async def test_signatures_can_be_left_out() -> None:
    """`referrers = false` asks for none."""
    async with FakeRegistry() as source, FakeReplica() as target:
        source.push_image("acme/api", "1", [b"layer"])
        async with opened(source, target, {"referrers": False}) as cache:
            await warm(cache, API)
    assert not source.asked("GET", "referrers")
    assert not source.asked("HEAD", ".sig")


async def test_an_index_comes_whole_with_its_attestations() -> None:
    """BuildKit's provenance is part of the index."""
    async with FakeRegistry() as source, FakeReplica() as target, opened(source, target) as cache:
        pushed = source.push_image("acme/api", "1", [b"layer"], platforms=["linux/amd64", "unknown/unknown"])
        await warm(cache, API)
    assert {("acme/api", each) for each in pushed.manifests} <= set(target.manifests)


async def test_a_registry_that_wants_whole_indexes_is_named() -> None:
    """`index = "platforms"` is for registries that take a part."""
    platforms = (parse_platform("linux/amd64"),)
    async with (
        FakeRegistry() as source,
        FakeReplica() as target,
        opened(source, target, {"index": "platforms"}, platforms=platforms) as cache,
    ):
        source.push_image("acme/api", "1", [b"layer"], platforms=["linux/amd64", "linux/arm64"])
        with pytest.raises(CacheError, match='index = "whole"'):
            await warm(cache, API)
    assert ("acme/api", "1") not in target.manifests


async def test_an_index_is_copied_for_the_platforms_asked_where_that_is_allowed() -> None:
    """Its digest stays; the other platform's blobs stay behind."""
    platforms = (parse_platform("linux/arm64"),)
    async with FakeRegistry() as source, FakeReplica() as target:
        target.sparse = True
        pushed = source.push_image("acme/api", "1", [b"layer"], platforms=["linux/amd64", "linux/arm64"])
        async with opened(source, target, {"index": "platforms"}, platforms=platforms) as cache:
            await warm(cache, API)
            assert await cache.holds(await cache.resolve(API))
    assert ("acme/api", pushed.manifests[1]) in target.manifests
    assert ("acme/api", pushed.manifests[0]) not in target.manifests


async def test_an_index_of_indexes_is_copied_from_the_leaves() -> None:
    """What an index names is there before it."""
    async with FakeRegistry() as source, FakeReplica() as target, opened(source, target) as cache:
        inner = source.push_image("acme/api", "inner", [b"layer"], platforms=["linux/amd64"])
        entry = descriptor(source.manifests["acme/api", inner.digest][0], OCI_INDEX)
        outer = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
        source.push_manifest("acme/api", "1", outer, OCI_INDEX)
        await warm(cache, API)
    assert target.order[-2:] == [inner.digest, "1"]


async def test_names_are_rewritten_on_the_replica() -> None:
    """Each source has a place of its own; `holds` looks there."""
    table = {"docker.io/": "hub/", "ghcr.io/": "ghcr/"}
    async with (
        FakeRegistry() as source,
        FakeReplica() as target,
        opened(source, target, rewrite=table) as cache,
    ):
        source.push_image("acme/api", "1", [b"layer"])
        await warm(cache, API, Reference.parse("ghcr.io/acme/api:1"))
        assert await cache.holds(await cache.resolve(API))
    assert {repository for repository, _ in target.manifests} == {"hub/acme/api", "ghcr/acme/api"}


async def test_two_sources_do_not_share_a_name() -> None:
    """Without a rewrite the second is refused before it writes anything."""
    async with FakeRegistry() as source, FakeReplica() as target, opened(source, target) as cache:
        source.push_image("acme/api", "1", [b"layer"])
        await warm(cache, API)
        with pytest.raises(CacheError, match=r'rewrite = \{"ghcr.io/"'):
            await cache.resolve(Reference.parse("ghcr.io/acme/api:1"))


async def test_a_log_of_the_replica_itself_names_its_own_images() -> None:
    """The way back leads through `rewrite`, else to `upstream`."""
    async with FakeRegistry() as source, FakeReplica() as target:
        source.push_image("acme/api", "1", [b"layer"])
        async with opened(source, target, rewrite={"docker.io/": "hub/"}) as cache:
            await warm(cache, Reference.parse(f"{target.host}/hub/acme/api:1"))
        async with opened(source, target, upstream="docker.io") as cache:
            await warm(cache, Reference.parse(f"{target.host}/acme/api:1"))
        async with opened(source, target) as cache:
            with pytest.raises(CacheError, match="upstream"):
                await cache.resolve(Reference.parse(f"{target.host}/acme/api:1"))
    assert {"hub/acme/api", "acme/api"} == {repository for repository, _ in target.manifests}


async def test_an_unlisted_source_is_not_contacted() -> None:
    """Only listed registries are."""
    async with FakeRegistry() as source, FakeReplica() as target, opened(source, target) as cache:
        with pytest.raises(ForbiddenHost):
            await cache.resolve(Reference.parse("quay.io/acme/api:1"))


async def test_a_pinned_image_needs_no_tag() -> None:
    """A reference by digest is put under its digest."""
    async with FakeRegistry() as source, FakeReplica() as target, opened(source, target) as cache:
        pushed = source.push_image("acme/api", "1", [b"layer"])
        pinned = Reference.parse(f"docker.io/acme/api@{pushed.digest}")
        await warm(cache, pinned)
        assert await cache.holds(await cache.resolve(pinned))
    assert ("acme/api", "1") not in target.manifests


async def test_looking_writes_nothing() -> None:
    """Plans ask; only runs push."""
    async with FakeRegistry() as source, FakeReplica() as target, opened(source, target) as cache:
        source.push_image("acme/api", "1", [b"layer"])
        assert not await cache.holds(await cache.resolve(API))
    assert {request.method for request in target.seen} <= {"HEAD", "GET"}


async def test_a_second_warm_puts_nothing() -> None:
    """Registries tell of every push: webhooks, audit logs, immutable tags."""
    async with FakeRegistry() as source, FakeReplica() as target:
        source.push_image("acme/api", "1", [b"layer"], platforms=["linux/amd64"])
        for _ in range(2):
            async with opened(source, target) as cache:
                await warm(cache, API)
    assert len(target.asked("PUT", "manifests")) == 2
    assert len(target.asked("POST", "uploads")) == 2


async def test_what_a_registry_lost_is_not_held() -> None:
    """A tag alone proves nothing: every blob is asked for."""
    async with FakeRegistry() as source, FakeReplica() as target:
        source.push_image("acme/api", "1", [b"layer"])
        async with opened(source, target) as cache:
            await warm(cache, API)
        target.links.discard(("acme/api", sha256(b"layer")))
        async with opened(source, target) as cache:
            image = await cache.resolve(API)
            assert not await cache.holds(image)
            await cache.warm(image)
            assert await cache.holds(image)


async def test_a_push_is_asked_for_with_its_own_scopes() -> None:
    """Pull and push where we write, pull where a blob is mounted from; the source's token is for pulling."""
    async with FakeRegistry(TokenAuth()) as source, FakeReplica() as target, opened(source, target) as cache:
        target.auth = TokenAuth()
        source.push_image("acme/api", "1", [b"base"])
        source.push_image("acme/web", "1", [b"base"])
        await warm(cache, API, WEB)
    asked = [request.path for request in target.asked("GET", "/token")]
    assert any("scope=repository:acme/api:pull,push" in each for each in asked)
    assert any("acme/web:pull,push&scope=repository:acme/api:pull" in each for each in asked)
    assert all("push" not in request.path for request in source.asked("GET", "/token"))


async def test_copies_keep_the_pace() -> None:
    """Bytes that pass are paid for."""
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    pace = Pace(10_000, lambda: now, sleep)
    async with (
        FakeRegistry() as source,
        FakeReplica() as target,
        opened(source, target, pace=pace) as cache,
    ):
        source.push_image("acme/api", "1", [bytes(40_000), bytes(60_001)])
        await warm(cache, API)
    assert 3 <= now <= 15


async def test_a_refused_tag_is_said_in_the_registrys_words() -> None:
    """Immutable tags, quotas: the person reads why."""
    async with FakeRegistry() as source, FakeReplica() as target, opened(source, target) as cache:
        source.push_image("acme/api", "1", [b"layer"])
        body = json.dumps({"errors": [{"code": "DENIED", "message": "the tag is immutable"}]}).encode()
        target.fault("PUT", "manifests/1", Fault(status=412, body=body), forever=True)
        with pytest.raises(RegistryError, match="the tag is immutable"):
            await warm(cache, API)


async def test_check_says_where_pushes_go() -> None:
    """A place for each rewritten source; nothing is left behind."""
    async with (
        FakeRegistry() as source,
        FakeReplica() as target,
        opened(source, target, rewrite={"docker.io/": "hub/"}) as cache,
    ):
        findings = {finding.subject: finding for finding in await cache.check()}
    assert all(finding.ok for finding in findings.values())
    assert "hub/prewarm-check" in findings["pushes"].message
    assert not target.uploads


async def test_check_knows_a_mirror_and_a_missing_login() -> None:
    """Each in its own words."""
    async with FakeRegistry() as source, FakeMirror(source) as mirror, opened(source, mirror) as cache:
        [pushes] = [each for each in await cache.check() if each.subject == "pushes"]
    assert not pushes.ok
    assert "`mirror`" in pushes.message
    async with FakeRegistry() as source, FakeRegistry(BasicAuth()) as closed, opened(source, closed) as cache:
        [reachable] = await cache.check()
    assert "docker login" in reachable.message


def test_logs_and_urls_keep_no_password() -> None:
    """A login in the url is refused."""
    with pytest.raises(ValueError, match=r"config\.json"):
        ReplicaConfig(url="https://ann:secret@eu.example")


async def test_images_of_one_repository_share_its_list_of_tags() -> None:
    """Looking for signatures costs one request a repository, not four an image."""
    async with FakeRegistry() as source, FakeReplica() as target, opened(source, target) as cache:
        for tag in ("1", "2", "3"):
            source.push_image("acme/api", tag, [tag.encode()])
            await warm(cache, Reference.parse(f"docker.io/acme/api:{tag}"))
    assert len(source.asked("GET", "/tags/list")) == 1
    assert not source.asked("HEAD", "/manifests/sha256-")


async def test_signatures_are_found_where_tags_cannot_be_listed() -> None:
    """Each is asked for by its name."""
    async with FakeRegistry() as source, FakeReplica() as target, opened(source, target) as cache:
        pushed = source.push_image("acme/api", "1", [b"layer"])
        signature = attach(source, "acme/api", pushed.digest, tag=f"sha256-{pushed.digest[7:]}.sig")
        source.fault("GET", "/tags/list", Fault(status=404), forever=True)
        await warm(cache, API)
    assert ("acme/api", signature) in target.manifests
