"""The servers themselves: what the other end-to-end tests stand on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e import images, servers
from tests.e2e.proxies import Fault, Proxy
from tests.e2e.servers import Distribution, Engine, Node, skopeo
from tests.e2e.tokens import TokenServer


def test_clients_pull_through_the_mirror_and_its_logs_show_it(
    origin: Distribution, mirror: Distribution, engine: Engine, node: Node, folder: Path
) -> None:
    """dockerd, containerd and skopeo each leave their agent in the mirror's access log."""
    images.push_index(origin.url, "library/tools", "1.0")
    images.push_runnable(origin.url, folder, "library/busy:1.0")

    engine.client.images.pull("library/busy", tag="1.0")
    node.pull(f"{mirror.address}/library/tools:1.0")
    skopeo(
        "copy",
        "--src-tls-verify=false",
        f"docker://{mirror.address}/library/tools:1.0",
        f"oci:{folder}/copy:x",
    )
    mirror.stop()

    log = mirror.access_log.read_text()
    assert {"busy:1.0"} == engine.images()
    assert {f"{mirror.address}/library/tools:1.0"} == node.images()
    assert "docker/" in log
    assert "containerd/" in log
    assert "skopeo/" in log
    assert "response completed" in mirror.app_log.read_text()


def test_a_warmed_engine_runs_the_image(
    origin: Distribution, mirror: Distribution, engine: Engine, folder: Path
) -> None:
    """The image made by umoci starts in the engine."""
    images.push_runnable(origin.url, folder, "library/busy:1.0")
    engine.client.images.pull("library/busy", tag="1.0")

    said = engine.client.containers.run(
        "busy:1.0", ["/bin/busybox", "echo", "up"], remove=True, network_mode="none"
    )

    assert said == b"up\n"


def test_an_interleaved_log_holds_both_streams(origin: Distribution, folder: Path) -> None:
    """One file shows access lines and application lines, as `docker logs` does."""
    pushed = images.push_image(origin.url, "library/x", "1")
    with Distribution(folder / "mixed", upstream=origin.url, interleaved=True) as mixed:
        skopeo("inspect", "--tls-verify=false", f"docker://{mixed.address}/{pushed.path}")

    lines = mixed.app_log.read_text().splitlines()
    assert any(line.startswith("time=") for line in lines)
    assert any(line.startswith("127.0.0.1 - - [") for line in lines)


def test_a_proxy_moves_the_client_address(origin: Distribution) -> None:
    """A request through it comes from the address it was given."""
    images.push_image(origin.url, "library/x", "1")
    with Proxy(origin.address, source="127.0.0.11") as office:
        found = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{office.address}/library/x:1"))
    origin.stop()

    assert found["Architecture"] == "amd64"
    assert any(line.startswith("127.0.0.11 ") for line in origin.access_log.read_text().splitlines())


def test_a_cut_answer_ends_early(origin: Distribution, folder: Path) -> None:
    """A blob that is cut fails its client, and the proxy says that it struck."""
    images.push_image(origin.url, "library/x", "1", [300_000])
    cut = Fault("GET .*/blobs/", times=None, cut_after=1000)
    with Proxy(origin.address, cut) as broken, pytest.raises(AssertionError, match="exit 1"):
        skopeo(
            "copy", "--src-tls-verify=false", f"docker://{broken.address}/library/x:1", f"dir:{folder}/copy"
        )

    assert cut.struck > 0


def test_a_registry_with_token_auth_gives_content_for_a_login_only(folder: Path) -> None:
    """The token server's signature is one that Distribution takes."""
    with Distribution(folder / "open") as unguarded:
        images.push_image(unguarded.url, "library/x", "1")
    with (
        TokenServer(folder / "tokens", seconds=30, user="tester", password="pass") as tokens,
        Distribution(folder / "guarded", storage=unguarded.storage, auth=tokens.registry_auth) as guarded,
    ):
        image = f"docker://{guarded.address}/library/x:1"
        with pytest.raises(AssertionError, match="unauthorized"):
            skopeo("inspect", "--tls-verify=false", image)
        assert "amd64" in skopeo("inspect", "--tls-verify=false", "--creds=tester:pass", image)


def test_a_missing_program_is_named() -> None:
    """A test that needs an unknown program learns its name."""
    with pytest.raises(servers.Missing, match="no-such-registry is not installed"):
        servers.program("no-such-registry")


def test_a_program_that_ends_at_once_is_not_ready(folder: Path) -> None:
    """A server that refuses its configuration is reported with its last words."""
    with pytest.raises(servers.NotReady, match="ended"):
        Distribution(folder / "lost", upstream="http://127.0.0.1:1").start()
