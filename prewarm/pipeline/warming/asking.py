"""What a cache holds of the images that come into question: it is asked, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from prewarm.errors import ForbiddenHost, InvalidReference, NotFound, PrewarmError, UnsupportedImage
from prewarm.pipeline.warming.caches import CacheSpec, place
from prewarm.references import Reference
from prewarm.warming import planning
from prewarm.warming.caches import Cache, Scattered
from prewarm.warming.images import Image
from prewarm.warming.planning import Candidate
from prewarm.warming.rules import Gate

AT_ONCE = 8  # images that are asked about
LASTING = (NotFound, UnsupportedImage, InvalidReference, ForbiddenHost)  # no later moment makes these good


@dataclass(frozen=True, slots=True)
class Asked:
    """A candidate and, when it could be resolved, its image."""

    candidate: Candidate
    image: Image | None = None


async def ask(cache: Cache, candidates: Sequence[Candidate], spec: CacheSpec, top: int | None) -> list[Asked]:
    """Ask the cache about the candidates that may come into the plan, in waves until all places are taken.

    Those beyond are left out: a plan does not list the whole ranking.
    """
    gate = Gate(spec.rules)
    places = asyncio.Semaphore(AT_ONCE)
    asked: list[Asked] = []
    taken, rest = 0, list(candidates)
    while rest and (top is None or taken < top or gate.always(rest[0].image)):
        wave, rest = _wave(rest, gate, None if top is None else top - taken)
        answers = await asyncio.gather(*(_ask_one(cache, each, spec, gate, places) for each in wave))
        asked += answers
        taken += sum(_takes_place(known.candidate, gate) for known in answers)
    return asked


def _wave(rest: list[Candidate], gate: Gate, room: int | None) -> tuple[list[Candidate], list[Candidate]]:
    """The next candidates, up to the one that may fill the last of `room` places, and the others."""
    taken = 0
    for count, candidate in enumerate(rest):
        if taken == room and not gate.always(candidate.image):
            return rest[:count], rest[count:]
        taken += _takes_place(candidate, gate)
    return rest, []


def _takes_place(candidate: Candidate, gate: Gate) -> bool:
    if gate.always(candidate.image) or planning.refusal(candidate, gate):
        return False
    return planning.takes_place(candidate)


async def _ask_one(
    cache: Cache, candidate: Candidate, spec: CacheSpec, gate: Gate, places: asyncio.Semaphore
) -> Asked:
    if planning.refusal(candidate, gate):
        return Asked(candidate)
    reference = Reference.parse(candidate.image)
    async with places:
        try:
            image = await cache.resolve(reference)
            cold = await _cold(cache, image)
        except PrewarmError as refused:
            passing = not isinstance(refused, LASTING)
            return Asked(replace(candidate, problem=str(refused), passing=passing))
    blobs = tuple((blob.digest, blob.size) for blob in image.blobs)
    known = replace(
        candidate,
        digest=image.digest or None,
        bytes=image.bytes if blobs else candidate.bytes,
        blobs=blobs,
        place=place(spec, reference),
        held=not cold,
        cold=cold,
    )
    return Asked(known, image)


async def _cold(cache: Cache, image: Image) -> float:
    """The chance that who asks for the image finds it missing: 0 or 1, but for caches of several hosts."""
    if isinstance(cache, Scattered):
        return await cache.missing(image)
    return float(not await cache.holds(image))


def silence(asked: Sequence[Asked]) -> str | None:
    """The first refusal, when every image that was asked about met one that may pass; else None."""
    refusals = [each.candidate for each in asked if each.candidate.problem]
    answered = any(each.image is not None for each in asked) or any(not each.passing for each in refusals)
    return None if answered or not refusals else refusals[0].problem
