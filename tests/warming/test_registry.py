"""What a registry sends is verified, and what may pass by itself is tried again."""

from __future__ import annotations

import asyncio
import hashlib
import json
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import pytest
from yarl import URL

from prewarm.errors import (
    DigestMismatch,
    ForbiddenHost,
    NotFound,
    RateLimited,
    RegistryError,
    Unauthorized,
    Unavailable,
    UnsupportedImage,
)
from prewarm.warming.credentials import Credentials
from prewarm.warming.images import Descriptor, parse_platform
from prewarm.warming.registry import Endpoint, Registries, Registry, Timing
from prewarm.warming.transport import next_hop
from tests.fakes import OCI_INDEX, BasicAuth, FakeRegistry, Fault, descriptor, sha256

LAYER = bytes(range(256)) * 400


class Waits:
    """A sleep that returns at once and remembers how long it should have taken."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@asynccontextmanager
async def client(*origins: FakeRegistry, waits: Waits | None = None) -> AsyncIterator[Registry]:
    """A client of the first registry; the others are listed."""
    timing = Timing(sleep=waits or Waits(), chance=lambda: 0.0)
    endpoints = [origin.endpoint for origin in origins]
    async with Registries(endpoints, Credentials(), agent="prewarm/test", timing=timing) as registries:
        yield registries.of(origins[0].host)


@pytest.fixture
async def origin() -> AsyncIterator[FakeRegistry]:
    async with FakeRegistry() as registry:
        yield registry


def blob_of(content: bytes) -> Descriptor:
    return Descriptor("application/octet-stream", sha256(content), len(content))


async def read(registry: Registry, blob: Descriptor) -> bytes:
    return b"".join([chunk async for chunk in registry.blob("a", blob)])


# --- manifests and images


async def test_a_tag_resolves_to_everything_that_its_platform_needs(origin: FakeRegistry) -> None:
    """Index, manifest, config and layers; other platforms are left."""
    pushed = origin.push_image("library/nginx", "1.25", [LAYER, b"small"], ["linux/arm64/v8", "linux/amd64"])
    async with client(origin) as registry:
        image = await registry.resolve("library/nginx", "1.25")

    assert str(image.reference) == f"{origin.host}/library/nginx:1.25"
    assert image.digest == pushed.digest
    assert [manifest.descriptor.digest for manifest in image.manifests] == [pushed.manifests[1]]
    assert len(image.blobs) == 3
    assert image.bytes == len(LAYER) + 5 + image.blobs[0].size


async def test_several_platforms_share_their_layers(origin: FakeRegistry) -> None:
    """A shared layer is one blob."""
    origin.push_image("a", "1", [LAYER], ["linux/arm64", "linux/amd64"])
    platforms = (parse_platform("linux/amd64"), parse_platform("linux/arm64"))
    async with client(origin) as registry:
        image = await registry.resolve("a", "1", platforms)

    assert [len(manifest.layers) for manifest in image.manifests] == [1, 1]
    assert len(image.blobs) == 3


async def test_a_digest_resolves_too(origin: FakeRegistry) -> None:
    """And keeps its name."""
    pushed = origin.push_image("a", "1")
    async with client(origin) as registry:
        image = await registry.resolve("a", pushed.digest)

    assert str(image.reference) == f"{origin.host}/a@{pushed.digest}"


async def test_an_index_in_an_index_is_followed(origin: FakeRegistry) -> None:
    """Allowed by the image-spec; a few levels."""
    inner = origin.push_image("a", "inner", platforms=["linux/amd64"])
    body = origin.manifests["a", "inner"][0]
    outer = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(body, OCI_INDEX)]}
    origin.push_manifest("a", "1", outer, OCI_INDEX)
    async with client(origin) as registry:
        image = await registry.resolve("a", "1")

    assert [manifest.descriptor.digest for manifest in image.manifests] == [inner.digest, *inner.manifests]


async def test_a_head_tells_the_digest_without_the_body(origin: FakeRegistry) -> None:
    """Docker Hub does not count it as a pull."""
    pushed = origin.push_image("a", "1")
    async with client(origin) as registry:
        found = await registry.head_manifest("a", "1")

    assert found.digest == pushed.digest
    assert origin.asked("GET", "/manifests/") == []


async def test_requests_carry_our_name_and_ask_for_plain_bytes(origin: FakeRegistry) -> None:
    """The agent is how our own pulls are told from demand."""
    origin.push_image("a", "1")
    async with client(origin) as registry:
        await registry.manifest("a", "1")

    headers = origin.seen[0].headers
    assert headers["User-Agent"] == "prewarm/test"
    assert headers["Accept-Encoding"] == "identity"
    assert OCI_INDEX in headers["Accept"]


async def test_the_default_agent_is_prewarm_with_its_version(origin: FakeRegistry) -> None:
    """What we warm is told from demand by it."""
    async with Registries([origin.endpoint], Credentials()) as registries:
        await registries.of(origin.host).ping()

    assert origin.seen[0].headers["User-Agent"].startswith("prewarm/")


# --- blobs


async def test_a_blob_streams_and_is_verified(origin: FakeRegistry) -> None:
    """Every byte arrives."""
    origin.push_blob(LAYER)
    async with client(origin) as registry:
        assert await read(registry, blob_of(LAYER)) == LAYER


async def test_an_empty_blob_is_a_blob(origin: FakeRegistry) -> None:
    """Zero bytes have a digest as well."""
    origin.push_blob(b"")
    async with client(origin) as registry:
        assert await read(registry, blob_of(b"")) == b""


async def test_memory_does_not_grow_with_the_blob() -> None:
    """64 MB pass through a few."""
    part, parts = bytes(range(256)) * 2048, 128
    blob = Descriptor("t", f"sha256:{hashlib.sha256(part * parts).hexdigest()}", len(part) * parts)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % blob.size)
        for _ in range(parts):
            writer.write(part)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with Registries([Endpoint(host, f"http://{host}")], Credentials()) as registries:
            tracemalloc.start()
            received = sum([len(chunk) async for chunk in registries.of(host).blob("a", blob)])
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()

    assert received == blob.size
    assert peak < 8 << 20


async def test_a_reader_may_leave_early(origin: FakeRegistry) -> None:
    """The place is free again: the next request passes though only one may run."""
    origin.push_blob(bytes(8 << 20))
    one = replace(origin.endpoint, max_concurrency=1)
    async with Registries([one], Credentials()) as registries:
        registry = registries.of(origin.host)
        async with aclosing(registry.blob("a", blob_of(bytes(8 << 20)))) as chunks:
            await anext(chunks)
        await registry.ping()


@pytest.mark.parametrize(
    "faults", [[Fault(truncate=1000)], [Fault(truncate=1000), Fault(truncate=0), Fault(status=503)]]
)
async def test_a_broken_blob_is_resumed_where_it_broke(origin: FakeRegistry, faults: Sequence[Fault]) -> None:
    """What was received is not asked for again."""
    origin.push_blob(LAYER)
    origin.fault("GET", "/blobs/", *faults)
    async with client(origin) as registry:
        assert await read(registry, blob_of(LAYER)) == LAYER

    assert origin.seen[-1].headers["Range"] == "bytes=1000-"


async def test_a_registry_without_ranges_is_read_again_from_the_start(origin: FakeRegistry) -> None:
    """What was received already is passed over."""
    origin.push_blob(LAYER)
    origin.fault("GET", "/blobs/", Fault(truncate=1000), Fault(ignore_range=True, status=200))
    async with client(origin) as registry:
        assert await read(registry, blob_of(LAYER)) == LAYER


async def test_storage_answers_ranges(origin: FakeRegistry) -> None:
    """206 is the proof of holding; one byte is read at most."""
    origin.push_blob(LAYER)
    async with client(origin) as registry:
        told = await registry.blob_told("a", sha256(LAYER))
        size = await registry.head_blob("a", sha256(LAYER))

    assert told.stored
    assert size == len(LAYER)
    assert origin.seen[0].headers["Range"] == "bytes=0-0"


async def test_a_200_to_a_range_is_no_proof(origin: FakeRegistry) -> None:
    """A pull-through cache answers so while it fetches."""
    origin.push_blob(LAYER)
    origin.fault("GET", "/blobs/", Fault(ignore_range=True, status=200))
    async with client(origin) as registry:
        assert not (await registry.blob_told("a", sha256(LAYER))).stored


class Jumps:
    """A clock that goes on by so many seconds whenever it is looked at."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.now = seconds, 0.0

    def __call__(self) -> float:
        self.now += self.seconds
        return self.now


