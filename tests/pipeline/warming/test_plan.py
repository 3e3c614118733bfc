"""The verb `plan`: the lake's ranking meets a cache."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from prewarm.demand.calendars import Site
from prewarm.errors import CacheError, NotEnoughHistory, SettingsError, UnknownName
from prewarm.lake import Lake
from prewarm.pipeline.warming.caches import CacheSpec, barred, check, opened
from prewarm.pipeline.warming.plan import (
    Demand,
    Known,
    Planned,
    Request,
    find,
    plan,
    plan_with,
    platforms_seen,
)
from prewarm.references import Reference
from prewarm.warming.contacts import Endpoint
from prewarm.warming.images import Platform
from prewarm.warming.planning import Budget
from prewarm.warming.rules import Rules
from tests.fakes import FakeMirror, FakeRegistry, Fault
from tests.past import NOW, lake_with

NOBODY = [Endpoint("docker.io", "http://127.0.0.1:1", timeout=1.0)]
WEB, API, JOB = "docker.io/library/web:1", "docker.io/acme/api:2.1", "docker.io/acme/job:3"


@pytest.fixture
async def hub() -> AsyncIterator[FakeRegistry]:
    """Docker Hub, which has all three images."""
    async with FakeRegistry() as registry:
        registry.push_image("library/web", "1", layers=[b"w" * 1000])
        registry.push_image("acme/api", "2.1", layers=[b"a" * 2000])
        registry.push_image("acme/job", "3", layers=[b"j" * 3000])
        yield registry


def endpoints(hub: FakeRegistry) -> list[Endpoint]:
    return [replace(hub.endpoint, registry="docker.io")]


def spec_of(folder: Path, **more: Any) -> CacheSpec:
    return CacheSpec("edge", "layout", {"path": folder / "oci"}, site="default", **more)


async def planned(
    lake: Lake, folder: Path, hub: FakeRegistry, budget: Budget | None = None, **spec: Any
) -> Planned:
    """A plan for the hour from now on."""
    request = Request(NOW, 1, budget or Budget(top=10))
    return await plan(lake, spec_of(folder, **spec), endpoints(hub), request, now=NOW)


def warmed(found: Planned) -> list[str]:
    return [warm.image for warm in found.plan.warms]


def why(found: Planned) -> dict[str, str]:
    return {skip.image: skip.reason for skip in found.plan.skipped}


async def test_the_ranking_becomes_a_plan(tmp_path: Path, hub: FakeRegistry) -> None:
    """Images in rank order with digests, sizes and reasons."""
    found = await planned(lake_with(tmp_path, WEB, API, JOB), tmp_path, hub)
    assert warmed(found) == [WEB, API, JOB]
    first = found.plan.warms[0]
    assert first.digest == hub.push_image("library/web", "1", layers=[b"w" * 1000]).digest
    assert first.bytes is not None
    assert first.bytes > 1000
    assert first.reason.startswith("rank 1, ")
    assert "08:30–09:30" in first.reason


async def test_no_more_images_are_asked_about_than_there_are_places(
    tmp_path: Path, hub: FakeRegistry
) -> None:
    """Each question may count against somebody's quota."""
    found = await planned(lake_with(tmp_path, WEB, API, JOB), tmp_path, hub, Budget(top=1))
    assert warmed(found) == [WEB]
    assert {seen.path.split("/manifests/")[0] for seen in hub.seen if "manifests" in seen.path} == {
        "/v2/library/web"
    }


async def test_a_plan_transfers_nothing_and_makes_no_cache(tmp_path: Path, hub: FakeRegistry) -> None:
    """It is the dry run."""
    await planned(lake_with(tmp_path, WEB), tmp_path, hub)
    assert not hub.asked("GET", "/blobs/")
    assert not (tmp_path / "oci").exists()


