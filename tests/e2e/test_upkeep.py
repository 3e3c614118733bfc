"""Refresh and prune on real servers: moved tags are warmed again, what nobody uses gives its bytes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e import images
from tests.e2e.commands import Prewarm
from tests.e2e.servers import Distribution, Engine, program, run, skopeo

OLD, NEW = "docker.io/acme/old:1", "docker.io/acme/new:1"
BIG = 3_000_000
DAYS = 70  # of log; the old image was pulled on the first day only


@pytest.fixture
def region(folder: Path) -> Iterator[Distribution]:
    """An empty registry that takes pushes, and lets manifests be deleted."""
    with Distribution(folder / "region") as registry:
        yield registry


def office(folder: Path, origin: Distribution, cache: str) -> Prewarm:
    """The old image was pulled ten weeks ago, the new one ever since; both were warmed then."""
    images.push_image(origin.url, "acme/old", "1", [BIG, 200_000])
    images.push_image(origin.url, "acme/new", "1", [100_000])
    prewarm = Prewarm(
        folder / "p", f'[registries."docker.io"]\nurl = "{origin.url}"\n[caches.here]\n{cache}\n'
    )
    now = datetime.now(UTC)
    rows = ["timestamp,image,client"]
    for day in range(DAYS, -1, -1):
        stamp = (now - timedelta(days=day, hours=1)).isoformat()
        rows += [f"{stamp},{image},10.0.0.1" for image in ((OLD, NEW) if day == DAYS else (NEW,))]
    (folder / "events.csv").write_text("\n".join(rows) + "\n")
    prewarm.ok("ingest", folder / "events.csv", "--format", "events")
    plan = folder / "plan.json"
    warms = [{"image": image} for image in (OLD, NEW)]
    plan.write_text(json.dumps({"id": "p1", "cache": "here", "warms": warms}))
    prewarm.ok("run", "--plan", plan, days_ago=DAYS - 1)
    return prewarm


def used(folder: Path) -> int:
    """Bytes of the files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_folder_is_refreshed_and_pruned(origin: Distribution, folder: Path) -> None:
    """Dry runs change nothing; applied, the disk has what was promised, and skopeo reads the rest."""
    layout = folder / "oci"
    prewarm = office(folder, origin, f'driver = "layout"\npath = "{layout}"')
    moved = images.push_image(origin.url, "acme/new", "1", [100_000], seed="the next build")

    told = prewarm.ok("refresh", "--cache", "here")
    done = prewarm.ok("refresh", "--cache", "here", "--apply")
    assert [row["image"] for row in told["refresh"]] == [NEW]
    assert told["unwanted"][0]["image"] == OLD
    assert [row["digest"] for row in done["refresh"]] == [moved.digest]
    assert done["runs"][0]["outcomes"][0]["state"] == "warmed"

    before = used(layout)
    told = prewarm.ok("prune", "--cache", "here")
    assert used(layout) == before
    done = prewarm.ok("prune", "--cache", "here", "--apply")
    assert [row["image"] for row in done["evict"]] == [OLD]
    assert done["reclaimed"] == told["reclaimed"] > BIG
    assert before - used(layout) == pytest.approx(done["reclaimed"], abs=2000)  # the index is shorter, too
    skopeo("copy", f"oci:{layout}:{NEW}", f"dir:{folder / 'copy'}")
    assert prewarm.ok("prune", "--cache", "here")["evict"] == []


def test_a_replica_forgets_and_its_garbage_collection_frees(
    origin: Distribution, region: Distribution, folder: Path
) -> None:
    """The name is gone at once, the bytes after the registry's own collection; a schedule does the same."""
    schedule = '[schedules.tidy]\ncache = "here"\nverb = "prune"\ncron = "0 3 * * sun"\n'
    prewarm = office(folder, origin, f'driver = "replica"\nurl = "{region.url}"\n{schedule}')

    told = prewarm.ok("run", "--schedule", "tidy", "--dry-run")
    done = prewarm.ok("run", "--schedule", "tidy")
    assert (told["applied"], done["applied"]) == (False, True)
    assert [row["image"] for row in done["evict"]] == [OLD]
    assert "garbage collection" in done["notes"][0]
    with pytest.raises(AssertionError, match="manifest unknown"):
        skopeo("inspect", "--tls-verify=false", f"docker://{region.address}/acme/old:1")
    skopeo("inspect", "--tls-verify=false", f"docker://{region.address}/acme/new:1")

    before = used(region.storage)
    region.stop()
    run([program("docker-registry"), "garbage-collect", str(folder / "region" / "config.json")])
    assert before - used(region.storage) == pytest.approx(done["reclaimed"], abs=5000)
    assert done["reclaimed"] > BIG


def test_an_engine_gives_disk_back_but_for_what_runs(
    origin: Distribution, engine: Engine, folder: Path
) -> None:
    """An image that a container uses stays, however old; then it goes."""
    prewarm = office(folder, origin, f'driver = "docker"\nurl = "{engine.url}"')
    container = engine.client.containers.create("acme/old:1", "true")
    kept = prewarm.ok("prune", "--cache", "here", "--apply")
    assert kept["evict"] == []
    assert {"cache": "here", "image": OLD, "reason": "a container uses it"} in kept["keep"]
    container.remove()

    told = prewarm.ok("prune", "--cache", "here")
    done = prewarm.ok("prune", "--cache", "here", "--apply")
    assert [row["image"] for row in told["evict"]] == [row["image"] for row in done["evict"]] == [OLD]
    assert done["reclaimed"] > BIG
    assert engine.images() == {"acme/new:1"}


def test_a_mirror_is_refreshed_and_refuses_to_forget(
    origin: Distribution, mirror: Distribution, folder: Path
) -> None:
    """A moved tag is filled again; DELETE is answered 405, which the refusal explains."""
    prewarm = office(folder, origin, f'driver = "mirror"\nurl = "{mirror.url}"\nupstream = "docker.io"')
    moved = images.push_image(origin.url, "acme/new", "1", [150_000], seed="the next build")

    done = prewarm.ok("refresh", "--apply")
    refused = prewarm("prune", "--cache", "here")

    assert [row["digest"] for row in done["refresh"]] == [moved.digest]
    assert all(mirror.blob_file(digest).exists() for digest in moved.blobs)
    assert refused.code == 1
    assert "405" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
