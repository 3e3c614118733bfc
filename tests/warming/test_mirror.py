"""A mirror is called warm when it has proven to hold every blob, and not before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from prewarm.errors import CacheError, DigestMismatch, NotFound, SettingsError, TagMoved, Unavailable
from prewarm.references import Reference
from prewarm.warming.caches import Surroundings
from prewarm.warming.caches.mirror import DRIVER, Mirror
from prewarm.warming.credentials import Credentials
from prewarm.warming.pacing import Pace
from prewarm.warming.registry import Registries, Timing
from tests.fakes import BasicAuth, FakeMirror, FakeRegistry, Fault

NGINX = Reference.parse("nginx:1.25")
LAYERS = [bytes(500_000), b"one" * 1000, b"two"]
EPOCH = 1_795_478_400.0


class Time:
    """A clock that sleeping moves; whoever sleeps wakes up when the mirror's fills are done."""

    def __init__(self, mirror: FakeMirror) -> None:
        self.mirror = mirror
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await self.mirror.settle()

    def clock(self) -> float:
        return self.now


@asynccontextmanager
async def cache(
    mirror: FakeMirror, upstream: str | None = "docker.io", *, days: float = 0, **settings: Any
) -> AsyncIterator[Mirror]:
    """A mirror cache; `rewrite` and `folder` belong to the surroundings, the rest are the driver's keys.

    It is opened `days` days after the first one.
    """
    time = Time(mirror)
    timing = Timing(time.sleep, lambda: 0.0, time.clock, lambda: EPOCH + days * 86_400)
    more = {key: settings.pop(key) for key in ("rewrite", "folder") if key in settings}
    if rate := settings.pop("rate", None):
        more["pace"] = Pace(rate, time.clock, time.sleep)
    async with Registries([], Credentials(), timing=timing) as registries:
        surroundings = Surroundings("office", registries, upstream=upstream, **more)
        async with DRIVER.open(DRIVER.config(url=mirror.url, **settings), surroundings) as opened:
            assert isinstance(opened, Mirror)
            yield opened


@pytest.fixture
async def origin() -> AsyncIterator[FakeRegistry]:
    async with FakeRegistry() as registry:
        registry.push_image("library/nginx", "1.25", LAYERS)
        yield registry


@pytest.fixture
async def mirror(origin: FakeRegistry) -> AsyncIterator[FakeMirror]:
    async with FakeMirror(origin) as pull_through:
        yield pull_through


async def test_a_cold_mirror_holds_nothing_and_a_warmed_one_everything(mirror: FakeMirror) -> None:
    """The bytes are those that the mirror had to fetch."""
    async with cache(mirror) as office:
        image = await office.resolve(NGINX)
        cold = await office.holds(image)
        transfer = await office.warm(image)
        warm = await office.holds(image)

    assert (cold, warm) == (False, True)
    assert transfer.bytes == image.bytes
    assert set(mirror.blobs) == {blob.digest for blob in image.blobs}
    assert "4 blobs answered 206" in transfer.proof


async def test_warming_again_transfers_nothing(mirror: FakeMirror, origin: FakeRegistry) -> None:
    """Neither to us nor to the mirror."""
    async with cache(mirror) as office:
        image = await office.resolve(NGINX)
        await office.warm(image)
        origin.seen.clear()
        again = await office.warm(image)

    assert again.bytes == 0
    assert origin.asked("GET", "/blobs/") == []


async def test_what_people_pulled_is_not_counted(mirror: FakeMirror, origin: FakeRegistry) -> None:
    """Only the missing layers are transferred."""
    async with cache(mirror) as office:
        image = await office.resolve(NGINX)
        largest = max(image.blobs, key=lambda blob: blob.size)
        mirror.store("library/nginx", origin.blobs[largest.digest])
        transfer = await office.warm(image)

    assert transfer.bytes == image.bytes - largest.size


async def test_asking_about_a_repository_that_is_not_stored_costs_nothing(
    mirror: FakeMirror, origin: FakeRegistry
) -> None:
    """A blob that is asked about is fetched, so that the list of repositories is looked at first: once."""
    async with cache(mirror) as office:
        image = await office.resolve(NGINX)
        await office.holds(image)
        held = await office.holds(image)
        await mirror.settle()

    assert not held
    assert origin.asked("GET", "/blobs/") == []
    assert len(mirror.asked("GET", "/_catalog")) == 1


