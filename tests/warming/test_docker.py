"""The docker cache, against a double of the Engine API."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from prewarm.errors import (
    CacheError,
    DigestMismatch,
    NotFound,
    PrewarmError,
    RateLimited,
    Unauthorized,
    Unavailable,
)
from prewarm.references import Reference
from prewarm.warming.caches.docker import DockerConfig, Engine, downloaded, open_engine, refusal
from prewarm.warming.credentials import Credentials
from prewarm.warming.images import Image
from prewarm.warming.pacing import Pace
from tests.engine_double import EngineDouble
from tests.memory_cache import image_of
from tests.shelf import Shelf, surroundings

API = Reference.parse("registry.test/acme/api:1")


@pytest.fixture
async def engine() -> AsyncIterator[EngineDouble]:
    async with EngineDouble() as double:
        yield double


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@asynccontextmanager
async def opened(engine: EngineDouble, shelf: Shelf, **keys: Any) -> AsyncIterator[Engine]:
    async with open_engine(DockerConfig(url=engine.url, **keys), surroundings(shelf)) as cache:
        yield cache


def put(engine: EngineDouble, shelf: Shelf, *layers: bytes) -> Image:
    """An image that both its registry and the engine know."""
    image = shelf.put("acme/api", "1", *layers)
    engine.registry[str(image.reference)] = image
    return image


async def test_a_warm_is_the_engines_own_pull(engine: EngineDouble, shelf: Shelf) -> None:
    """Bytes are those of the layers that it downloaded; we fetch none ourselves."""
    put(engine, shelf, b"one", b"three")
    async with opened(engine, shelf) as cache:
        image = await cache.resolve(API)
        assert not await cache.holds(image)
        transfer = await cache.warm(image)
        assert await cache.holds(image)
    assert transfer.bytes == len(b"one") + len(b"three")
    assert engine.pulls == ["registry.test/acme/api:1"]
    assert shelf.fetched == []


async def test_layers_that_the_engine_has_cost_nothing(engine: EngineDouble, shelf: Shelf) -> None:
    """Its words are "Already exists"."""
    image = put(engine, shelf, b"one", b"three")
    engine.layers.add(image.root.layers[1].digest)
    async with opened(engine, shelf) as cache:
        assert (await cache.warm(image)).bytes == len(b"one")


async def test_names_of_docker_hub_are_known_by_their_familiar_form(engine: EngineDouble) -> None:
    """The engine says nginx@sha256:…, which is docker.io/library/nginx."""
    shelf = Shelf("docker.io")
    image = shelf.put("library/nginx", "1.25", b"layer")
    engine.registry[str(image.reference)] = image
    async with opened(engine, shelf) as cache:
        await cache.warm(image)
        assert await cache.holds(image)


async def test_an_image_may_be_named_by_digest(engine: EngineDouble, shelf: Shelf) -> None:
    """The engine is asked for the digest."""
    image = put(engine, shelf, b"layer")
    pinned = Reference.of("registry.test", "acme/api", digest=image.digest)
    engine.registry[str(pinned)] = image
    shelf.images["acme/api", image.digest] = image
    async with opened(engine, shelf) as cache:
        resolved = await cache.resolve(pinned)
        await cache.warm(resolved)
        assert await cache.holds(resolved)
    assert engine.pulls == [str(pinned)]


async def test_a_moved_tag_is_not_held_until_it_is_pulled(engine: EngineDouble, shelf: Shelf) -> None:
    """What the registry has now is compared with what the engine has."""
    put(engine, shelf, b"old")
    async with opened(engine, shelf) as cache:
        await cache.warm(await cache.resolve(API))
        put(engine, shelf, b"new")
        moved = await cache.resolve(API)
        assert not await cache.holds(moved)
        await cache.warm(moved)
        assert await cache.holds(moved)


async def test_an_old_image_from_the_engines_mirror_is_refused(engine: EngineDouble, shelf: Shelf) -> None:
    """The pull succeeds, yet the image is not the one that was asked for."""
    image = put(engine, shelf, b"layer")
    engine.stale = f"sha256:{'0' * 64}"
    async with opened(engine, shelf) as cache:
        with pytest.raises(DigestMismatch, match="digest sha256:0000"):
            await cache.warm(image)


async def test_unlisted_registries_are_asked_through_the_engine(engine: EngineDouble, shelf: Shelf) -> None:
    """It tells the digest, by its own network and its own mirrors."""
    image = image_of("other.test/acme/api:1", b"layer")
    engine.registry[str(image.reference)] = image
    async with opened(engine, shelf) as cache:
        resolved = await cache.resolve(image.reference)
        assert resolved.digest == image.digest
        assert (await cache.warm(resolved)).bytes == len(b"layer")
        assert await cache.holds(resolved)


async def test_an_engine_that_cannot_ask_pulls_to_find_out(engine: EngineDouble, shelf: Shelf) -> None:
    """Engines with a part of the API only, such as podman, have no distribution endpoint."""
    engine.distribution = False
    image = image_of("other.test/acme/api:1", b"layer")
    engine.registry[str(image.reference)] = image
    async with opened(engine, shelf) as cache:
        resolved = await cache.resolve(image.reference)
        assert not await cache.holds(resolved)
        await cache.warm(resolved)
    assert engine.images == {str(image.reference): image.digest}


async def test_an_image_that_is_nowhere_is_not_found(engine: EngineDouble, shelf: Shelf) -> None:
    """Told by the engine for an unlisted registry."""
    async with opened(engine, shelf) as cache:
        with pytest.raises(NotFound, match="manifest unknown"):
            await cache.resolve(Reference.parse("other.test/acme/api:1"))


async def test_the_login_of_the_registry_goes_along(engine: EngineDouble, shelf: Shelf) -> None:
    """The engine has no config.json of ours."""
    put(engine, shelf, b"layer")
    shelf.credentials = Credentials({"auths": {"registry.test": {"auth": "YW5uOnNlY3JldA=="}}})
    async with opened(engine, shelf) as cache:
        await cache.warm(await cache.resolve(API))
    assert engine.logins == [{"username": "ann", "password": "secret"}]


async def test_a_refusal_before_the_pull_is_told(engine: EngineDouble, shelf: Shelf) -> None:
    """With the engine's words, and as the error that they mean."""
    image = put(engine, shelf, b"layer")
    engine.refuse = (500, "Get https://registry.test/v2/: dial tcp 10.0.0.1:443: connect: connection refused")
    async with opened(engine, shelf) as cache:
        with pytest.raises(Unavailable, match="connection refused"):
            await cache.warm(image)
        assert not await cache.holds(image)


