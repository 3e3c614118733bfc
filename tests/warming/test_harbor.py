"""The harbor cache, against a double of Harbor's registry and API."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prewarm.errors import CacheError, NotFound, RateLimited, UnsupportedImage
from prewarm.references import Reference
from prewarm.warming.caches import Surroundings
from prewarm.warming.caches.harbor import Harbor, HarborConfig, open_harbor
from prewarm.warming.caches.harbor_api import kilobits, moved
from prewarm.warming.credentials import Credentials
from prewarm.warming.pacing import Pace
from prewarm.warming.registry import Registries, Timing
from tests.fakes import FakeRegistry, Fault
from tests.harbor_double import PASSWORD, USER, HarborDouble

API = Reference.parse("docker.io/acme/api:1")
OWN = "hub/acme/api"


class Clock:
    """Time passes at once, and Harbor works in it."""

    def __init__(self, settle: Callable[[], Awaitable[None]]) -> None:
        self.now = 0.0
        self.settle = settle

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await self.settle()

    def timing(self) -> Timing:
        return Timing(sleep=self.sleep, clock=lambda: self.now, wall=lambda: self.now)


@pytest.fixture
async def hub() -> AsyncIterator[FakeRegistry]:
    async with FakeRegistry() as registry:
        yield registry


@pytest.fixture
async def harbor(hub: FakeRegistry) -> AsyncIterator[HarborDouble]:
    async with HarborDouble(hub) as double:
        yield double


@asynccontextmanager
async def opened(
    harbor: HarborDouble,
    hub: FakeRegistry,
    folder: Path = Path(),
    *,
    password: str = PASSWORD,
    pace: int | None = None,
    rewrite: dict[str, str] | None = None,
    **keys: Any,
) -> AsyncIterator[Harbor]:
    """A cache that keeps docker.io's images in the project `hub`."""
    login = base64.b64encode(f"{USER}:{password}".encode()).decode()
    clock = Clock(harbor.settle)
    timing = clock.timing()
    listed = [replace(hub.endpoint, registry="docker.io")]
    logins = Credentials({"auths": {harbor.host: {"auth": login}}})
    config = HarborConfig(url=harbor.url, **({"endpoints": {"docker.io": "dockerhub"}} | keys))
    async with Registries(listed, logins, timing=timing) as registries:
        surroundings = Surroundings(
            "Office 1",
            registries,
            rewrite=rewrite or {"docker.io/": "hub/"},
            folder=folder,
            pace=Pace(pace, timing.clock, timing.sleep) if pace else None,
        )
        async with open_harbor(config, surroundings) as cache:
            yield cache


# --- replication ---


async def test_one_policy_is_set_for_each_image(harbor: HarborDouble, hub: FakeRegistry) -> None:
    """By hand, without deletion, from the endpoint that stands for the registry; no second one is made."""
    for tag in ("1", "2"):
        hub.push_image("acme/api", tag, [tag.encode()])
    async with opened(harbor, hub) as cache:
        for tag in ("1", "2"):
            await cache.warm(await cache.resolve(replace(API, tag=tag)))
    (policy,) = harbor.policies.values()
    assert policy["name"] == "prewarm-office-1"
    assert policy["src_registry"] == {"id": 3}
    assert policy["trigger"] == {"type": "manual"}
    assert policy["replicate_deletion"] is False
    assert policy["filters"] == [
        {"type": "name", "value": "acme/api"},
        {"type": "tag", "value": "2", "decoration": "matches"},
    ]
    assert {tag for path, tag in harbor.manifests if path == OWN and ":" not in tag} == {"1", "2"}


async def test_bytes_are_those_that_harbor_lacked(harbor: HarborDouble, hub: FakeRegistry) -> None:
    """A layer that the project's repository has is not counted again."""
    for tag in ("1", "2"):
        hub.push_image("acme/api", tag, [b"base" * 500, tag.encode()])
    async with opened(harbor, hub) as cache:
        first, second = [await cache.warm(await cache.resolve(replace(API, tag=tag))) for tag in ("1", "2")]
    assert first.bytes > 2000
    assert second.bytes == 1


