"""A warmed mirror serves the morning without asking the origin for a single blob."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.e2e import images
from tests.e2e.commands import Prewarm, two_weeks, with_history
from tests.e2e.servers import Distribution, Engine, Node, skopeo, tmpfs, wait_until

WEB, API, JOB = "docker.io/library/web:1", "docker.io/acme/api:2.1", "docker.io/acme/job:3"


def config(origin: Distribution, mirror: Distribution, extra: str = "") -> str:
    """A mirror that names itself docker.io, as a laptop's `registry-mirrors` expects."""
    return f"""
[registries."docker.io"]
url = "{origin.url}"

[caches.office]
driver   = "mirror"
url      = "{mirror.url}"
upstream = "docker.io"
{extra}
"""


def pull_everything(mirror: Distribution, engine: Engine, node: Node, folder: Path) -> None:
    """What a morning pulls, by three kinds of client."""
    engine.remove_all()
    engine.client.images.pull("library/web", tag="1")
    node.pull(f"{mirror.address}/acme/api:2.1")
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    skopeo("copy", "--src-tls-verify=false", f"docker://{mirror.address}/acme/job:3", f"dir:{copy}")


def empty(mirror: Distribution) -> None:
    """Evict everything: the mirror comes back on its port with an empty disk."""
    mirror.stop()
    shutil.rmtree(mirror.storage)
    mirror.start()


@pytest.fixture
def office(origin: Distribution, mirror: Distribution, engine: Engine, node: Node, folder: Path) -> Prewarm:
    """Two weeks of mornings in the lake, taken from the mirror's own log; then the mirror is emptied."""
    images.push_image(origin.url, "library/web", "1", [400_000] * 12)
    images.push_index(origin.url, "acme/api", "2.1", layers=[3_000_000, 90_000])
    images.push_image(origin.url, "acme/job", "3", [1_000_000])
    pull_everything(mirror, engine, node, folder)
    mirror.stop()
    log = folder / "mirror.log"
    log.write_text(two_weeks(mirror.access_log.read_text()))
    mirror.start()
    empty(mirror)
    prewarm = Prewarm(folder / "prewarm", config(origin, mirror))
    prewarm.ok("ingest", log, "--registry", "docker.io")
    return prewarm


def test_clients_of_a_warmed_mirror_cost_the_origin_no_blob(
    office: Prewarm, origin: Distribution, mirror: Distribution, engine: Engine, node: Node, folder: Path
) -> None:
    """Log, forecast, run: then the origin's log shows no blob GET, and a second run transfers nothing."""
    run = office.ok("run", "--cache", "office", "--top", "5")
    assert {outcome["image"]: outcome["state"] for outcome in run["outcomes"]} == {
        WEB: "warmed",
        API: "warmed",
        JOB: "warmed",
    }
    assert run["totals"]["bytes"] > 8_000_000
    origin.restart_with_clean_logs()

    pull_everything(mirror, engine, _fresh(node, mirror), folder)
    again = office.ok("run", "--cache", "office", "--top", "5")
    origin.stop()

    assert origin.blob_gets() == []
    assert {outcome["state"] for outcome in again["outcomes"]} == {"already"}
    assert again["totals"]["bytes"] == 0


def test_a_moved_tag_is_warmed_again(
    office: Prewarm, origin: Distribution, folder: Path, mirror: Distribution
) -> None:
    """A new build under the same tag is fetched; what did not move is not."""
    office.ok("run", "--cache", "office", "--top", "5")
    rebuilt = images.push_image(origin.url, "library/web", "1", [500_000], seed="the next build")

    run = office.ok("run", "--cache", "office", "--top", "5")
    origin.restart_with_clean_logs()
    skopeo("copy", "--src-tls-verify=false", f"docker://{mirror.address}/library/web:1", f"dir:{folder}/new")
    origin.stop()

    web = next(outcome for outcome in run["outcomes"] if outcome["image"] == WEB)
    assert (web["state"], web["digest"]) == ("warmed", rebuilt.digest)
    assert {outcome["state"] for outcome in run["outcomes"] if outcome["image"] != WEB} == {"already"}
    assert origin.blob_gets() == []


def test_a_dry_run_leaves_the_layers_cold(office: Prewarm, origin: Distribution) -> None:
    """`run --dry-run` names the images and fetches no layer.

    Asking a mirror for a blob that it lacks makes it fetch that one, so planning stops at the first
    that is missing, the smallest first: the config.
    """
    origin.restart_with_clean_logs()

    plan = office.ok("run", "--cache", "office", "--top", "3", "--dry-run")
    origin.stop()

    assert {warm["image"] for warm in plan["warms"]} == {WEB, API, JOB}
    assert all(origin.blob_file(digest).stat().st_size < 10_000 for digest in origin.blob_gets())


