"""How a node is reached through ctr, and how its tables are read."""

from __future__ import annotations

import pytest

from prewarm.errors import CacheError
from prewarm.warming.caches.ctr import Node, Row, Tools, parse_address, parse_images, parse_plugins
from prewarm.warming.images import Platform

DIGEST = "sha256:" + "0af1" * 16

# Printed by ctr 1.6.20.
MANIFEST, INDEX = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
CHECKED = f"""\
REF                     TYPE       DIGEST   STATUS           SIZE                UNPACKED
docker.io/library/a:1   {MANIFEST} {DIGEST} complete (3/3)   300.3 KiB/300.3 KiB true
docker.io/library/b:1   {MANIFEST} {DIGEST} incomplete (2/3) 200.3 KiB/300.3 KiB false
docker.io/library/c:1   {INDEX}    {DIGEST} unavailable (0/?) 0.0 B/0.0 B         false
"""
PLUGINS = """\
TYPE                            ID                       PLATFORMS      STATUS
io.containerd.content.v1        content                  -              ok
io.containerd.snapshotter.v1    aufs                     linux/amd64    skip
io.containerd.snapshotter.v1    devmapper                linux/amd64    error
io.containerd.snapshotter.v1    native                   linux/amd64    ok
io.containerd.snapshotter.v1    overlayfs                linux/amd64    ok
io.containerd.runtime.v2        task                     linux/amd64    ok
"""


def test_the_table_of_images_is_read() -> None:
    """Whole and unpacked, or not."""
    assert parse_images(CHECKED) == {
        "docker.io/library/a:1": Row(DIGEST, complete=True, unpacked=True),
        "docker.io/library/b:1": Row(DIGEST, complete=False, unpacked=False),
        "docker.io/library/c:1": Row(DIGEST, complete=False, unpacked=False),
    }


def test_what_is_no_row_is_passed_over() -> None:
    """Warnings among the rows, nothing at all."""
    assert parse_images("REF TYPE\nlevel=warning msg=x y z\n\n") == {}


def test_plugins_tell_platform_and_snapshotters() -> None:
    """Those that work."""
    found = parse_plugins(PLUGINS)
    assert found.platform == Platform("linux", "amd64")
    assert found.snapshotters == {"native", "overlayfs"}


def test_a_node_without_a_platform_is_asked_for_one() -> None:
    """The setting that helps is named."""
    with pytest.raises(CacheError, match="`platform`"):
        parse_plugins("TYPE ID PLATFORMS STATUS\n")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("/run/k3s/containerd/containerd.sock", (None, None, "/run/k3s/containerd/containerd.sock")),
        ("unix:///run/c.sock", (None, None, "/run/c.sock")),
        ("ssh://node-2", ("node-2", None, None)),
        ("ssh://root@10.0.0.7:2222/run/c.sock", ("root@10.0.0.7", "2222", "/run/c.sock")),
    ],
)
def test_addresses_are_read(address: str, expected: tuple[str | None, ...]) -> None:
    """Sockets and ssh, with and without their parts."""
    assert parse_address(address) == expected


@pytest.mark.parametrize(
    "address",
    ["", "node-2", "ssh://", "ssh://-oProxyCommand=x", "ssh://a b", "ssh://root:secret@n", "tcp://n:1"],
)
def test_what_is_no_node_is_refused(address: str) -> None:
    """Also what ssh would take for an option."""
    with pytest.raises(ValueError, match="is no node"):
        parse_address(address)


def test_a_command_for_another_node_is_one_quoted_word() -> None:
    """ssh hands it to a shell there."""
    node = Node("ssh://root@node-2:22", Tools("sudo ctr", "ssh -i key"))
    words = node.command("images", "check", 'name=="a b"')
    assert words[:3] == ["ssh", "-i", "key"]
    assert words[-4:-1] == ["-p", "22", "root@node-2"]
    assert words[-1].endswith("""images check 'name=="a b"'""")
    assert words[-1].startswith("sudo ctr ")