async def test_bandwidth_is_the_policys_speed(harbor: HarborDouble, hub: FakeRegistry) -> None:
    """In kilobits a second, as Harbor counts."""
    hub.push_image("acme/api", "1")
    async with opened(harbor, hub, pace=1_024_000) as cache:
        await cache.warm(await cache.resolve(API))
    (policy,) = harbor.policies.values()
    assert policy["speed"] == kilobits(1_024_000) == 8000


async def test_what_harbor_fails_for_is_told_in_its_words(harbor: HarborDouble, hub: FakeRegistry) -> None:
    """A quota that is spent is one that may come back."""
    hub.push_image("acme/api", "1")
    harbor.broken = "fetch manifest: 429 toomanyrequests: You have reached your pull rate limit"
    async with opened(harbor, hub) as cache:
        with pytest.raises(RateLimited, match=r"Harbor says: execution 40 failed: fetch manifest: 429"):
            await cache.warm(await cache.resolve(API))


async def test_a_success_that_left_nothing_is_no_proof(harbor: HarborDouble, hub: FakeRegistry) -> None:
    """Harbor says Succeed, and its registry does not name the digest."""
    hub.push_image("acme/api", "1")
    async with opened(harbor, hub) as cache:
        image = await cache.resolve(API)
        hub.push_image("acme/api", "1", [b"moved meanwhile"])
        with pytest.raises(CacheError, match="succeeded, but hub/acme/api does not name"):
            await cache.warm(image)
        del hub.manifests["acme/api", "1"]
        with pytest.raises(NotFound, match="found nothing to fetch"):
            await cache.warm(image)


async def test_a_stopped_run_stops_harbor(harbor: HarborDouble, hub: FakeRegistry) -> None:
    """No copy goes on behind our back."""
    pushed = hub.push_image("acme/api", "1")
    hub.fault("GET", f"/blobs/{pushed.blobs[0]}", Fault(hang=True))
    async with opened(harbor, hub) as cache:
        warm = asyncio.ensure_future(cache.warm(await cache.resolve(API)))
        await hub.hung.wait()
        warm.cancel()
        await asyncio.gather(warm, return_exceptions=True)
    assert [each["status"] for each in harbor.executions.values()] == ["Stopped"]


async def test_what_harbor_cannot_copy_is_said_before(harbor: HarborDouble, hub: FakeRegistry) -> None:
    """No endpoint, no tag, a name that it cannot make."""
    pushed = hub.push_image("acme/api", "1")
    async with opened(harbor, hub, endpoints={}) as cache:
        with pytest.raises(CacheError, match=r'endpoints = \{"docker.io" = "…"\} names'):
            await cache.resolve(API)
    async with opened(harbor, hub) as cache:
        with pytest.raises(UnsupportedImage, match="by tag, not by digest"):
            await cache.resolve(Reference.parse(f"docker.io/acme/api@{pushed.digest}"))
    async with opened(harbor, hub, endpoints={"docker.io": "ghcr"}) as cache:
        with pytest.raises(
            CacheError, match=r"called 'ghcr' \(Administration, Registries\); it has: dockerhub"
        ):
            await cache.warm(await cache.resolve(API))


@pytest.mark.parametrize(
    ("repository", "path", "namespace", "replaced"),
    [
        ("library/web", "hub/library/web", "hub", 0),
        ("library/web", "base/web", "base", 1),
        ("acme/team/web", "hub/team/web", "hub", 1),
        ("acme/web", "acme/web", "acme", 1),
        ("a/b/web", "x/y/z/web", "x/y/z", 2),
    ],
)
def test_names_are_moved_as_harbor_moves_them(
    repository: str, path: str, namespace: str, replaced: int
) -> None:
    """A namespace, and how many components of the source it replaces."""
    assert moved(repository, path) == (namespace, replaced)


def test_a_name_that_ends_otherwise_cannot_be_made() -> None:
    """Harbor keeps the last component."""
    with pytest.raises(CacheError, match="keeps the last part of a name"):
        moved("library/web", "hub/www")


