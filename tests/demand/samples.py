"""Small pull tables and a synthetic office for the tests of demand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prewarm.demand.calendars import Site, clock
from prewarm.demand.counts import Counts
from prewarm.demand.series import Grid, repositories
from prewarm.logs import pulls

MONDAY = datetime(2026, 2, 2, tzinfo=UTC)


def after(days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> datetime:
    """A moment counted from a Monday midnight in UTC."""
    return MONDAY + timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def pull(timestamp: datetime, tag: str | None = "1", **columns: Any) -> dict[str, Any]:
    """One row of the pulls table: a docker client's layers of docker.io/library/app:`tag`."""
    return {
        "timestamp": timestamp,
        "until": timestamp,
        "site": "default",
        "source": "log",
        "client": "10.0.0.1",
        "agent": "docker/20.10.24 go/go1.19.8 os/linux arch/amd64",
        "registry": "docker.io",
        "repository": "library/app",
        "tag": tag,
        "kind": "layers",
        "status": "ok",
        **columns,
    }


def table(*rows: dict[str, Any]) -> pl.DataFrame:
    """Rows as a pulls table with every column."""
    full = [{name: row.get(name) for name in pulls.SCHEMA} for row in rows]
    return pl.DataFrame(full, schema=pulls.SCHEMA)


def office(weeks: int = 5, images: int = 60, seed: int = 3) -> tuple[Grid, NDArray[np.float64]]:
    """A synthetic office: counts of `weeks` weeks, and the true rate of every image and hour.

    Most images follow the working day, some the night build, some nothing; a few are new, a few have
    gone. Each day and repository is busier or quieter than usual, and counts are overdispersed.
    """
    rng = np.random.default_rng(seed)
    site = Site("office", "Europe/Berlin")
    hours = weeks * 168
    told = clock(site, MONDAY, hours)
    work = np.where(told.weekend, 0.05, np.exp(-0.5 * ((told.hour - 9) / 2.0) ** 2) + 0.3 * (told.hour > 8))
    night = np.where(np.isin(told.hour, (1, 2)), 3.0, 0.02)
    flat = np.full(hours, 0.5)
    level = 20 / (1 + np.arange(images)) ** 0.8
    family = np.arange(images) // 3
    rhythm = [work, work, work, night, flat]
    rate = np.array([level[i] * rhythm[family[i] % len(rhythm)] for i in range(images)])
    shock = rng.lognormal(-0.02, 0.2, (family.max() + 1, weeks * 7))
    rate *= np.repeat(shock[family], 24, axis=1)
    born = np.where(rng.random(images) < 0.15, rng.integers(0, hours - 48, images), 0)
    rate *= np.arange(hours) >= born[:, None]
    counts = rng.poisson(rate * rng.gamma(6, 1 / 6, rate.shape))
    names = tuple(f"docker.io/team/r{family[i]:02}:{i:02}" for i in range(images))
    numbers = repositories(pl.Series(names, dtype=pl.String))
    observed = np.ones(hours, dtype=np.bool_)
    return Grid(site, names, numbers, MONDAY, Counts.of(counts), observed), rate
