"""What a registry looks like."""

from __future__ import annotations

import numpy as np

from prewarm.demand import patterns
from tests.contracts import history, with_outage


def test_rhythm_is_the_mean_of_each_hour_of_the_week() -> None:
    """Two weeks that differ: the mean of both; hours never seen are NaN."""
    counts = np.zeros((2, 2 * 168))
    counts[0, 8], counts[0, 168 + 8], counts[1, 8] = 4, 2, 10
    table = patterns.rhythm(history(counts))
    assert table.shape == (7, 24)
    assert table[0, 8] == 8
    assert np.nansum(table) == 8
    assert np.isnan(patterns.rhythm(history(counts[:, :24]))[1]).all()


def test_rhythm_of_one_image_leaves_out_the_others() -> None:
    """The image that was asked for; one that is not there is pulled 0 times."""
    grid = history(np.vstack([np.full(168, 3.0), np.full(168, 5.0)]))
    assert (patterns.rhythm(grid, grid.images[0]) == 3).all()
    assert (patterns.rhythm(grid, "docker.io/library/none:1") == 0).all()


def test_rhythm_does_not_count_an_outage() -> None:
    """An unknown hour is no zero."""
    grid = with_outage(history(np.full((1, 2 * 168), 6.0)), 0, 24)
    assert (patterns.rhythm(grid) == 6).all()


def test_concentration_is_the_share_of_the_busiest() -> None:
    """Six, three and one pull of ten."""
    assert np.allclose(patterns.concentration(history(np.array([[1.0], [6.0], [3.0]]))), [0.6, 0.9, 1])
    assert patterns.concentration(history(np.zeros((2, 3)))).size == 0


def test_churn_counts_what_is_new_each_day() -> None:
    """Day two brings one new image with half of its pulls, and keeps one of the two at the top."""
    counts = np.zeros((3, 48))
    counts[0, [1, 30]], counts[1, 2], counts[2, 40] = 5, 3, 5
    told = patterns.churn(history(counts), top=2)
    assert told.new_images.tolist() == [1]
    assert told.new_share.tolist() == [0.5]
    assert told.kept.tolist() == [0.5]
