"""JSON documents become lines, one record a line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewarm.logs import documents

RECORDS: list[dict[str, Any]] = [{"id": 1, "text": 'a {"b": ]'}, {"id": 2, "nested": {"list": [1, 2]}}]
LOKI = {
    "status": "success",
    "data": {
        "resultType": "streams",
        "result": [{"stream": {"app": "r"}, "values": [["17", "a"], ["18", "b"]]}],
    },
}


def unrolled(text: str, size: int = 1 << 20) -> list[Any]:
    """The records of a document that is read in blocks of `size` bytes."""
    data = text.encode()
    lines = documents.unroll(data[at : at + size] for at in range(0, len(data), size))
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("indent", [None, 3])
@pytest.mark.parametrize("key", documents.ENVELOPES)
def test_an_object_that_holds_records_is_left_behind(key: str, indent: int | None) -> None:
    """What stands before and after the records is of no interest."""
    text = json.dumps({"start": {"a": [{}]}, key: RECORDS, "next": None}, indent=indent)
    assert documents.is_document(text.encode()) or key == "events"
    assert unrolled(text) == RECORDS


@pytest.mark.parametrize("indent", [None, 1])
def test_an_array_is_its_elements(indent: int | None) -> None:
    """As API pages and the IBM trace are."""
    text = json.dumps(RECORDS, indent=indent)
    assert documents.is_document(text.encode())
    assert unrolled(text) == RECORDS


def test_records_printed_over_many_lines() -> None:
    """One after the other, with or without an envelope."""
    text = "\n".join(json.dumps(each, indent=2) for each in ({"events": RECORDS}, {"id": 3}))
    assert documents.is_document(text.encode())
    assert unrolled(text) == [*RECORDS, {"id": 3}]


def test_a_loki_answer_is_what_logcli_prints() -> None:
    """Each entry keeps its stamp and the labels of its stream."""
    entries = [
        {"labels": {"app": "r"}, "line": line, "timestamp": at} for at, line in (("17", "a"), ("18", "b"))
    ]
    assert documents.is_document(json.dumps(LOKI).encode())
    assert unrolled(json.dumps(LOKI)) == entries


def test_a_large_envelope_is_read_record_by_record() -> None:
    """Nothing depends on where blocks end."""
    many = [{"n": number, "text": "x" * 50} for number in range(5000)]
    for document in ({"meta": RECORDS[1], "Records": many, "tail": [1]}, many):
        assert unrolled(json.dumps(document), size=10_007) == many
    loki = {"data": {"result": [{"stream": {}, "values": [[str(n), "x" * 50] for n in range(5000)]}]}}
    assert [entry["timestamp"] for entry in unrolled(json.dumps(loki), 9973)] == [str(n) for n in range(5000)]


@pytest.mark.parametrize(
    "text",
    [
        '{"events": [{"id": 1}]}\n{"events": [{"id": 2}]}\n',  # envelopes, one a line
        '{"log": "a\\n"}\n{"log": "b\\n"}\n',
        '{"cut\n{"msg": "whole"}\n',
        "[2026-11-24T09:15:02.311Z] GET\n",
        "10.0.0.7 - - [24/Nov/2026]\n",
        "",
    ],
)
def test_lines_are_no_document(text: str) -> None:
    """NDJSON and text stay as they are."""
    assert not documents.is_document(text.encode())


def test_a_cut_document_gives_what_comes_before() -> None:
    """What could not be read shows as one line more, to be counted."""
    text = json.dumps(RECORDS, indent=1)[:-8].encode()
    first, rest = documents.unroll([text])
    assert json.loads(first) == RECORDS[0]
    assert rest.startswith(b'{   "id": 2,')
    assert rest.endswith(b"\n")


def test_a_record_without_end_is_given_up() -> None:
    """However long the file, no more than one record is held."""
    blocks = (b'[{"a": "' if not number else b"x" * (1 << 20) for number in range(1000))
    (line,) = documents.unroll(blocks)
    assert len(line) <= 201
    assert next(blocks, None) is not None


@given(st.binary(), st.integers(1, 9))
def test_any_bytes_are_lines(data: bytes, size: int) -> None:
    """Nothing is raised, and every record is one line."""
    documents.is_document(data)
    blocks = (data[at : at + size] for at in range(0, len(data), size))
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in documents.unroll(blocks))


@given(st.recursive(st.sampled_from(list('[]{}",:a1 \n')), lambda inner: st.lists(inner).map("".join)))
def test_broken_json_is_lines(text: str) -> None:
    """Nearly JSON is no trouble either."""
    lines = list(documents.unroll([text.encode()]))
    assert all(line.count(b"\n") == 1 for line in lines)
