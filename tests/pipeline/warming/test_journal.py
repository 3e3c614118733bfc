"""Outcomes reach the lake while a run goes on, each once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from prewarm.errors import LakeError
from prewarm.lake import Lake
from prewarm.pipeline.warming.caches import CacheSpec
from prewarm.pipeline.warming.journal import Journal
from prewarm.warming.executor import Event, Outcome

EIGHT = datetime(2026, 11, 24, 8, tzinfo=UTC)
SPEC = CacheSpec("ci", "docker", site="boise")


def outcome(name: str) -> Outcome:
    return Outcome(name, "warmed", "sha256:x", 7, 1.0, 1, started_at=EIGHT, finished_at=EIGHT)


async def test_each_outcome_is_written_once(tmp_path: Path) -> None:
    """Noted as it happened, and named again at the end."""
    lake = Lake.open(tmp_path / "lake")
    journal = Journal(lake, SPEC, "r1", "p1")
    async with journal.kept():
        journal.note(Event("a:1"))
        journal.note(Event("a:1", outcome("a:1")))
        journal.add([outcome("a:1"), Outcome("b:1", "skipped", error="never")])
    rows = lake.read("outcomes").sort("image")
    assert rows["image"].to_list() == ["a:1", "b:1"]
    assert rows.select("run", "plan", "cache", "driver", "site").unique().rows() == [
        ("r1", "p1", "ci", "docker", "boise")
    ]
    assert lake.read("warmed")["image"].to_list() == ["a:1"]


async def test_a_run_that_breaks_has_told_what_it_did(tmp_path: Path) -> None:
    """The error passes, the outcomes are there."""
    lake = Lake.open(tmp_path / "lake")
    journal = Journal(lake, SPEC, "r1", "p1")

    async def broken() -> None:
        async with journal.kept():
            journal.note(Event("a:1", outcome("a:1")))
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await broken()
    assert lake.read("outcomes").height == 1


async def test_nothing_happened_writes_nothing(tmp_path: Path) -> None:
    """A run without candidates makes no table."""
    async with Journal(Lake.open(tmp_path / "lake"), SPEC, "r1", "p1").kept():
        pass
    assert not (tmp_path / "lake").exists()


async def test_a_lake_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """After the work, not instead of it."""
    lake = Lake.open(tmp_path / "lake")
    (tmp_path / "lake").write_text("a file")
    journal = Journal(lake, SPEC, "r1", "p1")
    with pytest.raises(LakeError):
        async with journal.kept():
            journal.note(Event("a:1", outcome("a:1")))
