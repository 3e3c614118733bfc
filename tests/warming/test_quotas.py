"""A share of a registry's pull quota is kept for people."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from prewarm.errors import NotFound, RateLimited
from prewarm.warming.credentials import Credentials
from prewarm.warming.quotas import Quota, parse_quota
from prewarm.warming.registry import Registries, Registry
from tests.fakes import FakeRegistry, Fault


@pytest.fixture
async def origin() -> AsyncIterator[FakeRegistry]:
    async with FakeRegistry() as registry:
        yield registry


@asynccontextmanager
async def considerate(origin: FakeRegistry, reserve: float = 0.3) -> AsyncIterator[Registry]:
    async with Registries([replace(origin.endpoint, reserve=reserve)], Credentials()) as registries:
        yield registries.of(origin.host)


async def test_a_quota_is_read_from_the_headers(origin: FakeRegistry) -> None:
    """Docker Hub's, with its window."""
    origin.push_image("a", "1")
    headers = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "76;w=21600"}
    origin.fault("GET", "/manifests/", Fault(headers=headers))
    async with considerate(origin, reserve=0) as registry:
        await registry.manifest("a", "1")
        await registry.ping()

        assert registry.quota == Quota(100, 76, 21600.0)


async def test_a_share_of_the_quota_is_kept_for_people(origin: FakeRegistry) -> None:
    """Those that may be spent are, then the registry is asked for no manifest any more."""
    origin.push_image("a", "1")
    origin.quota = 33
    async with considerate(origin) as registry:
        for _ in range(3):
            await registry.manifest("a", "1")
        with pytest.raises(RateLimited, match=r"30 of 100 pulls are left, and 30 are kept for people"):
            await registry.manifest("a", "1")

    assert origin.quota == 30


async def test_pulls_at_once_share_what_is_left(origin: FakeRegistry) -> None:
    """Each is counted when it is sent, not when its answer comes."""
    origin.push_image("a", "1")
    origin.quota = 32
    async with considerate(origin) as registry:
        await registry.manifest("a", "1")
        pulls = [registry.manifest("a", "1") for _ in range(5)]
        done = await asyncio.gather(*pulls, return_exceptions=True)

    assert sum(isinstance(each, RateLimited) for each in done) == 4
    assert origin.quota == 30


async def test_a_quota_that_came_back_is_used(origin: FakeRegistry) -> None:
    """Before it refuses, the client asks by HEAD, which is free."""
    origin.push_image("a", "1")
    origin.quota = 31
    async with considerate(origin) as registry:
        await registry.manifest("a", "1")
        origin.quota = 100
        await registry.manifest("a", "1")

    assert origin.quota == 99


async def test_a_registry_without_a_quota_is_asked_for_it_once(origin: FakeRegistry) -> None:
    """Most have none; one that keeps nothing for people is not even asked."""
    origin.push_image("a", "1")
    async with considerate(origin) as registry:
        for _ in range(3):
            await registry.manifest("a", "1")
    once = len(origin.asked("HEAD", "/manifests/"))
    async with considerate(origin, reserve=0) as registry:
        await registry.manifest("a", "1")

    assert once == 1
    assert len(origin.asked("HEAD", "/manifests/")) == once


async def test_what_is_not_there_is_not_found_with_a_reserve_too(origin: FakeRegistry) -> None:
    """The question for the quota hides no error."""
    async with considerate(origin) as registry:
        with pytest.raises(NotFound):
            await registry.manifest("gone", "1")


@pytest.mark.parametrize(
    "headers", [{}, {"RateLimit-Limit": "100"}, {"RateLimit-Limit": "x", "RateLimit-Remaining": "1"}]
)
def test_half_a_quota_is_none(headers: dict[str, str]) -> None:
    """Nothing is made up."""
    assert parse_quota(headers) is None
