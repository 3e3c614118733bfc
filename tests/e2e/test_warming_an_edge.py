"""Web caches before a registry: warmed, they serve every blob, and the origin's log shows none."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.e2e import images
from tests.e2e.commands import with_history
from tests.e2e.fronts import KEPT, Opener, nginx, varnish
from tests.e2e.servers import Distribution, free_port, skopeo

API = "docker.io/acme/api:1"
NGINX = f"{KEPT} add_header X-Cache-Status $upstream_cache_status;"  # as most configurations tell a hit


def settings(origin: Distribution, edge: str) -> str:
    return (
        f'[registries."docker.io"]\nurl = "{origin.url}"\n'
        f'[caches.edge]\ndriver = "mirror"\nurl = "http://{edge}"\nupstream = "docker.io"\n'
    )


@pytest.mark.parametrize(
    ("edge", "sign"),
    [(nginx(blobs=NGINX), "X-Cache-Status: HIT"), (varnish(receive=""), "X-Varnish: ")],
    ids=["nginx", "varnish"],
)
def test_a_warmed_edge_asks_its_origin_for_no_blob(
    edge: Opener, sign: str, origin: Distribution, folder: Path
) -> None:
    """The proof is the edge's hit, which the outcome tells; a second run transfers nothing."""
    pushed = images.push_image(origin.url, "acme/api", "1", [5_000_000, 300_000])
    with edge(folder / "edge", origin.address) as front:
        prewarm = with_history(folder / "p", settings(origin, front.address), API)
        run = prewarm.ok("run", "--cache", "edge", "--top", "1")
        again = prewarm.ok("run", "--cache", "edge", "--top", "1")
        origin.restart_with_clean_logs()
        skopeo(
            "copy", "--src-tls-verify=false", f"docker://{front.address}/acme/api:1", f"dir:{folder / 'copy'}"
        )
        origin.stop()

    (outcome,) = run["outcomes"]
    assert (outcome["state"], outcome["bytes"]) == ("warmed", pushed.bytes)
    assert sign in outcome["note"]
    assert (again["outcomes"][0]["state"], again["totals"]["bytes"]) == ("already", 0)
    assert origin.blob_gets() == []
    for digest in pushed.blobs:
        content = (folder / "copy" / digest.removeprefix("sha256:")).read_bytes()
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == digest


def test_an_edge_that_keeps_nothing_is_not_called_warm(origin: Distribution, folder: Path) -> None:
    """It answers 206 to every range, as a plain proxy does; its misses say that it is none."""
    images.push_image(origin.url, "acme/api", "1", [200_000])
    misses = nginx(blobs="add_header X-Cache-Status MISS;")
    with misses(folder / "edge", origin.address) as front:
        extra = 'fill_timeout = "2s"\n'
        prewarm = with_history(folder / "p", settings(origin, front.address) + extra, API)
        done = prewarm("run", "--cache", "edge", "--top", "1")

    assert done.states() == {API: "failed"}
    assert done.code == 3


def test_every_edge_of_a_name_is_warmed(origin: Distribution, folder: Path) -> None:
    """Each at its own address, under the one name that clients know; one that is dead is named."""
    pushed = images.push_image(origin.url, "acme/api", "1", [700_000])
    port, addresses = free_port(), ["127.0.0.2", "127.0.0.3"]
    extra = f"edges = {json.dumps(addresses)}\n"
    prewarm = with_history(folder / "p", settings(origin, f"edge.test:{port}") + extra, API)
    one, two = (nginx(blobs=NGINX, ip=address, port=port) for address in addresses)
    with one(folder / "one", origin.address):
        dead = prewarm("run", "--cache", "edge", "--top", "1")
        with two(folder / "two", origin.address):
            run = prewarm.ok("run", "--cache", "edge", "--top", "1")
            origin.restart_with_clean_logs()
            for address in addresses:
                source = f"docker://{address}:{port}/acme/api:1"
                skopeo("copy", "--src-tls-verify=false", source, f"dir:{folder / address}")
            origin.stop()

    assert dead.states() == {API: "failed"}
    assert f"edge {addresses[1]}: " in dead.errors()[API]
    (outcome,) = run["outcomes"]
    assert (outcome["state"], outcome["bytes"]) == ("warmed", pushed.bytes)
    assert "on each of 2 edges" in outcome["note"]
    assert origin.blob_gets() == []