async def test_an_error_amid_the_pull_is_told(engine: EngineDouble, shelf: Shelf) -> None:
    """The status was 200 by then."""
    image = put(engine, shelf, b"layer")
    engine.error = "filesystem layer verification failed for digest sha256:aa"
    async with opened(engine, shelf) as cache:
        with pytest.raises(DigestMismatch, match="digest sha256:aa"):
            await cache.warm(image)
        assert not await cache.holds(image)


async def test_a_cancelled_warm_ends_the_engines_pull(engine: EngineDouble, shelf: Shelf) -> None:
    """The engine sees its client go, and has no image afterwards."""
    image = put(engine, shelf, b"layer")
    engine.hang = True
    async with opened(engine, shelf) as cache:
        task = asyncio.ensure_future(cache.warm(image))
        await engine.hung.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            await engine.left.wait()
        assert not await cache.holds(image)


async def test_a_silent_engine_is_given_up(engine: EngineDouble, shelf: Shelf) -> None:
    """After the seconds that the cache allows."""
    image = put(engine, shelf, b"layer")
    engine.hang = True
    async with opened(engine, shelf, timeout=0.2) as cache:
        with pytest.raises(CacheError, match=r"said nothing for 0\.2 seconds"):
            await cache.warm(image)


def test_its_silence_is_written_as_every_caches() -> None:
    """A number of seconds, or a duration."""
    for written in ("2m", 120):
        assert DockerConfig.model_validate({"timeout": written}).timeout == 120.0


