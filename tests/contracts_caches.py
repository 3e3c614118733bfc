"""What every cache promises, as functions that take a world: run over built-ins here, and by third parties.

A world is a cache with an upstream of its own. A plug-in's own tests build one and await each of
CACHE_CHECKS with a fresh world; a check raises AssertionError with the promise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from prewarm.errors import CacheError, NotFound, PrewarmError
from prewarm.references import Reference
from prewarm.warming.caches import Cache, Evicting, Watching


@dataclass(frozen=True)
class World:
    """A cache that is empty, and what a test does to its upstream."""

    cache: Cache
    push: Callable[[Reference, list[bytes]], object]  # let the upstream have an image with these layers
    corrupt: Callable[[bytes], object]  # let the layer with this content come wrong, for ever
    stall: Callable[[bytes], object]  # let the layer's next transfer stop in the middle
    stalled: Callable[[], Awaitable[object]]  # returns when it has stopped
    registry: str = "docker.io"
    forgets: bool = True  # whether a cache with `evict` lets go of anything

    def reference(self, path: str) -> Reference:
        return Reference.parse(f"{self.registry}/{path}")


async def absent_is_not_held(world: World) -> None:
    """An image that nobody warmed is not held."""
    api = world.reference("acme/api:1")
    world.push(api, [b"layer"])
    assert not await world.cache.holds(await world.cache.resolve(api))


async def warming_makes_it_held(world: World) -> None:
    """After a warm the image is held, its transfer is counted, and the proof has words."""
    api = world.reference("acme/api:1")
    world.push(api, [b"layer one", b"layer two"])
    image = await world.cache.resolve(api)
    assert image.reference == api
    transfer = await world.cache.warm(image)
    assert await world.cache.holds(image)
    assert transfer.bytes >= len(b"layer one" + b"layer two")
    assert transfer.proof


async def warming_twice_is_harmless_and_free(world: World) -> None:
    """The second warm transfers nothing and the image stays held."""
    api = world.reference("acme/api:1")
    world.push(api, [b"layer"])
    image = await world.cache.resolve(api)
    await world.cache.warm(image)
    assert (await world.cache.warm(image)).bytes == 0
    assert await world.cache.holds(image)


async def shared_layers_travel_once(world: World) -> None:
    """The second build of an image costs its own layer, not the base."""
    base = b"base" * 5000
    references = [world.reference("acme/api:1"), world.reference("acme/api:2")]
    for reference in references:
        world.push(reference, [base, str(reference).encode()])
    first, second = [await world.cache.warm(await world.cache.resolve(each)) for each in references]
    assert first.bytes >= len(base)
    assert second.bytes < len(base)


async def a_moved_tag_is_not_held_until_warmed_again(world: World) -> None:
    """Freshness is part of holding."""
    api = world.reference("acme/api:1")
    world.push(api, [b"old"])
    await world.cache.warm(await world.cache.resolve(api))
    world.push(api, [b"new"])
    moved = await world.cache.resolve(api)
    assert not await world.cache.holds(moved)
    await world.cache.warm(moved)
    assert await world.cache.holds(moved)


async def wrong_content_is_refused(world: World) -> None:
    """A layer that is not what its digest says makes an error, and the image is not held."""
    api = world.reference("acme/api:1")
    world.push(api, [b"layer one", b"layer two"])
    world.corrupt(b"layer two")
    image = await world.cache.resolve(api)
    refused = await _refusal(world.cache.warm(image))
    assert refused is not None, "a corrupt layer was called warm"
    assert "digest" in str(refused) or "sha256:" in str(refused)
    assert not await world.cache.holds(image)


async def a_cancelled_warm_leaves_nothing_half_visible(world: World) -> None:
    """Cancelled in the middle, the image is not held; warmed again, it is."""
    api = world.reference("acme/api:1")
    world.push(api, [b"layer one", b"layer two"])
    world.stall(b"layer two")
    image = await world.cache.resolve(api)
    warm = asyncio.ensure_future(world.cache.warm(image))
    await world.stalled()
    warm.cancel()
    await asyncio.gather(warm, return_exceptions=True)
    assert warm.cancelled()
    assert not await world.cache.holds(image)
    await world.cache.warm(image)
    assert await world.cache.holds(image)


async def a_moved_tag_is_told_without_a_pull(world: World) -> None:
    """A cache that watches tags names the digest that resolving would."""
    if not isinstance(world.cache, Watching):
        return
    api = world.reference("acme/api:1")
    world.push(api, [b"old"])
    old = await world.cache.current(api)
    assert old == (await world.cache.resolve(api)).digest
    world.push(api, [b"new"])
    assert await world.cache.current(api) != old


async def an_evicted_image_is_not_held_and_the_others_are(world: World) -> None:
    """A cache that can forget tells first what it would, takes out what is asked, and can be warmed again."""
    if not isinstance(world.cache, Evicting):
        return
    if not world.forgets:
        refused = await _refusal(world.cache.evict([world.reference("acme/api:1")], apply=False))
        assert isinstance(refused, CacheError)
        return
    old, new, gone = (world.reference(f"acme/api:{tag}") for tag in ("1", "2", "3"))
    for reference in (old, new):
        world.push(reference, [b"base" * 500, str(reference).encode()])
        await world.cache.warm(await world.cache.resolve(reference))
    images = [await world.cache.resolve(reference) for reference in (old, new)]

    told = await world.cache.evict([old, gone], apply=False)
    assert told.evicted == (str(old),)
    assert await world.cache.holds(images[0])
    done = await world.cache.evict([old, gone], apply=True)

    assert done.evicted == told.evicted
    assert done.bytes > 0
    assert [await world.cache.holds(image) for image in images] == [False, True]
    assert (await world.cache.evict([old], apply=True)).evicted == ()
    await world.cache.warm(images[0])
    assert await world.cache.holds(images[0])


async def what_the_upstream_lacks_is_not_found(world: World) -> None:
    """Resolving says so by the error for it."""
    refused = await _refusal(world.cache.resolve(world.reference("acme/gone:1")))
    assert isinstance(refused, NotFound)
    assert str(refused)


async def a_check_says_what_it_found(world: World) -> None:
    """A cache that works is fine in every finding, in words."""
    findings = await world.cache.check()
    assert findings
    assert [finding for finding in findings if not finding.ok] == []
    assert all(finding.subject and finding.message for finding in findings)


async def _refusal(work: Awaitable[object]) -> PrewarmError | None:
    try:
        await work
    except PrewarmError as refused:
        return refused
    return None


CACHE_CHECKS: tuple[Callable[[World], Awaitable[None]], ...] = (
    absent_is_not_held,
    warming_makes_it_held,
    warming_twice_is_harmless_and_free,
    shared_layers_travel_once,
    a_moved_tag_is_not_held_until_warmed_again,
    wrong_content_is_refused,
    a_cancelled_warm_leaves_nothing_half_visible,
    a_moved_tag_is_told_without_a_pull,
    an_evicted_image_is_not_held_and_the_others_are,
    what_the_upstream_lacks_is_not_found,
    a_check_says_what_it_found,
)
