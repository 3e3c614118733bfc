"""The average of views: whose view counts, and what becomes of images in some states."""

from __future__ import annotations

import numpy as np
import pytest

from prewarm.demand.forecasters.auto import VIEWS, Auto, _hedged
from prewarm.demand.forecasters.baselines import weighted_mean
from prewarm.demand.forecasters.profile import Profile
from prewarm.demand.series import WEEK, Grid
from tests.contracts import DAY, busy, history

WEEKS = 5
HOURS = WEEKS * WEEK


def job(every: int, phase: int = 0, pulls: float = 6) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Pulls at every `every`th hour of five weeks."""
    return np.where(np.arange(HOURS) % every == phase, pulls, 0.0)


def builds(seed: int = 2) -> Grid:
    """Twenty repositories, each with a new tag a day that is pulled for three hours and never again."""
    rng = np.random.default_rng(seed)
    rows, repositories = [], []
    for repository in range(20):
        for day in range(HOURS // 24):
            row = np.zeros(HOURS)
            begin = 24 * day + int(rng.integers(8, 17))
            row[begin : begin + 3] = rng.poisson(4, 3) + 1
            rows.append(row)
            repositories.append(repository)
    grid = history(np.array(rows))
    return Grid(
        grid.site, grid.images, np.array(repositories, np.int32), grid.start, grid.counts, grid.observed
    )


def test_a_weekly_job_is_waited_for_at_its_hour() -> None:
    """After five Mondays at nine it is expected on the sixth, and hardly an hour later."""
    grid = history(np.vstack([job(WEEK, 9), np.full(HOURS, 2.0)]))
    means = Auto().forecast(grid, DAY)[0]
    assert means.argmax() == 9
    assert means[9] > 4
    assert means[10] < 1


def test_a_job_of_an_odd_interval_is_found() -> None:
    """Every 36 hours is neither a day nor a week: the interval's view has the weight, and it is on time."""
    answers = Auto().fit(history(np.vstack([job(36, 12), np.full(HOURS, 2.0)])))
    due = next(hour for hour in range(36) if (HOURS + hour) % 36 == 12)
    means = answers.means(range(36))[0]
    assert means.argmax() == due
    assert means[due] > 4
    assert answers.weight(5)[VIEWS.index("interval"), 0] > 0.5


def test_a_burst_goes_on_for_the_next_hour() -> None:
    """An image whose last hours are ten times busier is expected to stay so, more than its profile says."""
    rng = np.random.default_rng(1)
    counts = rng.poisson(1.0, (6, HOURS)).astype(np.float64)
    for row in range(6):
        for begin in range(20 + row, HOURS - 50, 60):
            counts[row, begin : begin + 8] = 15
    counts[0, -3:] = 15
    grid = history(counts)
    assert Auto().forecast(grid, range(1))[0, 0] > 1.3 * Profile().forecast(grid, range(1))[0, 0]


def test_build_tags_leave_within_a_day() -> None:
    """Where tags live for hours, yesterday's are hardly expected; today's last one may still be."""
    grid = builds().until(HOURS - 24 + 16)
    last = grid.counts.last()
    means = Auto().forecast(grid, range(1))[:, 0]
    profile = Profile().forecast(grid, range(1))[:, 0]
    yesterday = (last >= 0) & (last < grid.hours - 20) & (last >= grid.hours - 48)
    fresh = last >= grid.hours - 2
    assert means[yesterday].mean() < 0.2 * profile[yesterday].mean()
    assert means[fresh].mean() > 10 * means[yesterday].mean()


def test_among_the_unlikely_the_popular_come_first() -> None:
    """In hours that two jobs never pull in, the one that pulls more still has the higher mean."""
    for every in (5, 24):
        grid = history(np.vstack([job(every, pulls=3), job(every, pulls=2)]))
        means = Auto().forecast(grid, range(1, 5))
        assert (means[0] > means[1]).all()


def test_weights_add_up_and_bursts_say_nothing_of_the_day_after() -> None:
    """Views are averaged; beyond a day the last hours have no say."""
    answers = Auto().fit(busy())
    for hour in (0, 5, 30):
        assert np.allclose(answers.weight(hour).sum(axis=0), 1)
    assert (answers.weight(30)[[1, 2]] == 0).all()


def test_only_the_busiest_are_averaged() -> None:
    """The cost of a large site is bounded: the rest is what the profile says."""
    grid = busy()
    means, profile = Auto(most=3).forecast(grid, DAY), Profile().forecast(grid, DAY)
    assert np.array_equal(means[:5], profile[:5])
    assert not np.array_equal(means[5:], profile[5:])


@pytest.mark.parametrize("hours", [1, 5, 26, 30, 50])
def test_a_short_history_has_an_answer(hours: int) -> None:
    """With hours of log, and no or few tests, a steady image is expected to go on."""
    means = Auto().forecast(history(np.full((3, hours), 5.0)), range(1))
    assert np.allclose(means, 5, rtol=0.35)


def moody(seed: int = 0) -> Grid:
    """Forty images of constant, unequal shares in what the site pulls, which comes and goes within hours."""
    rng = np.random.default_rng(seed)
    mood = np.zeros(HOURS)
    for hour in range(1, HOURS):
        mood[hour] = 0.92 * mood[hour - 1] + 0.39 * rng.normal()
    rates = 8.0 / (1 + np.arange(40)) ** 1.3
    return history(rng.poisson(rates[:, None] * np.exp(2 * mood - 2)).astype(np.float64))


def test_a_plain_mean_divides_the_pulls_of_a_site_whose_images_come_and_go_together() -> None:
    """Busy hours say nothing of which image is next: the hour ahead is ranked by how often each is pulled."""
    grid = moody()
    answers = Auto().fit(grid)
    assert answers.shares.min() > 0.8
    plain = weighted_mean(grid, 24.0)
    means = answers.means(range(1))[:, 0]
    assert np.intersect1d(np.argsort(-means)[:10], np.argsort(-plain)[:10]).size >= 9


def test_where_there_are_rhythms_the_plain_mean_divides_nothing() -> None:
    """Jobs with hours of their own are told apart by these, not by how often they run."""
    jobs = history(np.vstack([job(24, hour) for hour in range(12)]))
    assert Auto().fit(jobs).shares.max() < 0.01


def test_the_hedge_moves_pulls_between_images_and_adds_none() -> None:
    """Hour by hour the hedged means add up to what the average expects of the site."""
    mean = np.array([[4.0, 0.0], [2.0, 3.0]])
    hedged = _hedged(mean, np.array([1.0, 1.0], np.float32), np.array([0.5, 1.0]))
    assert hedged == pytest.approx(np.array([[3.5, 1.5], [2.5, 1.5]]))
