"""Harbor's webhooks and audit log become fetches and pushes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from prewarm.logs import pulls
from prewarm.logs.formats import Hints, Parsed, harbor_events
from prewarm.logs.formats.records import Records

DIGEST = "sha256:" + "0f" * 32
ENTRY = {
    "id": 12,
    "op_time": "2026-11-24T09:15:02.311Z",
    "operation": "pull",
    "resource": "platform/api:1.42.0",
    "resource_type": "artifact",
    "username": "ann",
}
FORWARDED = (
    '2026-11-24T09:15:02Z [INFO] [/pkg/auditext/manager.go:81][operator="ann" resourceType="artifact" '
    'time="2026-11-24 09:15:02.311 +0000 UTC"]: action:pull, resource:platform/api:1.42.0, '
    f"operation_description:pull artifact: platform/api@{DIGEST}"
)


def hook(
    type: str = "PULL_ARTIFACT", tag: str = "1.42.0", host: str = "harbor.example.com"
) -> dict[str, Any]:
    """A webhook in Harbor's own form."""
    resource = {"digest": DIGEST, "tag": tag, "resource_url": f"{host}/platform/api:{tag}"}
    return {
        "type": type,
        "occur_at": 1795511702,
        "operator": "ann",
        "event_data": {"resources": [resource], "repository": {"repo_full_name": "platform/api"}},
    }


def parse(format: Records, *records: dict[str, Any] | str) -> Parsed:
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    return format.parse(pl.DataFrame({"offset": range(len(lines)), "line": lines}), Hints())


def collapsed(parsed: Parsed) -> list[dict[str, Any]]:
    requests = pulls.merge_requests(parsed.accesses)
    return list(pulls.collapse(pulls.sessions(requests)).iter_rows(named=True))


@pytest.mark.parametrize("host", ["harbor.example.com", "harbor:8443"])
def test_both_forms_of_webhooks_tell_the_same(host: str) -> None:
    """The host stands in the url of the resource; whether bytes moved is unknown."""
    own = hook(host=host)
    cloud = {
        "specversion": "1.0",
        "id": "c1",
        "type": "harbor.artifact.pulled",
        "time": "2026-11-24T09:15:02Z",
        "operator": "ann",
        "data": own["event_data"],
    }
    (one,), (other,) = (collapsed(parse(harbor_events.WEBHOOK, each)) for each in (own, cloud))
    assert other.pop("keys") == ["c1"]
    assert len(one.pop("keys")) == 1
    assert one == other
    assert (one["registry"], one["tag"], one["digest"], one["kind"]) == (host, "1.42.0", DIGEST, None)
    assert one["timestamp"] == datetime(2026, 11, 24, 9, 15, 2, tzinfo=UTC)


def test_a_pull_by_digest_has_it_as_its_tag() -> None:
    """Alone it is a pull by digest, beside the tag the same pull."""
    (alone,) = collapsed(parse(harbor_events.WEBHOOK, hook(tag=DIGEST)))
    (both,) = collapsed(parse(harbor_events.WEBHOOK, hook(), hook(tag=DIGEST)))
    assert [(each["tag"], each["digest"]) for each in (alone, both)] == [(None, DIGEST), ("1.42.0", DIGEST)]


def test_what_is_pushed_is_a_push() -> None:
    """Other events are ignored."""
    parsed = parse(harbor_events.WEBHOOK, hook("PUSH_ARTIFACT"), hook("DELETE_ARTIFACT"))
    (push,) = pulls.pushes(parsed.accesses).iter_rows(named=True)
    assert (push["registry"], push["repository"], push["tag"], push["digest"]) == (
        "harbor.example.com",
        "platform/api",
        "1.42.0",
        DIGEST,
    )
    assert (collapsed(parsed), sum(parsed.ignored.values())) == ([], 1)


def test_the_audit_log_names_digests_in_its_newer_form() -> None:
    """The description names what the tag meant; the copy as text says the same."""
    described = ENTRY | {"operation_description": f"pull artifact: platform/api@{DIGEST}"}
    got = [collapsed(parse(harbor_events.AUDIT, entry))[0] for entry in (ENTRY, described, FORWARDED)]
    assert [each["digest"] for each in got] == [None, DIGEST, DIGEST]
    assert {(each["tag"], each["user"], each["timestamp"].microsecond) for each in got} == {
        ("1.42.0", "ann", 311000)
    }


@pytest.mark.parametrize(
    "changes",
    [{"operation": "delete"}, {"resource_type": "project"}, {"operation_result": False}],
)
def test_other_operations_are_ignored(changes: dict[str, Any]) -> None:
    """And those that failed."""
    parsed = parse(harbor_events.AUDIT, ENTRY | changes)
    assert (collapsed(parsed), sum(parsed.ignored.values())) == ([], 1)


def test_what_is_created_is_a_push() -> None:
    """By tag."""
    parsed = parse(harbor_events.AUDIT, ENTRY | {"operation": "create"})
    assert pulls.pushes(parsed.accesses)["tag"].to_list() == ["1.42.0"]


@pytest.mark.parametrize(
    ("format", "record"),
    [
        (harbor_events.WEBHOOK, {"type": "PULL_ARTIFACT", "event_data": {}}),
        (harbor_events.WEBHOOK, hook() | {"occur_at": "soon"}),
        (harbor_events.WEBHOOK, hook(tag="NOT A TAG")),
        (harbor_events.AUDIT, ENTRY | {"resource": None}),
        (harbor_events.AUDIT, ENTRY | {"op_time": "soon"}),
        (harbor_events.AUDIT, ENTRY | {"resource": "@"}),
        (harbor_events.AUDIT, FORWARDED[:150]),
    ],
)
def test_bad_records_are_malformed(format: Records, record: dict[str, Any] | str) -> None:
    """No data, no time, no name, cut."""
    assert sum(parse(format, record).malformed.values()) == 1