async def test_no_engine_is_said_in_words(shelf: Shelf) -> None:
    """For a warm and for a check."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"tcp://127.0.0.1:{nobody.getsockname()[1]}"
    async with open_engine(DockerConfig(url=url), surroundings(shelf)) as cache:
        with pytest.raises(CacheError, match="no Docker engine answers at tcp://"):
            await cache.holds(image_of("registry.test/acme/api:1"))
        [finding] = await cache.check()
    assert not finding.ok
    assert "is it running" in finding.message


async def test_check_tells_which_engine_and_which_mirror(engine: EngineDouble, shelf: Shelf) -> None:
    """What a person asks first when an image does not come."""
    async with opened(engine, shelf) as cache:
        findings = {finding.subject: finding.message for finding in await cache.check()}
    assert findings["reachable"].endswith("Docker Engine 20.10.24, linux/amd64")
    assert findings["mirrors"] == "docker.io comes through http://127.0.0.1:5001/"


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("toomanyrequests: You have reached your pull rate limit", RateLimited),
        ("manifest for x:1 not found: manifest unknown: manifest unknown", NotFound),
        ("pull access denied for x, repository does not exist or may require 'docker login'", Unauthorized),
        ('Get "https://x/v2/": unauthorized: authentication required', Unauthorized),
        ('Get "https://x/v2/": dial tcp: lookup x: no such host', Unavailable),
        ('Get "https://x/v2/": net/http: TLS handshake timeout', Unavailable),
        ("received unexpected HTTP status: 500 Internal Server Error", Unavailable),
        ('Get "http://x/v2/": EOF', Unavailable),
        ("write /var/lib/docker/tmp/x: no space left on device", CacheError),
        ("something new", CacheError),
    ],
)
def test_the_engines_words_become_errors(message: str, kind: type[PrewarmError]) -> None:
    """In one line, with the words kept."""
    error = refusal(message + "\n", 500)
    assert type(error) is kind
    assert message in str(error)
    assert "\n" not in str(error)


def test_downloads_are_counted_by_the_best_size_known() -> None:
    """A known size, else the last total; nothing for what did not complete or was there."""
    messages = [
        {"status": "Pulling from acme/api", "id": "1"},
        {"status": "Already exists", "id": "aaa"},
        {"status": "Downloading", "id": "bbb", "progressDetail": {"current": 5, "total": 70}},
        {"status": "Download complete", "id": "bbb"},
        {"status": "Downloading", "id": "ccc", "progressDetail": {"current": 5, "total": 900}},
        {"status": "Pull complete", "id": "bbb"},
        {"status": "Download complete", "id": "ddd"},
    ]
    assert downloaded(messages, {"ddd": 11}) == 81


@pytest.mark.parametrize("url", ["docker.sock", "ftp://x", "unix://"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    """The known schemes only."""
    with pytest.raises(ValueError, match="url"):
        DockerConfig(url=url)


async def test_pulls_take_their_turn_by_what_they_transfer(engine: EngineDouble, shelf: Shelf) -> None:
    """The bytes do not pass us: the image's size is waited for, and corrected by what was there already."""
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    image = put(engine, shelf, bytes(3000), bytes(7000))
    engine.layers.add(image.root.layers[1].digest)
    pace = Pace(1000, lambda: now, sleep)
    async with open_engine(DockerConfig(url=engine.url), surroundings(shelf, pace=pace)) as cache:
        await cache.warm(image)
        await pace.take(1)

    assert now == pytest.approx(3, abs=0.5)
