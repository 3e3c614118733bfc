"""Which images are worth the most within so many bytes, where images share layers.

Values add up and bytes do not: an image gets cheaper with each one that shares its layers. Greedy by value
per marginal byte, each image's price kept true by a heap that is told what every choice made cheaper. That is
a heuristic without a bound for what is known as the set-union knapsack (Goldschmidt, Nehme and Yu, 1994), so
it is to be compared with the plain order by value, and the better of the two taken.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Offer:
    """An image that may be warmed: what it is worth, and what it consists of."""

    value: float  # of any unit; below or equal 0: nothing
    parts: Mapping[object, int]  # what it consists of -> bytes


def best(offers: Sequence[Offer], room: int, *, brought: Collection[object], most: int | None) -> list[int]:
    """Places of the offers to take within `room` bytes, `most` of them at most, as they were taken.

    What is in `brought` costs nothing.
    """
    cost, sharing = _prices(offers, brought)
    heap = [(-_worth(offer, cost[place]), place) for place, offer in enumerate(offers) if offer.value > 0]
    heapq.heapify(heap)
    taken: dict[int, None] = {}
    while heap and (most is None or len(taken) < most):
        worth, place = heapq.heappop(heap)
        if place in taken or -worth != _worth(offers[place], cost[place]) or cost[place] > room:
            continue  # it has become cheaper, and stands in the heap once more; or it does not fit
        taken[place] = None
        room -= cost[place]
        for other in _made_cheaper(offers[place], cost, sharing):
            if other not in taken:
                heapq.heappush(heap, (-_worth(offers[other], cost[other]), other))
    return list(taken)


def _prices(
    offers: Sequence[Offer], brought: Collection[object]
) -> tuple[list[int], dict[object, list[int]]]:
    """What each offer adds, and the places of the offers that have each part."""
    cost: list[int] = []
    sharing = defaultdict[object, list[int]](list)
    for place, offer in enumerate(offers):
        price = 0
        for part, size in offer.parts.items():
            if part not in brought:
                price += size
                sharing[part].append(place)
        cost.append(price)
    return cost, sharing


def _worth(offer: Offer, cost: int) -> float:
    return offer.value / cost if cost else float("inf")


def _made_cheaper(offer: Offer, cost: list[int], sharing: dict[object, list[int]]) -> set[int]:
    """Take what the offer consists of off everybody's price; whose price that was."""
    touched: set[int] = set()
    for part, size in offer.parts.items():
        for place in sharing.pop(part, ()):
            cost[place] -= size
            touched.add(place)
    return touched
