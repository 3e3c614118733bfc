"""Kubernetes events become pulls and uses."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from prewarm.logs import pulls
from prewarm.logs.formats import Hints, Parsed, kubernetes

IMAGE = "registry.example.com/platform/api:1.42.0"


def event(message: str, **changes: Any) -> dict[str, Any]:
    """A core/v1 event of node-1."""
    return {
        "kind": "Event",
        "metadata": {"uid": "u1", "creationTimestamp": "2026-11-24T09:00:00Z"},
        "involvedObject": {"kind": "Pod"},
        "reason": "Pulled",
        "message": message,
        "source": {"component": "kubelet", "host": "node-1"},
        "firstTimestamp": "2026-11-24T09:15:00Z",
        "lastTimestamp": "2026-11-24T09:15:00Z",
        "count": 1,
    } | changes


def parse(*records: dict[str, Any]) -> Parsed:
    lines = [json.dumps(record) for record in records]
    frame = pl.DataFrame({"offset": range(len(lines)), "line": lines})
    return kubernetes.FORMAT.parse(frame, Hints())


def rows(parsed: Parsed) -> list[dict[str, Any]]:
    assert parsed.pulls is not None
    return list(pulls.conform(parsed.pulls).iter_rows(named=True))


@pytest.mark.parametrize(
    ("rest", "seconds", "size"),
    [
        ("", None, None),
        (" in 48.20117304s", 48.20117304, None),
        (" in 1m22.5s", 82.5, None),
        (" in 312ms", 0.312, None),
        (" in 4.711s (12.3s including waiting)", 4.711, None),
        (" (12.3s including waiting). Image size: 31459071 bytes.", None, 31459071),
        (" in 4.711s (12.3s including waiting). Image size: 31459071 bytes.", 4.711, 31459071),
    ],
)
def test_every_wording_of_a_pull_is_one(rest: str, seconds: float | None, size: int | None) -> None:
    """The duration is that of the pull, without the wait for others."""
    (pull,) = rows(parse(event(f'Successfully pulled image "{IMAGE}"{rest}')))
    assert (pull["seconds"], pull["bytes"]) == (seconds, size)
    assert (pull["client"], pull["registry"], pull["tag"]) == ("node-1", "registry.example.com", "1.42.0")
    assert (pull["kind"], pull["status"], pull["keys"]) == (None, "ok", ["u1/1"])
    assert pull["timestamp"] == datetime(2026, 11, 24, 9, 15, tzinfo=UTC)


@pytest.mark.parametrize("rest", ["", " and can be accessed by the pod"])
def test_what_a_node_has_already_is_a_use(rest: str) -> None:
    """No registry was asked, but the image was wanted."""
    (use,) = rows(parse(event(f'Container image "{IMAGE}" already present on machine{rest}')))
    assert (use["kind"], use["status"]) == ("local", "ok")


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (f'Failed to pull image "{IMAGE}": rpc error: code = NotFound desc = x', 1),
        (f'Failed to pull image "{IMAGE}": manifest unknown', 1),
        (f'Failed to pull image "{IMAGE}": rpc error: code = Unknown desc = i/o timeout', 0),
        (f'Back-off pulling image "{IMAGE}"', 0),
        (f'Pulling image "{IMAGE}"', 0),
        ("Created container: api", 0),
    ],
)
def test_only_a_missing_image_is_missed_demand(message: str, found: int) -> None:
    """Other failures, and what is not over, are ignored."""
    parsed = parse(event(message))
    assert [row["status"] for row in rows(parsed)] == ["missed"] * found
    assert sum(parsed.ignored.values()) == 1 - found


def test_the_newer_api_has_other_names() -> None:
    """events.k8s.io/v1: regarding, note, series, reportingInstance."""
    (pull,) = rows(
        parse(
            {
                "metadata": {"uid": "u1"},
                "regarding": {"kind": "Pod"},
                "reason": "Pulled",
                "note": f'Successfully pulled image "{IMAGE}" in 1s',
                "reportingInstance": "node-1",
                "eventTime": "2026-11-24T09:15:00.123456Z",
                "deprecatedFirstTimestamp": None,
            }
        )
    )
    assert (pull["client"], pull["seconds"]) == ("node-1", 1.0)
    assert pull["timestamp"] == datetime(2026, 11, 24, 9, 15, 0, 123456, tzinfo=UTC)


def test_a_watch_wraps_each_event() -> None:
    """`--output-watch-events`; that an event expired is no pull."""
    pulled = event(f'Successfully pulled image "{IMAGE}"')
    parsed = parse({"type": "ADDED", "object": pulled}, {"type": "DELETED", "object": pulled})
    assert len(rows(parsed)) == 1
    assert sum(parsed.ignored.values()) == 1


def test_eventrouter_wraps_each_event() -> None:
    """It writes what was done to which event."""
    pulled = event(f'Successfully pulled image "{IMAGE}"')
    assert len(rows(parse({"verb": "ADDED", "event": pulled}))) == 1


def test_an_event_that_repeats_counts_each_time_it_is_told() -> None:
    """A watch tells of every occurrence; a record that was met late tells of its last one only."""
    message = f'Successfully pulled image "{IMAGE}"'
    watched = [event(message, count=n, lastTimestamp=f"2026-11-24T09:{14 + n}:00Z") for n in (1, 2, 3)]
    assert [row["timestamp"].minute for row in rows(parse(*watched))] == [15, 16, 17]
    assert [row["keys"] for row in rows(parse(watched[2]))] == [["u1/3"]]


def test_a_list_that_is_taken_again_tells_nothing_new() -> None:
    """The same occurrence twice is one pull."""
    pulled = event(f'Successfully pulled image "{IMAGE}"')
    parsed = parse(pulled, pulled)
    assert len(rows(parsed)) == 1
    assert parsed.ignored == {"told before": 1}


@pytest.mark.parametrize(
    "record",
    [
        event(f'Successfully pulled image "{IMAGE}"', lastTimestamp="2m14s"),
        event('Successfully pulled image "NOT AN IMAGE"'),
        {"reason": "Pulled", "message": f'Successfully pulled image "{IMAGE}"'},
    ],
)
def test_bad_records_are_malformed(record: dict[str, Any]) -> None:
    """No time, no image, no event."""
    assert sum(parse(record).malformed.values()) == 1


def test_tables_of_kubectl_are_refused() -> None:
    """They hold ages; the reason says how to get the times."""
    lines = [
        "LAST SEEN   TYPE      REASON    OBJECT                 MESSAGE",
        '2m14s       Normal    Pulling   pod/api-7c9d-abcde     Pulling image "nginx"',
        '5m (x3 over 9m)  Normal  Pulled  pod/api  Successfully pulled image "nginx"',
    ]
    reason = kubernetes.FORMAT.refuse(pl.Series(lines))
    assert reason is not None
    assert "-o json" in reason
    assert kubernetes.FORMAT.refuse(pl.Series([json.dumps(event("x"))])) is None
