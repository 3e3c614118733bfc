"""The verb `run`: plans are executed for real, over HTTP, and remembered."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from prewarm.errors import CacheBusy, CacheError, SettingsError
from prewarm.lake import Lake
from prewarm.pipeline.warming.caches import CacheSpec, state_folder
from prewarm.pipeline.warming.plan import Request, find, plan
from prewarm.pipeline.warming.run import Conduct, RunResult, run, stopped_by_signals
from prewarm.warming.contacts import Endpoint
from prewarm.warming.executor import Event, lock
from prewarm.warming.planning import Budget, Plan
from prewarm.warming.rules import Rules
from tests.fakes import FakeRegistry, Fault
from tests.past import NOW, lake_with

WEB, API = "docker.io/library/web:1", "docker.io/acme/api:2.1"
REQUEST = Request(NOW, 1, Budget(top=5))


@pytest.fixture
async def hub() -> AsyncIterator[FakeRegistry]:
    """Docker Hub, which has both images."""
    async with FakeRegistry() as registry:
        registry.push_image("library/web", "1", layers=[b"base" * 500, b"w" * 1000])
        registry.push_image("acme/api", "2.1", layers=[b"base" * 500, b"a" * 2000], platforms=["linux/amd64"])
        yield registry


def endpoints(hub: FakeRegistry) -> list[Endpoint]:
    return [replace(hub.endpoint, registry="docker.io")]


def spec_of(folder: Path, **more: Any) -> CacheSpec:
    return CacheSpec("edge", "layout", {"path": folder / "oci"}, site="default", **more)


async def ran(
    lake: Lake, folder: Path, hub: FakeRegistry, work: Plan | Request = REQUEST, **conduct: Any
) -> RunResult:
    """Run now, on a clock that stands still."""
    how = Conduct(clock=lambda: NOW, **conduct)
    return await run(lake, spec_of(folder), endpoints(hub), work, conduct=how)


def states(result: RunResult) -> dict[str, str]:
    return {outcome.image: outcome.state for outcome in result.outcomes}


async def test_the_best_images_are_warmed_for_real(tmp_path: Path, hub: FakeRegistry) -> None:
    """Every blob lies in the folder; a shared layer travelled once."""
    result = await ran(lake_with(tmp_path, WEB, API), tmp_path, hub)
    assert states(result) == {WEB: "warmed", API: "warmed"}
    assert result.state == "done"
    assert result.totals["bytes"] == sum(len(blob) for blob in hub.blobs.values())
    stored = {path.name for path in (tmp_path / "oci/blobs/sha256").iterdir()}
    assert {digest.removeprefix("sha256:") for digest in hub.blobs} < stored


async def test_each_manifest_is_asked_for_once(tmp_path: Path, hub: FakeRegistry) -> None:
    """Planning and warming share what they learn; Docker Hub counts manifests."""
    await ran(lake_with(tmp_path, WEB), tmp_path, hub)
    assert len(hub.asked("GET", "/library/web/manifests/")) == 1


async def test_a_second_run_transfers_nothing(tmp_path: Path, hub: FakeRegistry) -> None:
    """States are `already`, no blob is asked for."""
    lake = lake_with(tmp_path, WEB, API)
    await ran(lake, tmp_path, hub)
    hub.seen.clear()
    again = await ran(lake, tmp_path, hub)
    assert states(again) == {WEB: "already", API: "already"}
    assert again.totals["bytes"] == 0
    assert not hub.asked("GET", "/blobs/")
    assert all(outcome.digest for outcome in again.outcomes)


async def test_a_moved_tag_is_warmed_again(tmp_path: Path, hub: FakeRegistry) -> None:
    """Only what is new travels."""
    lake = lake_with(tmp_path, WEB)
    await ran(lake, tmp_path, hub)
    pushed = hub.push_image("library/web", "1", layers=[b"base" * 500, b"new" * 10])
    again = await ran(lake, tmp_path, hub)
    assert states(again) == {WEB: "warmed"}
    assert again.outcomes[0].digest == pushed.digest
    assert again.totals["bytes"] == 30


async def test_a_kept_plan_is_executed_as_it_was_made(tmp_path: Path, hub: FakeRegistry) -> None:
    """Its images and no others, whatever the ranking says by now."""
    lake = lake_with(tmp_path, WEB, API)
    made = await plan(lake, spec_of(tmp_path), endpoints(hub), Request(NOW, 1, Budget(top=1)), now=NOW)
    result = await ran(lake, tmp_path, hub, made.plan)
    assert states(result) == {WEB: "warmed"}
    assert result.plan == made.plan


async def test_a_plan_of_another_cache_is_refused(tmp_path: Path, hub: FakeRegistry) -> None:
    """Before anything is contacted."""
    lake = lake_with(tmp_path, WEB)
    made = await plan(lake, spec_of(tmp_path), endpoints(hub), REQUEST, now=NOW)
    with pytest.raises(SettingsError, match="is for cache 'office', not for 'edge'"):
        await ran(lake, tmp_path, hub, replace(made.plan, cache="office"))


async def test_a_corrupt_blob_fails_its_image_only(tmp_path: Path, hub: FakeRegistry) -> None:
    """The error says digest; the other image is warm; the run is partly done."""
    layer = next(digest for digest, blob in hub.blobs.items() if blob == b"w" * 1000)
    hub.fault("GET", f"/library/web/blobs/{layer}", Fault(corrupt=True), forever=True)
    result = await ran(lake_with(tmp_path, WEB, API), tmp_path, hub)
    assert states(result) == {WEB: "failed", API: "warmed"}
    assert "digest" in str(result.outcomes[0].error)
    assert result.state == "partly"
    assert layer.removeprefix("sha256:") not in {path.name for path in (tmp_path / "oci").rglob("*")}


async def test_an_image_that_is_gone_fails_by_name(tmp_path: Path, hub: FakeRegistry) -> None:
    """404 is one outcome with its error."""
    result = await ran(lake_with(tmp_path, "docker.io/acme/gone:1", WEB), tmp_path, hub)
    assert states(result) == {"docker.io/acme/gone:1": "failed", WEB: "warmed"}
    assert "gone" in str(result.outcomes[0].error)


async def test_outcomes_are_kept_once(tmp_path: Path, hub: FakeRegistry) -> None:
    """With driver, site and times, so that what an engine pulls for us is not taken for demand."""
    lake = lake_with(tmp_path, WEB, API)
    result = await ran(lake, tmp_path, hub)
    rows = lake.read("outcomes").sort("image")
    assert rows["run"].to_list() == [result.id] * 2
    assert rows.row(1, named=True) | {"bytes": 0} == {
        "run": result.id,
        "plan": result.plan.id,
        "cache": "edge",
        "driver": "layout",
        "site": "default",
        "image": WEB,
        "digest": result.outcomes[0].digest,
        "state": "warmed",
        "bytes": 0,
        "seconds": 0.0,
        "attempts": 1,
        "error": None,
        "started_at": NOW,
        "finished_at": NOW,
    }


async def test_what_the_cache_holds_is_kept_with_its_expiry(tmp_path: Path, hub: FakeRegistry) -> None:
    """Fill plus the cache's ttl; a second run fills nothing."""
    lake = lake_with(tmp_path, WEB)
    spec = spec_of(tmp_path, ttl=timedelta(hours=168))
    for _ in range(2):
        await run(lake, spec, endpoints(hub), REQUEST, conduct=Conduct(clock=lambda: NOW))
    [row] = lake.read("warmed").iter_rows(named=True)
    assert row["image"] == WEB
    assert row["expires_at"] - row["filled_at"] == timedelta(days=7)


