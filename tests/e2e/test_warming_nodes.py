"""Nodes with containerd: what is on them after a warm, and that it starts with every registry down."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path

from tests.e2e import images
from tests.e2e.commands import Prewarm, with_history
from tests.e2e.proxies import Fault, Proxy
from tests.e2e.servers import Distribution, Node, containerd, program, run, wait_until

WEB, API, BUSY = "docker.io/library/web:1", "docker.io/acme/api:2.1", "docker.io/library/busy:1.0"


def config(source: str, *nodes: Node, snapshotter: str = "native") -> str:
    """docker.io is at `source`; the nodes are one cache."""
    sockets = ", ".join(f'"{node.socket}"' for node in nodes)
    return (
        f'[registries."docker.io"]\nurl = "{source}"\n'
        f'[caches.nodes]\ndriver = "containerd"\nnodes = [{sockets}]\nsnapshotter = "{snapshotter}"\n'
    )


def ctr(node: Node, *arguments: str) -> str:
    """What ctr says in Kubernetes' namespace."""
    return run([node.ctr, "-a", str(node.socket), "-n", "k8s.io", *arguments])


def names(node: Node) -> set[str]:
    """The images in Kubernetes' namespace that are whole and unpacked."""
    return set(ctr(node, "images", "check", "--snapshotter", "native", "-q").split())


def test_nodes_start_what_they_were_warmed_with(
    origin: Distribution, node: Node, folder: Path, stack: ExitStack
) -> None:
    """Two nodes, one fetch; names by tag and digest; an index keeps its digest; then nobody is needed."""
    other = stack.enter_context(containerd(folder / "other"))
    images.push_runnable(origin.url, folder, "library/busy:1.0")
    api, _ = images.push_index(origin.url, "acme/api", "2.1")
    origin.restart_with_clean_logs()
    prewarm = with_history(folder / "p", config(origin.url, node, other), BUSY, API)

    run_ = prewarm.ok("run", "--cache", "nodes", "--top", "5")
    again = prewarm.ok("run", "--cache", "nodes", "--top", "5")
    origin.stop()

    assert {outcome["state"] for outcome in run_["outcomes"]} == {"warmed"}
    assert {outcome["state"] for outcome in again["outcomes"]} == {"already"}
    assert again["totals"]["bytes"] == 0
    assert {API, BUSY, f"docker.io/acme/api@{api.digest}"} <= names(node)
    assert names(node) == names(other)
    gets = origin.blob_gets()
    assert sorted(gets) == sorted(set(gets))
    for each in (node, other):
        files = folder / f"mounted-{each.socket.parent.name}"
        files.mkdir()
        ctr(each, "images", "mount", "--snapshotter", "native", BUSY, str(files))
        try:
            said = run([str(files / "bin/busybox"), "echo", "up"])
        finally:
            ctr(each, "images", "unmount", str(files))
        assert said == "up\n"


def test_a_lazily_loaded_image_is_there_whole(origin: Distribution, node: Node, folder: Path) -> None:
    """eStargz, as ctr-remote makes it: any node may start it."""
    images.push_image(origin.url, "library/web", "plain", [300_000, 200_000])
    remote = program("ctr-remote")
    plain, lazy = f"{origin.address}/library/web:plain", f"{origin.address}/library/web:1"
    node.pull(plain)
    run([remote, "-a", str(node.socket), "images", "convert", "--estargz", "--oci", plain, lazy])
    run([node.ctr, "-a", str(node.socket), "images", "push", "--plain-http", lazy])
    prewarm = with_history(folder / "p", config(origin.url, node), WEB)

    done = prewarm.ok("run", "--cache", "nodes", "--top", "1")

    assert done["outcomes"][0]["state"] == "warmed"
    assert WEB in names(node)


def test_a_rotten_layer_leaves_no_image(origin: Distribution, node: Node, folder: Path) -> None:
    """The run fails with the digest; the node has no such name."""
    web = images.push_image(origin.url, "library/web", "1", [300_000])
    layer = origin.blob_file(web.blobs[1])
    layer.write_bytes(bytes(layer.stat().st_size))
    prewarm = with_history(folder / "p", config(origin.url, node), WEB)

    done = prewarm("run", "--cache", "nodes", "--top", "1")

    assert done.code == 3
    assert "digest" in done.errors()[WEB]
    assert not ctr(node, "images", "list", "--quiet")


def test_kill_9_leaves_no_image_and_the_next_run_completes(
    origin: Distribution, node: Node, folder: Path
) -> None:
    """In the middle of the second image's layer; the first is there to stay, and is not fetched again."""
    web = images.push_image(origin.url, "library/web", "1", [100_000])
    api = images.push_image(origin.url, "acme/api", "2.1", [100_000, 12_000_000])
    with Proxy(origin.address, Fault(f"^GET .*{api.blobs[2]}", bytes_per_second=2_000_000)) as slow:
        prewarm = with_history(folder / "p", config(slow.url, node), WEB, API)
        process = prewarm.start("run", "--cache", "nodes", "--top", "2")
        wait_until(lambda: WEB in names(node), "the small image")
        wait_until(lambda: api.blobs[1] in ctr(node, "content", "ls", "-q"), "a blob of the other")
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert API not in ctr(node, "images", "list", "--quiet")
        states = prewarm("run", "--cache", "nodes", "--top", "2").states()
        assert states == {WEB: "already", API: "warmed"}
        assert len(slow.times(f"^GET .*blobs/{web.blobs[1]}")) == 1
    assert {WEB, API} <= names(node)


def test_one_dead_node_does_not_keep_the_others_cold(origin: Distribution, node: Node, folder: Path) -> None:
    """The run says which node it was; the image is not called warm."""
    images.push_image(origin.url, "library/web", "1", [300_000])
    dead = Node(folder / "nobody.sock", node.ctr)
    prewarm = with_history(folder / "p", config(origin.url, node, dead), WEB)

    done = prewarm("run", "--cache", "nodes", "--top", "1")

    assert done.code == 3
    assert str(dead.socket) in done.errors()[WEB]
    assert WEB in names(node)


def test_check_explains_a_node(origin: Distribution, node: Node, folder: Path) -> None:
    """A snapshotter that is not there, a socket that nobody answers."""
    good = Prewarm(folder / "p", config(origin.url, node))("caches", "check", "nodes")
    bad = Prewarm(folder / "q", config(origin.url, node, snapshotter="stargz"))("caches", "check", "nodes")
    gone = Prewarm(folder / "r", config(origin.url, Node(folder / "x.sock", "ctr")))(
        "caches", "check", "nodes"
    )

    assert good.code == 0, good.json
    assert (bad.code, gone.code) == (3, 3)
    assert "stargz does not work there" in str(bad.json)
    assert "is it running, and may we use its socket?" in str(gone.json)
