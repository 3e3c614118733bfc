"""The access lines that a CNCF Distribution 2.8 mirror would have written for a pull.

Combined log format as gorilla/handlers prints it: the stamp is the start of the request, the line is
written at its end, so the lines of a busy minute are not quite in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from prewarm.demo.clients import Pull
from prewarm.demo.contents import Version

AGENTS = {
    "docker": "docker/27.3.1 go/go1.22.7 git-commit/41ca978 kernel/6.8.0 os/linux arch/amd64"
    " UpstreamClient(Docker-Client/27.3.1 \\\\(linux\\\\))",
    "containerd": "containerd/v1.7.22",
    "skopeo": "skopeo/1.16.1",
    "bot": "RenovateBot/38.115.1 (https://github.com/renovatebot/renovate)",
}
LINE_RATE = 80e6
"""Bytes per second from the mirror to a client."""

Request = tuple[str, str, int, int]
"""(method, path below /v2/, status, bytes)."""


def lines(pulls: Iterable[Pull]) -> list[str]:
    """The log of one mirror, in the order in which its lines were written."""
    stamped = [entry for pull in pulls for entry in _entries(pull)]
    stamped.sort(key=lambda entry: entry[0])
    return [line for _, line in stamped]


def _entries(pull: Pull) -> Iterator[tuple[datetime, str]]:
    """(time of writing, line) of each request of this pull."""
    now = pull.time
    for method, path, status, size in _requests(pull):
        seconds = 0.02 + (size / LINE_RATE if method == "GET" else 0.0)
        yield now + timedelta(seconds=seconds), _line(pull, now, method, path, status, size)
        now += timedelta(seconds=0.03 if "/blobs/" not in path else seconds / 3)


def _line(pull: Pull, start: datetime, method: str, path: str, status: int, size: int) -> str:
    query = "?ns=docker.io" if pull.agent == "containerd" else ""
    stamp = start.strftime("%d/%b/%Y:%H:%M:%S +0000")
    return (
        f'{pull.client} - - [{stamp}] "{method} /v2/{path}{query} HTTP/1.1" {status} {size}'
        f' "" "{AGENTS[pull.agent]}"'
    )


def _requests(pull: Pull) -> Iterator[Request]:
    if pull.agent in ("docker", "skopeo"):
        yield "GET", "", 200, 2
    content = pull.version
    if content is None:
        yield "HEAD", f"{pull.repository}/manifests/{pull.tag}", 404, 97
        return
    by_tag = f"{pull.repository}/manifests/{pull.tag}"
    if pull.agent == "skopeo":
        yield "GET", by_tag, 200, len(content.index.body)
    else:
        yield "HEAD", by_tag, 200, len(content.index.body)
    if pull.kind != "check":
        yield from _content(pull, content)


def _content(pull: Pull, content: Version) -> Iterator[Request]:
    if pull.agent != "skopeo":
        yield _get(pull, "manifests", content.digest, len(content.index.body))
    yield _get(pull, "manifests", content.manifest.digest, len(content.manifest.body))
    yield _get(pull, "blobs", content.config.digest, len(content.config.body))
    for layer in pull.layers:
        yield _get(pull, "blobs", layer.digest, layer.logged)


def _get(pull: Pull, kind: str, digest: str, size: int) -> Request:
    return "GET", f"{pull.repository}/{kind}/{digest}", 200, size
