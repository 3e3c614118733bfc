"""Combined access lines straight from bytes, as the columns of a CSV: the quick way.

    host ident user [time zone] "request" status bytes "referer" "agent" ["forwarded"]

Only lines that certainly mean the same either way are taken: their fields, with the blanks and quotes
between them, must add up to the line. Every other line is left to `combined.read`; a chunk that holds
what CSV and access logs write differently (escaped quotes, carriage returns) is left to it whole.
"""

from __future__ import annotations

import codecs
import warnings
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prewarm.logs.formats import fields, requests
from prewarm.logs.formats.remembered import Remembered

LONGEST_LINE = 1 << 20
MOST_LEFT = 0.2
"""The share of lines left over above which the slow way is the quicker one."""

Places = NDArray[np.int64]

_TEXTS = ("peer", "ident", "user", "date", "zone", "request", "bytes", "referer", "agent", "more")
_COLUMNS = ("peer", "ident", "user", "date", "zone", "request", "status", "bytes", "referer", "agent", "more")
_SCHEMA = {name: pl.Int16 if name == "status" else pl.String for name in (*_COLUMNS, "beyond")}
_STAMP = "[%d/%b/%Y:%H:%M:%S%z]"
_STAMP_LENGTH = len("[24/Nov/2026:01:58:42+0000]")
_FORWARDED = r"^([0-9A-Fa-f:.]+)(?:,|$)"
_INFLATED = (b"\x1f", b"x", b"(")  # polars takes bytes that begin with these for gzip, zlib or zstd
_PIECE = 128 << 10  # bytes
_AROUND = 3 + 9 + 6  # the digits of the status, the blanks between ten fields, three pairs of quotes
_AROUND_MORE = 3  # another blank, another pair


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
    columns = _columns(data)
    if columns is None or columns.height != len(ends) or (ends - starts).max() > LONGEST_LINE:
        return None
    rows = _KNOWN.join(columns.with_columns(_time(), offset=pl.Series(starts), size=pl.Series(ends - starts)))
    fits = rows.lazy().select(_fits()).collect()["fits"]
    left = (~fits).arg_true().to_numpy()
    if len(left) > MOST_LEFT * len(ends):
        return None
    good = _named(rows.filter(fits) if len(left) else rows)
    return Scanned(
        _with_examples(good, data).with_columns(pl.col("offset") + offset),
        _lines(data, starts[left], ends[left]).with_columns(pl.col("offset") + offset),
        len(ends),
    )


def _speaks_otherwise(data: bytes) -> bool:
    """Whether CSV would read another meaning into these bytes, or the last line is not whole."""
    escaped = b"\\" in data and b'\\"' in data
    foreign = b"\r" in data or b"\0" in data or data.startswith((codecs.BOM_UTF8, *_INFLATED))
    return escaped or foreign or not data.endswith(b"\n")


def _newlines(data: bytes) -> Places:
    """Where they are; found in pieces that the processor's cache holds."""
    view = np.frombuffer(data, dtype=np.uint8)
    pieces = range(0, len(view), _PIECE)
    return np.concatenate([np.flatnonzero(view[at : at + _PIECE] == ord("\n")) + at for at in pieces])


def _columns(data: bytes) -> pl.DataFrame | None:
    # What Polars warns of, rows that join lines, is counted in `scan`; people would see it beside the result.
    warnings.filterwarnings("ignore", message="CSV malformed")
    try:
        return pl.read_csv(
            data,
            has_header=False,
            separator=" ",
            quote_char='"',
            schema=_SCHEMA,
            truncate_ragged_lines=True,
            missing_columns="insert",
            ignore_errors=True,  # what is no number is null, and left over
        )
    except pl.exceptions.PolarsError:  # no UTF-8
        return None


def _fits() -> pl.Expr:
    """Whether a line is an access line beyond doubt, quotes exactly where they belong."""
    more = pl.col("more").is_not_null()
    texts = pl.sum_horizontal(pl.col(_TEXTS).str.len_bytes().cast(pl.Int64))
    adds_up = pl.col("size") == texts + _AROUND + pl.when(more).then(_AROUND_MORE).otherwise(0)
    bare = pl.all_horizontal(~pl.col("peer", "user", "agent").str.contains('"', literal=True))
    number = (pl.col("bytes") == "-") | pl.col("bytes").cast(pl.Int64, strict=False).is_not_null()
    stamp_length = pl.col("date").str.len_bytes() + pl.col("zone").str.len_bytes()
    return (
        (
            (adds_up & bare & number & ~pl.col("quoted") & (pl.col("ident") == "-"))
            & (stamp_length == _STAMP_LENGTH)
            & pl.col("timestamp").is_not_null()
            & pl.col("status").is_between(100, 999)
            & pl.col("referer").is_not_null()
            & pl.col("beyond").is_null()
            & (~more | (pl.col("more") == "-") | pl.col("more").str.contains(_FORWARDED))
        )
        .fill_null(False)
        .alias("fits")
    )


def _time() -> pl.Expr:
    stamp = pl.concat_str("date", "zone")
    return stamp.str.to_datetime(_STAMP, time_unit="us", time_zone="UTC", strict=False).alias("timestamp")


def _requests(texts: pl.Series) -> pl.DataFrame:
    """What each distinct request line asks for; `quoted`: it holds a quote that CSV has halved."""
    words = pl.col("request").str.splitn(" ", 3).struct.rename_fields(["method", "uri", "protocol"])
    parts = pl.DataFrame({"request": texts}).select("request", words.alias("_")).unnest("_")
    located = parts.join(
        requests.targets(parts["uri"].drop_nulls().unique()), on="uri", how="left", maintain_order="left"
    )
    request = pl.col("method").is_in(requests.METHODS) & pl.col("uri").is_not_null()
    return located.select(
        "request",
        "method",
        *requests.TARGET,
        requests.ignored(request).alias("ignored"),
        pl.col("request").str.contains('"', literal=True).alias("quoted"),
    )


_KNOWN = Remembered("request", _requests)


def _named(rows: pl.DataFrame) -> pl.DataFrame:
    forwarded = rows["more"].str.extract(_FORWARDED, 1)
    client = forwarded.zip_with(forwarded.is_not_null(), rows["peer"])
    return rows.with_columns(agent=fields.known_unescaped(rows["agent"])).select(
        "offset",
        "timestamp",
        fields.address(client).alias("client"),
        fields.known(pl.col("user")).alias("user"),
        "agent",
        "method",
        *requests.TARGET,
        "status",
        fields.count(pl.col("bytes")).alias("bytes"),
        pl.lit(None, pl.Float64).alias("seconds"),
        pl.lit(None, pl.String).alias("cache"),
        pl.lit(None, pl.String).alias("key"),
        pl.lit("access").alias("family"),
        "ignored",
        pl.lit(None, pl.String).alias("malformed"),
    )


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
