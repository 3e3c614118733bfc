"""What a registry asked its upstream tells which requests were misses."""

from __future__ import annotations

from pathlib import Path

from prewarm.lake import Lake
from prewarm.logs.files import Source
from prewarm.pipeline.logs.ingest import ingest

LINE = "2026-11-24T09:{:02}:02.361Z|trace{}|10.20.1.{}|k8s|GET|{}v2/a/b/manifests/2.1|200|-1|1791|14|cri/1"


def test_two_logs_of_one_registry(tmp_path: Path) -> None:
    """The log of what went out is neither an access nor a pull, and reads beside the other one."""
    asked = [LINE.format(n, n, n, "/api/docker/remote/") for n in range(40)]
    out = [LINE.format(n, n, 99, "https://registry-1.docker.io/") for n in range(0, 40, 4)]
    for name, lines in (("artifactory-request.log", asked), ("artifactory-request-out.log", out)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    result = ingest(Lake.open(tmp_path / "lake"), [Source(paths=(str(tmp_path / "*.log"),))])
    assert (result.accesses, result.pulls, result.malformed) == (40, 40, 0)
    pulls = Lake.open(tmp_path / "lake").read("pulls").sort("timestamp")
    assert pulls["cache"].to_list() == ["miss", None, None, None] * 10
