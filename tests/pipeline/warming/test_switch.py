"""The kill switch: a file that binds every process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from prewarm.errors import CacheError, Paused
from prewarm.lake import Lake
from prewarm.pipeline.warming.caches import CacheSpec, state_folder
from prewarm.pipeline.warming.plan import Request
from prewarm.pipeline.warming.run import run
from prewarm.pipeline.warming.switch import pause, paused, resume, stopping_when_paused
from tests.past import NOW, lake_with


def test_it_is_set_and_unset(tmp_path: Path) -> None:
    """Who set it first is who is told of; unsetting twice is no harm."""
    lake = Lake.open(tmp_path / "lake")

    first = pause(lake, NOW, "ann", "the uplink is full")
    second = pause(lake, NOW, "bob")

    assert first == second == paused(lake)
    assert str(first) == "warming is paused since 2026-11-24 08:30:00 UTC by ann (the uplink is full)"
    assert resume(lake) == first
    assert resume(lake) is None
    assert paused(lake) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"since": "noon"}', '"on"'])
def test_a_spoilt_file_is_a_pause(tmp_path: Path, text: str) -> None:
    """In doubt nothing warms."""
    lake = Lake.open(tmp_path / "lake")
    pause(lake, NOW, "ann")
    (state_folder(lake) / "paused.json").write_text(text)

    assert paused(lake) is not None
    assert resume(lake) is not None


async def test_no_run_begins_while_it_is_set(tmp_path: Path) -> None:
    """Also where nothing else would keep it from beginning; the refusal says how to go on."""
    lake = lake_with(tmp_path, "docker.io/acme/a:1")
    pause(lake, NOW, "ann")
    spec = CacheSpec("edge", "layout", {"path": tmp_path / "oci"})

    with pytest.raises(Paused, match="by ann; `prewarm resume` ends that"):
        await run(lake, spec, [], Request(NOW))
    assert not (tmp_path / "oci").exists()


async def test_who_goes_on_is_told(tmp_path: Path) -> None:
    """The stop of a run is set when somebody sets the switch meanwhile."""
    lake, stop = Lake.open(tmp_path / "lake"), asyncio.Event()

    async with stopping_when_paused(lake, stop):
        assert not stop.is_set()
        pause(lake, NOW, "ann")
        await asyncio.wait_for(stop.wait(), 60)


def test_a_switch_that_cannot_be_set_is_an_error(tmp_path: Path) -> None:
    """Who pauses must not believe that it worked."""
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake/paused.new").mkdir()

    with pytest.raises(CacheError, match="cannot be set"):
        pause(Lake.open(tmp_path / "lake"), NOW, "ann")
