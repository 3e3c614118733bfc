"""Escapes, addresses, durations and dashes of log fields."""

from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewarm.logs.formats import fields


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"a \"b\" \\ c", 'a "b" \\ c'),
        (r"stargz \x22x\x22 \xC3\xA9", 'stargz "x" é'),
        (r"tab\tnew\nline\r", "tab\tnew\nline\r"),
        (r"\u00e9\U0001F600", "é😀"),
        (r"x\(linux\)", r"x\(linux\)"),
        (r"\xff", "\ufffd"),
        (r"\uD800", "?"),
        (r"\UFFFFFFFF", "\ufffd"),
        ("end\\", "end\\"),
        ("plain é", "plain é"),
    ],
)
def test_escapes_are_decoded(written: str, meant: str) -> None:
    """Go, gorilla and nginx escape differently; all mean the same text."""
    assert fields.unescape(pl.Series([written, None])).to_list() == [meant, None]


@given(st.text())
def test_a_quoted_text_comes_back(text: str) -> None:
    """Escaping backslashes and quotes is undone, whatever else the text holds."""
    text = text.encode(errors="replace").decode()
    written = text.replace("\\", "\\\\").replace('"', '\\"')
    line = f'x "{written}" y'
    (shielded,) = fields.shield_quotes(pl.Series([line]))
    assert shielded.count('"') == 2
    assert fields.unescape(pl.Series([shielded.split('"')[1]])).to_list() == [text]


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("10.0.0.7:41822", "10.0.0.7"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[::1]", "::1"),
        ("::1", "::1"),
        ("10.0.0.7, 172.18.0.1", "10.0.0.7"),
        ("node7.example:80", "node7.example"),
        ("-", None),
        ("", None),
        (None, None),
    ],
)
def test_addresses_lose_port_and_brackets(peer: str | None, expected: str | None) -> None:
    """The first address of a list, as it is compared with other logs."""
    others = ["192.0.2.1:80", "[::2]:80", "::3", None]
    found = fields.address(pl.Series([peer, *others], dtype=pl.String)).to_list()
    assert found == [expected, "192.0.2.1", "::2", "::3", None]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("974.405µs", 0.000974405),
        ("974.405μs", 0.000974405),
        ("12us", 0.000012),
        ("9.16296ms", 0.00916296),
        ("250ns", 2.5e-7),
        ("2.3s", 2.3),
        ("0s", 0.0),
        ("1m2.5s", 62.5),
        ("5m0s", 300.0),
        ("1h0m0.5s", 3600.5),
    ],
)
def test_go_durations_are_seconds(text: str, seconds: float) -> None:
    """Go prints the largest unit that fits."""
    assert fields.duration(pl.Series([text])).to_list() == [pytest.approx(seconds, abs=1e-12)]


@pytest.mark.parametrize(
    "text", ["", "fast", "-5ms", "nans", "1e999s", "99999999999h0m0s", "5", "ms", None, "1:02"]
)
def test_what_is_no_duration_is_unknown(text: str | None) -> None:
    """Null, never zero."""
    assert fields.duration(pl.Series([text], dtype=pl.String)).to_list() == [None]


@pytest.mark.parametrize(
    ("text", "expected"), [("517", 517), ("0", 0), ("-", None), ("-1", None), ("9" * 30, None), ("x", None)]
)
def test_counts_of_bytes(text: str, expected: int | None) -> None:
    """A dash, -1 and numbers beyond 63 bits are unknown."""
    assert pl.select(fields.count(pl.lit(text))).item() == expected


def test_json_texts_are_not_unescaped_twice() -> None:
    """A decoded value without a backslash stays what it is."""
    assert fields.unescape(pl.Series([json.loads(r'"a\"b"')])).to_list() == ['a"b']