async def test_a_mirror_pays_a_shared_layer_for_each_repository(tmp_path: Path, hub: FakeRegistry) -> None:
    """It fetches the layer again, so that the budget counts it again; a folder stores it once."""
    layers = [b"base" * 500]
    for repository, tag in (("library/web", "1"), ("acme/api", "2.1")):
        hub.push_image(repository, tag, layers)
    lake, request = lake_with(tmp_path, WEB, API), Request(NOW, 1, Budget(top=2))
    async with FakeMirror(hub) as mirror:
        office = CacheSpec("office", "mirror", {"url": mirror.url}, site="default", upstream="docker.io")
        through = await plan(lake, office, endpoints(hub), request, now=NOW)
        folder = await plan(lake, spec_of(tmp_path), endpoints(hub), request, now=NOW)

    whole = folder.plan.warms[0].bytes
    assert [warm.bytes for warm in through.plan.warms] == [whole, whole]
    assert [warm.bytes for warm in folder.plan.warms] == [whole, 0]


async def test_an_image_that_is_gone_gives_its_place_to_the_next(tmp_path: Path, hub: FakeRegistry) -> None:
    """Tags are deleted; the ranking remembers them for weeks."""
    lake = lake_with(tmp_path, "docker.io/acme/gone:1", WEB, API)
    found = await planned(lake, tmp_path, hub, Budget(top=2))
    assert warmed(found) == [WEB, API]
    assert found.plan.skipped[0].failed
    assert "gone" in why(found)["docker.io/acme/gone:1"]


async def test_an_upstream_that_is_down_is_not_asked_about_the_whole_ranking(tmp_path: Path) -> None:
    """The places stay with the best images, each with the error, of which a run makes failures."""
    lake = lake_with(tmp_path, WEB, API, JOB)
    request, known = Request(NOW, 1, Budget(top=1)), Known(NOW)
    async with opened(spec_of(tmp_path), NOBODY) as cache:
        found = await plan_with(cache, lake, spec_of(tmp_path), NOBODY, request, known)
    assert list(why(found)) == [WEB]
    assert found.plan.skipped[0].failed
    assert found.warnings[-1].startswith(
        f"the one image in question cannot be warmed; {WEB}: registry docker.io"
    )


async def test_what_nobody_answers_for_is_not_planned(tmp_path: Path) -> None:
    """An empty plan would say that nothing is worth warming; nothing is kept."""
    lake = lake_with(tmp_path, WEB, API, JOB)
    with pytest.raises(
        CacheError, match=r"'edge' cannot be planned while nobody answers: registry docker.io"
    ):
        await plan(lake, spec_of(tmp_path), NOBODY, Request(NOW), now=NOW)
    assert lake.read("plans").is_empty()


async def test_one_answer_is_enough_for_a_plan(tmp_path: Path, hub: FakeRegistry) -> None:
    """What the others are about is said of each."""
    hub.fault("GET", "/acme/", Fault(status=503, headers={"Retry-After": "100"}), forever=True)
    found = await planned(lake_with(tmp_path, WEB, API), tmp_path, hub)
    assert warmed(found) == [WEB]
    assert "503" in why(found)[API]


async def test_a_cache_that_logs_another_name_is_told_how_to_be_read(
    tmp_path: Path, hub: FakeRegistry
) -> None:
    """A mirror is known by many names; else its whole log would be passed over without a word."""
    lake = lake_with(tmp_path, "mirror.corp:5000/library/web:1")
    found = await planned(lake, tmp_path, hub, upstream="docker.io")
    warning = found.warnings[-1]
    assert warning.startswith("the one image in question cannot be warmed; mirror.corp:5000/library/web:1")
    assert "`prewarm ingest --registry docker.io`" in warning


async def test_a_plan_that_finds_everything_held_is_no_reason_for_a_warning(
    tmp_path: Path, hub: FakeRegistry
) -> None:
    """The second run of a night has nothing to do."""
    lake = lake_with(tmp_path, WEB)
    found = await planned(lake, tmp_path, hub)
    async with opened(spec_of(tmp_path), endpoints(hub)) as cache:
        await cache.warm(found.missing[WEB])
    again = await planned(lake, tmp_path, hub)
    assert again.plan.skipped[0].held
    assert not any("cannot be warmed" in warning for warning in (*found.warnings, *again.warnings))


