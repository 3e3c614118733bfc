"""What becomes of young images, from what became of earlier ones."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from prewarm.demand.forecasters.lives import YOUNG, ebbing
from prewarm.demand.series import Grid, repositories
from tests.contracts import history

HOURS = 15 * 24
LIFE = (8, 4, 2)  # pulls of a build in the hours after its first one


def builds(*extra: tuple[str, int, tuple[int, ...]], outage: range = range(0)) -> Grid:
    """Two weeks of daily builds of `ci/api` that live as LIFE says, and more: name, birth, pulls."""
    lives = [(f"docker.io/ci/api:{day:02}", 24 * day + 10, LIFE) for day in range(1, 14)]
    rows = np.zeros((len(lives) + len(extra), HOURS))
    for row, (_, born, pulls) in zip(rows, (*lives, *extra), strict=True):
        row[born : born + len(pulls)] = pulls[: HOURS - born]
    made = history(rows)
    names = [name for name, _, _ in (*lives, *extra)]
    observed = ~np.isin(np.arange(HOURS), outage)
    return Grid(made.site, tuple(names), repositories(pl.Series(names)), made.start, made.counts, observed)


def foretold(grid: Grid, hours: int = 4) -> list[float]:
    """The next hours of the last image; 9 where age tells nothing."""
    return ebbing(grid, range(hours), np.full(len(grid.images), 9.0))[-1].tolist()


def test_a_young_tag_ebbs_as_earlier_tags_of_its_repository_did() -> None:
    grid = builds(("docker.io/ci/api:new", HOURS - 1, (8,)))
    assert foretold(grid) == pytest.approx([4, 2, 0, 0], abs=0.3)


def test_a_tag_that_began_busier_than_others_goes_on_busier() -> None:
    grid = builds(("docker.io/ci/api:new", HOURS - 1, (24,)))
    assert foretold(grid)[:2] == pytest.approx([12, 6], rel=0.2)


def test_a_tag_that_fell_silent_is_let_go() -> None:
    """Its last pull was as many hours ago as others went on: less and less is expected of it."""
    busy, silent = (builds(("docker.io/ci/api:new", HOURS - 2, pulls)) for pulls in ((8, 4), (8, 0)))
    assert foretold(silent)[0] < 0.8 * foretold(busy)[0]


def test_a_repository_without_earlier_tags_borrows_the_sites_curve() -> None:
    grid = builds(("docker.io/other/new:1", HOURS - 1, (8,)))
    assert foretold(grid)[0] == pytest.approx(4, rel=0.3)


def test_hours_of_an_outage_do_not_count_as_silence() -> None:
    quiet = ("docker.io/ci/api:new", HOURS - 2, (8, 0))
    assert foretold(builds(quiet, outage=range(HOURS - 1, HOURS)))[0] > foretold(builds(quiet))[0]


def test_images_past_their_youth_have_what_is_said_otherwise() -> None:
    grid = builds(("docker.io/ci/api:old", HOURS - YOUNG, (8,)))
    assert foretold(grid) == [9.0] * 4


def test_nothing_is_said_where_no_birth_was_seen() -> None:
    """All images were there in the first hours of the history: none of their ages is known."""
    made = history(np.ones((3, 20)))
    assert (ebbing(made, range(2), np.full(3, 9.0)) == 9.0).all()
