"""Is the advice right? `python -m benchmarks.advice [SEED …]`: labelled synthetic repositories.

Each seed makes one lake of six sites: an office, two more regions, a mirror that forgets after a day, one
whose disk is full, and a cluster of nodes. Every repository is made to call for one strategy: how often it is
pulled, how large it is, how many clients it has and how its tags move are drawn from ranges, beside
repositories that are alike and call for nothing. The order of the rules was settled on seeds 1 and 2; nothing
was tuned on those that run by default. Precision and recall are of the advice itself, not of what else holds.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import polars as pl

from prewarm.insight.advice import RULES, advise
from prewarm.insight.causes import judged
from tests.traffic import MONDAY, Ask, frame, identified, through

SEEDS = (301, 302, 303, 304, 305)
DAYS = 42
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MB = 10**6
Dice = random.Random
Labelled = tuple[str, str]  # site, repository


class Lake:
    """Asks by site, and what each repository of a site was made to call for."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.asks: dict[str, list[Ask]] = {}
        self.labels: dict[Labelled, str] = {}

    def add(self, site: str, name: str, asks: list[Ask], strategy: str) -> None:
        self.asks.setdefault(site, []).extend(asks)
        self.labels[site, f"docker.io/{name}"] = strategy

    def frame(self) -> pl.DataFrame:
        """Pulls of all sites, as their mirrors logged them; the cluster's nodes tell of uses, too."""
        parts = []
        for site, asks in self.asks.items():
            ttl = {"lapsing": timedelta(hours=20), "cluster": None}.get(site, timedelta(days=90))
            pulls = frame(
                through(asks, ttl, 20_000 * MB if site == "full" else None), cache=site != "cluster"
            )
            named = pulls.with_columns(site=pl.lit(site))
            if site == "cluster":
                uses = named.with_columns(pl.col("timestamp") + HOUR, kind=pl.lit("local"))
                named = pl.concat([named, uses])
            parts.append(named)
        return pl.concat(parts)


def mornings(
    dice: Dice, name: str, tag: str, size: int, version: Callable[[int], int], **more: int
) -> list[Ask]:
    """Working mornings on which some people pull one tag."""
    people = more.get("people") or dice.randint(3, 12)
    return [
        Ask(_at(day, dice.uniform(7, 11)), f"{name}-{person}", f"{name}:{tag}", version(day), size)
        for day in range(more.get("first", 0), more.get("last", DAYS))
        if day % 7 < 5
        for person in range(people)
    ]


def made(seed: int) -> Lake:
    """One lake: every strategy twice, and quiet repositories beside them."""
    lake = Lake(seed)
    for number in range(2):
        for make in MAKERS:
            make(lake, number)
    return lake


def _at(day: int, hour: float) -> datetime:
    return MONDAY + timedelta(days=day, hours=hour)


