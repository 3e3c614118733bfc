"""Formats whose lines are records of what happened: webhooks, audit logs, events of engines and clusters.

Such a line is no logged request. It tells of a finished pull, or that a manifest or blob was fetched;
the latter are accesses of family `event`, which collapse into pulls as requests do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import polars as pl

from prewarm.logs import accesses
from prewarm.logs.formats import Hints, Parsed, clean, fields, holds, reasons, unread

_SOME_YEAR = datetime(2026, 1, 1, tzinfo=UTC)  # a line fits or not whatever the year

Read = Callable[[pl.DataFrame, Hints], pl.DataFrame]


@dataclass(frozen=True, slots=True)
class Records:
    """A format made of one function.

    `read` turns clean lines (offset, line) into rows with columns of `pulls.SCHEMA` or, unless
    `finished_pulls`, of `accesses.SCHEMA`; the raw `line`; and two reasons, `ignored` and `malformed`,
    both null for a row that counts. `marks` are texts of which every line of the family holds one;
    `must` is a pattern that at least one line fits, to tell cheaply that none is of the family. `unusable`
    explains lines that are of the family, but cannot be read.
    """

    name: str
    summary: str
    tells: frozenset[str]
    read: Read
    marks: tuple[str, ...]
    finished_pulls: bool = False
    must: str = ""
    unusable: Callable[[pl.Series], str | None] = field(default=lambda lines: None)

    def sniff(self, lines: pl.Series) -> float:
        """The share of lines that are records of this family."""
        if not holds(lines, self.marks) or not lines.str.contains(self.must).any():
            return 0.0
        rows = clean(pl.DataFrame({"offset": pl.int_range(len(lines), eager=True), "line": lines}))
        marked = rows.filter(rows["line"].str.contains_any(list(self.marks)))
        if marked.is_empty():
            return 0.0
        fits = (
            self.read(marked, Hints(written=_SOME_YEAR))
            .filter(pl.col("malformed").is_null())["offset"]
            .n_unique()
        )
        return fits / rows.height

    def refuse(self, lines: pl.Series) -> str | None:
        """Why lines of this family cannot be used, else None."""
        return self.unusable(lines)

    def parse(self, lines: pl.DataFrame, hints: Hints) -> Parsed:
        """Finished pulls, or accesses of family `event`."""
        rows = self.read(clean(lines), hints)
        return finished(rows) if self.finished_pulls else fetched(rows)


def finished(rows: pl.DataFrame) -> Parsed:
    """The result of a format of finished pulls, from rows as `Records.read` gives them."""
    ignored, malformed, examples = reasons(rows)
    return Parsed(accesses.empty(), _good(rows), ignored, malformed, examples, unread(rows))


def fetched(rows: pl.DataFrame) -> Parsed:
    """The result of a format of manifest fetches: accesses of family `event`."""
    found = _good(rows).with_columns(pl.lit("event").alias("family"))
    return Parsed(accesses.conform(found), None, *reasons(rows), unread(rows))


def _good(rows: pl.DataFrame) -> pl.DataFrame:
    counts = pl.col("ignored").is_null() & pl.col("malformed").is_null()
    return rows.filter(counts).drop("line", "ignored", "malformed")


def known(*names: str) -> list[pl.Expr]:
    """These columns of text, null where the source writes nothing: an empty value or a dash."""
    return [fields.known(pl.col(name)).alias(name) for name in names]


def key_of(*parts: str | pl.Expr) -> pl.Expr:
    """The column `keys`: what makes an event that one, slashes between; none when a part is unknown."""
    return pl.concat_list(pl.concat_str(*parts, separator="/")).list.drop_nulls().alias("keys")


def keyed(source: str, *names: str) -> pl.Expr:
    """The column `key` of a source without native ids: what tells its entries apart, slashes between."""
    return pl.concat_str(
        pl.lit(source), *(pl.col(name).fill_null("") for name in names), separator="/"
    ).alias("key")


def set_aside(malformed: dict[str, pl.Expr], ignored: dict[str, pl.Expr]) -> list[pl.Expr]:
    """The columns `ignored` and `malformed`: the first reason that applies, malformed ones before others."""
    bad, other = _first_of(malformed), _first_of(ignored)
    return [pl.when(bad.is_null()).then(other).alias("ignored"), bad.alias("malformed")]


def _first_of(found: dict[str, pl.Expr]) -> pl.Expr:
    cases = [pl.when(applies.fill_null(False)).then(pl.lit(reason)) for reason, applies in found.items()]
    return pl.coalesce(pl.lit(None, pl.String), *cases)


def uri(repository: pl.Expr, reference: pl.Expr, noun: pl.Expr | None = None) -> pl.Expr:
    """The column `uri`: what a registry would have been asked for, as `requests.locate` takes it."""
    of = pl.lit("manifests") if noun is None else noun
    return pl.concat_str(pl.lit("/v2"), repository, of, reference, separator="/").alias("uri")


NAMELESS = "no image reference"
TIMELESS = "a time that cannot be read"


def fetches(
    located: pl.DataFrame, told: pl.Expr, malformed: dict[str, pl.Expr], ignored: dict[str, pl.Expr]
) -> pl.DataFrame:
    """Rows for `fetched`: the columns of `located` that accesses have, and why some rows are set aside.

    `told` is whether a row tells of a fetch or a push, which then needs a time and a well-formed name.
    """
    image = pl.col("object").is_in(["manifest", "blob"]).fill_null(False)
    bad = malformed | {TIMELESS: told & pl.col("timestamp").is_null(), NAMELESS: told & ~image}
    known = [name for name in accesses.SCHEMA if name in located.columns]
    return located.select("line", *known, *set_aside(bad, ignored))
