"""Web caches before a registry: warmed, they serve every blob, and the origin's log shows none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.e2e import images
from tests.e2e.commands import with_history
from tests.e2e.servers import (
    LOOPBACK,
    Distribution,
    Process,
    free_port,
    listening,
    need_root,
    program,
    skopeo,
)

API = "docker.io/acme/api:1"
Edge = Callable[[Path, str], AbstractContextManager[str]]


@contextmanager
def nginx(
    folder: Path, backend: str, *, keeps: bool = True, ip: str = LOOPBACK, port: int | None = None
) -> Iterator[str]:
    """nginx with a cache for blobs, which tells hits as most configurations do; its address."""
    port = port or free_port()
    folder.mkdir()
    cached = "proxy_cache blobs; proxy_cache_valid 200 206 1h;" if keeps else "proxy_cache off;"
    status = "$upstream_cache_status" if keeps else "MISS"
    (folder / "nginx.conf").write_text(
        f"""
user root; daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  proxy_cache_path {folder}/cache keys_zone=blobs:1m;
  proxy_temp_path {folder}/proxy; client_body_temp_path {folder}/body; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen {ip}:{port};
    location / {{ proxy_pass http://{backend}; }}
    location ~ /blobs/ {{
      proxy_pass http://{backend}; {cached}
      add_header X-Cache-Status {status};
    }}
  }}
}}
"""
    )
    command = [program("nginx"), "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    process = Process(command, folder / "out", folder / "err")
    try:
        process.wait_ready(lambda: listening(port, ip))
        yield f"{ip}:{port}"
    finally:
        process.stop()


@contextmanager
def varnish(folder: Path, backend: str) -> Iterator[str]:
    """Varnish as it comes: it caches what says that it may be, and tells hits by X-Varnish; its address."""
    port = free_port()
    folder.mkdir()
    (folder / "edge.vcl").write_text(
        f'vcl 4.1;\nbackend origin {{ .host = "{LOOPBACK}"; .port = "{backend.rpartition(":")[2]}"; }}\n'
    )
    command = [program("varnishd"), "-j", "none", "-F", "-n", str(folder / "instance")]
    command += ["-f", str(folder / "edge.vcl"), "-s", "malloc,64m", "-a", f"{LOOPBACK}:{port}"]
    process = Process(command, folder / "out", folder / "err")
    try:
        process.wait_ready(lambda: listening(port))
        yield f"{LOOPBACK}:{port}"
    finally:
        process.stop()


def settings(origin: Distribution, edge: str) -> str:
    return (
        f'[registries."docker.io"]\nurl = "{origin.url}"\n'
        f'[caches.edge]\ndriver = "mirror"\nurl = "http://{edge}"\nupstream = "docker.io"\n'
    )


@pytest.mark.parametrize(("edge", "sign"), [(nginx, "X-Cache-Status: HIT"), (varnish, "X-Varnish: ")])
def test_a_warmed_edge_asks_its_origin_for_no_blob(
    edge: Edge, sign: str, origin: Distribution, folder: Path
) -> None:
    """The proof is the edge's hit, which the outcome tells; a second run transfers nothing."""
    need_root("nginx and Varnish, in folders of their own,")
    pushed = images.push_image(origin.url, "acme/api", "1", [5_000_000, 300_000])
    with edge(folder / "edge", origin.address) as address:
        prewarm = with_history(folder / "p", settings(origin, address), API)
        run = prewarm.ok("run", "--cache", "edge", "--top", "1")
        again = prewarm.ok("run", "--cache", "edge", "--top", "1")
        origin.restart_with_clean_logs()
        skopeo("copy", "--src-tls-verify=false", f"docker://{address}/acme/api:1", f"dir:{folder / 'copy'}")
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
    need_root("nginx, in a folder of its own,")
    images.push_image(origin.url, "acme/api", "1", [200_000])
    with nginx(folder / "edge", origin.address, keeps=False) as address:
        extra = 'fill_timeout = "2s"\n'
        prewarm = with_history(folder / "p", settings(origin, address) + extra, API)
        done = prewarm("run", "--cache", "edge", "--top", "1")

    assert done.states() == {API: "failed"}
    assert done.code == 3


def test_every_edge_of_a_name_is_warmed(origin: Distribution, folder: Path) -> None:
    """Each at its own address, under the one name that clients know; one that is dead is named."""
    need_root("nginx, in a folder of its own,")
    pushed = images.push_image(origin.url, "acme/api", "1", [700_000])
    port, addresses = free_port(), ["127.0.0.2", "127.0.0.3"]
    extra = f"edges = {json.dumps(addresses)}\n"
    prewarm = with_history(folder / "p", settings(origin, f"edge.test:{port}") + extra, API)
    with nginx(folder / "one", origin.address, ip=addresses[0], port=port):
        dead = prewarm("run", "--cache", "edge", "--top", "1")
        with nginx(folder / "two", origin.address, ip=addresses[1], port=port):
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
