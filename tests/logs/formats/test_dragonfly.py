"""Requests through Dragonfly's proxy."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

from prewarm.logs import detection, pulls
from prewarm.logs.formats import Hints, Parsed, dragonfly, registered

DIGEST = "sha256:" + "9a1b2c3d" * 8
HEADERS = 'version: HTTP/1.1, headers: {"user-agent": "containerd/v1.7.22"}, body: Body(Empty) }'
ASKED = (
    "2026-11-24T09:15:03.311204118Z  INFO handler{uri=/v2/ method=HEAD remote_ip=10.0.0.7}: "
    "dragonfly-client/src/proxy/mod.rs:517: proxy HTTP request directly to remote server: "
    f"Request {{ method: HEAD, uri: http://mirror.corp/v2/platform/api/manifests/1.42.0?ns=ghcr.io, {HEADERS}"
)
FETCHED = (
    "2026-11-24T09:15:04.311204118Z  INFO handler{uri=/v2/ method=GET remote_ip=10.0.0.7}:proxy: "
    "dragonfly-client/src/proxy/mod.rs:467: proxy HTTP request via dfdaemon by rule config: "
    f"Request {{ method: GET, uri: http://mirror.corp/v2/platform/api/blobs/{DIGEST}?ns=ghcr.io, {HEADERS}"
)
OTHER = "2026-11-24T09:15:05Z  INFO dragonfly-client/src/grpc/scheduler.rs:12: announced host"


def frame(*lines: str) -> pl.DataFrame:
    return pl.DataFrame({"offset": range(len(lines)), "line": list(lines)})


def _kinds(parsed: Parsed) -> list[tuple[str, str]]:
    told = pulls.collapse(pulls.sessions(pulls.merge_requests(parsed.accesses)))
    return told.select("tag", "kind").rows()


def test_a_tag_and_its_layer_are_one_pull() -> None:
    """Of the registry that the client wants, by the node's address."""
    parsed = dragonfly.FORMAT.parse(frame(ASKED, FETCHED), Hints())
    rows = parsed.accesses.select(
        "client", "agent", "method", "registry", "repository", "reference", "object"
    )
    who = ("10.0.0.7", "containerd/v1.7.22")
    assert rows.rows() == [
        (*who, "HEAD", "ghcr.io", "platform/api", "1.42.0", "manifest"),
        (*who, "GET", "ghcr.io", "platform/api", DIGEST, "blob"),
    ]
    assert parsed.accesses["timestamp"][0] == datetime(2026, 11, 24, 9, 15, 3, 311204, tzinfo=UTC)
    assert parsed.accesses["family"].unique().to_list() == ["event"]
    assert _kinds(parsed) == [("1.42.0", "layers")]


def test_what_is_no_request_is_set_aside() -> None:
    """Messages are ignored, cut lines are malformed."""
    parsed = dragonfly.FORMAT.parse(frame(OTHER, FETCHED[40:]), Hints())
    assert parsed.ignored == {"a message about no request": 1}
    assert sum(parsed.malformed.values()) == 1


def test_it_is_told_by_its_lines() -> None:
    """Also where most of them tell of no request."""
    found, _ = detection.detect(frame(*[OTHER] * 5, ASKED)["line"], Hints(), registered())
    assert found.name == "dragonfly"
