"""JSON lines become columns of text, bad ones nulls."""

from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewarm.logs.formats import ndjson

GOOD = '{"a":"x","n":200}'
MANY = 100  # more lines than are looked at one by one


def decode(line: str, around: int) -> tuple[list[str | None], int]:
    """What one line between good ones decodes to, and how many rows came out."""
    lines = pl.Series([GOOD] * around + [line] + [GOOD] * around)
    rows = ndjson.decode(lines, ["a", "n"])
    assert rows[0].rows() == [("x", "200")] or around == 0
    return list(rows.row(around)), rows.height


@pytest.mark.parametrize("around", [0, MANY])
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (GOOD, ["x", "200"]),
        ('{"a":true}', ["true", None]),
        ('{"a":null,"n":2.5}', [None, "2.5"]),
        ('{"a":"first","a":"second"}', ["first", None]),
        ('{"a":{"b":1}}', ['{"b": 1}', None]),
        ("{}", [None, None]),
    ],
)
def test_values_are_text(line: str, expected: list[str | None], around: int) -> None:
    """Few lines and many decode alike."""
    assert decode(line, around) == (expected, 2 * around + 1)


@pytest.mark.parametrize("around", [0, MANY])
@pytest.mark.parametrize(
    "line",
    [
        "{bad}",
        '{"a":"cut',
        "[1]",
        '"text"',
        '{"a":"x"} trailing}',
        '{"a":"x"},{"a":"y"}',
        '{"a":' + "[" * 3000 + "]" * 3000 + "}",
        '{"a":' + "9" * 5000 + "}",
    ],
)
def test_a_bad_line_is_nulls_and_moves_no_other(line: str, around: int) -> None:
    """Two objects on a line, deep nesting and huge numbers cost that line only."""
    assert decode(line, around) == ([None, None], 2 * around + 1)


def test_many_bad_lines_cost_no_retries_without_end() -> None:
    """Every second line is bad; the good ones are found."""
    rows = ndjson.decode(pl.Series(["{bad}", GOOD] * 500), ["a"])
    assert rows["a"].to_list() == [None, "x"] * 500


@given(st.dictionaries(st.sampled_from(["a", "n", "other"]), st.text(st.characters(codec="utf-8"))))
def test_any_text_comes_back(record: dict[str, str]) -> None:
    """What json.dumps writes is read again."""
    lines = pl.Series([json.dumps(record)])
    assert ndjson.decode(lines, ["a", "n"]).row(0) == (record.get("a"), record.get("n"))


NESTED = '{"id":"a","of":{"tag":"1","size":5},"list":[{"n":1},{"n":{"m":"x"}}]}'
PATHS = {"id": "id", "tag": "of/tag", "size": "of/size"}


@pytest.mark.parametrize("around", [0, MANY])
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (NESTED, ("a", "1", "5")),
        ('{"of":"text"}', (None, None, None)),
        ('{"of":[{"tag":"1"}]}', (None, None, None)),
        ('{"of":{"tag":["1"]},"id":null}', (None, '["1"]', None)),
        ("{bad}", (None, None, None)),
        ("no object", (None, None, None)),
    ],
)
def test_paths_lead_into_objects(line: str, expected: tuple[str | None, ...], around: int) -> None:
    """A value of another shape is null, few lines and many alike."""
    lines = [NESTED] * around + [line] + [NESTED] * around
    found = ndjson.dig(pl.DataFrame({"line": lines}), PATHS)
    assert found.select(*PATHS).row(around) == expected
    assert found["line"].to_list() == lines


@pytest.mark.parametrize("around", [0, MANY])
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (NESTED, [("a", "1"), ("a", '{"m": "x"}')]),
        ('{"id":"b","list":[]}', [("b", None)]),
        ('{"id":"b","list":{"n":1}}', [("b", None)]),
        ('{"id":"b","list":[null,7,{"n":2}]}', [("b", None), ("b", None), ("b", "2")]),
        ("{bad}", [(None, None)]),
    ],
)
def test_each_element_of_an_array_is_a_row(
    line: str, expected: list[tuple[str | None, ...]], around: int
) -> None:
    """A line without elements keeps its row."""
    lines = [NESTED] * around + [line]
    found = ndjson.dig(pl.DataFrame({"line": lines}), {"id": "id", "n": "[]/n"}, each="list")
    assert found.filter(pl.col("line") == line).select("id", "n").rows()[-len(expected) :] == expected
