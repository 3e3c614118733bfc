"""Lines that repeat a layout, cut into fields many at once.

A program writes the same keys in the same order on most of its lines: what the fields of one line begin
with is looked for in all others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import polars as pl

TRIES = 16
"""Layouts that are looked for in one chunk; a log has a handful."""
FEW = 0.02
"""The share of lines that is not worth another try."""

SAMPLE = 256
MOST = 64
"""Fields of a line."""

ROW = "row"
_SECOND = "field_1"  # what polars calls the second part of a text that it splits


@dataclass(frozen=True, slots=True)
class Layout:
    """What each field of a line begins with, in order, and the column that it fills; None: it fills none."""

    openings: tuple[str, ...]
    columns: tuple[str | None, ...]

    @classmethod
    def of(cls, openings: Sequence[str], columns: Sequence[str | None]) -> Layout | None:
        """None where a field or a column comes twice: which one counts is not for a layout to tell."""
        filled = [column for column in columns if column]
        distinct = len(set(openings)) == len(openings) and len(set(filled)) == len(filled)
        return cls(tuple(openings), tuple(columns)) if openings and distinct else None


def cut(lines: pl.Series, between: str) -> pl.DataFrame:
    """The fields of each line, one column more than the first lines have; what is beyond is lost."""
    fields = lines.head(SAMPLE).str.count_matches(between, literal=True).to_list()
    return lines.str.split_exact(between, min(max(fields, default=0), MOST) + 1).struct.unnest()


def read(
    pieces: pl.DataFrame,
    layout_of: Callable[[Sequence[str]], Layout | None],
    meaning: Callable[[pl.DataFrame, Layout], pl.DataFrame],
) -> pl.DataFrame:
    """What those lines mean whose layout others share, with `row`, their place among `pieces`.

    `pieces`: the fields of each line, as `cut` gives them (or cut once more), null beyond the last.
    `layout_of` tells the layout of one line's fields, if they have one. `meaning` gives for lines of one
    layout, in their order, columns of text and `sure`: whether that is beyond doubt. Lines that are not
    are left out.
    """
    found: list[pl.DataFrame] = []
    rest = pieces.with_row_index(ROW).filter(pl.col(_SECOND).is_not_null())  # one field is no layout
    for _ in range(TRIES):
        if rest.height <= FEW * pieces.height:
            break
        first = [field for field in rest.row(0)[1:] if field is not None]
        layout = layout_of(first) if len(first) < pieces.width else None  # there may be more, which are lost
        fits = rest.select(_fits(tuple(pieces.columns), layout)).to_series() if layout else None
        if layout is None or fits is None or not fits[0]:
            rest = rest[1:]
            continue
        alike = rest if fits.all() else rest.filter(fits)
        rest = rest.clear() if fits.all() else rest.filter(~fits)
        told = alike.select(ROW).hstack(meaning(alike.drop(ROW), layout))
        found.append(told if told["sure"].all() else told.filter("sure"))
    return pl.concat(found, how="diagonal") if found else pl.DataFrame(schema={ROW: pl.UInt32})


@lru_cache(maxsize=64)
def _fits(columns: tuple[str, ...], layout: Layout) -> pl.Expr:
    openings = layout.openings
    begin = [pl.col(column).str.starts_with(text) for column, text in zip(columns, openings, strict=False)]
    ends = [pl.col(column).is_null() for column in columns[len(openings) : len(openings) + 1]]
    return pl.all_horizontal(*begin, *ends).fill_null(False)