@pytest.mark.parametrize(("seconds", "reads"), [(2.0, True), (1000.0, False)])
async def test_a_body_that_crawls_is_given_up(origin: FakeRegistry, seconds: float, reads: bool) -> None:
    """A slow one is not: a tenth of a megabyte in a few seconds, or in a quarter of an hour."""
    origin.push_blob(LAYER)
    timing = Timing(sleep=Waits(), chance=lambda: 0.0, clock=Jumps(seconds))
    async with Registries([origin.endpoint], Credentials(), timing=timing) as registries:
        registry = registries.of(origin.host)
        if reads:
            assert await read(registry, blob_of(LAYER)) == LAYER
        else:
            with pytest.raises(Unavailable, match="bytes a second; given up"):
                await read(registry, blob_of(LAYER))


# --- again


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_a_refusal_that_may_pass_is_tried_again(origin: FakeRegistry, status: int) -> None:
    """With growing waits."""
    origin.push_image("a", "1")
    origin.fault("GET", "/manifests/", Fault(status=status), Fault(status=status))
    waits = Waits()
    async with client(origin, waits=waits) as registry:
        await registry.manifest("a", "1")

    assert waits.seconds == [0.25, 0.5]


async def test_retry_after_is_obeyed(origin: FakeRegistry) -> None:
    """Never sooner than it says."""
    origin.push_image("a", "1")
    origin.fault("GET", "/manifests/", Fault(status=429, headers={"Retry-After": "7"}))
    waits = Waits()
    async with client(origin, waits=waits) as registry:
        await registry.manifest("a", "1")

    assert waits.seconds == [7.25]