async def test_a_hostile_manifest_is_left_out(tmp_path: Path, hub: FakeRegistry) -> None:
    """It can never be warmed."""
    hub.push_manifest("library/web", "1", b"{}", "application/vnd.oci.image.manifest.v1+json")
    found = await planned(lake_with(tmp_path, WEB, API), tmp_path, hub, Budget(top=1))
    assert warmed(found) == [API]


async def test_registries_that_are_not_listed_are_never_contacted(tmp_path: Path, hub: FakeRegistry) -> None:
    """A name in a log is no permission; the plan says what would be."""
    lake = lake_with(tmp_path, "169.254.169.254/acme/api:1", WEB)
    found = await planned(lake, tmp_path, hub, Budget(top=1))
    assert warmed(found) == [WEB]
    reason = why(found)["169.254.169.254/acme/api:1"]
    assert 'its registry is not listed; [registries."169.254.169.254"]' in reason
    assert not found.plan.skipped[0].failed


@pytest.mark.parametrize(
    ("spec", "image", "served"),
    [
        ({}, "docker.io/acme/api:1", True),
        ({}, "ghcr.io/acme/api:1", False),
        ({"upstream": "docker.io"}, "docker.io/acme/api:1", True),
        ({"upstream": "docker.io"}, "ghcr.io/acme/api:1", False),
        ({"upstream": "docker.io", "rewrite": {"ghcr.io/": "ghcr/"}}, "ghcr.io/acme/api:1", True),
        ({"upstream": "docker.io", "own": {"url": "http://mirror:5001"}}, "mirror:5001/acme/api:1", True),
    ],
)
def test_what_a_cache_can_serve(spec: dict[str, Any], image: str, served: bool) -> None:
    """Listed registries, or what comes through the upstream."""
    cache = CacheSpec("office", "mirror", **spec)
    assert (barred(cache, {"docker.io"}, Reference.parse(image)) is None) is served


async def test_bytes_are_limited_by_the_cache_where_the_plan_says_nothing(
    tmp_path: Path, hub: FakeRegistry
) -> None:
    """`max_bytes` of the cache, and a smaller one of the plan."""
    lake = lake_with(tmp_path, JOB, WEB)
    assert warmed(await planned(lake, tmp_path, hub, max_bytes=2000)) == [WEB]
    budget = Budget(top=5, max_bytes=10)
    assert warmed(await planned(lake, tmp_path, hub, budget, max_bytes=2000)) == []


async def test_rare_images_wait_until_enough_clients_want_them(tmp_path: Path, hub: FakeRegistry) -> None:
    """Clients are counted in the lake."""
    lake = lake_with(tmp_path, WEB, API, clients=1)
    found = await planned(lake, tmp_path, hub, rules=Rules(min_clients=2))
    assert warmed(found) == [WEB]
    assert why(found)[API] == "pulled by 1 distinct clients, 2 are required"


async def test_clients_are_known_long_after_the_log_ended(tmp_path: Path, hub: FakeRegistry) -> None:
    """Like the forecast, the count looks back from the end of the log."""
    lake = lake_with(tmp_path, WEB, clients=2)
    request = Request(NOW + timedelta(weeks=12), 1, Budget(top=10))
    spec = spec_of(tmp_path, rules=Rules(min_clients=2))
    found = await plan(lake, spec, endpoints(hub), request, now=request.at)
    assert warmed(found) == [WEB]


async def test_an_empty_lake_teaches(tmp_path: Path, hub: FakeRegistry) -> None:
    """Nothing is planned, nothing is written."""
    with pytest.raises(NotEnoughHistory, match="prewarm ingest"):
        await planned(Lake.open(tmp_path / "lake"), tmp_path, hub)
    assert not (tmp_path / "lake").exists()


async def test_the_operators_images_need_no_history(tmp_path: Path, hub: FakeRegistry) -> None:
    """A new site warms what it is told to, and says that it knows nothing else."""
    lake = Lake.open(tmp_path / "lake")
    found = await planned(lake, tmp_path, hub, rules=Rules(always=("web:1",)))
    assert warmed(found) == [WEB]
    assert "the plan has the operator's images only" in found.warnings[0]


