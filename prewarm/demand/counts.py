"""Pulls per image and hour, held sparse: most images have none in most hours.

Compressed sparse rows with the few operations that demand needs, under the names of scipy.sparse, whose
import takes longer than ranking a site does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    Rows = slice | Sequence[int] | NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class Counts:
    """Images x hours: row i has `data[k]` pulls in hour `indices[k]` for `indptr[i]` <= k < `indptr[i + 1]`.

    `data` is float32 and holds no zeros; hours ascend within a row.
    """

    data: NDArray[np.float32]
    indices: NDArray[np.int32]
    indptr: NDArray[np.int64]
    hours: int

    @classmethod
    def of(cls, dense: NDArray[np.number]) -> Counts:
        """The counts of a dense table, images x hours."""
        rows, columns = np.nonzero(dense)
        return cls.at(rows, columns, dense[rows, columns], dense.shape)

    @classmethod
    def at(
        cls,
        rows: NDArray[np.integer],
        columns: NDArray[np.integer],
        values: NDArray[np.number],
        shape: tuple[int, ...],
    ) -> Counts:
        """Counts by row and column, in any order; those of one cell are added up, zeros are dropped."""
        images, hours = shape
        cells, place = np.unique(rows.astype(np.int64) * hours + columns, return_inverse=True)
        data = _sums(place, values, len(cells)).astype(np.float32)
        cells, data = cells[data != 0], data[data != 0]
        found, indices = np.divmod(cells, max(hours, 1))
        return cls(data, indices.astype(np.int32), _ends(np.bincount(found, minlength=images)), hours)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.indptr) - 1, self.hours

    @property
    def nnz(self) -> int:
        """How many cells hold pulls."""
        return len(self.data)

    @cached_property
    def rows(self) -> NDArray[np.int32]:
        """The row of each cell that holds pulls."""
        return np.repeat(np.arange(self.shape[0], dtype=np.int32), np.diff(self.indptr))

    def __getitem__(self, key: Rows | tuple[Rows, slice]) -> Counts:
        """`[rows]` or `[rows, hours]`: rows by slice or by number, hours by slice, in steps of 1."""
        rows, hours = key if isinstance(key, tuple) else (key, slice(None))
        chosen = self._between(rows) if isinstance(rows, slice) else self._of(np.asarray(rows, np.int64))
        return chosen if hours == slice(None) else chosen._within(hours)

    def __matmul__(self, weights: NDArray[np.floating]) -> NDArray[np.float64]:
        """The sum of each row, an hour's pulls taken by its weight."""
        cells = self._weighing(weights)
        return _sums(self.rows[cells], self.data[cells] * weights[self.indices[cells]], self.shape[0])

    def grouped(
        self, labels: NDArray[np.integer], weights: NDArray[np.floating], groups: int
    ) -> NDArray[np.float32]:
        """Weighted sums over the hours of each label 0 … `groups` - 1, images x groups."""
        cells = self._weighing(weights)
        hours = self.indices[cells]
        places = self.rows[cells] * np.int64(groups) + labels[hours]
        sums = _sums(places, self.data[cells] * weights[hours], self.shape[0] * groups)
        return sums[: self.shape[0] * groups].astype(np.float32).reshape(self.shape[0], groups)

    def sum(self, axis: int | None = None) -> NDArray[np.float64]:
        """Pulls by hour (`axis` 0), by image (1), or all."""
        if axis is None:
            return np.asarray(self.data.sum(dtype=np.float64))
        return _sums(self.indices if axis == 0 else self.rows, self.data, self.shape[1 - axis])

    def peak(self) -> NDArray[np.float32]:
        """The most pulls of an hour, by image."""
        most = np.zeros(self.shape[0], dtype=np.float32)
        filled = np.flatnonzero(np.diff(self.indptr))
        if filled.size:
            most[filled] = np.maximum.reduceat(self.data, self.indptr[filled])
        return most

    def first(self) -> NDArray[np.int64]:
        """The first hour with a pull, by image; the number of hours where there is none."""
        first = np.full(self.shape[0], self.hours, dtype=np.int64)
        filled = np.flatnonzero(np.diff(self.indptr))
        first[filled] = self.indices[self.indptr[filled]]
        return first

    def last(self) -> NDArray[np.int64]:
        """The last hour with a pull, by image; -1 where there is none."""
        last = np.full(self.shape[0], -1, dtype=np.int64)
        filled = np.flatnonzero(np.diff(self.indptr))
        last[filled] = self.indices[self.indptr[filled + 1] - 1]
        return last

    def since(self, born: NDArray[np.integer], width: int) -> NDArray[np.float32]:
        """Pulls by hour since the hour `born` of each image, images x width; 0 beyond the last hour."""
        pulls = np.zeros((self.shape[0], width), dtype=np.float32)
        age = self.indices - born[self.rows]
        kept = (age >= 0) & (age < width)
        pulls[self.rows[kept], age[kept]] = self.data[kept]
        return pulls

    def toarray(self) -> NDArray[np.float32]:
        """All cells, images x hours."""
        dense = np.zeros(self.shape, dtype=np.float32)
        dense[self.rows, self.indices] = self.data
        return dense

    def to_scipy(self) -> csr_array:
        """The same as scipy has it, for what is not here."""
        from scipy.sparse import csr_array

        return csr_array((self.data, self.indices, self.indptr), shape=self.shape)

    def _weighing(self, weights: NDArray[np.floating]) -> slice | NDArray[np.int64]:
        """Which cells to add up: all, or only those of hours that weigh something when these are few."""
        used = weights != 0
        few = 2 * np.count_nonzero(used) < self.hours
        return np.flatnonzero(used[self.indices]) if few else slice(None)

    def _between(self, rows: slice) -> Counts:
        begin, end, _ = rows.indices(self.shape[0])
        if (begin, end) == (0, self.shape[0]):
            return self
        ends = self.indptr[begin : max(begin, end) + 1]
        cells = slice(ends[0], ends[-1])
        return Counts(self.data[cells], self.indices[cells], ends - ends[0], self.hours)

    def _of(self, rows: NDArray[np.int64]) -> Counts:
        ends = _ends(np.diff(self.indptr)[rows])
        cells = np.repeat(self.indptr[rows] - ends[:-1], np.diff(ends)) + np.arange(ends[-1])
        return Counts(self.data[cells], self.indices[cells], ends, self.hours)

    def _within(self, hours: slice) -> Counts:
        begin, end, _ = hours.indices(self.hours)
        inside = (self.indices >= begin) & (self.indices < end)
        before = np.concatenate([[0], np.cumsum(inside)])
        indices = self.indices[inside] - np.int32(begin)
        return Counts(self.data[inside], indices, before[self.indptr], max(0, end - begin))


def _sums(group: NDArray[np.integer], values: NDArray[np.number], groups: int) -> NDArray[np.float64]:
    return np.asarray(np.bincount(group, values, groups), dtype=np.float64)


def _ends(lengths: NDArray[np.integer]) -> NDArray[np.int64]:
    """Where rows of these lengths begin and end."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
