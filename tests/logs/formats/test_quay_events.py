"""Quay's action log becomes fetches and pushes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from prewarm.logs import pulls
from prewarm.logs.formats import Hints, Parsed, quay_events

DIGEST = "sha256:" + "0f" * 32
ACTION = {
    "kind": "pull_repo",
    "metadata": {"repo": "api", "namespace": "platform", "tag": "1", "user-agent": "containerd/v1.7"},
    "ip": "10.20.1.17",
    "datetime": "Mon, 23 Nov 2026 09:15:02 -0000",
    "performer": {"name": "platform+k8s"},
}
BY_DIGEST = ACTION | {
    "metadata": {
        "repo": "api",
        "namespace": "platform",
        "manifest_digest": DIGEST,
        "user-agent": "containerd/v1.7",
    }
}


def parse(*records: dict[str, Any], zone: str = "UTC") -> Parsed:
    lines = [json.dumps(record) for record in records]
    frame = pl.DataFrame({"offset": range(len(lines)), "line": lines})
    return quay_events.FORMAT.parse(frame, Hints(timezone=zone))


def collapsed(parsed: Parsed) -> list[dict[str, Any]]:
    requests = pulls.merge_requests(parsed.accesses)
    return list(pulls.collapse(pulls.sessions(requests)).iter_rows(named=True))


def test_rows_by_tag_and_by_digest_are_one_pull() -> None:
    """Of one client and performer."""
    (pull,) = collapsed(parse(ACTION, BY_DIGEST))
    assert (pull["repository"], pull["tag"], pull["kind"]) == ("platform/api", "1", None)
    assert (pull["client"], pull["user"], pull["agent"]) == ("10.20.1.17", "platform+k8s", "containerd/v1.7")


def test_a_line_may_be_a_page() -> None:
    """As an export is; its end is no action."""
    parsed = parse({"export_id": "x", "logs": [ACTION, BY_DIGEST, {"terminator": True}]})
    assert [pull["tag"] for pull in collapsed(parsed)] == ["1"]
    assert parsed.ignored == {"the end of an export": 1}


@pytest.mark.parametrize(
    ("written", "zone"),
    [
        ("Mon, 23 Nov 2026 09:15:02 -0000", "Asia/Kolkata"),
        ("Mon, 23 Nov 2026 14:45:02 +0530", "UTC"),
        ("2026-11-23T09:15:02Z", "Asia/Kolkata"),
        ("2026-11-23 14:45:02", "Asia/Kolkata"),
        ("2026-11-23T14:45:02.000000", "Asia/Kolkata"),
    ],
)
def test_every_producer_has_its_own_time(written: str, zone: str) -> None:
    """RFC 822 of the API and exports, ISO 8601 of Kafka and rotated files."""
    (pull,) = collapsed(parse(ACTION | {"datetime": written}, zone=zone))
    assert pull["timestamp"] == datetime(2026, 11, 23, 9, 15, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    "record",
    [
        ACTION | {"kind": "delete_tag"},
        {"terminator": True},
        {"kind_id": 15, "datetime": "2026-11-23 09:15:02", "metadata_json": {"repo": "api"}},
    ],
)
def test_other_actions_are_ignored(record: dict[str, Any]) -> None:
    """The end of an export, and kinds that only a number names, too."""
    parsed = parse(record)
    assert (collapsed(parsed), sum(parsed.ignored.values())) == ([], 1)


def test_what_is_pushed_is_a_push() -> None:
    """By tag."""
    assert pulls.pushes(parse(ACTION | {"kind": "push_repo"}).accesses)["tag"].to_list() == ["1"]


@pytest.mark.parametrize(
    "record", [{"datetime": "x"}, ACTION | {"datetime": "soon"}, ACTION | {"metadata": {"repo": "api"}}]
)
def test_bad_records_are_malformed(record: dict[str, Any]) -> None:
    """No kind, no time, no name."""
    assert sum(parse(record).malformed.values()) == 1