async def test_reasons_are_in_the_sites_hours(tmp_path: Path, hub: FakeRegistry) -> None:
    """08:30 UTC is 14:00 in Mumbai."""
    request = Request(NOW, 1, Budget(top=1))
    demand = Demand({"default": Site("default", "Asia/Kolkata")})
    found = await plan(
        lake_with(tmp_path, WEB), spec_of(tmp_path), endpoints(hub), request, now=NOW, demand=demand
    )
    assert "14:00–15:00" in found.plan.warms[0].reason


async def test_a_plan_is_kept_and_found_by_id_or_file(tmp_path: Path, hub: FakeRegistry) -> None:
    """Both give the same plan back."""
    lake = lake_with(tmp_path, WEB)
    made = await planned(lake, tmp_path, hub)
    assert find(lake, made.plan.id) == made.plan
    (tmp_path / "plan.json").write_text(json.dumps(made.document()))
    assert find(lake, str(tmp_path / "plan.json")) == made.plan


async def test_a_plan_that_is_nowhere_is_refused_with_the_known_ones(
    tmp_path: Path, hub: FakeRegistry
) -> None:
    """Recent ids are listed; a file that is no plan says what is wrong with it."""
    lake = lake_with(tmp_path, WEB)
    made = await planned(lake, tmp_path, hub)
    with pytest.raises(UnknownName, match=f"known: {made.plan.id}"):
        find(lake, "p1")
    (tmp_path / "plan.json").write_text("[]")
    with pytest.raises(SettingsError, match="plan must be an object"):
        find(lake, str(tmp_path / "plan.json"))


async def test_the_catalogue_learns_sizes_once(tmp_path: Path, hub: FakeRegistry) -> None:
    """A second plan adds no row for the same digest, and a row for a new one."""
    lake = lake_with(tmp_path, WEB)
    await planned(lake, tmp_path, hub)
    await planned(lake, tmp_path, hub)
    assert lake.read("images")["bytes"].to_list() == [1000 + len(hub.blobs[_config(hub)])]
    hub.push_image("library/web", "1", layers=[b"new"])
    await planned(lake, tmp_path, hub)
    assert lake.read("images").height == 2


def _config(hub: FakeRegistry) -> str:
    body, _ = hub.manifests["library/web", "1"]
    return str(json.loads(body)["config"]["digest"])


def test_platforms_are_those_that_clients_show(tmp_path: Path) -> None:
    """The most frequent first; other agents show none."""
    arm = "docker/20.10.24 go/go1.19.8 git-commit/5d6db84 kernel/6.1 os/linux arch/arm64 UpstreamClient(x)"
    lake = lake_with(tmp_path, WEB, agent=arm)
    assert platforms_seen(lake, "default", NOW) == (Platform("linux", "arm64"),)
    assert platforms_seen(Lake.open(tmp_path / "other"), None, NOW) == ()


def test_platforms_of_clients_that_left_are_forgotten(tmp_path: Path) -> None:
    """A log that ended tells what it told at its end; one that goes on without them does not."""
    later = NOW + timedelta(weeks=20)
    lake = lake_with(tmp_path, WEB, agent="docker/24 os/linux arch/arm64")
    assert platforms_seen(lake, "default", later) == (Platform("linux", "arm64"),)

    pulls = lake.read("pulls").drop("date", "batch")
    lake.append("pulls", pulls.with_columns(timestamp=pl.lit(later), agent=pl.lit("containerd/v2.3.4")))
    assert platforms_seen(lake, "default", later) == ()


async def test_platforms_of_the_site_are_planned_for(tmp_path: Path, hub: FakeRegistry) -> None:
    """An index is resolved for arm64 where the clients are arm64."""
    pushed = hub.push_image("library/web", "1", layers=[b"w"], platforms=["linux/amd64", "linux/arm64"])
    lake = lake_with(tmp_path, WEB, agent="docker/24 os/linux arch/arm64")
    found = await planned(lake, tmp_path, hub)
    [manifest] = found.missing[WEB].manifests
    assert manifest.descriptor.digest == pushed.manifests[1]


