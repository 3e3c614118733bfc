"""A random share of a plan is withheld, so that what warming gains is measured by experiment.

Images that share a layer are withheld together: a warmed one would bring half of the other. Every group
has the same chance, whatever its size and rank, and the draw is made from the plan's id, so that it can be
made again. The places and bytes of what is withheld are not given to others: apart from the draw, both
sides of the experiment are what the plan would have warmed.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import floor

from prewarm.warming.planning import Blob, Candidate, Plan, Warm

SHARED = 65_536  # bytes; smaller blobs (configs, the empty layer) tie no images together


def withhold(
    plan: Plan, candidates: Iterable[Candidate], share: float, exempt: Callable[[str], bool]
) -> Plan:
    """The plan with `share` (0 to 1) of its groups of images moved from `warms` to `withheld`.

    `candidates` tell the layers. A group with an image that is `exempt` takes no part. The number of groups
    withheld is the share of them, rounded up or down at random.
    """
    if not share:
        return plan
    known = {candidate.image: candidate for candidate in candidates}
    groups = [
        group for group in _groups([known[warm.image] for warm in plan.warms]) if not any(map(exempt, group))
    ]
    out = {image for group in _drawn(groups, share, plan.id) for image in group}
    return replace(
        plan,
        warms=tuple(warm for warm in plan.warms if warm.image not in out),
        withheld=tuple(_withheld(warm, share) for warm in plan.warms if warm.image in out),
        meta=plan.meta | {"holdout": f"{share:g}"},
    )


def _groups(candidates: Sequence[Candidate]) -> list[list[str]]:
    """Images that share a layer, directly or through others; in the order of the first of each."""
    parents = list(range(len(candidates)))
    first: dict[Blob, int] = {}  # the first candidate with that layer
    for number, candidate in enumerate(candidates):
        for digest, count in candidate.blobs:
            if count >= SHARED:
                other = first.setdefault((candidate.place, digest), number)
                parents[_root(parents, number)] = _root(parents, other)
    groups: defaultdict[int, list[str]] = defaultdict(list)
    for number, candidate in enumerate(candidates):
        groups[_root(parents, number)].append(candidate.image)
    return list(groups.values())


def _root(parents: list[int], number: int) -> int:
    while parents[number] != number:
        parents[number] = parents[parents[number]]  # shorter for whoever asks next
        number = parents[number]
    return number


def _drawn(groups: Sequence[list[str]], share: float, seed: str) -> list[list[str]]:
    """A systematic sample of the shuffled groups: each with chance `share`, their number nearly certain."""
    dice = random.Random(seed)
    shuffled = list(groups)
    dice.shuffle(shuffled)
    start = dice.random()
    return [
        group
        for at, group in enumerate(shuffled)
        if floor((at + 1) * share + start) > floor(at * share + start)
    ]


def _withheld(warm: Warm, share: float) -> Warm:
    return replace(warm, reason=f"withheld at random, as a holdout of {share:.3g} says; {warm.reason}")
