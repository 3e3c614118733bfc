"""A lake with a past: two weeks of pulls, as ingested."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from prewarm.lake import Lake
from prewarm.references import Reference

NOW = datetime(2026, 11, 24, 8, 30, tzinfo=UTC)  # a Tuesday
HOURS = 14 * 24


def lake_with(
    folder: Path,
    *images: str,
    site: str = "default",
    clients: int = 2,
    agent: str = "docker/20.10",
    now: datetime = NOW,
) -> Lake:
    """Each image was pulled every five hours by so many clients, a better one by one client more."""
    lake = Lake.open(folder / "lake")
    rows = [
        _pull(image, now - timedelta(hours=hours), site, f"10.0.0.{client}", agent)
        for place, image in enumerate(images)
        for hours in range(1, HOURS, 5)
        for client in range(clients + len(images) - 1 - place)
    ]
    lake.append("pulls", pl.DataFrame(rows))
    return lake


def _pull(image: str, at: datetime, site: str, client: str, agent: str) -> dict[str, Any]:
    reference = Reference.parse(image)
    return {
        "timestamp": at,
        "until": at,
        "site": site,
        "source": "test",
        "client": client,
        "agent": agent,
        "registry": reference.registry,
        "repository": reference.repository,
        "tag": reference.tag,
        "digest": reference.digest,
        "kind": "layers",
        "status": "ok",
        "provisional": False,
    }