# --- preheat ---


async def test_peers_fetch_what_the_project_has(
    harbor: HarborDouble, hub: FakeRegistry, tmp_path: Path
) -> None:
    """It is remembered for a time, over processes; a moved tag is cold."""
    harbor.push_image(OWN, "1", [b"layer"])
    harbor.links.update((OWN, digest) for digest in harbor.blobs)
    async with opened(harbor, hub, tmp_path / "state", work="preheat") as cache:
        image = await cache.resolve(API)
        assert not await cache.holds(image)
        transfer = await cache.warm(image)
        assert transfer.bytes == image.bytes
        assert "peers do not tell more" in transfer.proof
    async with opened(harbor, hub, tmp_path / "state", work="preheat") as cache:
        assert await cache.holds(await cache.resolve(API))
        assert (await cache.warm(image)).bytes == 0
        harbor.push_image(OWN, "1", [b"new"])
        assert not await cache.holds(await cache.resolve(API))
    assert harbor.peers == [("hub", "acme/api", "1")]


async def test_peers_that_fail_are_not_called_warm(
    harbor: HarborDouble, hub: FakeRegistry, tmp_path: Path
) -> None:
    """With Harbor's words."""
    harbor.push_image(OWN, "1", [b"layer"])
    harbor.broken = "dragonfly: no scheduler"
    async with opened(harbor, hub, tmp_path / "state", work="preheat") as cache:
        image = await cache.resolve(API)
        with pytest.raises(CacheError, match="execution 40 error: dragonfly: no scheduler"):
            await cache.warm(image)
        assert not await cache.holds(image)


async def test_a_project_without_peers_says_so(harbor: HarborDouble, hub: FakeRegistry) -> None:
    """By the providers that it has."""
    harbor.push_image(OWN, "1")
    async with opened(harbor, hub, work="preheat", provider="kraken") as cache:
        with pytest.raises(CacheError, match="project hub has no P2P provider kraken; it has: dragonfly"):
            await cache.warm(await cache.resolve(API))


# --- checking ---


async def test_check_says_what_is_missing(harbor: HarborDouble, hub: FakeRegistry) -> None:
    """Projects, endpoints, and a project that is of another kind."""
    harbor.projects["proxy"] = {"project_id": 8, "name": "proxy", "registry_id": 3}
    names = {"docker.io/": "hub/", "ghcr.io/": "gone/", "quay.io/": "proxy/"}
    async with opened(
        harbor, hub, rewrite=names, endpoints={"docker.io": "dockerhub", "ghcr.io": "ghcr"}
    ) as cache:
        findings = await cache.check()
    bad = [finding.message for finding in findings if not finding.ok]
    assert len(bad) == 3
    assert bad[0].startswith("gone: the Harbor API says: project gone not found; create it")
    assert bad[1].startswith("proxy takes no copies: a proxy-cache project fills by being read")
    assert (
        bad[2]
        == "Harbor has no registry endpoint called 'ghcr' (Administration, Registries); it has: dockerhub"
    )
    assert any("Harbor v2.10.0" in finding.message for finding in findings)


async def test_check_asks_for_the_peers_of_a_preheat(harbor: HarborDouble, hub: FakeRegistry) -> None:
    """A provider that is off is none."""
    keys: dict[str, Any] = {"work": "preheat", "endpoints": {}}
    async with opened(harbor, hub, **keys) as cache:
        assert all(finding.ok for finding in await cache.check())
        harbor.providers[0]["enabled"] = False
        (bad,) = [finding for finding in await cache.check() if not finding.ok]
    assert bad.message == "project hub has no P2P provider; it has: none"


async def test_a_wrong_secret_is_told_and_not_shown(harbor: HarborDouble, hub: FakeRegistry) -> None:
    """With the command that mends it."""
    async with opened(harbor, hub, password="wrong-secret") as cache:
        (finding,) = await cache.check()
    assert not finding.ok
    assert "`docker login 127.0.0.1" in finding.message
    assert "wrong-secret" not in finding.message
