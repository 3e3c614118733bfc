"""Formats whose lines are logged requests: how a grammar becomes a format, fields become an access.

A grammar finds the fields of a line as text; `accesses_of` gives them their meaning.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

from prewarm.logs.accesses import TIMESTAMP
from prewarm.logs.formats import Hints, Parsed, clean, fields, holds, requests, share, sort_out
from prewarm.logs.formats.lacks import Lack

Read = Callable[[pl.DataFrame, Hints], pl.DataFrame]

_TEXTS = ("peer", "forwarded", "user", "agent", "host", "method", "uri", "status", "bytes", "key")
_OPTIONAL: dict[str, pl.DataType | type[pl.DataType]] = {
    **dict.fromkeys((*_TEXTS, "digest", "media_type", "cache", "ignored", "malformed"), pl.String),
    "upstream": pl.String,
    "timestamp": TIMESTAMP,
    "seconds": pl.Float64,
}


@dataclass(frozen=True, slots=True)
class RequestLog:
    """A format made of one function.

    `read` turns clean lines (offset, line, maybe stamp) into rows for `sort_out`, as `accesses_of` gives
    them. `marks` are texts of which every line of the family holds one, or none for any line.
    `must`: a pattern that at least one line fits: for a family whose lines stand among others, or to tell
    cheaply that no line is of it.
    `unusable` explains lines that are of the family, but cannot be read, `lack` why a line does not fit.
    """

    name: str
    summary: str
    tells: frozenset[str]
    read: Read
    marks: tuple[str, ...] = ()
    specificity: int = 2
    needs_stamp: bool = False
    finished_pulls: bool = False
    must: str = ""
    unusable: Callable[[pl.Series], str | None] = field(default=lambda lines: None)
    lack: Callable[[str], Lack | None] = field(default=lambda line: None)

    def sniff(self, lines: pl.Series) -> float:
        """The share of lines that fit the grammar."""
        if self.marks and not holds(lines, self.marks):
            return 0.0
        rows = clean(pl.DataFrame({"offset": pl.int_range(len(lines), eager=True), "line": lines}))
        marked = rows.filter(rows["line"].str.contains_any(list(self.marks))) if self.marks else rows
        if marked.is_empty() or (self.must and not marked["line"].str.contains(self.must).any()):
            return 0.0
        rows_read = self.read(_stamped(marked) if self.needs_stamp else marked, Hints())
        return share(rows_read["malformed"].is_null()) * marked.height / rows.height

    def refuse(self, lines: pl.Series) -> str | None:
        """Why lines of this family cannot be used, else None."""
        return self.unusable(lines)

    def explain(self, line: str) -> Lack | None:
        """What this line lacks, when it is somewhat like those of the family."""
        return self.lack(line) if re.search(self.must, line) else None

    def parse(self, lines: pl.DataFrame, hints: Hints) -> Parsed:
        """Accesses of family `access`."""
        return sort_out(self.read(clean(lines), hints))


def _stamped(lines: pl.DataFrame) -> pl.DataFrame:
    return lines.with_columns(stamp=pl.lit(0).cast(TIMESTAMP))


def stamp_of(lines: pl.DataFrame) -> pl.Expr:
    """The wrapper's time, null where there was no wrapper."""
    return pl.col("stamp") if "stamp" in lines.columns else pl.lit(None, TIMESTAMP)


def requested(request: pl.Expr) -> list[pl.Expr]:
    """`method` and `uri` of a request line: `GET /v2/ HTTP/1.1`."""
    words = request.str.splitn(" ", 3)
    return [words.struct.field(f"field_{n}").alias(name) for n, name in enumerate(("method", "uri"))]


def accesses_of(found: pl.DataFrame, name: str) -> pl.DataFrame:
    """Rows for `sort_out` from fields as text; a column that is not there is null.

    `peer` is the client's address, with its port or without, `forwarded` what a proxy says of it; `host`
    is the one asked, `upstream` the registry that the client wants. `timestamp` (UTC) and `seconds` are
    ready. `ignored` and `malformed` are reasons; a row without a method and URI that the grammar fits is
    ignored. `name` is that of the family.
    """
    missing = [pl.lit(None, dtype).alias(key) for key, dtype in _OPTIONAL.items() if key not in found.columns]
    rows = found.with_columns(missing)
    known = requests.locate(rows.drop("upstream"), host=pl.col("host")).with_columns(wanted=rows["upstream"])
    clients = [fields.address(rows[name]).alias(f"by_{name}") for name in ("forwarded", "peer")]
    return known.with_columns(clients).select(
        "offset",
        "line",
        "timestamp",
        pl.coalesce("by_forwarded", "by_peer").alias("client"),
        fields.known(pl.col("user").str.strip_chars()).alias("user"),
        fields.known(pl.col("agent")).alias("agent"),
        fields.known(pl.col("method")).alias("method"),
        pl.coalesce(pl.col("upstream"), pl.col("wanted"), pl.col("registry")).alias("registry"),
        pl.coalesce("upstream", "wanted").alias("upstream"),
        "repository",
        "reference",
        "object",
        pl.col("status").cast(pl.Int16, strict=False),
        fields.count(pl.col("bytes")).alias("bytes"),
        "seconds",
        "cache",
        fields.known(pl.col("digest")).alias("digest"),
        fields.known(pl.col("media_type")).alias("media_type"),
        fields.known(pl.col("key")).alias("key"),
        pl.lit("access").alias("family"),
        _ignored().alias("ignored"),
        _malformed(name).alias("malformed"),
    )


def _malformed(name: str) -> pl.Expr:
    timeless = pl.col("timestamp").is_null() & pl.col("ignored").is_null()
    return (
        pl.when(pl.col("malformed").is_not_null())
        .then("malformed")
        .when(timeless)
        .then(pl.lit(f"a line of {name} whose time is no date"))
    )


def _ignored() -> pl.Expr:
    request = pl.col("method").is_in(requests.METHODS) & (pl.col("uri").str.len_bytes() > 0)
    return (
        pl.when(pl.col("malformed").is_not_null())
        .then(None)
        .when(pl.col("ignored").is_not_null())
        .then("ignored")
        .when(pl.col("timestamp").is_null())
        .then(None)
        .otherwise(requests.ignored(request.fill_null(False)))
    )