@pytest.mark.parametrize("fault", [Fault(status=401), Fault(status=404), Fault(body=b"[]"), Fault(body=b"{")])
async def test_asking_costs_the_smallest_blob_where_there_is_no_list(
    mirror: FakeMirror, origin: FakeRegistry, fault: Fault
) -> None:
    """Its config: the layers stay where they are."""
    mirror.fault("GET", "/_catalog", fault)
    async with cache(mirror) as office:
        image = await office.resolve(NGINX)
        held = await office.holds(image)
        await mirror.settle()

    fetched = {request.path.rpartition("/")[2] for request in origin.asked("GET", "/blobs/")}
    assert not held
    assert fetched == {min(image.blobs, key=lambda blob: blob.size).digest}


async def test_what_the_question_itself_filled_is_counted(mirror: FakeMirror) -> None:
    """The upstream was asked for it on our account."""
    mirror.fault("GET", "/_catalog", Fault(status=404))
    async with cache(mirror) as office:
        image = await office.resolve(NGINX)
        await office.holds(image)
        await mirror.settle()
        transfer = await office.warm(image)

    assert transfer.bytes == image.bytes


async def test_plan_after_plan_fills_one_blob_of_a_cold_image(
    mirror: FakeMirror, origin: FakeRegistry, tmp_path: Path
) -> None:
    """No question leaves a missing blob alone, so what was found missing is remembered over processes."""
    mirror.store("library/nginx", b"a layer of another tag")
    for _ in range(4):
        async with cache(mirror, folder=tmp_path / "office") as office:
            assert not await office.holds(await office.resolve(NGINX))
        await mirror.settle()

    assert len({request.path for request in origin.asked("GET", "/blobs/")}) == 1


async def test_a_missing_blob_is_asked_about_again_after_a_day(mirror: FakeMirror, tmp_path: Path) -> None:
    """People may have pulled the image since."""
    mirror.store("library/nginx", b"a layer of another tag")
    async with cache(mirror, folder=tmp_path / "office") as office:
        image = await office.resolve(NGINX)
        assert not await office.holds(image)
    for blob in image.blobs:
        mirror.store("library/nginx", mirror.upstream.blobs[blob.digest])
    async with cache(mirror, folder=tmp_path / "office", days=0.9) as office:
        assert not await office.holds(image)
    async with cache(mirror, folder=tmp_path / "office", days=1.1) as office:
        assert await office.holds(image)


async def test_what_was_warmed_is_asked_about_at_once(mirror: FakeMirror, tmp_path: Path) -> None:
    """A warm ends what is remembered."""
    mirror.store("library/nginx", b"a layer of another tag")
    async with cache(mirror, folder=tmp_path / "office") as office:
        image = await office.resolve(NGINX)
        assert not await office.holds(image)
        await office.warm(image)
    async with cache(mirror, folder=tmp_path / "office") as office:
        assert await office.holds(image)


@pytest.mark.parametrize("kept", [b"", b"[]", b'{"x": {}}', b"\xff"])
async def test_a_spoilt_reminder_is_none(mirror: FakeMirror, tmp_path: Path, kept: bytes) -> None:
    """It only saves a question."""
    (tmp_path / "office").mkdir()
    (tmp_path / "office" / "asked.json").write_bytes(kept)
    async with cache(mirror, folder=tmp_path / "office") as office:
        assert not await office.holds(await office.resolve(NGINX))


async def test_a_layer_that_two_repositories_share_is_fetched_for_each(
    mirror: FakeMirror, origin: FakeRegistry
) -> None:
    """As Distribution does; what two images of one repository share is fetched and counted once."""
    origin.push_image("library/nginx", "1.26", LAYERS)
    origin.push_image("acme/proxy", "1", LAYERS)
    names = [NGINX, Reference.parse("nginx:1.26"), Reference.parse("acme/proxy:1")]
    async with cache(mirror) as office:
        images = [await office.resolve(name) for name in names]
        transfers = await asyncio.gather(*(office.warm(image) for image in images))

    assert sum(transfer.bytes for transfer in transfers) == images[0].bytes + images[2].bytes


