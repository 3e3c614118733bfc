"""Warming an engine and a layout folder, and what warming leaves in the mirror's log."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import images
from tests.e2e.commands import Prewarm, moved, with_history
from tests.e2e.proxies import Proxy
from tests.e2e.servers import Distribution, Engine, dockerd, skopeo

WEB, API, JOB = "docker.io/library/web:1", "docker.io/acme/api:2.1", "docker.io/acme/job:3"


def config(registry: Distribution, cache: str) -> str:
    """docker.io is this registry; the cache's own lines follow."""
    return f'[registries."docker.io"]\nurl = "{registry.url}"\n[caches.here]\n{cache}\n'


def test_skopeo_reads_back_what_a_layout_was_warmed_with(origin: Distribution, folder: Path) -> None:
    """Every image is in the folder under its own name, with the digest it has at the origin."""
    web = images.push_image(origin.url, "library/web", "1", [300_000] * 15)
    api, _ = images.push_index(origin.url, "acme/api", "2.1")
    prewarm = with_history(folder / "p", config(origin, 'driver = "layout"\npath = "./oci"'), WEB, API)

    run = prewarm.ok("run", "--cache", "here", "--top", "5")
    again = prewarm.ok("run", "--cache", "here", "--top", "5")

    layout = folder / "p" / "oci"
    assert {outcome["state"] for outcome in run["outcomes"]} == {"warmed"}
    assert again["totals"]["bytes"] == 0
    for name, pushed in ((WEB, web), (API, api)):
        raw = skopeo("inspect", "--raw", f"oci:{layout}:{name}")
        assert "sha256:" + hashlib.sha256(raw.encode()).hexdigest() == pushed.digest
    skopeo("copy", f"oci:{layout}:{WEB}", f"dir:{folder}/out")
    assert {file.name for file in (folder / "out").iterdir()} >= {blob.split(":")[1] for blob in web.blobs}


def test_a_folder_is_filled_no_faster_than_allowed(origin: Distribution, folder: Path) -> None:
    """Three megabytes at one a second, whatever the link could do."""
    images.push_image(origin.url, "library/web", "1", [1_000_000] * 3)
    cache = 'driver = "layout"\npath = "./oci"\nbandwidth = "1MB/s"'
    prewarm = with_history(folder / "p", config(origin, cache), WEB)

    run = prewarm.ok("run", "--cache", "here", "--top", "1")

    assert run["totals"]["bytes"] > 3_000_000
    assert 2.5 < run["outcomes"][0]["seconds"] < 30


def test_a_schedule_withholds_its_share(origin: Distribution, folder: Path) -> None:
    """One of two images, which its plan and its outcomes name; the other is in the folder."""
    for name in (WEB, API):
        repository, _, tag = name.removeprefix("docker.io/").partition(":")
        images.push_image(origin.url, repository, tag, [200_000])
    schedule = '[schedules.now]\ncache = "here"\ncovers = "00:00-23:59"\nholdout = 0.5'
    cache = f'driver = "layout"\npath = "./oci"\n{schedule}'
    prewarm = with_history(folder / "p", config(origin, cache), WEB, API)

    run = prewarm.ok("run", "--schedule", "now")

    states = {outcome["state"]: outcome["image"] for outcome in run["outcomes"]}
    assert set(states) == {"warmed", "withheld"}
    assert states["withheld"] not in (folder / "p/oci/index.json").read_text()


def test_an_engine_has_what_it_was_warmed_with(
    origin: Distribution, mirror: Distribution, engine: Engine, folder: Path
) -> None:
    """The SDK lists the images, and busybox starts with every registry down."""
    images.push_runnable(origin.url, folder, "library/busy:1.0")
    images.push_image(origin.url, "library/web", "1")
    settings = config(mirror, f'driver = "docker"\nurl = "{engine.url}"')
    prewarm = with_history(folder / "p", settings, "docker.io/library/busy:1.0", WEB)

    run = prewarm.ok("run", "--cache", "here", "--top", "5")
    again = prewarm.ok("run", "--cache", "here", "--top", "5")
    mirror.stop()
    origin.stop()

    assert {outcome["state"] for outcome in run["outcomes"]} == {"warmed"}
    assert {outcome["state"] for outcome in again["outcomes"]} == {"already"}
    assert again["totals"]["bytes"] == 0
    assert engine.images() == {"busy:1.0", "web:1"}
    said = engine.client.containers.run(
        "busy:1.0", ["/bin/busybox", "echo", "up"], remove=True, network_mode="none"
    )
    assert said == b"up\n"


@pytest.fixture
def nights(
    origin: Distribution, mirror: Distribution, folder: Path, stack: ExitStack
) -> tuple[Prewarm, Path]:
    """Fourteen nights of warming an emptied engine through the mirror; nobody else pulls web.

    Each night's run has its clock set back by whole days, and its part of the mirror's log is
    moved back as far. The lake also knows an image that people do pull.
    """
    images.push_image(origin.url, "library/web", "1", [200_000, 100_000])
    laptop = stack.enter_context(Proxy(mirror.address, source="127.0.0.11"))
    engine = stack.enter_context(dockerd(folder / "engine", mirror=laptop.url))
    cache = f'driver = "docker"\nurl = "{engine.url}"\nalways = ["{WEB}"]\nallow = ["{WEB}"]'
    prewarm = with_history(folder / "p", config(mirror, cache), JOB)
    log = folder / "mirror.log"
    for days in range(14, 0, -1):
        engine.remove_all()
        run = prewarm.ok("run", "--cache", "here", "--top", "1", days_ago=days)
        assert {o["state"] for o in run["outcomes"] if o["image"] == WEB} == {"warmed"}
        mirror.stop()
        with log.open("a") as night:
            night.write(moved(mirror.access_log.read_text(), -timedelta(days=days)))
        mirror.access_log.write_bytes(b"")
        mirror.start()
        if days in {8, 1}:  # every week
            prewarm.ok("ingest", log, "--registry", "docker.io")
    return prewarm, log


def test_what_we_warm_is_never_demand(nights: tuple[Prewarm, Path], folder: Path) -> None:
    """After fourteen nights the ranking has no demand for it; without our outcomes it would have."""
    prewarm, log = nights

    ranking = prewarm.ok("rank", "--top", "10", "--hours", "24")["ranking"]

    stranger = with_history(folder / "stranger", "", JOB)
    stranger.ok("ingest", log, "--registry", "docker.io")
    mistaken = stranger.ok("rank", "--top", "10", "--hours", "24")["ranking"]
    assert _mean(ranking, JOB) > 0
    assert _mean(ranking, WEB) == 0
    assert _mean(mistaken, WEB) > 0


def _mean(ranking: list[dict[str, Any]], image: str) -> float:
    return sum(float(entry["mean"]) for entry in ranking if entry["image"] == image)
