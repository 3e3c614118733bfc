"""A regional replica: copied from one real registry to another, and what clients of the region find there."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import images
from tests.e2e.commands import Prewarm, with_history
from tests.e2e.proxies import Fault, Proxy
from tests.e2e.servers import Distribution, Node, skopeo, wait_until

WEB, API = "docker.io/library/web:1", "docker.io/acme/api:2.1"


@pytest.fixture
def region(folder: Path) -> Iterator[Distribution]:
    """An empty registry that takes pushes."""
    with Distribution(folder / "region") as registry:
        yield registry


def config(source: str, region: Distribution) -> str:
    """docker.io is at `source`; the region keeps it under `hub/`."""
    return (
        f'[registries."docker.io"]\nurl = "{source}"\n'
        f'[caches.region]\ndriver = "replica"\nurl = "{region.url}"\nrewrite = {{"docker.io/" = "hub/"}}\n'
    )


def sign(url: str, pushed: images.Pushed) -> str:
    """Attach a signature as cosign does; the tag."""
    payload, empty = b'{"critical":{}}', b"{}"
    for blob in (payload, empty):
        images.push_blob(url, pushed.repository, blob)
    descriptor = {"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json"}
    manifest = {
        "schemaVersion": 2,
        "mediaType": images.MANIFEST,
        "config": {"mediaType": images.CONFIG, "digest": images.digest_of(empty), "size": len(empty)},
        "layers": [descriptor | {"digest": images.digest_of(payload), "size": len(payload)}],
    }
    tag = pushed.digest.replace(":", "-") + ".sig"
    images.push_manifest(url, pushed.repository, tag, images.MANIFEST, json.dumps(manifest).encode())
    return tag


def digest_at(region: Distribution, name: str) -> str:
    """The digest that a client of the region finds."""
    raw = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{region.address}/{name}")
    return "sha256:" + hashlib.sha256(raw.encode()).hexdigest()


def test_the_region_serves_what_was_copied_with_the_origin_down(
    origin: Distribution, region: Distribution, node: Node, folder: Path
) -> None:
    """Indexes whole, signatures along, digests the origin's; a node pulls; a second run sends nothing."""
    web = images.push_image(origin.url, "library/web", "1", [3_000_000, 20_000_000])
    api, parts = images.push_index(origin.url, "acme/api", "2.1")
    signature = sign(origin.url, api)
    prewarm = with_history(folder / "p", config(origin.url, region), WEB, API)

    run = prewarm.ok("run", "--cache", "region", "--top", "5")
    again = prewarm.ok("run", "--cache", "region", "--top", "5")
    origin.stop()

    assert {outcome["state"] for outcome in run["outcomes"]} == {"warmed"}
    assert {outcome["state"] for outcome in again["outcomes"]} == {"already"}
    assert again["totals"]["bytes"] == 0
    assert digest_at(region, "hub/library/web:1") == web.digest
    assert digest_at(region, "hub/acme/api:2.1") == api.digest
    assert digest_at(region, f"hub/acme/api@{parts['arm64'].digest}") == parts["arm64"].digest
    assert digest_at(region, f"hub/acme/api:{signature}")
    node.pull(f"{region.address}/hub/library/web:1")
    assert node.images() == {f"{region.address}/hub/library/web:1"}


def test_shared_layers_cross_once_and_are_mounted(
    origin: Distribution, region: Distribution, folder: Path
) -> None:
    """Ten repositories over one base, in two runs: the origin reads no blob twice."""
    names = [f"acme/app{number}" for number in range(10)]
    for name in names:
        images.push_image(origin.url, name, "1", [2_000_000, 50_000], seed="the same for all")
    origin.restart_with_clean_logs()
    every = [f"docker.io/{name}:1" for name in names]
    prewarm = with_history(folder / "p", config(origin.url, region), *every)
    prewarm.ok("run", "--cache", "region", "--top", "5", "--hours", "24")
    run = prewarm.ok("run", "--cache", "region", "--top", "10", "--hours", "24")
    origin.stop()

    gets = origin.blob_gets()
    assert sorted(gets) == sorted(set(gets))
    assert {outcome["image"] for outcome in run["outcomes"]} == set(every)
    assert run["totals"]["bytes"] == 0
    assert {digest_at(region, f"hub/{name}:1") for name in names}


