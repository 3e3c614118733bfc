"""Combined access lines straight from bytes, parted at their quotes by a reader of CSV: the quick way.

    head "request" size "referer" "agent" [rest]

Each distinct part is read once. Lines that hold an escaped quote, and those that are none of the family,
are left to `combined.read`; so is a chunk whole that holds what CSV and access logs write differently
(carriage returns), or many such lines.
"""

from __future__ import annotations

import codecs
import warnings
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prewarm.logs.formats import quoted

LONGEST_LINE = 1 << 20
MOST_LEFT = 0.2
"""The share of lines left over above which the slow way is the quicker one."""

Places = NDArray[np.int64]

_MORE = ("more", "further", "last")
"""Parts of what stands after the agent, where that has quotes, too; lines that go on are left over."""

_ALL = (*quoted.PARTS, *_MORE)
_AGENT_ENDS = 6  # quotes up to there
_INFLATED = (b"\x1f", b"x", b"(")  # polars takes bytes that begin with these for gzip, zlib or zstd
_PIECE = 128 << 10  # bytes


@dataclass(frozen=True, slots=True)
class Scanned:
    """`rows`: as `combined.read` gives them; `left`: lines for it to read; `lines`: how many in all."""

    rows: pl.DataFrame
    left: pl.DataFrame
    lines: int


def scan(data: bytes, offset: int) -> Scanned | None:
    """The lines of `data`, which begins at `offset` of its file; None: better read line by line."""
    if _speaks_otherwise(data):
        return None
    ends = _newlines(data)
    starts = np.concatenate([[0], ends[:-1] + 1])
    parts = _parts(data)
    if parts is None or parts.height != len(ends) or (ends - starts).max() > LONGEST_LINE:
        return None
    sized = parts.with_columns(offset=pl.Series(starts), quotes=pl.Series(ends - starts) - _LENGTH)
    rows = quoted.meaning(sized.with_columns(_rest(sized)))
    fits = rows["malformed"].is_null() & _sure(sized, escaped=b"\\" in data)
    left = (~fits).arg_true().to_numpy()
    if len(left) > MOST_LEFT * len(ends):
        return None
    good = rows.filter(fits) if len(left) else rows
    return Scanned(
        _with_examples(good, data).with_columns(pl.col("offset") + offset),
        _lines(data, starts[left], ends[left]).with_columns(pl.col("offset") + offset),
        len(ends),
    )


def _speaks_otherwise(data: bytes) -> bool:
    """Whether CSV would read another meaning into these bytes, or the last line is not whole."""
    foreign = b"\r" in data or b"\0" in data or data.startswith((codecs.BOM_UTF8, *_INFLATED))
    return foreign or not data.endswith(b"\n")


def _newlines(data: bytes) -> Places:
    """Where they are; found in pieces that the processor's cache holds."""
    view = np.frombuffer(data, dtype=np.uint8)
    pieces = range(0, len(view), _PIECE)
    return np.concatenate([np.flatnonzero(view[at : at + _PIECE] == ord("\n")) + at for at in pieces])


def _parts(data: bytes) -> pl.DataFrame | None:
    """What quotes part each line into; empty beyond the last."""
    # What Polars warns of, lines with more parts, shows by their quotes; people would see the warning.
    warnings.filterwarnings("ignore", message="CSV malformed")
    try:
        return pl.read_csv(
            data,
            has_header=False,
            separator='"',
            quote_char=None,
            schema=dict.fromkeys(_ALL, pl.String),
            empty_string_is_null=False,
            truncate_ragged_lines=True,
            missing_columns="insert",
        )
    except pl.exceptions.PolarsError:  # no UTF-8
        return None


_LENGTH = pl.sum_horizontal(pl.col(_ALL).str.len_bytes().cast(pl.Int64))
"""What the parts of a line are long, without the quotes between them."""


def _sure(parts: pl.DataFrame, escaped: bool) -> pl.Series:
    """Whether all parts of a line are there, and its quotes are no part of a text."""
    sure = pl.col("quotes") < len(_ALL)
    if escaped:
        sure &= ~pl.any_horizontal(pl.col(_ALL).str.ends_with("\\"))
    return parts.select(sure).to_series()


def _rest(parts: pl.DataFrame) -> pl.Series:
    """What stands after the agent, with its quotes."""
    if not (parts["quotes"] > _AGENT_ENDS).any():
        return parts["rest"]
    missing = _AGENT_ENDS + len(_MORE) - pl.max_horizontal("quotes", _AGENT_ENDS)
    joined = pl.concat_str("rest", *_MORE, separator='"').str
    return parts.select(joined.slice(0, joined.len_chars() - missing)).to_series()


def _with_examples(rows: pl.DataFrame, data: bytes) -> pl.DataFrame:
    """`rows` with `line`: the text of the first one set aside for each reason; null for all others."""
    ignored = rows["ignored"].is_not_null()
    if not ignored.any():
        return rows.with_columns(line=pl.lit(None, pl.String))
    shown = rows.filter(ignored).unique("ignored", keep="first", maintain_order=True)
    starts = shown["offset"].to_numpy()
    examples = _lines(data, starts, np.array([data.find(b"\n", start) for start in starts], dtype=np.int64))
    return rows.join(examples, on="offset", how="left", maintain_order="left")


def _lines(data: bytes, starts: Places, ends: Places) -> pl.DataFrame:
    texts = [data[start:end].decode() for start, end in zip(starts, ends, strict=True)]
    return pl.DataFrame({"offset": starts, "line": texts}, schema={"offset": pl.Int64, "line": pl.String})