async def test_fills_keep_the_pace_though_their_bytes_do_not_pass_us(
    mirror: FakeMirror, origin: FakeRegistry
) -> None:
    """By the sizes of the blobs that are missing; those that are held cost no time."""
    origin.push_image("library/nginx", "1.25", [bytes(60_000), bytes(50_000), bytes(40_000), bytes(900_000)])
    async with cache(mirror, rate=10_000) as office:
        image = await office.resolve(NGINX)
        mirror.store("library/nginx", bytes(900_000))
        began = office._timing.clock()
        await office.warm(image)
        took = office._timing.clock() - began

    assert 9 <= took <= 20  # the last of 150 kB is asked about when all before it have had their time


async def test_what_people_pulled_is_held(mirror: FakeMirror, origin: FakeRegistry) -> None:
    """Whoever filled it: the proof is the same."""
    async with cache(mirror) as office:
        await office.warm(await office.resolve(NGINX))
    async with cache(mirror) as office:
        assert await office.holds(await office.resolve(NGINX))


async def test_a_mirror_that_fills_when_asked_is_spared_the_head(mirror: FakeMirror) -> None:
    """It would cost the upstream a second GET."""
    async with cache(mirror) as office:
        await office.warm(await office.resolve(NGINX))

    assert mirror.asked("HEAD", "/blobs/") == []


@pytest.mark.parametrize("fill", ["auto", "head"])
async def test_a_mirror_that_fills_on_head_is_warmed_without_reading(origin: FakeRegistry, fill: str) -> None:
    """No blob passes through us."""
    async with FakeMirror(origin, fills=frozenset({"HEAD"})) as mirror, cache(mirror, fill=fill) as office:
        image = await office.resolve(NGINX)
        transfer = await office.warm(image)

    assert transfer.bytes == image.bytes
    assert [request for request in mirror.asked("GET", "/blobs/") if "Range" not in request.headers] == []


@pytest.mark.parametrize("fill", ["auto", "get"])
async def test_a_mirror_that_fills_only_when_read_is_read(origin: FakeRegistry, fill: str) -> None:
    """The HEAD does not take, so each blob is read through, verified and thrown away."""
    async with FakeMirror(origin, fills=frozenset({"GET"})) as mirror, cache(mirror, fill=fill) as office:
        image = await office.resolve(NGINX)
        transfer = await office.warm(image)
        held = await office.holds(image)

    assert transfer.bytes == image.bytes
    assert held


async def test_a_moved_tag_is_not_held(mirror: FakeMirror, origin: FakeRegistry) -> None:
    """The mirror asks its upstream about tags; what it holds of the old image does not count."""
    async with cache(mirror) as office:
        old = await office.resolve(NGINX)
        await office.warm(old)
        origin.push_image("library/nginx", "1.25", [*LAYERS, b"three"])

        stale = await office.holds(old)
        new = await office.resolve(NGINX)
        transfer = await office.warm(new)

    assert not stale
    assert new.digest != old.digest
    assert transfer.bytes == len(b"three")


async def test_an_index_and_its_manifests_are_stored_too(mirror: FakeMirror, origin: FakeRegistry) -> None:
    """With the upstream gone, clients can still be served."""
    pushed = origin.push_image("library/nginx", "1.25", LAYERS, ["linux/amd64", "linux/arm64"])
    async with cache(mirror) as office:
        await office.warm(await office.resolve(NGINX))

    assert ("library/nginx", pushed.digest) in mirror.manifests
    assert ("library/nginx", pushed.manifests[0]) in mirror.manifests


async def test_a_digest_is_warmed_like_a_tag(mirror: FakeMirror, origin: FakeRegistry) -> None:
    """Its name cannot move."""
    pushed = origin.push_image("library/nginx", "1.25", LAYERS)
    pinned = Reference.of("docker.io", "library/nginx", digest=pushed.digest)
    async with cache(mirror) as office:
        image = await office.resolve(pinned)
        await office.warm(image)

        assert image.reference == pinned
        assert await office.holds(image)


