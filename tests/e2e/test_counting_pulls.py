"""What was pulled from a real mirror is what prewarm counts in the mirror's own log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from docker.errors import APIError

from tests.e2e import images
from tests.e2e.commands import Prewarm
from tests.e2e.proxies import Proxy
from tests.e2e.servers import Distribution, Node, dockerd, skopeo

LAPTOP, NODE, OTHER_NODE, RUNNER = "127.0.0.11", "127.0.0.21", "127.0.0.22", "127.0.0.31"

Row = tuple[str, str, str | None, str | None, str]
"""client, repository, tag, kind, status"""


class Morning:
    """Clients at work behind one mirror, and the list of what they were told to pull."""

    def __init__(self, mirror: Distribution, node: Node, folder: Path, stack: ExitStack) -> None:
        def behind(client: str) -> Proxy:
            return stack.enter_context(Proxy(mirror.address, source=client))

        self.mirror, self.node, self.folder = mirror, node, folder
        self.laptop, self.runner = behind(LAPTOP), behind(RUNNER)
        self.nodes = {NODE: behind(NODE), OTHER_NODE: behind(OTHER_NODE)}
        self.engine = stack.enter_context(dockerd(folder / "engine", mirror=self.laptop.url))
        self.pulled: list[Row] = []

    def docker(self, repository: str, tag: str, kind: str | None = "layers", status: str = "ok") -> None:
        with suppress(APIError):
            self.engine.client.images.pull(repository, tag=tag)
        self.pulled.append((LAPTOP, repository, tag, kind, status))

    def containerd(self, client: str, repository: str, tag: str, kind: str = "layers") -> None:
        self.node.pull(f"{self.nodes[client].address}/{repository}:{tag}")
        self.pulled.append((client, repository, tag, kind, "ok"))

    def skopeo_copy(self, repository: str, reference: str, tag: str | None) -> None:
        target = self.folder / f"copy-{len(self.pulled)}"
        source = f"docker://{self.runner.address}/{repository}{reference}"
        skopeo("copy", "--src-tls-verify=false", source, f"dir:{target}")
        self.pulled.append((RUNNER, repository, tag, "layers", "ok"))

    def skopeo_inspect(self, repository: str, tag: str) -> None:
        skopeo("inspect", "--tls-verify=false", f"docker://{self.runner.address}/{repository}:{tag}")
        self.pulled.append((RUNNER, repository, tag, "manifest", "ok"))


@pytest.fixture
def morning(origin: Distribution, node: Node, folder: Path, stack: ExitStack) -> Morning:
    """A morning that is over: its mirror has stopped and its log is whole."""
    images.push_image(origin.url, "library/base", "3.19", [150_000, 90_000])
    images.push_index(origin.url, "acme/api", "2.1", layers=[120_000, 200_000])
    worker = images.push_image(origin.url, "team/worker", "7", [250_000])
    images.push_image(origin.url, "team/tool", "1", [100_000])
    images.push_runnable(origin.url, folder, "library/busy:1.0")

    mirror = stack.enter_context(Distribution(folder / "mirror", upstream=origin.url, interleaved=True))
    day = Morning(mirror, node, folder, stack)
    day.docker("library/base", "3.19")
    day.docker("library/busy", "1.0")
    day.docker("library/base", "9.99", kind=None, status="missed")
    day.containerd(NODE, "acme/api", "2.1")
    day.containerd(NODE, "team/worker", "7")
    day.containerd(OTHER_NODE, "team/worker", "7", kind="check")  # the content is on the node already
    day.skopeo_copy("acme/api", ":2.1", "2.1")
    day.skopeo_copy("team/worker", f"@{worker.digest}", None)
    day.skopeo_inspect("team/tool", "1")
    day.engine.client.images.pull("library/base", tag="3.19")  # at once: a re-check of the same pull
    mirror.stop()
    return day


VIEWS: dict[str, Callable[[str], bool]] = {
    "docker-logs": lambda line: True,
    "access": lambda line: line.startswith("127."),
    "application": lambda line: line.startswith("time="),
}


def test_every_view_of_the_log_counts_what_was_pulled(morning: Morning) -> None:
    """Image, tag, client and kind of every pull come out of each view, and nothing else does."""
    lines = morning.mirror.app_log.read_text().splitlines(keepends=True)
    for name, belongs in VIEWS.items():
        log = morning.folder / f"{name}.log"
        log.write_text("".join(line for line in lines if belongs(line)))
        prewarm = Prewarm(morning.folder / name)

        prewarm.ok("ingest", log, "--registry", "docker.io")

        rows = prewarm.ok("pulls")["pulls"]
        assert {row["registry"] for row in rows} == {"docker.io"}, name
        assert Counter(_known(row, morning.pulled) for row in rows) == Counter(morning.pulled), name


def test_the_same_log_again_adds_nothing(morning: Morning) -> None:
    """A second read of one file finds every byte read."""
    prewarm = Prewarm(morning.folder / "prewarm")
    log = morning.mirror.app_log
    prewarm.ok("ingest", log, "--registry", "docker.io")

    again = prewarm.ok("ingest", log, "--registry", "docker.io")

    assert again["pulls"] == 0
    assert len(prewarm.ok("pulls")["pulls"]) == len(morning.pulled)


def _known(row: dict[str, str | None], pulled: list[Row]) -> Row:
    """A row of `pulls`, without what the log may know beyond the request.

    A pull by digest may carry the tag that an earlier session gave this digest; a missed tag has no kind
    that means anything.
    """
    client, repository = str(row["client"]), str(row["repository"])
    status = str(row["status"])
    kind = row["kind"] if status == "ok" else None
    by_digest = (client, repository, None, kind, status)
    return by_digest if by_digest in pulled else (client, repository, row["tag"], kind, status)
