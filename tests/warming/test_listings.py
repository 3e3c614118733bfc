"""Lists of repositories and tags, page by page, or none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from prewarm.warming import listings
from prewarm.warming.credentials import Credentials
from prewarm.warming.registry import Registries, Registry
from tests.fakes import FakeRegistry, Fault


@asynccontextmanager
async def client(origin: FakeRegistry) -> AsyncIterator[Registry]:
    async with Registries([origin.endpoint], Credentials()) as registries:
        yield registries.of(origin.host)


async def test_a_list_of_repositories_is_read_page_by_page() -> None:
    """Distribution gives a thousand at a time."""
    names = {f"team-{number:04}/app" for number in range(2300)}
    async with FakeRegistry() as origin, client(origin) as registry:
        for name in names:
            origin.manifests[name, "1"] = (b"", "")
        assert await listings.repositories(registry) == names
        assert await listings.repositories(registry, limit=2000) is None

    assert origin.seen[1].path == "/v2/_catalog?n=1000&last=team-0999/app"


async def test_tags_are_listed_of_one_repository() -> None:
    """Digests are no tags."""
    async with FakeRegistry() as origin, client(origin) as registry:
        for tag in ("1", "2", "latest"):
            origin.push_image("acme/api", tag)
        origin.push_image("acme/web", "3")
        assert await listings.tags(registry, "acme/api") == {"1", "2", "latest"}


async def test_a_registry_that_does_not_page_is_asked_once() -> None:
    """Distribution 2.8 gives all tags, whatever number was asked for."""
    body = b'{"tags": [%s]}' % b",".join(b'"v%d"' % number for number in range(1500))
    async with FakeRegistry() as origin, client(origin) as registry:
        origin.push_image("acme/api", "1")
        origin.fault("GET", "/tags/list", Fault(body=body), forever=True)
        found = await listings.tags(registry, "acme/api")
    assert found is not None
    assert len(found) == 1500
    assert len(origin.asked("GET", "/tags/list")) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=404),
        Fault(status=403),
        Fault(body=b"<html>"),
        Fault(body=b'{"tags": [1]}'),
        Fault(body=b"[]"),
    ],
)
async def test_what_is_no_list_is_none(fault: Fault) -> None:
    """Refused, a web page, something else."""
    async with FakeRegistry() as origin, client(origin) as registry:
        origin.push_image("acme/api", "1")
        origin.fault("GET", "/tags/list", fault)
        assert await listings.tags(registry, "acme/api") is None


async def test_a_repository_without_tags_has_none() -> None:
    """Distribution says null."""
    async with FakeRegistry() as origin, client(origin) as registry:
        origin.push_image("acme/api", "1")
        origin.fault("GET", "/tags/list", Fault(body=b'{"tags": null}'))
        assert await listings.tags(registry, "acme/api") == frozenset()