async def test_a_cache_that_fails_for_one_image_goes_on_with_the_others(
    tmp_path: Path, hub: FakeRegistry
) -> None:
    """One registry error is one reason."""
    hub.fault("GET", "/library/web/manifests/", Fault(status=401), forever=True)
    found = await planned(lake_with(tmp_path, WEB, API), tmp_path, hub)
    assert warmed(found) == [API]
    assert list(why(found)) == [WEB]


async def test_a_driver_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """With the ones that are."""
    with pytest.raises(UnknownName, match="no cache driver called 'layuot'; did you mean 'layout'"):
        async with opened(CacheSpec("edge", "layuot"), []):
            pass


async def test_a_key_that_the_driver_does_not_know_is_refused(tmp_path: Path) -> None:
    """By its place in the configuration."""
    with pytest.raises(SettingsError, match=r"caches\.edge\.paht"):
        async with opened(CacheSpec("edge", "layout", {"path": tmp_path, "paht": "x"}), []):
            pass


async def test_check_asks_the_cache_and_the_registries(tmp_path: Path, hub: FakeRegistry) -> None:
    """One finding each, in words."""
    listed = [*endpoints(hub), Endpoint("gone.test", "http://127.0.0.1:1", timeout=1.0)]
    found = await asyncio.to_thread(check, spec_of(tmp_path), listed)
    findings = {finding.subject: finding for finding in found}
    assert findings["reachable"].ok
    assert findings["registry docker.io"].ok
    assert findings["registry docker.io"].message == "answers anonymously"
    assert not findings["registry gone.test"].ok


def test_check_turns_refusals_into_findings(tmp_path: Path) -> None:
    """A layout folder with something else in it, and no registry at all."""
    (tmp_path / "oci").mkdir()
    (tmp_path / "oci/index.json").write_text("[]")
    folder, registries = check(spec_of(tmp_path), [])
    assert not folder.ok
    assert "is no image index" in folder.message
    assert not registries.ok
    assert "none is listed" in registries.message


async def test_a_caches_limit_stands_above_what_is_asked(tmp_path: Path, hub: FakeRegistry) -> None:
    """--max-bytes asks for less, never for more."""
    lake = lake_with(tmp_path, JOB, WEB)
    found = await planned(lake, tmp_path, hub, Budget(top=10, max_bytes=10**9), max_bytes=2000)

    assert warmed(found) == [WEB]


async def test_a_glob_that_allows_opens_no_host(tmp_path: Path, hub: FakeRegistry) -> None:
    """`allow` narrows what may be warmed; a log line that fits it names a host to nobody."""
    async with FakeRegistry() as stranger:
        stranger.push_image("library/x", "1")
        lake = lake_with(tmp_path, f"{stranger.host}/library/x:1", WEB)
        found = await planned(lake, tmp_path, hub, rules=Rules(allow=("*/library/*",)))

        assert stranger.seen == []
    assert warmed(found) == [WEB]
    assert "is not listed" in why(found)[f"{stranger.host}/library/x:1"]


async def test_a_check_asks_the_upstream_that_the_cache_is_filled_from(
    tmp_path: Path, hub: FakeRegistry
) -> None:
    """Reachability and login; of the upstream alone, and not for a mirror, which fetches by itself."""
    listed = [*endpoints(hub), Endpoint("other.corp", "http://127.0.0.1:1", timeout=1.0)]
    good = await asyncio.to_thread(check, spec_of(tmp_path, upstream="docker.io"), listed)
    down = await asyncio.to_thread(check, spec_of(tmp_path, upstream="other.corp"), listed)
    unknown = await asyncio.to_thread(check, spec_of(tmp_path, upstream="typo.corp"), listed)
    async with FakeMirror(hub) as mirror:
        office = CacheSpec("office", "mirror", {"url": mirror.url}, upstream="docker.io")
        through = await asyncio.to_thread(check, office, listed)

    assert (good[-1].subject, good[-1].ok) == ("registry docker.io", True)
    assert (down[-1].subject, down[-1].ok) == ("registry other.corp", False)
    assert "is it running" in down[-1].message
    assert "typo.corp is not listed" in unknown[-1].message
    assert "registry docker.io" not in {finding.subject for finding in through}