async def test_progress_earns_a_blob_new_attempts(origin: FakeRegistry) -> None:
    """A large layer over a bad line breaks more often than a small request may."""
    content = bytes(12 << 20)
    origin.push_blob(content)
    origin.fault("GET", "/blobs/", *[Fault(truncate=2 << 20)] * 5)
    async with client(origin) as registry:
        assert len(await read(registry, blob_of(content))) == len(content)


async def test_a_registry_that_stays_down_is_not_waited_for_image_after_image(origin: FakeRegistry) -> None:
    """Three requests are given up with all their attempts, the next get one each; a success ends that."""
    origin.push_image("a", "1")
    origin.fault("GET", "/manifests/", *[Fault(status=503)] * 14)
    origin.fault("GET", "/blobs/", Fault(status=503))
    waits = Waits()
    async with client(origin, waits=waits) as registry:
        for _ in range(5):
            with pytest.raises(Unavailable):
                await registry.manifest("a", "1")
        assert len(waits.seconds) == 9
        await registry.manifest("a", "1")
        await registry.blob_told("a", next(iter(origin.blobs)))

    assert len(waits.seconds) == 10
    assert len(origin.asked("GET", "/manifests/")) == 3 * 4 + 2 + 1


# --- redirects


async def test_a_blob_is_fetched_where_the_registry_sends_us_without_the_login(origin: FakeRegistry) -> None:
    """The store of the blobs is another origin: it sees the address as it was signed, and no secret."""
    origin.auth = BasicAuth("ann", "s3cret")
    async with FakeRegistry() as store:
        store.push_blob(LAYER)
        signed = f"{store.url}/v2/x/blobs/{sha256(LAYER)}?sig=a%2Fb%20c%2B&x=1"
        origin.fault("GET", "/blobs/", Fault(status=307, headers={"Location": signed}))
        login = Credentials({"auths": {origin.host: {"username": "ann", "password": "s3cret"}}})
        origin.push_image("a", "1")
        async with Registries([origin.endpoint], login) as registries:
            await registries.of(origin.host).manifest("a", "1")
            assert await read(registries.of(origin.host), blob_of(LAYER)) == LAYER

    (sent,) = store.seen
    assert "Authorization" not in sent.headers
    assert sent.path.endswith("?sig=a%2Fb%20c%2B&x=1")
    assert "Authorization" in origin.asked("GET", "/blobs/")[0].headers


async def test_a_redirect_on_the_same_origin_keeps_the_login(origin: FakeRegistry) -> None:
    """Some registries move a repository."""
    headers = {"Authorization": "Bearer t", "Accept": "x"}

    target, kept = next_hop(URL("https://r.example/v2/a"), "/v2/b", headers, "r.example")

    assert (str(target), kept) == ("https://r.example/v2/b", headers)


@pytest.mark.parametrize(
    "location", ["https://r.example:8443/", "https://other.example/", "//other.example/"]
)
def test_another_host_or_port_is_another_origin(location: str) -> None:
    """Everything but the login goes along."""
    headers = {"Authorization": "Bearer t", "Range": "bytes=1-"}

    assert next_hop(URL("https://r.example/v2/"), location, headers, "r")[1] == {"Range": "bytes=1-"}


