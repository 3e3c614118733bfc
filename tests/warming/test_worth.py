"""Within so many bytes, the images that are worth the most together."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewarm.warming.worth import Offer, best

PARTS = {"a": 10, "b": 20, "c": 30, "d": 5, "e": 1}
OFFERS = st.lists(
    st.builds(
        lambda value, parts: Offer(value, {part: PARTS[part] for part in parts}),
        st.integers(0, 9).map(float),
        st.sets(st.sampled_from("abcde"), min_size=1),
    ),
    max_size=7,
)


def cost(offers: list[Offer], places: tuple[int, ...]) -> int:
    return sum(PARTS[str(part)] for part in {part for place in places for part in offers[place].parts})


def test_what_a_choice_makes_cheaper_may_fit_then() -> None:
    """The second needs 15 bytes alone, and 5 beside the first."""
    offers = [Offer(5.0, {"a": 10}), Offer(1.0, {"a": 10, "d": 5})]
    assert best(offers, 15, brought=(), most=None) == [0, 1]


def test_what_is_there_costs_nothing() -> None:
    """Even with no room at all."""
    assert best([Offer(1.0, {"a": 10})], 0, brought={"a"}, most=None) == [0]


def test_what_is_worth_nothing_is_not_taken() -> None:
    """Bytes for it would be waste."""
    assert best([Offer(0.0, {"a": 10})], 100, brought=(), most=None) == []


@given(OFFERS, st.integers(0, 70), st.none() | st.integers(0, 7))
def test_it_fits_and_nothing_that_would_fit_is_left(offers: list[Offer], room: int, most: int | None) -> None:
    """Never beyond the room, and none is left out that it has room for."""
    taken = tuple(best(offers, room, brought=(), most=most))
    assert len(set(taken)) == len(taken)
    assert cost(offers, taken) <= room
    assert most is None or len(taken) <= most
    if most is None:
        rest = [place for place in range(len(offers)) if place not in taken and offers[place].value > 0]
        assert all(cost(offers, (*taken, place)) > room for place in rest)


@given(st.lists(st.floats(0.1, 9), min_size=1, max_size=8), st.integers(0, 8))
def test_where_all_cost_the_same_it_is_the_best_choice(values: list[float], places: int) -> None:
    """Against every choice that there is; where sizes differ or layers are shared greedy may miss it."""
    offers = [Offer(value, {place: 10}) for place, value in enumerate(values)]
    taken = best(offers, 10 * places, brought=(), most=None)
    worth = sum(values[place] for place in taken)
    most = min(places, len(values))
    assert worth == pytest.approx(max(sum(some) for some in combinations(values, most)))