async def test_names_are_rewritten_by_the_longest_prefix(origin: FakeRegistry) -> None:
    """One Harbor host has a proxy project per upstream."""
    table = {"docker.io/": "hub/", "docker.io/library/": "hub/library/", "ghcr.io/": "ghcr/"}
    async with FakeMirror(origin, prefix="hub/") as mirror, cache(mirror, None, rewrite=table) as office:
        image = await office.resolve(NGINX)

    assert str(image.reference) == "docker.io/library/nginx:1.25"
    assert mirror.seen[0].path == "/v2/hub/library/nginx/manifests/1.25"


async def test_a_working_mirror_passes_its_check(mirror: FakeMirror) -> None:
    """Reachable, asked anonymously, and a pull-through cache."""
    async with cache(mirror) as office:
        findings = await office.check()

    assert {finding.subject: finding.ok for finding in findings} == {
        "reachable": True,
        "credentials": True,
        "product": True,
        "pull-through": True,
    }


async def test_a_prefix_that_nobody_named_is_told(mirror: FakeMirror) -> None:
    """Harbor has every upstream under a project: without it, no image would be found."""
    challenge = 'Bearer realm="https://harbor.example.com/service/token",service="harbor-registry"'
    mirror.fault("GET", "/v2/", Fault(headers={"WWW-Authenticate": challenge}), forever=True)
    async with cache(mirror) as office:
        told = {finding.subject: finding for finding in await office.check()}
    async with cache(mirror, None, rewrite={"docker.io/": "hub/"}) as office:
        named = {finding.subject: finding for finding in await office.check()}

    assert not told["product"].ok
    assert "a proxy-cache project is a prefix: rewrite = " in told["product"].message
    assert (named["product"].ok, named["product"].message) == (True, "Harbor")


async def test_a_hit_is_the_proof_of_a_web_cache(mirror: FakeMirror) -> None:
    """It answers 206 to what it lacks; as long as it misses, the image is cold."""
    miss, hit = Fault(headers={"X-Cache": "MISS"}), Fault(headers={"X-Cache": "HIT"})
    async with cache(mirror) as office:
        image = await office.resolve(NGINX)
        await office.warm(image)
    mirror.fault("GET", "/blobs/", miss)
    mirror.fault("GET", "/blobs/", hit, forever=True)
    async with cache(mirror) as office:
        assert not await office.holds(image)
        assert "X-Cache: HIT" in (await office.warm(image)).proof


# --- errors


async def test_a_full_disk_is_a_failure_though_every_answer_was_200(origin: FakeRegistry) -> None:
    """The mirror serves what it cannot store; nothing is called warm."""
    async with FakeMirror(origin, disk=100_000) as mirror, cache(mirror, fill_timeout="8s") as office:
        image = await office.resolve(NGINX)
        with pytest.raises(CacheError, match=r"did not store it within 8 s; is its disk full"):
            await office.warm(image)
        held = await office.holds(image)

    assert not held
    assert {request.status for request in mirror.asked("HEAD", "/blobs/")} == {200}


async def test_a_fill_that_fails_is_asked_about_ever_less_often(origin: FakeRegistry) -> None:
    """Each question makes the mirror try again at the upstream's cost."""
    async with (
        FakeMirror(origin, disk=100_000) as mirror,
        cache(mirror, fill="head", fill_timeout="1h") as office,
    ):
        with pytest.raises(CacheError):
            await office.warm(await office.resolve(NGINX))

    assert len(mirror.asked("GET", "/blobs/")) < 40


async def test_a_full_disk_is_told_within_a_minute(origin: FakeRegistry) -> None:
    """By default: the HEAD's fill is awaited briefly, and after reading the mirror has had every byte."""
    async with FakeMirror(origin, disk=100_000) as mirror, cache(mirror) as office:
        began = office._timing.clock()
        with pytest.raises(CacheError, match="is its disk full"):
            await office.warm(await office.resolve(NGINX))

        assert office._timing.clock() - began < 60


