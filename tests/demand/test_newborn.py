"""Tags that were pushed and not pulled yet."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from prewarm.demand.newborn import newborns
from prewarm.demand.series import Grid, repositories
from tests.contracts import history

HOURS = 15 * 24
DAYS = range(1, 14)


def builds(lag: int = 0) -> tuple[Grid, dict[str, int]]:
    """Two repositories with a build at ten every day, pulled for three hours from `lag` hours later.

    `busy` has six pulls an hour then, `quiet` one. With the hour that each was pushed in.
    """
    counts, names, pushed = [], [], {}
    for repository, pulls in (("busy", 6), ("quiet", 1)):
        for day in DAYS:
            row = np.zeros(HOURS)
            row[24 * day + 10 + lag : 24 * day + 13 + lag] = pulls
            names.append(f"docker.io/ci/{repository}:{day:02}")
            pushed[names[-1]] = 24 * day + 10
            counts.append(row)
    made = history(np.array(counts))
    images = pl.Series(names)
    return Grid(made.site, tuple(names), repositories(images), made.start, made.counts, made.observed), pushed


def table(grid: Grid, pushed: dict[str, int]) -> pl.DataFrame:
    """Pushes at half past these hours of the grid."""
    return pl.DataFrame(
        [(grid.start + timedelta(hours=hour, minutes=30), image) for image, hour in pushed.items()],
        schema={"timestamp": pl.Datetime("us", "UTC"), "image": pl.String},
        orient="row",
    )


def test_a_tag_that_was_just_pushed_is_expected_as_earlier_ones_of_its_repository() -> None:
    """Two are pushed in the last hour: each has what its repository's builds had in their next hours."""
    grid, pushed = builds(lag=1)
    last = grid.hours - 1
    pushed |= {"docker.io/ci/busy:new": last, "docker.io/ci/quiet:new": last}
    found = newborns(grid, table(grid, pushed))
    assert found.images == ("docker.io/ci/busy:new", "docker.io/ci/quiet:new")
    means = found.means(range(24))
    assert means[:, 0] == pytest.approx([6, 1], rel=0.3)
    assert means[:, 8:].max() < 0.5


def test_a_tag_that_waited_longer_than_any_before_it_is_given_up() -> None:
    """Builds are pulled within the hour; one that was not for eight hours is hardly expected any more."""
    grid, pushed = builds()
    pushed |= {f"docker.io/ci/busy:dud-{day}": 24 * day + 3 for day in DAYS}
    pushed |= {"docker.io/ci/busy:new": grid.hours - 1, "docker.io/ci/busy:old": grid.hours - 8}
    found = newborns(grid, table(grid, pushed))
    means = dict(zip(found.images, found.means(range(1))[:, 0].tolist(), strict=True))
    assert means["docker.io/ci/busy:old"] < 0.5


def test_without_earlier_pushes_the_first_pulls_of_its_repository_stand_in() -> None:
    """A log that begins to tell of pushes only now still ranks the tag."""
    grid, _ = builds()
    found = newborns(grid, table(grid, {"docker.io/ci/busy:new": grid.hours - 1}))
    assert found.means(range(1))[0, 0] == pytest.approx(6, rel=0.4)


def test_a_new_repository_borrows_from_its_site() -> None:
    """Nothing is known of it, so it is expected as a tag of the site is."""
    grid, pushed = builds()
    found = newborns(grid, table(grid, pushed | {"docker.io/ci/unknown:1": grid.hours - 1}))
    assert 0.5 < found.means(range(1))[0, 0] < 6


def test_what_was_pulled_or_pushed_long_ago_does_not_wait() -> None:
    """A tag with pulls is the model's; one that nobody wanted for a day is left out."""
    grid, pushed = builds()
    assert newborns(grid, table(grid, pushed | {"docker.io/ci/busy:stale": grid.hours - 30})).images == ()


def test_no_pushes_no_newborns() -> None:
    """Most lakes have none."""
    grid, _ = builds()
    found = newborns(grid, table(grid, {}))
    assert found.images == ()
    assert found.means(range(3)).shape == (0, 3)


def test_a_tag_that_is_pushed_after_the_last_pull_begins_its_life_then() -> None:
    """The site has logged no pull for two hours when it comes: nothing before, and as others after."""
    grid, pushed = builds()
    means = newborns(grid, table(grid, pushed | {"docker.io/ci/busy:new": grid.hours + 2})).means(range(24))
    assert means[0, :2].tolist() == [0, 0]
    assert means[0, 2] == pytest.approx(6, rel=0.3)