def test_an_upload_that_breaks_goes_on(origin: Distribution, region: Distribution, folder: Path) -> None:
    """A request of the replica's that fails before it arrives is sent again; the digest is right."""
    web = images.push_image(origin.url, "library/web", "1", [20_000_000])
    with Proxy(region.address, Fault("^PATCH ", status=503), Fault("^POST ", status=429)) as broken:
        settings = config(origin.url, region).replace(region.url, broken.url)
        run = with_history(folder / "p", settings, WEB).ok("run", "--cache", "region", "--top", "1")
    assert run["outcomes"][0]["state"] == "warmed"
    assert digest_at(region, "hub/library/web:1") == web.digest


def test_a_blob_that_rots_on_the_way_is_never_stored(
    origin: Distribution, region: Distribution, folder: Path
) -> None:
    """The run fails with the digest; the region has no such tag."""
    web = images.push_image(origin.url, "library/web", "1", [300_000])
    layer = origin.blob_file(web.blobs[1])
    layer.write_bytes(bytes(layer.stat().st_size))
    prewarm = with_history(folder / "p", config(origin.url, region), WEB)

    done = prewarm("run", "--cache", "region", "--top", "1")

    assert done.code == 3
    assert "digest" in done.errors()[WEB]
    assert not region.blob_file(web.blobs[1]).exists()
    assert not _tags(region, "hub/library/web")


def test_kill_9_leaves_no_tag_and_the_next_run_completes(
    origin: Distribution, region: Distribution, folder: Path
) -> None:
    """In the middle of a layer that comes slowly; what was finished is not read again."""
    web = images.push_image(origin.url, "library/web", "1", [100_000, 12_000_000])
    with Proxy(origin.address, Fault(f"^GET .*{web.blobs[2]}", bytes_per_second=2_000_000)) as slow:
        settings = config(slow.url, region)
        prewarm = with_history(folder / "p", settings, WEB)
        process = prewarm.start("run", "--cache", "region", "--top", "1")
        wait_until(lambda: region.blob_file(web.blobs[1]).exists(), "the small layer")
        wait_until(lambda: bool(slow.times(f"^GET .*{web.blobs[2]}")), "the big layer's beginning")
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not _tags(region, "hub/library/web")
        run = prewarm.ok("run", "--cache", "region", "--top", "1")
        assert run["outcomes"][0]["state"] == "warmed"
        assert len(slow.times(f"^GET .*blobs/{web.blobs[1]}")) == 1
    assert digest_at(region, "hub/library/web:1") == web.digest


def test_check_tells_a_replica_from_a_mirror(
    origin: Distribution, mirror: Distribution, region: Distribution, folder: Path
) -> None:
    """Pushes are tried where images will go; a pull-through cache refuses them."""
    good = Prewarm(folder / "p", config(origin.url, region))("caches", "check", "region")
    bad = Prewarm(folder / "q", config(origin.url, mirror))("caches", "check", "region")

    assert good.code == 0
    assert bad.code == 3
    assert "`mirror`" in _finding(bad.json, "pushes")["message"]


def _finding(answer: dict[str, Any], subject: str) -> dict[str, Any]:
    [found] = [each for each in answer["caches"]["region"] if each["subject"] == subject]
    return dict(found)


def _tags(registry: Distribution, repository: str) -> list[str]:
    """The tags in the registry's storage folder."""
    folder = registry.storage / "docker/registry/v2/repositories" / repository / "_manifests/tags"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []
