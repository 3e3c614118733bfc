"""The second, tiny workload: one office whose builds use a few pinned images.

Its mirror has the disk to keep them and no expiry, so a warm cache already serves everything and the honest
answer is not to pre-warm.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta

from prewarm.demo.chance import Dice
from prewarm.demo.contents import Catalogue, layer, version
from prewarm.demo.habits import Wish
from prewarm.demo.sites import Office, working

OFFICE = Office(
    name="lisbon",
    timezone="Europe/Lisbon",
    holidays="PT",
    closed=(date(2026, 10, 5),),
    network="10.9",
    teams=(),
    weekly=(),
    cluster=(),
    patience=0,
    nodes=0,
    scale_out=date(2026, 1, 1),
)

# Repository, tag, MB of its layers: pinned to a patch version, so that the tags do not move.
PINNED: tuple[tuple[str, str, tuple[float, ...]], ...] = (
    ("library/node", "20.18.0", (49.6, 24.0, 64.1, 48.2)),
    ("library/postgres", "16.4", (29.1, 4.5, 112.0)),
    ("library/redis", "7.4.1", (29.1, 16.1)),
    ("library/python", "3.12.7-slim", (29.1, 3.5, 13.7)),
    ("library/alpine", "3.20.3", (3.6,)),
    ("library/nginx", "1.27.2", (29.1, 42.0)),
)


def pinned(seed: int, start: datetime) -> Catalogue:
    """The images of the quiet office; each has one version for ever."""
    before = start - timedelta(days=30)
    return {
        (repository, tag): (
            version(
                f"{repository}:{tag}",
                before,
                tuple(
                    layer(f"{seed}/quiet/{repository}/{number}", size) for number, size in enumerate(sizes)
                ),
            ),
        )
        for repository, tag, sizes in PINNED
    }


def wishes(seed: int, start: datetime, days: int) -> Iterator[Wish]:
    """About ten builds a working day, each on a runner that starts empty; two on other days."""
    for day in OFFICE.days(start, days):
        dice = Dice(seed, "quiet", day)
        for job in range(dice.count(10.0 if working(OFFICE, day) else 2.0)):
            time = OFFICE.clock(day, dice.uniform(7.8, 18.5))
            client = f"{OFFICE.network}.20.{10 + job}"
            for repository, tag in sorted({dice.pick(PINNED)[:2], dice.pick(PINNED)[:2]}):
                yield Wish(time, client, f"{client}/{time}", "docker", repository, tag)
