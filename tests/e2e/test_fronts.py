"""What clients pulled through a real proxy is what prewarm counts in the proxy's own log."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e import images
from tests.e2e.commands import Prewarm
from tests.e2e.fronts import FRONTS
from tests.e2e.proxies import Proxy
from tests.e2e.servers import Distribution, Node, skopeo

RUNNER, OTHER_RUNNER, NODE = "127.0.0.31", "127.0.0.32", "127.0.0.21"


@pytest.mark.parametrize("name", FRONTS)
def test_a_front_counts_what_was_pulled_through_it(
    origin: Distribution, node: Node, folder: Path, stack: ExitStack, name: str
) -> None:
    """Client, image and kind of every pull come out of the front's log, and nothing else."""
    images.push_image(origin.url, "library/base", "3.19", [150_000, 90_000])
    images.push_index(origin.url, "acme/api", "2.1", layers=[120_000, 200_000])
    worker = images.push_image(origin.url, "team/deep/worker", "7", [250_000])

    with FRONTS[name](folder / "front", origin.address) as front:
        runner, other, from_node = (
            stack.enter_context(Proxy(front.address, source=client))
            for client in (RUNNER, OTHER_RUNNER, NODE)
        )
        _copy(f"{runner.address}/library/base:3.19", folder / "one")
        _copy(f"{other.address}/library/base:3.19", folder / "two")
        _copy(f"{runner.address}/team/deep/worker@{worker.digest}", folder / "three")
        skopeo("inspect", "--tls-verify=false", f"docker://{other.address}/acme/api:2.1")
        node.pull(f"{from_node.address}/acme/api:2.1")
        with pytest.raises(AssertionError):
            _copy(f"{runner.address}/library/base:9.99", folder / "four")

    prewarm = Prewarm(folder / "prewarm")
    read = prewarm.ok("ingest", front.log, "--registry", "docker.io")
    assert read["malformed"] == 0
    rows = prewarm.ok("pulls")["pulls"]
    assert Counter(
        (row["client"], row["repository"], row["tag"], row["kind"] if row["status"] == "ok" else None)
        for row in rows
    ) == Counter(
        [
            (RUNNER, "library/base", "3.19", "layers"),
            (OTHER_RUNNER, "library/base", "3.19", "layers"),
            (RUNNER, "team/deep/worker", None, "layers"),
            (OTHER_RUNNER, "acme/api", "2.1", "manifest"),
            (NODE, "acme/api", "2.1", "layers"),
            (RUNNER, "library/base", "9.99", None),
        ]
    )


def _copy(image: str, target: Path) -> None:
    skopeo("copy", "--src-tls-verify=false", f"docker://{image}", f"dir:{target}")