async def test_a_plan_says_when_a_fill_lapses_in_its_hours(tmp_path: Path, hub: FakeRegistry) -> None:
    """Seven days after the fill; a later run, which filled nothing, did not extend it."""
    lake = lake_with(tmp_path, WEB)
    spec = spec_of(tmp_path, ttl=timedelta(hours=168))
    for moment in (NOW, NOW + timedelta(days=1)):
        await run(lake, spec, endpoints(hub), REQUEST, conduct=Conduct(clock=lambda now=moment: now))
    week_later = NOW + timedelta(days=7)
    made = await plan(lake, spec, endpoints(hub), Request(week_later, 1, Budget(top=5)), now=week_later)

    [skip] = made.plan.skipped
    assert skip.held
    assert skip.reason == "already held, but its fill expires Tue 01 Dec 08:30, within the hours 08:30–09:30"


async def test_one_run_per_cache(tmp_path: Path, hub: FakeRegistry) -> None:
    """The second is refused at once, and contacts nobody."""
    lake = lake_with(tmp_path, WEB)
    with lock(tmp_path / "lake/locks", "edge", NOW), pytest.raises(CacheBusy):
        await ran(lake, tmp_path, hub)
    assert hub.seen == []


async def test_a_stopped_run_keeps_its_outcomes(tmp_path: Path, hub: FakeRegistry) -> None:
    """What was done is done, the rest is cancelled, and the lake knows."""
    lake, stop = lake_with(tmp_path, WEB, API), asyncio.Event()
    hub.fault("GET", "/acme/api/blobs/", Fault(hang=True), forever=True)

    def stop_after_the_first(event: Event) -> None:
        if event.outcome and event.outcome.state == "warmed":
            stop.set()

    result = await ran(lake, tmp_path, hub, stop=stop, on_event=stop_after_the_first)
    assert states(result) == {WEB: "warmed", API: "cancelled"}
    assert sorted(lake.read("outcomes")["state"].to_list()) == ["cancelled", "warmed"]


