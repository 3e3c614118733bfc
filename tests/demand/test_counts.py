"""Sparse counts: the same answers as a dense table, and as scipy's rows."""

from __future__ import annotations

import numpy as np

from prewarm.demand.counts import Counts

TABLE = np.array([[0, 2, 0, 1], [0, 0, 0, 0], [3, 0, 0, 5]], dtype=np.float32)
COUNTS = Counts.of(TABLE)


def test_cells_come_in_any_order_are_added_up_and_never_hold_a_zero() -> None:
    rows, hours, values = np.array([1, 0, 1, 0]), np.array([2, 3, 2, 1]), np.array([4, 0, 1, 2])
    made = Counts.at(rows, hours, values, (2, 4))
    assert made.toarray().tolist() == [[0, 2, 0, 0], [0, 0, 5, 0]]
    assert made.nnz == 2


def test_rows_and_hours_are_cut_as_a_dense_table_is() -> None:
    cuts = (np.s_[1:], np.s_[:0], np.s_[:, 1:3], np.s_[:, -2:], np.s_[:, 3:1], np.s_[1:3, 1:], np.s_[:, :99])
    for cut in cuts:
        assert COUNTS[cut].toarray().tolist() == TABLE[cut].tolist(), cut
    for rows in ([2, 0], [1], [0, 0, 2], []):
        assert COUNTS[rows].toarray().tolist() == TABLE[np.array(rows, dtype=int)].tolist(), rows


def test_sums_by_image_by_hour_and_by_label() -> None:
    labels, weights = np.array([0, 1, 1, 0]), np.array([1.0, 0.5, 2.0, 10.0])
    assert COUNTS.sum(axis=0).tolist() == TABLE.sum(axis=0).tolist()
    assert COUNTS.sum(axis=1).tolist() == TABLE.sum(axis=1).tolist()
    assert COUNTS.sum() == TABLE.sum()
    assert (COUNTS @ weights).tolist() == (TABLE @ weights).tolist()
    assert COUNTS.grouped(labels, weights, 2).tolist() == [[10, 1], [0, 0], [53, 0]]
    assert COUNTS.grouped(labels, weights, 0).shape == (3, 0)


def test_each_image_has_a_first_a_last_and_a_busiest_hour() -> None:
    assert COUNTS.first().tolist() == [1, 4, 0]
    assert COUNTS.last().tolist() == [3, -1, 3]
    assert COUNTS.peak().tolist() == [2, 0, 5]


def test_no_image_and_no_hour_are_counts_too() -> None:
    for shape in ((0, 5), (3, 0)):
        empty = Counts.of(np.zeros(shape))
        assert empty.shape == shape == empty.toarray().shape
        assert empty.sum(axis=1).tolist() == [0] * shape[0]
        assert empty.first().tolist() == [shape[1]] * shape[0]


def test_scipy_has_the_same_cells() -> None:
    assert COUNTS.to_scipy().toarray().tolist() == TABLE.tolist()
