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
