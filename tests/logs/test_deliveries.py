"""Deliveries: what senders post becomes records with ids."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewarm.errors import UnreadableInput
from prewarm.logs.deliveries import Record, read

GOLDENS = Path(__file__).parents[1] / "goldens"
JSON = "application/json"
CE = {
    "specversion": "1.0",
    "id": "7",
    "source": "/ci/builder",
    "type": "com.acme.pulled",
    "time": "2026-11-24T08:00:00Z",
}


def lines(records: list[Record], kind: str) -> list[bytes]:
    return [line for each in records if each.kind == kind for line in each.text.split(b"\n")]


@pytest.mark.parametrize("version", ["v1-distribution-2.8", "v2-distribution-3.1"])
def test_notifications_are_events_with_ids(version: str) -> None:
    """Envelopes come apart; an event has one id, however often it is sent."""
    for body in (GOLDENS / f"distribution-webhook-{version}.ndjson").read_bytes().splitlines():
        events = json.loads(body)["events"]
        kind = "application/vnd.docker.distribution.events.v2+json"

        records = read(body, kind, {})
        again = read(json.dumps({"events": events[::-1]}, indent=2).encode(), JSON, {})

        assert [json.loads(each.text) for each in records] == events
        assert {each.kind for each in records} == {"distribution"}
        assert {each.id for each in records} == {each.id for each in again}
        assert len({each.id for each in records}) == len({event["id"] for event in events})


@pytest.mark.parametrize("form", ["default", "cloudevents"])
def test_webhooks_of_harbor_are_known_in_both_forms(form: str) -> None:
    """They are kept whole, with an id."""
    for body in (GOLDENS / f"harbor-webhook-{form}.ndjson").read_bytes().splitlines():
        (record,) = read(body, JSON, {})
        assert (record.kind, json.loads(record.text)) == ("harbor", json.loads(body))
        assert record.id is not None


def test_a_cloud_event_with_an_image_is_a_pull() -> None:
    """Structured, in base64 or with its attributes as headers; the key tells it apart."""
    data = {"image": "acme/api:2.1", "client": "10.0.0.7", "site": "elsewhere", "extra": {}}
    packed = base64.b64encode(json.dumps(data).encode()).decode()
    headers = {f"ce-{name}": value for name, value in CE.items()}

    found = [
        read(json.dumps(CE | {"data": data}).encode(), "application/cloudevents+json", {}),
        read(json.dumps([CE | {"data_base64": packed}]).encode(), "application/cloudevents-batch+json", {}),
        read(json.dumps(data).encode(), JSON, headers),
    ]

    assert found[0] == found[1] == found[2]
    assert [json.loads(line) for line in lines(found[0], "events")] == [
        {
            "timestamp": "2026-11-24T08:00:00Z",
            "image": "acme/api:2.1",
            "client": "10.0.0.7",
            "key": "/ci/builder/7",
        }
    ]


@pytest.mark.parametrize("name", ["export-fluentbit.ndjson", "export-vector.ndjson"])
def test_batches_of_shippers_are_lines(name: str) -> None:
    """As JSON lines, as a list, as objects one after another: the same lines."""
    body = (GOLDENS / name).read_bytes()
    objects = [json.loads(line) for line in body.splitlines()]

    for sent in (body, json.dumps(objects).encode(), b"".join(body.splitlines())):
        found = lines(read(sent, JSON, {}), "lines")
        assert [json.loads(line) for line in found] == objects


def test_a_batch_is_known_by_its_bytes_or_its_key() -> None:
    """A shipper that lost our answer sends the same bytes; one that says so, the same key."""
    first, again, other = (read(body, JSON, {}) for body in (b'{"a":1}', b'{"a":1}', b'{"a":2}'))
    keyed = [read(body, JSON, {"idempotency-key": "k"}) for body in (b'{"a":1}', b'{"a":2}')]

    assert first[0].id == again[0].id != other[0].id
    assert keyed[0][0].id == keyed[1][0].id


def test_plain_text_is_lines_that_may_repeat() -> None:
    """Two equal lines may be two requests, unless the sender gives a key."""
    assert read(b"GET /v2/\nGET /v2/\n", "text/plain; charset=utf-8", {}) == [
        Record("lines", b"GET /v2/\nGET /v2/", None)
    ]
    assert read(b"x\n", "text/plain", {"idempotency-key": "k"})[0].id is not None
    assert read(b"\n", "text/plain", {}) == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "is no JSON"),
        (b"[" * 200_000, "too deeply"),
        (b'{"a":' * 100_000, "too deeply"),
        (b"7", "a int where an object was expected"),
        (b'[{"a":1}, "x"]', "a str where an object"),
        (b"\xff\xfe", "no UTF-8"),
        (b'{"events": [1]}', "list of objects"),
        (b'{"specversion": "1.0"}', "without 'id'"),
        (json.dumps(CE).encode(), "without an object as data"),
        (json.dumps(CE | {"data_base64": "%"}).encode(), "data_base64"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(body: bytes, words: str) -> None:
    """One line that says what was expected."""
    with pytest.raises(UnreadableInput, match=words) as refused:
        read(body, JSON, {})
    assert "\n" not in str(refused.value)


@given(st.binary(max_size=200), st.sampled_from([JSON, "text/plain", ""]))
def test_any_bytes_are_records_or_a_refusal(body: bytes, kind: str) -> None:
    """Nothing else is raised, and no record holds a line that would be two."""
    try:
        records = read(body, kind, {})
    except UnreadableInput:
        return
    assert all(each.text for each in records)
