"""What distinct texts mean, worked out once: a log repeats its requests all day.

Only a shortcut: what comes out is what the work itself gives, whatever was met before.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

import polars as pl

MOST_TEXTS = 1 << 16
"""Distinct texts kept; a log of ever new ones starts afresh instead of growing."""

MOST_BYTES = 16 << 20
"""Bytes of them all, as they were met."""


class Remembered:
    """Columns that follow from one column of text, `key`, alone.

    `work` takes distinct texts and returns a frame with `key` and its columns, one row a text. Texts
    are numbered as they are met, and the number is the row of the table that holds what they mean.
    """

    def __init__(self, key: str, work: Callable[[pl.Series], pl.DataFrame]) -> None:
        self.key, self.work = key, work
        self._lock = Lock()  # chunks are parsed by several threads
        self._table: pl.DataFrame | None = None
        self._bytes, self._numbered = 0, _numbering()

    def join(self, frame: pl.DataFrame) -> pl.DataFrame:
        """`frame` with the columns that its `key` stands for, null for a null."""
        with self._lock:
            texts = frame[self.key].cast(self._numbered.dtype)
            numbers = texts.to_physical()
            table = self._table = self._completed(texts, numbers)
            if table.height > MOST_TEXTS or self._bytes > MOST_BYTES:
                self._forget()
        return frame.hstack(table.select(pl.all().gather(numbers)))

    def _forget(self) -> None:
        self._table = None
        self._bytes, self._numbered = 0, _numbering()

    def _completed(self, texts: pl.Series, numbers: pl.Series) -> pl.DataFrame:
        """The table with the rows of texts that are met for the first time."""
        table = self._table
        unmet = numbers >= (0 if table is None else table.height)
        if table is not None and not unmet.any():
            return table
        rows = pl.DataFrame({self.key: texts.filter(unmet), "number": numbers.filter(unmet)})
        new = rows.filter(rows["number"].is_first_distinct())
        ordered = new.sort("number").select(pl.col(self.key).cast(pl.String))
        self._bytes += int(ordered[self.key].str.len_bytes().sum())
        found = ordered.join(self.work(ordered[self.key]), on=self.key, how="left", maintain_order="left")
        rows = found.drop(self.key)
        return rows if table is None else pl.concat([table, rows], rechunk=True)


def _numbering() -> pl.Series:
    """An empty series of a new category, whose numbers are forgotten with the last series of it."""
    return pl.Series(dtype=pl.Categorical(pl.Categories.random()))