async def test_a_plan_that_should_have_been_ready_ends_there(tmp_path: Path, hub: FakeRegistry) -> None:
    """A run that begins after `ready_by` has no time."""
    lake = lake_with(tmp_path, WEB)
    made = await plan(lake, spec_of(tmp_path), endpoints(hub), REQUEST, now=NOW)
    late = replace(made.plan, budget=Budget(ready_by=NOW - timedelta(hours=1)))
    hub.fault("GET", "/blobs/", Fault(hang=True), forever=True)
    result = await ran(lake, tmp_path, hub, late)
    assert states(result) == {WEB: "cancelled"}
    assert "2026-11-24 07:30:00 UTC" in str(result.outcomes[0].error)


async def test_nothing_to_do_is_done(tmp_path: Path, hub: FakeRegistry) -> None:
    """Rules that refuse everything leave outcomes that say so."""
    lake = lake_with(tmp_path, WEB)
    spec = spec_of(tmp_path, rules=Rules(never=("*",)))
    result = await run(lake, spec, endpoints(hub), REQUEST, conduct=Conduct(clock=lambda: NOW))
    assert states(result) == {WEB: "skipped"}
    assert result.state == "done"
    assert result.warnings[-1].endswith(f"cannot be warmed; {WEB}: on the cache's never list")
    again = await run(lake, spec, endpoints(hub), result.plan, conduct=Conduct(clock=lambda: NOW))
    assert again.warnings == (result.warnings[-1],)


async def test_the_document_has_what_scripts_rely_on(tmp_path: Path, hub: FakeRegistry) -> None:
    """It is JSON as it stands."""
    result = await ran(lake_with(tmp_path, WEB), tmp_path, hub)
    document = json.loads(json.dumps(result.document()))
    assert {"id", "plan", "state", "outcomes", "totals"} <= set(document)
    assert {"image", "digest", "state", "bytes", "seconds", "attempts", "error"} <= set(
        document["outcomes"][0]
    )
    assert document["outcomes"][0]["finished_at"] == "2026-11-24T08:30:00Z"


def test_a_run_imports_no_heavy_models() -> None:
    """They cost seconds that a nightly run of five images does not have."""
    code = (
        "import sys\n"
        "import prewarm.pipeline.warming.run, prewarm.pipeline.demand.forecast\n"
        "import prewarm.warming.caches.layout\n"
        "heavy = ('pandas', 'sklearn', 'statsmodels', 'docker', 'scipy')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_executing_a_plan_needs_no_numbers() -> None:
    """numpy and scipy are for ranking; a plan that is given was ranked before."""
    code = (
        "import sys\n"
        "import prewarm.cli, prewarm.settings, prewarm.pipeline.warming.run, prewarm.warming.registry\n"
        "print([name for name in ('numpy', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_a_kept_plan_is_executed_for_the_platforms_it_was_made_for(
    tmp_path: Path, hub: FakeRegistry
) -> None:
    """Whatever the clients have shown since; an older plan, which does not say, asks the lake."""
    platforms = ["linux/amd64", "linux/arm64"]
    pushed = hub.push_image("library/web", "1", layers=[b"w" * 1000], platforms=platforms)
    agent = "docker/20.10.24 go/go1.19.8 kernel/6.1.0 os/linux arch/arm64 UpstreamClient(x)"
    lake = lake_with(tmp_path, WEB, agent=agent)
    made = await plan(lake, spec_of(tmp_path), endpoints(hub), REQUEST, now=NOW)
    assert made.plan.meta == {"platforms": "linux/arm64"}

    other = lake_with(tmp_path / "amd", WEB)
    await ran(other, tmp_path / "amd", hub, made.plan)
    await ran(lake, tmp_path, hub, replace(made.plan, meta={}))

    amd64, arm64 = (digest.removeprefix("sha256:") for digest in pushed.manifests)
    for folder in (tmp_path, tmp_path / "amd"):
        stored = {path.name for path in (folder / "oci/blobs/sha256").iterdir()}
        assert arm64 in stored
        assert amd64 not in stored


async def test_signals_end_a_run_in_order() -> None:
    """Within, SIGTERM sets the event and the process lives; afterwards signals do what they did before."""
    stop, before = asyncio.Event(), signal.getsignal(signal.SIGTERM)
    with stopped_by_signals(stop):
        signal.raise_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            await stop.wait()
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("root", "inside"), [("/srv/lake", "/srv/lake"), ("s3://bucket/lake", tempfile.gettempdir())]
)
def test_locks_lie_in_the_lake_or_where_temporary_files_go(root: str, inside: str) -> None:
    """A kernel lock needs a folder; two lakes have two."""
    folder = state_folder(Lake(root))
    assert folder.is_relative_to(inside)
    assert folder != state_folder(Lake(root + "2"))