def test_no_redirect_leaves_https() -> None:
    """A blob over plain HTTP could be read and changed on the way."""
    with pytest.raises(ForbiddenHost, match="from https to http"):
        next_hop(URL("https://r.example/"), "http://r.example/", {}, "r.example")


async def test_a_redirect_loop_ends(origin: FakeRegistry) -> None:
    """After a few hops."""
    loop = Fault(status=302, headers={"Location": "/v2/"})
    origin.fault("GET", "/v2/", loop, forever=True)
    async with client(origin) as registry:
        with pytest.raises(RegistryError, match="redirects; is it a loop"):
            await registry.ping()

    assert len(origin.seen) == 5


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest",
        "http://user:pw@127.0.0.1/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
    ],
)
async def test_a_redirect_to_a_forbidden_place_is_not_followed(origin: FakeRegistry, location: str) -> None:
    """No SSRF by way of a listed registry."""
    origin.fault("GET", "/v2/", Fault(status=307, headers={"Location": location}))
    async with client(origin) as registry:
        with pytest.raises(ForbiddenHost):
            await registry.ping()


# --- errors


async def test_a_host_that_is_not_listed_is_not_contacted(origin: FakeRegistry) -> None:
    """The message says how to list it."""
    async with Registries([origin.endpoint], Credentials()) as registries:
        with pytest.raises(ForbiddenHost, match=r'add \[registries."ghcr.io"\]'):
            registries.of("ghcr.io")


async def test_a_missing_tag_is_not_found_with_the_registrys_code(origin: FakeRegistry) -> None:
    """And it is not asked twice."""
    async with client(origin) as registry:
        with pytest.raises(NotFound, match="manifest a:nope: 404") as refusal:
            await registry.resolve("a", "nope")

    assert refusal.value.code == "MANIFEST_UNKNOWN"
    assert len(origin.seen) == 1


async def test_refusals_end_after_a_few_attempts(origin: FakeRegistry) -> None:
    """The last one is what the caller sees."""
    origin.fault("GET", "/manifests/", Fault(status=503), forever=True)
    async with client(origin) as registry:
        with pytest.raises(Unavailable, match="503"):
            await registry.manifest("a", "1")

    assert len(origin.seen) == 4


async def test_a_long_retry_after_is_told_and_not_waited_for(origin: FakeRegistry) -> None:
    """A spent quota comes back in hours."""
    origin.fault("GET", "/manifests/", Fault(status=429, headers={"Retry-After": "3600"}))
    waits = Waits()
    async with client(origin, waits=waits) as registry:
        with pytest.raises(RateLimited) as refusal:
            await registry.manifest("a", "1")

    assert refusal.value.retry_after == 3600
    assert waits.seconds == []


async def test_other_bytes_are_refused(origin: FakeRegistry) -> None:
    """The message contains the word digest; the blob is not asked for again."""
    origin.push_blob(LAYER)
    origin.fault("GET", "/blobs/", Fault(corrupt=True))
    async with client(origin) as registry:
        with pytest.raises(DigestMismatch, match="digest"):
            await read(registry, blob_of(LAYER))


async def test_a_manifest_with_other_bytes_is_refused(origin: FakeRegistry) -> None:
    """Whether it is asked for by tag or by digest."""
    pushed = origin.push_image("a", "1")
    origin.fault("GET", "/manifests/", Fault(corrupt=True), forever=True)
    async with client(origin) as registry:
        for reference in ("1", pushed.digest):
            with pytest.raises(DigestMismatch):
                await registry.manifest("a", reference)


@pytest.mark.parametrize("claimed", [len(LAYER) - 1, len(LAYER) + 1])
async def test_a_manifest_that_lies_about_a_size_is_found_out(origin: FakeRegistry, claimed: int) -> None:
    """Before the blob is read, where its length is announced."""
    origin.push_blob(LAYER)
    async with client(origin) as registry:
        with pytest.raises(DigestMismatch, match=f"digest .*{claimed} bytes"):
            await read(registry, replace(blob_of(LAYER), size=claimed))


async def test_a_blob_that_breaks_every_time_is_given_up(origin: FakeRegistry) -> None:
    """Without progress the attempts are counted."""
    origin.push_blob(LAYER)
    origin.fault("GET", "/blobs/", Fault(truncate=10), forever=True)
    async with client(origin) as registry:
        with pytest.raises(Unavailable, match="broke off"):
            await read(registry, blob_of(LAYER))


