"""The long frame, there and back."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from prewarm.demand import frames
from prewarm.demand.calendars import Site
from prewarm.demand.series import Grid
from prewarm.errors import NotEnoughHistory, SettingsError
from tests.contracts import busy, with_outage


def same(one: Grid, other: Grid) -> bool:
    """Whether two grids say the same."""
    return (
        (one.images, one.start, one.hours) == (other.images, other.start, other.hours)
        and (one.counts.toarray() == other.counts.toarray()).all()
        and (one.observed == other.observed).all()
        and (one.repositories == other.repositories).all()
    )


def test_a_grid_survives_the_frame() -> None:
    """With zeros and the hours of an outage."""
    grid = with_outage(busy(), 50, 60)
    back = frames.history(frames.frame(grid))
    assert same(back, grid)
    assert back.counts.nnz == grid.counts.nnz


def test_a_sparse_frame_survives_with_its_end() -> None:
    """Rows that are not there are zeros; the end tells how many."""
    grid = busy()
    sparse = frames.frame(grid, zeros=False)
    assert (sparse["y"] > 0).all()
    assert same(frames.history(sparse, until=grid.cutoff), grid)


def test_the_frame_has_nixtlas_columns_sorted() -> None:
    """unique_id, ds, y; one image after the other, hours in order, in UTC."""
    frame = frames.frame(busy())
    assert list(frame.columns) == ["unique_id", "ds", "y"]
    assert str(frame["ds"].dt.tz) == "UTC"
    assert frame.sort_values(["unique_id", "ds"]).index.tolist() == list(range(len(frame)))


def test_unknown_hours_are_nan() -> None:
    """An outage is NaN for every image, not zero."""
    frame = frames.frame(with_outage(busy(images=2, hours=48), 10, 12))
    assert frame["y"].isna().sum() == 2 * 2


def test_naive_times_are_utc_and_order_does_not_matter() -> None:
    """A frame from elsewhere: naive, shuffled, with names that are no references."""
    start = pd.Timestamp("2026-02-02 08:00")
    df = pd.DataFrame(
        {"unique_id": ["b", "a", "b"], "ds": [start + timedelta(hours=2), start, start], "y": 1}
    )
    grid = frames.history(df)
    assert grid.images == ("a", "b")
    assert grid.counts.toarray().tolist() == [[1, 0, 0], [1, 0, 1]]
    assert grid.start.isoformat() == "2026-02-02T08:00:00+00:00"


def test_hours_are_those_of_the_site() -> None:
    """Half past is the hour in Mumbai."""
    df = pd.DataFrame({"unique_id": ["a"], "ds": pd.to_datetime(["2026-02-02T02:45Z"]), "y": [1]})
    assert frames.history(df, Site("mumbai", "Asia/Kolkata")).start.minute == 30


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"y": [-1.0, 1.0]}, "negative or infinite"),
        ({"y": [np.inf, 1.0]}, "negative or infinite"),
        ({"ds": ["yesterday", "today"]}, "expected time stamps"),
        ({"y": [np.nan, 1.0]}, "NaN beside numbers"),
        ({"unique_id": [None, "b"]}, "must not be empty"),
        ({"ds": pd.to_datetime(["1900-01-01", "2026-01-01"])}, "at most ten years"),
    ],
)
def test_what_is_no_count_is_refused(change: dict[str, object], words: str) -> None:
    """Each wrong value is named, in one line."""
    good = {"unique_id": ["a", "b"], "ds": pd.to_datetime(["2026-02-02T08:00"] * 2), "y": [1.0, 2.0]}
    with pytest.raises(SettingsError, match=words):
        frames.history(pd.DataFrame(good | change))


def test_a_missing_column_is_named() -> None:
    """The message says which, and what is expected."""
    with pytest.raises(SettingsError, match="no column y; expected unique_id, ds, y"):
        frames.history(pd.DataFrame({"unique_id": ["a"], "ds": pd.to_datetime(["2026-02-02"])}))


def test_an_empty_frame_is_not_enough() -> None:
    """No rows, no history."""
    empty = pd.DataFrame({"unique_id": [], "ds": pd.to_datetime([]), "y": []})
    with pytest.raises(NotEnoughHistory, match="no rows"):
        frames.history(empty)


def test_too_many_rows_are_refused_with_the_way_out() -> None:
    """A frame that would not fit into memory is asked for without zeros."""
    grid = busy(images=1, hours=1)
    huge = Grid(
        grid.site, grid.images * 60_000_000, grid.repositories, grid.start, grid.counts, grid.observed
    )
    with pytest.raises(SettingsError, match="zeros=False"):
        frames.frame(huge)
