"""Capture the small real logs of this folder: `python -m data.samples.capture`, as root, ~2 minutes.

Starts an origin and pull-through mirrors (CNCF Distribution), lets dockerd, containerd and skopeo
live a short morning through them from three client addresses, and writes the mirrors' own logs
beside `distribution-pulls.json`, the list of what was really pulled. Needs the Debian packages
docker-registry, docker.io, containerd and skopeo. Nothing but the kernel's name in docker's agent
is changed in the captured lines.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker.errors import APIError

from tests.e2e import images
from tests.e2e.proxies import Proxy
from tests.e2e.servers import Distribution, Engine, Node, containerd, dockerd, skopeo

HERE = Path(__file__).parent
NEUTRAL_KERNEL = "6.1.0-28-amd64"
LATER = 65
"""Seconds until the same client's next request is a new pull: more than the session gap of 60 s."""

LAPTOP, NODE, RUNNER = "127.0.0.11", "127.0.0.21", "127.0.0.31"


@dataclass
class Site:
    """One mirror with the three clients behind it."""

    mirror: Distribution
    engine: Engine
    node: Node
    node_address: str
    runner_address: str
    folder: Path

    def docker(self, repository: str, tag: str) -> None:
        self.engine.client.images.pull(repository, tag=tag)

    def containerd(self, path: str) -> None:
        self.node.pull(f"{self.node_address}/{path}")

    def skopeo_copy(self, path: str) -> None:
        with tempfile.TemporaryDirectory(dir=self.folder) as target:
            skopeo(
                "copy", "--src-tls-verify=false", f"docker://{self.runner_address}/{path}", f"dir:{target}"
            )

    def skopeo_inspect(self, path: str) -> None:
        skopeo("inspect", "--tls-verify=false", f"docker://{self.runner_address}/{path}")


@contextmanager
def site(folder: Path, origin: Distribution, formatter: str, interleaved: bool) -> Iterator[Site]:
    """An empty mirror of the origin, and its clients, each behind an address of its own."""
    mirror = Distribution(
        folder / "mirror", upstream=origin.url, formatter=formatter, interleaved=interleaved, port=5001
    )
    with ExitStack() as opened:
        opened.enter_context(mirror)
        laptop, node, runner = (
            opened.enter_context(Proxy(mirror.address, source=client, host=mirror.address))
            for client in (LAPTOP, NODE, RUNNER)
        )
        engine = opened.enter_context(dockerd(folder / "engine", mirror=laptop.url))
        cluster = opened.enter_context(containerd(folder / "node"))
        yield Site(mirror, engine, cluster, node.address, runner.address, folder)


def pull(
    client: str,
    agent: str,
    repository: str,
    tag: str | None,
    digest: str | None,
    kind: str | None,
    blobs: int,
) -> dict[str, Any]:
    """One line of the ground truth; `kind` None is a missed tag."""
    return {
        "client": client,
        "agent": agent,
        "repository": repository,
        "tag": tag,
        "digest": digest,
        "kind": kind,
        "blobs": blobs,
        "status": "ok" if kind else "missed",
    }


def morning(origin: Distribution, site: Site) -> list[dict[str, Any]]:
    """Live the morning; what was really pulled, in order."""
    base = images.push_image(origin.url, "library/base", "3.19", [150_000, 90_000], seed="base")
    api, parts = images.push_index(origin.url, "acme/api", "2.1", layers=[120_000, 200_000, 80_000])
    worker = images.push_image(origin.url, "team/worker", "7", [250_000])
    amd64 = len(parts["amd64"].blobs)

    pulls = []
    site.docker("library/base", "3.19")
    pulls.append(pull(LAPTOP, "docker", "library/base", "3.19", base.digest, "layers", len(base.blobs)))
    site.containerd("acme/api:2.1")
    pulls.append(pull(NODE, "containerd", "acme/api", "2.1", api.digest, "layers", amd64))
    site.containerd("team/worker:7")
    pulls.append(pull(NODE, "containerd", "team/worker", "7", worker.digest, "layers", len(worker.blobs)))
    site.skopeo_copy("acme/api:2.1")
    pulls.append(pull(RUNNER, "skopeo", "acme/api", "2.1", None, "layers", amd64))
    site.skopeo_inspect("team/worker:7")
    pulls.append(pull(RUNNER, "skopeo", "team/worker", "7", None, "manifest", 1))
    with suppress(APIError):
        site.docker("library/base", "9.99")
    pulls.append(pull(LAPTOP, "docker", "library/base", "9.99", None, None, 0))

    moved = images.push_image(origin.url, "acme/api", "2.1", [300_000], seed="the next build")
    time.sleep(LATER)

    site.docker("library/base", "3.19")
    pulls.append(pull(LAPTOP, "docker", "library/base", "3.19", None, "check", 0))
    site.containerd("team/worker:7")
    pulls.append(pull(NODE, "containerd", "team/worker", "7", None, "check", 0))
    site.containerd("acme/api:2.1")
    pulls.append(pull(NODE, "containerd", "acme/api", "2.1", moved.digest, "layers", len(moved.blobs)))
    site.skopeo_copy(f"library/base@{base.digest}")
    pulls.append(pull(RUNNER, "skopeo", "library/base", None, base.digest, "layers", len(base.blobs)))
    return pulls


def neutral(log: Path) -> str:
    """The log's text without this machine's kernel."""
    return re.sub("kernel/" + re.escape(os.uname().release), f"kernel/{NEUTRAL_KERNEL}", log.read_text())


def capture(views: dict[str, str], formatter: str, interleaved: bool = False) -> None:
    """Live one morning on an empty mirror; write its streams (`access`, `app`) under the names of `views`."""
    with tempfile.TemporaryDirectory(prefix="prewarm-capture-", ignore_cleanup_errors=True) as folder:
        root = Path(folder)
        with (
            Distribution(root / "origin", port=5000) as origin,
            site(root, origin, formatter, interleaved) as office,
        ):
            pulls = morning(origin, office)
            office.mirror.stop()  # after its last request, so that the log is whole
        logs = {"access": office.mirror.access_log, "app": office.mirror.app_log}
        for name, stream in views.items():
            (HERE / f"{name}.log").write_text(neutral(logs[stream]))
            (HERE / f"{name}.pulls.json").write_text(json.dumps(pulls, indent=1) + "\n")
            print(f"{name}.log: {len(pulls)} pulls")


def main() -> None:
    """Capture every view."""
    capture({"distribution-text": "app", "distribution-access": "access"}, "text")
    capture({"distribution-json": "app"}, "json")
    capture({"distribution-docker-logs": "app"}, "text", interleaved=True)


if __name__ == "__main__":
    main()
