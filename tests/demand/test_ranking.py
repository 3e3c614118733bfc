"""Forecasts become a ranking."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from prewarm.demand.distribution import Dispersion
from prewarm.demand.forecasters import Prior, fit
from prewarm.demand.forecasters.auto import VIEWS, Auto
from prewarm.demand.forecasters.profile import Profile
from prewarm.demand.ranking import Expected, expect, explain, rank, together, window
from prewarm.errors import UnknownName
from tests.contracts import busy
from tests.demand.samples import MONDAY, after


def expected(**means: float) -> Expected:
    """Images with these means, and chances that grow with them."""
    mean = np.array(list(means.values()))
    return Expected(tuple(means), mean, 1 - np.exp(-mean))


def names(*args: object, **kwargs: object) -> list[str]:
    """Images of a ranking, best first."""
    return [ranked.image for ranked in rank(*args, **kwargs)]  # type: ignore[arg-type]


def test_the_best_come_first_and_only_as_many_as_asked() -> None:
    """Top-N by expected pulls, ranked from one."""
    ranking = rank(expected(a=1, b=3, c=2), {}, top=2)
    assert [(one.rank, one.image, one.score) for one in ranking] == [(1, "b", 3.0), (2, "c", 2.0)]


def test_ties_are_broken_by_name() -> None:
    """Equal images keep one order, also where the cut falls between them."""
    assert names(expected(d=1, b=1, a=1, c=1), {}, top=3) == ["a", "b", "c"]


def test_more_asked_than_there_are_gives_all() -> None:
    """A top of 50 over three images is three images."""
    assert names(expected(a=1, b=3, c=2), {}, top=50) == ["b", "c", "a"]


def test_objectives_order_differently() -> None:
    """Bytes favour the large image; chances and pulls do not."""
    parts = expected(small=3, large=1)
    sizes = {"small": 10, "large": 1000}
    assert names(parts, sizes, "pulls") == ["small", "large"]
    assert names(parts, sizes, "any-pull") == ["small", "large"]
    assert names(parts, sizes, "bytes") == ["large", "small"]


def test_an_unknown_size_counts_as_the_median() -> None:
    """An image that nobody knows the size of is neither first nor last for it, and shows no size."""
    ranking = rank(expected(a=1, b=1, c=1), {"a": 10, "c": 30}, "bytes")
    assert [(one.image, one.bytes, one.score) for one in ranking] == [
        ("c", 30, 30.0),
        ("b", None, 20.0),
        ("a", 10, 10.0),
    ]


def test_an_unknown_objective_is_refused() -> None:
    """The message lists the known ones."""
    with pytest.raises(UnknownName, match="known: any-pull, bytes, pulls"):
        rank(expected(a=1), {}, "hits")


def test_a_window_on_the_hour_is_whole_hours() -> None:
    """Two hours that begin nine hours after the cutoff."""
    asked = window(MONDAY, after(hours=9), after(hours=11))
    assert (asked.ahead, asked.shares.tolist()) == (range(9, 11), [1.0, 1.0])


def test_a_window_between_hours_takes_its_share_of_both() -> None:
    """From a quarter past, one hour is three quarters of one and a quarter of the next."""
    asked = window(MONDAY, after(hours=9, minutes=15), after(hours=10, minutes=15))
    assert (asked.ahead, asked.shares.tolist()) == (range(9, 11), [0.75, 0.25])


def test_hours_add_up_and_chances_combine() -> None:
    """Means are summed by share; no pull at all is no pull in any hour."""
    means = np.array([[1.0, 2.0]], dtype=np.float32)
    dispersion = Dispersion()
    found = expect(("a",), means, dispersion, np.array([1.0, 1.0]))
    p = dispersion.probability(means)[0]
    assert found.mean[0] == pytest.approx(3)
    assert found.probability[0] == pytest.approx(1 - (1 - p[0]) * (1 - p[1]))


def test_sites_together_have_every_image_once() -> None:
    """An image of two sites adds up; one of a single site stays as it is."""
    both = together([expected(a=1, b=2), expected(b=3, c=4)])
    assert both.images == ("a", "b", "c")
    assert both.mean.tolist() == [1, 5, 4]
    assert both.probability[1] == pytest.approx(1 - np.exp(-5))


def test_a_certain_pull_stays_a_chance() -> None:
    """Chances of one do not become anything else when they are combined."""
    sure = Expected(("a",), np.array([1e9]), np.array([1.0]))
    assert together([sure, sure]).probability[0] == pytest.approx(1)


def test_an_explanation_ends_in_the_forecast() -> None:
    """Every link is a rate, and the last one times the recent level is the mean."""
    grid = busy()
    told = explain(grid, "profile", fit(Profile(), grid), Prior(), grid.images[-1], 9)
    assert told.time == grid.cutoff + timedelta(hours=9)
    assert all(link.value > 0 for link in told.links)
    assert told.links[-1].value * told.ratio == pytest.approx(told.mean, rel=1e-5)
    assert told.mean == pytest.approx(float(Profile().forecast(grid, range(9, 10))[-1, 0]), rel=1e-5)


def test_an_image_that_is_not_averaged_has_no_views() -> None:
    """Where only the busiest image is averaged, the others are the profile's."""
    grid = busy()
    answers = Auto(most=1).fit(grid)
    rare, often = (explain(grid, "auto", answers, Prior(), grid.images[row], 9) for row in (0, -1))
    assert (len(rare.views), len(often.views)) == (0, len(VIEWS))
    assert rare.mean == pytest.approx(rare.links[-1].value * rare.ratio, rel=1e-5)


def test_an_unknown_image_is_answered_with_its_neighbours() -> None:
    """A tag that was never pulled: the known ones of its repository are named."""
    grid = busy()
    with pytest.raises(UnknownName, match=r"did you mean 'docker\.io/r/000:"):
        explain(grid, "profile", fit(Profile(), grid), Prior(), "docker.io/r/000:7", 0)
