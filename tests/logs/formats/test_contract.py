"""The contract of formats, over every one that is installed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prewarm import plugins
from prewarm.logs import accesses, documents
from prewarm.logs.formats import Hints

NAMES = plugins.names(plugins.FORMATS)
OF_ACCESSES = [name for name in NAMES if not plugins.load(plugins.FORMATS, name).finished_pulls]
"""Formats whose lines stand alone: what several tell of one finished pull may be in different chunks."""

TELLS = {"tag", "digest", "bytes", "seconds", "client", "user", "agent", "host"}
GOLDENS = Path(__file__).parents[2] / "goldens"
STAMP = pl.Series("stamp", [datetime(2026, 11, 24, tzinfo=UTC)], dtype=accesses.TIMESTAMP)


def _samples() -> list[str]:
    """A few lines of every sample."""
    found = []
    for path in sorted(GOLDENS.glob("*.*")):
        raw = path.read_bytes()
        if documents.is_document(raw[: documents.SAMPLE]):
            raw = b"".join(documents.unroll([raw]))
        found += raw.decode().splitlines()[:4]
    return found


LINES = _samples()
ODD = [
    "",
    "\0",
    "\ufeff",
    "\x16\x03\x01",
    '"',
    "\\",
    "{",
    "}",
    "[",
    "|",
    "\t",
    "-",
    " ",
    "é",
    "9" * 40,
    "null",
    "%ff",
]


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A line of some log, with something missing, doubled or put in."""
    line = draw(st.sampled_from(LINES))
    at, to = sorted((draw(st.integers(0, len(line))), draw(st.integers(0, len(line)))))
    return line[:at] + draw(st.sampled_from(ODD)) + line[draw(st.sampled_from([at, to])) :]


ANY = st.lists(st.one_of(damaged(), st.text(), st.sampled_from(LINES)), max_size=12)


def frame(lines: list[str], stamped: bool) -> pl.DataFrame:
    rows = pl.DataFrame({"line": lines}, schema={"line": pl.String}).with_row_index("offset")
    rows = rows.with_columns(pl.col("offset").cast(pl.Int64))
    return rows.with_columns(STAMP.new_from_index(0, rows.height)) if stamped else rows


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25)
@given(lines=ANY)
def test_any_lines_are_read_and_told_of(name: str, lines: list[str]) -> None:
    """Nothing is raised; every line that is not blank is an access, a pull, ignored or malformed."""
    format = plugins.load(plugins.FORMATS, name)
    rows = frame(lines, getattr(format, "needs_stamp", False))
    parsed = format.parse(rows, Hints(written=datetime(2026, 11, 24, tzinfo=UTC)))
    assert parsed.accesses.schema == accesses.SCHEMA
    told = parsed.accesses if parsed.pulls is None else parsed.pulls
    counted = sum(parsed.ignored.values()) + sum(parsed.malformed.values())
    blank = rows.filter(~pl.col("line").str.contains(r"[^\s\x00\ufeff]")).height
    assert told["offset"].n_unique() + counted >= rows.height - blank
    assert set(told["offset"]) <= set(range(rows.height))
    assert set(parsed.examples) == set(parsed.ignored) | set(parsed.malformed)
    assert all(example.isprintable() for example in parsed.examples.values())
    assert 0 <= format.sniff(rows["line"]) <= 1
    format.refuse(rows["line"])


@pytest.mark.parametrize("name", OF_ACCESSES)
def test_lines_do_not_depend_on_their_neighbours(name: str) -> None:
    """What a chunk says is what its halves say; formats that name columns in a header get it as a hint."""
    format = plugins.load(plugins.FORMATS, name)
    rows = frame([line for line in LINES if not line.startswith("#")], getattr(format, "needs_stamp", False))
    hints = Hints(header=None, written=datetime(2026, 11, 24, tzinfo=UTC))
    whole = format.parse(rows, hints)
    halves = [format.parse(part, hints) for part in (rows[:100], rows[100:])]
    assert pl.concat([half.accesses for half in halves]).equals(whole.accesses)


@pytest.mark.parametrize("name", NAMES)
def test_formats_describe_themselves(name: str) -> None:
    """For `prewarm formats`."""
    format = plugins.load(plugins.FORMATS, name)
    assert format.name == name
    assert format.summary
    assert "\n" not in format.summary
    assert format.tells <= TELLS