async def test_a_given_plan_obeys_the_rules_of_today(tmp_path: Path, hub: FakeRegistry) -> None:
    """What the operator forbade since is skipped with the reason, the rest is warmed."""
    lake = lake_with(tmp_path, WEB, API)
    made = await plan(lake, spec_of(tmp_path), endpoints(hub), REQUEST, now=NOW)
    spec = spec_of(tmp_path, rules=Rules(never=("docker.io/acme/*",)))

    result = await run(lake, spec, endpoints(hub), made.plan, conduct=Conduct(clock=lambda: NOW))

    assert states(result) == {WEB: "warmed", API: "skipped"}
    assert result.outcomes[1].error == "on the cache's never list"


async def test_a_given_plan_opens_no_host(tmp_path: Path, hub: FakeRegistry) -> None:
    """A file may name any host; one that is not listed is not contacted."""
    lake = lake_with(tmp_path, WEB)
    made = await plan(lake, spec_of(tmp_path), endpoints(hub), REQUEST, now=NOW)
    async with FakeRegistry() as stranger:
        stranger.push_image("x", "1")
        forged = replace(made.plan, warms=(replace(made.plan.warms[0], image=f"{stranger.host}/x:1"),))
        result = await ran(lake, tmp_path, hub, forged)

        assert stranger.seen == []
    assert states(result) == {f"{stranger.host}/x:1": "skipped"}


async def test_a_stop_ends_planning_too(tmp_path: Path, hub: FakeRegistry) -> None:
    """An interrupt while the cache is slow to answer ends the run in one line."""
    lake = lake_with(tmp_path, WEB)
    hub.fault("GET", "/manifests/", Fault(hang=True))
    stop = asyncio.Event()
    stop.set()

    with pytest.raises(CacheError, match="stopped while planning; nothing was warmed"):
        await ran(lake, tmp_path, hub, stop=stop)


async def test_what_is_withheld_is_never_warmed_and_kept_as_an_outcome(
    tmp_path: Path, hub: FakeRegistry
) -> None:
    """The other half of the experiment: it is in the plan and in the lake, and no byte of it travels."""
    hub.push_image("library/web", "1", layers=[b"w" * 100_000])
    hub.push_image("acme/api", "2.1", layers=[b"a" * 100_000])
    lake = lake_with(tmp_path, WEB, API)
    result = await ran(lake, tmp_path, hub, replace(REQUEST, holdout=0.5))

    [warmed], [withheld] = result.plan.warms, result.plan.withheld
    assert states(result) == {warmed.image: "warmed", withheld.image: "withheld"}
    repository = withheld.image.removeprefix("docker.io/").partition(":")[0]
    assert not hub.asked("GET", f"/{repository}/blobs/")
    kept = dict(lake.read("outcomes").select("image", "state").iter_rows())
    assert kept == {warmed.image: "warmed", withheld.image: "withheld"}
    again = await ran(lake, tmp_path, hub, find(lake, result.plan.id))
    assert states(again) == {warmed.image: "already", withheld.image: "withheld"}
