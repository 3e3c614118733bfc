"""Traffic with a truth: pulls through a mirror that keeps what it is told to, and what each of them met.

The mirror is simulated pull by pull, with versions as its objects: a fill lapses after `ttl`, the least
recently used version goes when `capacity` bytes are full. What is written down of it is up to the test: hits
and misses, durations, or nothing but requests.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from prewarm.insight.causes import identify
from prewarm.tables import PULLS

MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
COLD, WARM = 10e6, 100e6  # bytes a second
TRIP = {True: 0.12, False: 0.01}  # seconds of a request, by miss


@dataclass(frozen=True)
class Ask:
    """One client asks for a version of an image."""

    at: datetime
    client: str
    image: str  # repository:tag
    version: int
    bytes: int


@dataclass(frozen=True)
class Met:
    """What it met: whether it missed, why, and how long it took."""

    ask: Ask
    miss: bool
    cause: str | None
    seconds: float

    @property
    def digest(self) -> str:
        seed = f"{self.ask.image}#{self.ask.version}"
        return f"sha256:{random.Random(seed).getrandbits(256):064x}"


def through(
    asks: Iterable[Ask], ttl: timedelta | None = timedelta(days=7), capacity: int | None = None, seed: int = 1
) -> list[Met]:
    """What each of `asks` met at a mirror that was empty in the beginning."""
    dice = random.Random(seed)
    held: OrderedDict[tuple[str, int], tuple[datetime, int]] = OrderedDict()
    gone: dict[tuple[str, int], str] = {}
    images: set[str] = set()
    found = []
    for ask in sorted(asks, key=lambda ask: ask.at):
        key = (ask.image, ask.version)
        if key in held and ttl is not None and ask.at - held[key][0] >= ttl:
            del held[key]
            gone[key] = "TTL lapsed"
        cause = None
        if key not in held:
            cause = gone.get(key) or ("tag moved" if ask.image in images else "first")
            held[key] = (ask.at, ask.bytes)
            while (
                capacity is not None and sum(size for _, size in held.values()) > capacity and len(held) > 1
            ):
                gone[held.popitem(last=False)[0]] = "evicted"
        held.move_to_end(key)
        images.add(ask.image)
        miss = cause is not None
        seconds = 6 * TRIP[miss] + ask.bytes / (COLD if miss else WARM)
        found.append(Met(ask, miss, cause, seconds * dice.lognormvariate(0, 0.25)))
    return found


def frame(met: Iterable[Met], *, cache: bool = False, seconds: bool = False, **more: Any) -> pl.DataFrame:
    """Pulls of one site as a lake keeps them, with as much as is logged."""
    rows = []
    for each in met:
        repository, _, tag = each.ask.image.rpartition(":")
        row = {
            "timestamp": each.ask.at, "until": each.ask.at, "site": "office", "source": "mirror",
            "client": each.ask.client, "agent": "docker/27.3.1", "registry": "docker.io",
            "repository": repository, "tag": tag, "digest": each.digest, "kind": "layers", "blobs": 4,
            "bytes": each.ask.bytes, "status": "ok", "provisional": False,
            "seconds": each.seconds if seconds else None,
            "cache": ("miss" if each.miss else "hit") if cache else None,
        }  # fmt: skip
        rows.append(row | more)
    columns = {name: dtype for name, dtype in PULLS.items() if name not in ("date", "file", "batch")}
    return pl.DataFrame(rows, schema=columns)


def identified(pulls: pl.DataFrame) -> pl.DataFrame:
    """The same as judging takes them."""
    return identify(pulls.lazy()).collect()


def days(count: int, hour: float = 8.0, weekends: bool = True) -> Iterator[datetime]:
    """The same hour on so many days from a Monday on."""
    for day in range(count):
        if weekends or day % 7 < 5:
            yield MONDAY + timedelta(days=day, hours=hour)


def mornings(count: int, images: int = 6, people: int = 12, moves: bool = True, seed: int = 7) -> list[Ask]:
    """Working mornings: each image is pulled by everybody from eight to ten; its tag moves every night."""
    dice = random.Random(seed)
    return [
        Ask(
            at + timedelta(seconds=dice.uniform(0, 7200)), f"10.0.0.{person}", f"acme/app{image}:main",
            day if moves else 0, 200_000_000 + 10_000_000 * image,
        )
        for day, at in enumerate(days(count, weekends=False))
        for image in range(images)
        for person in range(people)
    ]  # fmt: skip


def steady(
    count: int, images: int = 20, clients: int = 5, every: timedelta = timedelta(hours=2), seed: int = 3
) -> list[Ask]:
    """Images that never change, each pulled around the clock by several clients."""
    dice = random.Random(seed)
    steps = int(timedelta(days=count) / every)
    return [
        Ask(
            MONDAY + step * every + timedelta(seconds=dice.uniform(0, every.total_seconds())),
            f"10.0.1.{client}", f"library/base{image}:1", 0, 150_000_000 + 5_000_000 * image,
        )
        for step in range(steps)
        for image in range(images)
        for client in dice.sample(range(clients), 1)
    ]  # fmt: skip


def lines(met: Iterable[Met], *, cache: bool = False, seconds: bool = False, by_tag: bool = False) -> str:
    """The combined log of the mirror: a HEAD of the tag, its manifest and four blobs a pull.

    With `cache` or `seconds` lines end with `$upstream_cache_status` or `$request_time`, as nginx has them.
    With `by_tag` manifests are fetched by their tag, as skopeo and podman do, so that no line shows a digest.
    """
    stamped = []
    for each in met:
        repository, _, tag = each.ask.image.rpartition(":")
        root = f"/v2/{repository}"
        blobs = [f"{random.Random(f'{each.digest}{blob}').getrandbits(256):064x}" for blob in range(4)]
        asked = [("HEAD", f"{root}/manifests/{tag}", 700), ("GET", f"{root}/manifests/{each.digest}", 700)]
        asked = [("GET", f"{root}/manifests/{tag}", 700)] if by_tag else asked
        asked += [("GET", f"{root}/blobs/sha256:{blob}", each.ask.bytes // 4) for blob in blobs]
        at = each.ask.at
        for method, path, size in asked:
            took = each.seconds / 6
            told = f" {'MISS' if each.miss else 'HIT'}" if cache else ""
            told += f" {took:.3f}" if seconds else ""
            stamp = at.strftime("%d/%b/%Y:%H:%M:%S +0000")
            line = (
                f'{each.ask.client} - - [{stamp}] "{method} {path} HTTP/1.1" 200 {size} "-" "docker/27.3.1"'
            )
            stamped.append((at, f"{line}{told}\n"))
            at += timedelta(seconds=took)
    return "".join(line for _, line in sorted(stamped, key=lambda pair: pair[0]))