def _prewarm(lake: Lake, number: int) -> None:
    """Its tag moves in most nights, and people pull it in the morning."""
    dice, name = lake.dice, f"acme/moving{number}"
    every = dice.choice([1, 1, 2])
    asks = mornings(dice, name, "main", dice.randint(200, 900) * MB, lambda day: day // every)
    lake.add("office", name, asks, "pre-warm")


def _pushed(lake: Lake, number: int) -> None:
    """Each build has a tag of its own, which is pulled soon after."""
    dice, name = lake.dice, f"acme/builds{number}"
    asks = [
        Ask(_at(day, 9 + 3 * build + dice.random()), f"ci{n}", f"{name}:b{day}-{build}", 0, size)
        for size in (dice.randint(150, 600) * MB,)
        for day in range(DAYS)
        for build in range(2)
        for n in range(dice.randint(1, 4))
    ]
    lake.add("office", name, asks, "replicate on push")


def _everywhere(lake: Lake, number: int) -> None:
    """A release that three regions pull within minutes."""
    dice, name = lake.dice, f"acme/release{number}"
    size = dice.randint(100, 500) * MB
    for day in range(1, DAYS, dice.choice([1, 2])):
        for place in ("office", "eu", "us"):
            at = _at(day, 8) + timedelta(minutes=dice.uniform(0, 12))
            lake.add(place, name, [Ask(at, f"{place}-n", f"{name}:prod", day, size)], "replicate on push")


def _regional(lake: Lake, number: int) -> None:
    """The same images, steadily, in three regions, each in its own morning; too few misses for more."""
    dice, name = lake.dice, f"acme/platform{number}"
    size = dice.randint(500, 900) * MB
    for shift, place in enumerate(("office", "eu", "us")):
        asks = [
            Ask(_at(day, 6 + 5 * shift + dice.random()), f"{place}{n}", f"{name}:{tag}", 0, size)
            for tag in range(8)
            for day in range(tag * 5, DAYS)
            for n in range(2)
        ]
        lake.add(place, name, asks, "regional replica")


def _lapsing(lake: Lake, number: int) -> None:
    """Never changes, and is asked for once a day at a mirror that forgets after twenty hours."""
    dice, name = lake.dice, f"library/daily{number}"
    size = dice.randint(200, 900) * MB
    asks = [Ask(_at(day, 9 + dice.random()), f"c{day % 3}", f"{name}:1", 0, size) for day in range(DAYS)]
    lake.add("lapsing", name, asks, "raise the TTL")


def _rare(lake: Lake, number: int) -> None:
    """Large, and wanted a few times in six weeks, never the same version twice."""
    dice, name = lake.dice, f"library/atlas{number}"
    size = dice.randint(800, 4000) * MB
    for place in ("eu", "us"):
        asks = [
            Ask(_at(day + dice.randrange(3), dice.uniform(0, 24)), "c", f"{name}:{day}", 0, size)
            for day in range(1 + (place == "us") * 2, DAYS - 4, dice.randint(5, 9))
        ]
        lake.add(place, name, asks, "CDN edge")


def _lazy(lake: Lake, number: int) -> None:
    """Gigabytes, on nodes that pull it once and are gone."""
    dice, name = lake.dice, f"acme/model{number}"
    size, nodes = dice.randint(1500, 6000) * MB, dice.randint(4, 12)
    asks = [
        Ask(_at(day, 8) + timedelta(minutes=n), f"{name}-{day}-{n}", f"{name}:1", 0, size)
        for day in range(DAYS)
        for n in range(nodes)
    ]
    lake.add("cluster", name, asks, "lazy loading (eStargz)")


def _small(lake: Lake, number: int) -> None:
    """The same nodes, and an image of some megabytes, several a day."""
    dice, name = lake.dice, f"acme/agent{number}"
    size, nodes = dice.randint(150, 400) * MB, dice.randint(5, 12)
    asks = [
        Ask(_at(day, 8) + timedelta(minutes=n), f"{name}-{day}-{n}", f"{name}:1", 0, size)
        for day in range(DAYS)
        for n in range(nodes)
    ]
    lake.add("cluster", name, asks, "pre-warm")


def _buildkit(lake: Lake, number: int) -> None:
    """Builds import the cache that the last one exported."""
    dice, name = lake.dice, f"acme/service{number}"
    tag = dice.choice(["buildcache", "main-cache", "cache"])
    size = dice.randint(200, 800) * MB
    asks = [
        Ask(MONDAY + n * timedelta(hours=8) + dice.random() * HOUR, f"ci{n % 4}", f"{name}:{tag}", n, size)
        for n in range(3 * DAYS)
    ]
    lake.add("office", name, asks, "keep the BuildKit cache warm")


def _deleted(lake: Lake, number: int) -> None:
    """Nobody has asked for it in the last month and more."""
    dice, name = lake.dice, f"acme/old{number}"
    last = dice.randint(3, 9)
    asks = mornings(dice, name, "1", dice.randint(20, 400) * MB, lambda day: 0, last=last, people=2)
    lake.add("office", name, asks, "delete")


def _once(lake: Lake, number: int) -> None:
    """Builds that are pulled once, on a disk that is full."""
    dice, name = lake.dice, f"acme/trial{number}"
    size = dice.randint(300, 700) * MB
    asks = [Ask(_at(day, dice.uniform(0, 24)), "c", f"{name}:t{day}", 0, size) for day in range(0, DAYS, 3)]
    lake.add("full", name, asks, "lower the TTL")
    big = f"library/big{number}"  # comes back every week, and has been dropped by then
    asks = [
        Ask(_at(day, 9 + tag), "c", f"{big}:{tag}", 0, 4000 * MB)
        for day in range(0, DAYS, 7)
        for tag in range(4)
    ]
    lake.add("full", big, asks, "pre-warm")
    hot = f"library/hot{number}"  # in use every day, and held all the time: the disk forgets, not a TTL
    lake.add("full", hot, mornings(dice, hot, "1", 50 * MB, lambda day: 0), "pull-through only")


def _patches(lake: Lake, number: int) -> None:
    """Two patch levels of one base, side by side."""
    dice, name = lake.dice, f"library/base{number}"
    tags = [f"3.{number}.{patch}" for patch in dice.sample(range(9), 2)]
    asks = [ask for tag in tags for ask in mornings(dice, name, tag, 60 * MB, lambda day: 0)]
    lake.add("office", name, asks, "consolidate base images")


def _torn(lake: Lake, number: int) -> None:
    """A small image whose tag moves at noon, between its clients."""
    dice, name = lake.dice, f"acme/latest{number}"
    asks = [
        Ask(_at(day, 9 + 5 * n), f"c{n}", f"{name}:latest", day + n, dice.randint(2, 20) * MB)
        for day in range(0, DAYS, dice.randint(1, 3))
        for n in range(2)
    ]
    lake.add("office", name, asks, "pin by digest")


def _quiet(lake: Lake, number: int) -> None:
    """Repositories that need nothing: steady, small, moved now and then, or tried out once."""
    dice = lake.dice
    asks = mornings(dice, f"library/steady{number}", "1", dice.randint(20, 900) * MB, lambda day: 0)
    lake.add("office", f"library/steady{number}", asks, "pull-through only")
    asks = mornings(dice, f"library/monthly{number}", "1", dice.randint(50, 200) * MB, lambda day: day // 21)
    lake.add("office", f"library/monthly{number}", asks, "pull-through only")
    asks = mornings(dice, f"acme/tiny{number}", "main", dice.randint(1, 5) * MB, lambda day: day)
    lake.add("office", f"acme/tiny{number}", asks, "pull-through only")
    day = dice.randint(DAYS - 20, DAYS - 5)
    asks = mornings(dice, f"library/tried{number}", "9", 300 * MB, lambda day: 0, first=day, last=day + 3)
    lake.add("eu", f"library/tried{number}", asks, "pull-through only")


def _throttled(lake: Lake, number: int) -> None:
    """A site whose misses of one repository alone spend Docker Hub's quota, day by day."""
    dice, name = lake.dice, f"library/matrix{number}"
    asks = [
        Ask(_at(day, 12 + n / 60), f"c{n % 9}", f"{name}:{day}-{n}", 0, dice.randint(20, 60) * MB)
        for day in range(DAYS)
        for n in range(dice.randint(120, 200))
    ]
    lake.add(f"quota{number}", name, asks, "move off the rate-limited upstream")


MAKERS = (
    *(_prewarm, _pushed, _everywhere, _regional, _lapsing, _rare, _lazy, _small, _buildkit, _deleted),
    *(_once, _patches, _torn, _quiet, _throttled),
)


def advised(lake: Lake) -> Iterator[tuple[Labelled, str, str]]:
    """(site and repository, what it was made to call for, what is advised)."""
    for row in advise(judged(identified(lake.frame()))):
        key = (row["site"], row["repository"])
        yield key, lake.labels[key], row["strategy"]


def scores(pairs: list[tuple[str, str]]) -> dict[str, tuple[int, int, int]]:
    """By strategy: right, made to call for it, advised; all together under `all`."""
    right = Counter(label for label, told in pairs if label == told)
    labels, told = Counter(label for label, _ in pairs), Counter(told for _, told in pairs)
    found = {
        rule.strategy: (right[rule.strategy], labels[rule.strategy], told[rule.strategy]) for rule in RULES
    }
    called = [name for name in found if name != "pull-through only"]
    found["all but pull-through"] = tuple(sum(found[name][at] for name in called) for at in range(3))  # type: ignore[assignment]
    return found


def main() -> None:
    """A row for each strategy, over all seeds, and every wrong one."""
    pairs = []
    for seed in [int(each) for each in sys.argv[1:]] or SEEDS:
        for key, label, told in advised(made(seed)):
            pairs.append((label, told))
            if label != told:
                print(f"seed {seed}: {' '.join(key)} was made for {label!r} and got {told!r}")
    print(f"{'':36}{'made':>6}{'advised':>9}{'precision':>11}{'recall':>8}")
    for name, (right, labels, told) in scores(pairs).items():
        precision, recall = (f"{right / each:.2f}" if each else "–" for each in (told, labels))
        print(f"{name:36}{labels:>6}{told:>9}{precision:>11}{recall:>8}")


if __name__ == "__main__":
    main()