async def test_a_corrupt_upstream_is_named_by_its_digest(mirror: FakeMirror, origin: FakeRegistry) -> None:
    """Read through the mirror, the blob shows what is wrong with it."""
    origin.fault("GET", "/blobs/", Fault(corrupt=True), forever=True)
    async with cache(mirror, fill_timeout="1s") as office:
        with pytest.raises(DigestMismatch, match="digest"):
            await office.warm(await office.resolve(NGINX))

    assert mirror.blobs == {}


async def test_a_mirror_that_never_stores_is_told_so_without_reading(origin: FakeRegistry) -> None:
    """`fill = "head"` moves no blob over the warmer's link, whatever happens."""
    async with (
        FakeMirror(origin, fills=frozenset()) as mirror,
        cache(mirror, fill="head", fill_timeout=1) as office,
    ):
        with pytest.raises(CacheError, match="did not store"):
            await office.warm(await office.resolve(NGINX))

    assert all("Range" in request.headers for request in mirror.asked("GET", "/blobs/"))


async def test_a_tag_that_moves_while_it_is_warmed_is_refused(
    mirror: FakeMirror, origin: FakeRegistry
) -> None:
    """The image that was planned is not the one that clients would get."""
    async with cache(mirror) as office:
        image = await office.resolve(NGINX)
        origin.push_image("library/nginx", "1.25", [b"rebuilt"])
        with pytest.raises(TagMoved, match="moved to sha256:"):
            await office.warm(image)


async def test_an_image_that_the_upstream_lost_is_not_held(mirror: FakeMirror, origin: FakeRegistry) -> None:
    """Not found is a no to the question, and an error to the deed."""
    async with cache(mirror) as office:
        image = await office.resolve(NGINX)
        origin.manifests.clear()
        mirror.evict()

        assert not await office.holds(image)
        with pytest.raises(NotFound):
            await office.warm(image)


async def test_one_mirror_does_not_serve_another_registry(mirror: FakeMirror) -> None:
    """`ghcr.io/library/nginx` is not Docker Hub's nginx."""
    async with cache(mirror, "docker.io") as office:
        with pytest.raises(CacheError, match=r'serves docker\.io; rewrite = \{"ghcr\.io/"'):
            await office.resolve(Reference.parse("ghcr.io/library/nginx:1.25"))


async def test_a_mirror_that_is_down_is_unavailable(origin: FakeRegistry) -> None:
    """And its check says so in words."""
    async with FakeMirror(origin) as mirror:
        pass
    async with cache(mirror) as office:
        (finding,) = await office.check()
        with pytest.raises(Unavailable, match="is it running"):
            await office.resolve(NGINX)

    assert not finding.ok
    assert "is it running" in finding.message


async def test_an_ordinary_registry_fails_the_check(origin: FakeRegistry) -> None:
    """It would never fetch anything."""
    async with Registries([], Credentials()) as registries:
        settings = DRIVER.config(url=origin.url)
        async with DRIVER.open(settings, Surroundings("office", registries)) as office:
            findings = await office.check()

    assert [finding.subject for finding in findings if not finding.ok] == ["pull-through"]
    assert origin.asked("DELETE", "/blobs/uploads/") != []


async def test_a_mirror_that_wants_a_login_says_so(mirror: FakeMirror) -> None:
    """The way to store one is in the words."""
    mirror.auth = BasicAuth()
    async with cache(mirror) as office:
        (finding,) = await office.check()

    assert not finding.ok
    assert "docker login" in finding.message


@pytest.mark.parametrize(
    "settings",
    [{"fill": "hed"}, {"fill_timeout": "soon"}, {"fill_timeout": 0}, {"max_concurrency": 0}, {"uri": "x"}],
)
def test_keys_that_cannot_be_used_are_refused(settings: dict[str, Any]) -> None:
    """The configuration is checked before anything is contacted."""
    with pytest.raises(ValidationError):
        DRIVER.config(url="http://127.0.0.1:5001", **settings)


async def test_a_url_that_is_none_is_refused(mirror: FakeMirror) -> None:
    """With an example."""
    async with Registries([], Credentials()) as registries:
        with pytest.raises(SettingsError, match="such as https://"):
            async with DRIVER.open(DRIVER.config(url="office"), Surroundings("office", registries)):
                pass