@pytest.mark.parametrize("content_type", ["text/html", "application/json"])
async def test_a_web_page_is_no_registry(origin: FakeRegistry, content_type: str) -> None:
    """A captive portal answers 200 to everything."""
    page = Fault(status=200, body=b"<!DOCTYPE html><p>Sign in", headers={"Content-Type": content_type})
    origin.fault("GET", "/v2/", page, forever=True)
    async with client(origin) as registry:
        for call in (registry.ping(), registry.manifest("a", "1")):
            with pytest.raises(RegistryError, match="a web page"):
                await call


async def test_a_manifest_of_several_megabytes_is_not_read(origin: FakeRegistry) -> None:
    """Bounded at 4 MiB."""
    origin.fault("GET", "/manifests/", Fault(status=200, body=bytes(5 << 20)))
    async with client(origin) as registry:
        with pytest.raises(UnsupportedImage, match="at most"):
            await registry.manifest("a", "1")


async def test_an_endless_error_is_read_in_part(origin: FakeRegistry) -> None:
    """64 KiB say enough; what goes on after them is no document any more."""
    error = {"code": "MANIFEST_UNKNOWN", "message": "no", "detail": "x" * (8 << 20)}
    origin.fault("GET", "/manifests/", Fault(status=404, body=json.dumps({"errors": [error]}).encode()))
    async with client(origin) as registry:
        with pytest.raises(NotFound) as refusal:
            await registry.manifest("a", "1")

    assert refusal.value.code is None
    assert len(str(refusal.value)) < 300


async def test_silence_is_given_up(origin: FakeRegistry) -> None:
    """No byte for `timeout` seconds."""
    origin.fault("GET", "/v2/", Fault(hang=True), forever=True)
    quick = replace(origin.endpoint, timeout=0.05)
    async with Registries([quick], Credentials(), timing=Timing(sleep=Waits())) as registries:
        with pytest.raises(Unavailable, match="in time"):
            await registries.of(origin.host).ping()


async def test_a_registry_that_is_down_is_unavailable(origin: FakeRegistry) -> None:
    """The message asks the right question."""
    async with FakeRegistry() as other:
        endpoint = other.endpoint
    async with Registries([endpoint], Credentials(), timing=Timing(sleep=Waits())) as registries:
        with pytest.raises(Unavailable, match="is it running"):
            await registries.of(endpoint.registry).ping()


async def test_a_name_that_does_not_resolve_is_unavailable() -> None:
    """`.invalid` never does (RFC 6761)."""
    endpoint = Endpoint("registry.invalid", "http://registry.invalid")
    async with Registries([endpoint], Credentials(), timing=Timing(sleep=Waits())) as registries:
        with pytest.raises(Unavailable, match="does not resolve"):
            await registries.of("registry.invalid").ping()


async def test_tls_to_a_plain_registry_says_so(origin: FakeRegistry) -> None:
    """The commonest mistake of all."""
    endpoint = replace(origin.endpoint, url=origin.url.replace("http", "https"))
    async with Registries([endpoint], Credentials(), timing=Timing(sleep=Waits())) as registries:
        with pytest.raises(Unavailable, match="https where it should be http"):
            await registries.of(origin.host).ping()


async def test_endless_nesting_is_refused(origin: FakeRegistry) -> None:
    """An index in an index in an index in an index."""
    body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()
    for _ in range(5):
        origin.push_manifest("a", "1", body, OCI_INDEX)
        outer = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(body, OCI_INDEX)]}
        body = json.dumps(outer).encode()
    origin.push_manifest("a", "1", body, OCI_INDEX)
    async with client(origin) as registry:
        with pytest.raises(UnsupportedImage, match="nested"):
            await registry.resolve("a", "1")


async def test_a_login_that_may_not_read_is_told_from_a_missing_image(origin: FakeRegistry) -> None:
    """403 is about us."""
    origin.fault("GET", "/manifests/", Fault(status=403))
    async with client(origin) as registry:
        with pytest.raises(Unauthorized, match="may not read"):
            await registry.manifest("a", "1")


async def test_registries_are_used_inside_their_context(origin: FakeRegistry) -> None:
    """A programming error is told apart from a refusal."""
    with pytest.raises(RuntimeError, match="async with"):
        await Registries([origin.endpoint], Credentials()).of(origin.host).ping()
