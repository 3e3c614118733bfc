"""The verbs `refresh` and `prune`, on a lake with a past and a registry over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from prewarm.errors import CacheBusy, CacheError, NotEnoughHistory
from prewarm.lake import Lake
from prewarm.pipeline.warming.caches import CacheSpec, opened, state_folder
from prewarm.pipeline.warming.plan import Request
from prewarm.pipeline.warming.run import Conduct, run
from prewarm.pipeline.warming.upkeep import Pruned, Refreshed, prune, refresh
from prewarm.references import Reference
from prewarm.warming.contacts import Endpoint
from prewarm.warming.executor import lock
from prewarm.warming.planning import Budget
from prewarm.warming.rules import Rules
from prewarm.warming.upkeep import Patience
from tests.fakes import FakeMirror, FakeRegistry, Fault
from tests.past import NOW, lake_with

WEB, API = "docker.io/library/web:1", "docker.io/acme/api:2.1"
DAY = timedelta(days=1)
LONG_AGO = NOW - 60 * DAY
SOON = Patience(unused=5 * DAY)


@pytest.fixture
async def hub() -> AsyncIterator[FakeRegistry]:
    """Docker Hub, which has both images."""
    async with FakeRegistry() as registry:
        registry.push_image("library/web", "1", layers=[b"base" * 500, b"w" * 1000])
        registry.push_image("acme/api", "2.1", layers=[b"base" * 500, b"a" * 2000])
        yield registry


def endpoints(hub: FakeRegistry) -> list[Endpoint]:
    return [replace(hub.endpoint, registry="docker.io")]


def spec_of(folder: Path, **more: Any) -> CacheSpec:
    return CacheSpec("edge", "layout", {"path": folder / "oci"}, site="default", patience=SOON, **more)


async def warmed(folder: Path, hub: FakeRegistry, *, at: datetime = NOW, **spec: Any) -> Lake:
    """A lake whose both images were warmed at that time."""
    lake = lake_with(folder, WEB, API, now=at)
    await run(
        lake,
        spec_of(folder, **spec),
        endpoints(hub),
        Request(at, 1, Budget(top=5)),
        conduct=Conduct(clock=lambda: at),
    )
    return lake


async def refreshed(
    lake: Lake, folder: Path, hub: FakeRegistry, apply: bool = False, **spec: Any
) -> Refreshed:
    how = Conduct(clock=lambda: NOW)
    return await refresh(lake, spec_of(folder, **spec), endpoints(hub), conduct=how, apply=apply)


async def pruned(lake: Lake, folder: Path, hub: FakeRegistry, apply: bool = False, **spec: Any) -> Pruned:
    how = Conduct(clock=lambda: NOW)
    return await prune(lake, spec_of(folder, **spec), endpoints(hub), conduct=how, apply=apply)


def only_web_goes_on(lake: Lake, days: int = 60) -> None:
    """From then on WEB is pulled every hour, API by nobody."""
    reference = Reference.parse(WEB)
    rows = [
        {
            "timestamp": NOW - timedelta(hours=hours),
            "until": NOW - timedelta(hours=hours),
            "site": "default",
            "source": "test",
            "client": "10.0.0.9",
            "registry": reference.registry,
            "repository": reference.repository,
            "tag": reference.tag,
            "kind": "layers",
            "status": "ok",
            "provisional": False,
        }
        for hours in range(1, days * 24)
    ]
    lake.append("pulls", pl.DataFrame(rows))


async def holds(folder: Path, hub: FakeRegistry, image: str) -> bool:
    async with opened(spec_of(folder), endpoints(hub)) as cache:
        return await cache.holds(await cache.resolve(Reference.parse(image)))


# --- refresh ---


async def test_a_moved_tag_is_told_and_costs_no_pull(tmp_path: Path, hub: FakeRegistry) -> None:
    """Tags are asked for by HEAD; the dry run fetches nothing."""
    lake = await warmed(tmp_path, hub)
    moved = hub.push_image("library/web", "1", layers=[b"new"])
    hub.seen.clear()
    found = await refreshed(lake, tmp_path, hub)
    assert [(each.image, each.digest, each.reason) for each in found.moved] == [
        (WEB, moved.digest, "its tag moved upstream")
    ]
    assert found.unchanged == 1
    assert {request.method for request in hub.seen} == {"HEAD"}


async def test_applied_it_is_warmed_again(tmp_path: Path, hub: FakeRegistry) -> None:
    """As a plan of its own, which the lake keeps; then nothing is left to do."""
    lake = await warmed(tmp_path, hub, at=NOW - timedelta(hours=1))
    hub.push_image("library/web", "1", layers=[b"new"])
    done = await refreshed(lake, tmp_path, hub, apply=True)
    assert done.run is not None
    assert [(each.image, each.state) for each in done.run.outcomes] == [(WEB, "warmed")]
    assert done.complete
    assert done.run.plan.id in lake.read("plans")["id"].to_list()
    assert await holds(tmp_path, hub, WEB)
    again = await refreshed(lake, tmp_path, hub, apply=True)
    assert (again.moved, again.unchanged, again.run) == ((), 2, None)


async def test_a_fill_that_lapsed_is_filled_again(tmp_path: Path, hub: FakeRegistry) -> None:
    """A pull-through cache forgets at its time, whoever uses the image."""
    lake = await warmed(tmp_path, hub, at=LONG_AGO, ttl=7 * DAY)
    only_web_goes_on(lake)
    found = await refreshed(lake, tmp_path, hub, ttl=7 * DAY)
    assert [(each.image, each.reason) for each in found.moved] == [
        (WEB, "its fill lapsed Fri 02 Oct 08:30 UTC")
    ]


async def test_what_nobody_wants_any_more_is_not_kept_fresh(tmp_path: Path, hub: FakeRegistry) -> None:
    """Old and unexpected: its registry is not even asked."""
    lake = await warmed(tmp_path, hub, at=LONG_AGO)
    only_web_goes_on(lake)
    hub.push_image("acme/api", "2.1", layers=[b"new"])
    hub.seen.clear()
    found = await refreshed(lake, tmp_path, hub)
    assert found.moved == ()
    assert list(found.unwanted) == [API]
    assert not hub.asked("HEAD", "/acme/api/")


async def test_the_bytes_of_the_cache_bound_a_refresh(tmp_path: Path, hub: FakeRegistry) -> None:
    """What does not fit is skipped, with the reason."""
    lake = await warmed(tmp_path, hub)
    for repository, tag in (("library/web", "1"), ("acme/api", "2.1")):
        hub.push_image(repository, tag, layers=[repository.encode() * 200])
    done = await refreshed(lake, tmp_path, hub, apply=True, max_bytes=3500)
    assert done.run is not None
    assert sorted(each.state for each in done.run.outcomes) == ["skipped", "warmed"]


async def test_a_tag_that_is_gone_is_a_problem_and_no_end(tmp_path: Path, hub: FakeRegistry) -> None:
    """The others are refreshed."""
    lake = await warmed(tmp_path, hub)
    del hub.manifests["acme/api", "2.1"]
    hub.push_image("library/web", "1", layers=[b"new"])
    found = await refreshed(lake, tmp_path, hub)
    assert [each.image for each in found.moved] == [WEB]
    assert list(found.problems) == [API]
    assert not found.complete


async def test_a_registry_that_is_down_is_refused(tmp_path: Path, hub: FakeRegistry) -> None:
    """Nothing moved, as far as one can see, is no answer."""
    lake = await warmed(tmp_path, hub)
    hub.fault("HEAD", "/manifests/", Fault(status=503, headers={"Retry-After": "100"}), forever=True)
    with pytest.raises(CacheError, match="'edge' cannot be refreshed while nobody answers"):
        await refreshed(lake, tmp_path, hub)


# --- prune ---


async def test_what_is_old_and_not_expected_may_go(tmp_path: Path, hub: FakeRegistry) -> None:
    """The dry run tells why, and the bytes that nothing else needs: a shared layer stays."""
    lake = await warmed(tmp_path, hub, at=LONG_AGO)
    only_web_goes_on(lake)
    found = await pruned(lake, tmp_path, hub)
    (row,) = found.document()["evict"]
    assert row["image"] == API
    assert row["reason"].startswith("no use for 59 days, and P 0.0")
    assert 2000 <= found.eviction.bytes < 3000
    assert found.keep[WEB].startswith("no use for 0 hours")
    assert await holds(tmp_path, hub, API)


async def test_applied_it_is_gone_and_stays_gone(tmp_path: Path, hub: FakeRegistry) -> None:
    """The folder has the rest; an outcome keeps the trail; the next prune knows of it no more."""
    lake = await warmed(tmp_path, hub, at=LONG_AGO)
    only_web_goes_on(lake)
    await pruned(lake, tmp_path, hub, apply=True)
    assert not await holds(tmp_path, hub, API)
    assert await holds(tmp_path, hub, WEB)
    kept = lake.read("outcomes").filter(state="evicted")
    assert kept.select("cache", "image").rows() == [("edge", API)]
    again = await pruned(lake, tmp_path, hub)
    assert (again.evict, list(again.keep)) == ((), [WEB])


async def test_an_old_image_that_is_expected_stays(tmp_path: Path, hub: FakeRegistry) -> None:
    """Every five hours for two weeks, and the log ends six days later: age alone says it may go."""
    lake = await warmed(tmp_path, hub, at=NOW - 6 * DAY)
    only_web_goes_on(lake, days=6)
    found = await pruned(lake, tmp_path, hub)
    assert found.evict == ()
    assert "but P" in found.keep[API]


async def test_only_what_we_put_there_is_looked_at(tmp_path: Path, hub: FakeRegistry) -> None:
    """An image that somebody else put into the folder is not ours to remove."""
    lake = await warmed(tmp_path, hub, at=LONG_AGO)
    only_web_goes_on(lake)
    other = replace(spec_of(tmp_path), name="other")
    found = await prune(lake, other, endpoints(hub), conduct=Conduct(clock=lambda: NOW), apply=True)
    assert (found.evict, found.keep) == ((), {})
    assert await holds(tmp_path, hub, API)


async def test_the_operators_images_stay(tmp_path: Path, hub: FakeRegistry) -> None:
    """The always list stands above both rules."""
    lake = await warmed(tmp_path, hub, at=LONG_AGO)
    only_web_goes_on(lake)
    found = await pruned(lake, tmp_path, hub, rules=Rules(always=("docker.io/acme/api",)))
    assert found.keep[API] == "always on the operator's list"


async def test_a_cache_that_is_being_warmed_is_not_pruned(tmp_path: Path, hub: FakeRegistry) -> None:
    """One run or prune per cache at a time."""
    lake = await warmed(tmp_path, hub, at=LONG_AGO)
    only_web_goes_on(lake)
    with lock(state_folder(lake) / "locks", "edge", NOW), pytest.raises(CacheBusy):
        await pruned(lake, tmp_path, hub, apply=True)


async def test_a_lake_without_pulls_prunes_nothing(tmp_path: Path, hub: FakeRegistry) -> None:
    """Nobody can say what is used."""
    with pytest.raises(NotEnoughHistory):
        await pruned(Lake.open(tmp_path / "lake"), tmp_path, hub)


async def test_a_pull_through_cache_says_that_it_refuses(tmp_path: Path, hub: FakeRegistry) -> None:
    """Its dry run, too: else one would wait for bytes that never come free."""
    lake = lake_with(tmp_path, WEB, API, now=LONG_AGO)
    fills = [
        {"cache": "edge", "image": image, "digest": "sha256:" + "0" * 64, "filled_at": LONG_AGO}
        for image in (WEB, API)
    ]
    lake.append("warmed", pl.DataFrame(fills))
    only_web_goes_on(lake)
    async with FakeMirror(hub) as mirror:
        spec = CacheSpec("edge", "mirror", {"url": mirror.url}, upstream="docker.io", patience=SOON)
        with pytest.raises(CacheError, match=r"refuses to delete images \(405\): a pull-through cache never"):
            await prune(lake, spec, endpoints(hub), conduct=Conduct(clock=lambda: NOW))