def test_a_full_disk_is_a_failure_though_every_head_says_200(origin: Distribution, folder: Path) -> None:
    """A 60 MB layer does not fit on 12 MB: the mirror's 200 is not taken for a proof."""
    images.push_image(origin.url, "acme/huge", "1", [60_000_000])
    with (
        tmpfs(folder / "disk", megabytes=12) as disk,
        Distribution(folder / "mirror", upstream=origin.url, storage=disk / "registry") as mirror,
    ):
        settings = config(origin, mirror, 'fill_timeout = "8s"')
        prewarm = with_history(folder / "prewarm", settings, "docker.io/acme/huge:1")

        done = prewarm("run", "--cache", "office", "--top", "1")

    assert done.states() == {"docker.io/acme/huge:1": "failed"}
    assert done.code == 3


def _fresh(node: Node, mirror: Distribution) -> Node:
    """The node without what it pulled before."""
    node.remove(f"{mirror.address}/acme/api:2.1")
    return node


def test_plan_after_plan_leaves_a_cold_mirror_as_it_was(
    office: Prewarm, origin: Distribution, mirror: Distribution
) -> None:
    """An image of a known repository costs one question at most, however often it is planned."""
    office.ok("run", "--cache", "office", "--top", "5")
    cold = images.push_image(origin.url, "library/web", "1", [500_000] * 3, seed="the next build")
    origin.restart_with_clean_logs()

    plans = [office.ok("plan", "--cache", "office", "--top", "5") for _ in range(4)]
    origin.stop()

    assert [[warm["image"] for warm in plan["warms"]] for plan in plans] == [[WEB]] * 4
    assert sum(mirror.blob_file(digest).exists() for digest in cold.blobs) <= 1
    assert len(set(origin.blob_gets())) <= 1


def test_a_budget_counts_a_shared_layer_for_each_repository(origin: Distribution, folder: Path) -> None:
    """What a plan counts is what the mirror fetches: the same layer again for another repository."""
    pushed = [
        images.push_image(origin.url, name, "1", [900_000], seed="one base") for name in ("acme/a", "acme/b")
    ]
    with Distribution(folder / "mirror", upstream=origin.url) as mirror:
        names = ["docker.io/acme/a:1", "docker.io/acme/b:1"]
        prewarm = with_history(folder / "prewarm", config(origin, mirror), *names)
        run = prewarm.ok("run", "--cache", "office", "--top", "2")

    assert set(pushed[0].blobs) == set(pushed[1].blobs)
    assert [outcome["bytes"] for outcome in run["outcomes"]] == [pushed[0].bytes] * 2


def test_a_fill_that_lapses_is_told_before_and_warmed_after(origin: Distribution, folder: Path) -> None:
    """The plan says that the hours outlast the fill; what the mirror has forgotten is fetched again."""
    pushed = images.push_image(origin.url, "acme/a", "1", [300_000])
    with Distribution(folder / "mirror", upstream=origin.url, forgets=True) as mirror:
        prewarm = with_history(
            folder / "prewarm", config(origin, mirror, 'ttl = "90m"'), "docker.io/acme/a:1"
        )
        prewarm.ok("run", "--cache", "office", "--top", "1")
        outlasting = prewarm.ok("plan", "--cache", "office", "--top", "1", "--hours", "3")
        within = prewarm.ok("plan", "--cache", "office", "--top", "1", "--hours", "1")
        state = mirror.storage / "scheduler-state.json"
        wait_until(lambda: state.exists() and lists(state, pushed.blobs), "the mirror's notes, each 5 s")
        mirror.stop()
        expire(state)
        mirror.start()
        wait_until(lambda: not any(mirror.blob_file(each).exists() for each in pushed.blobs), "a lapsed fill")
        again = prewarm.ok("run", "--cache", "office", "--top", "1")

    assert "but its fill expires" in outlasting["skipped"][0]["reason"]
    assert within["skipped"][0]["reason"] == "already held, fresh"
    assert [outcome["state"] for outcome in again["outcomes"]] == ["warmed"]
    assert again["totals"]["bytes"] == pushed.bytes


def lists(state: Path, blobs: Sequence[str]) -> bool:
    """Whether a mirror's notes of what lapses when, which it writes behind its answers, have them all."""
    return all(digest in state.read_text() for digest in blobs)


def expire(state: Path) -> None:
    """Let what a stopped mirror keeps lapse when it starts (proxy/scheduler of Distribution 2.8)."""
    entries = json.loads(state.read_text())
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    state.write_text(json.dumps({key: entry | {"ExpiryData": now} for key, entry in entries.items()}))
