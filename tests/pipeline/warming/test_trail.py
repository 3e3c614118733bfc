"""What a killed run leaves behind is accounted for by the next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from prewarm.lake import Lake
from prewarm.pipeline.warming.caches import CacheSpec
from prewarm.pipeline.warming.journal import Journal, account_for_killed
from prewarm.pipeline.warming.trail import KILLED, Trail, left_behind, trail_path
from prewarm.warming.executor import Event, Outcome

EIGHT = datetime(2026, 11, 24, 8, tzinfo=UTC)
SPEC = CacheSpec("ci", "docker", site="boise", ttl=timedelta(days=7))
SHARED = {"run": "r1", "plan": "p1", "cache": "ci", "driver": "docker", "site": "boise"}
DONE = Outcome("a:1", "warmed", "sha256:a", 7, 1.5, 1, None, "listed", EIGHT, EIGHT + timedelta(seconds=2))


class Clock:
    """Advances by ten seconds each time it is read."""

    def __init__(self) -> None:
        self.now = EIGHT

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=10)
        return self.now


def killed(folder: Path) -> Path:
    """A run that finished one image, had another on its way, and was seen alive once more."""
    path = trail_path(folder, "ci")
    trail = Trail(path, Clock(), {"a:1": "sha256:a", "b:1": "sha256:b"})
    trail.begin(SHARED)
    trail.started("a:1")
    trail.started("b:1")
    trail.ended(DONE)
    trail.alive()
    return path


def test_what_was_on_its_way_is_cancelled_when_the_run_was_last_seen(tmp_path: Path) -> None:
    """With the time that an engine may have pulled for it, and no more."""
    left = left_behind(killed(tmp_path))

    assert left is not None
    assert left.shared == SHARED
    assert left.outcomes[0] == DONE
    assert left.outcomes[1] == Outcome(
        "b:1",
        "cancelled",
        "sha256:b",
        seconds=20.0,
        attempts=1,
        error=KILLED,
        started_at=EIGHT + timedelta(seconds=20),
        finished_at=EIGHT + timedelta(seconds=40),
    )


def test_a_killed_run_is_accounted_for_once(tmp_path: Path) -> None:
    """What it had written itself stays as it is; the warm one is known to be held until it expires."""
    lake, trail = Lake.open(tmp_path / "lake"), killed(tmp_path)
    counts = [account_for_killed(lake, SPEC, trail), account_for_killed(lake, SPEC, trail)]

    assert counts == [2, 0]
    rows = lake.read("outcomes").sort("image")
    assert rows.select("run", "image", "state").rows() == [
        ("r1", "a:1", "warmed"),
        ("r1", "b:1", "cancelled"),
    ]
    assert lake.read("warmed")["expires_at"].to_list() == [EIGHT + timedelta(days=7, seconds=2)]


async def test_an_outcome_that_reached_the_lake_is_not_doubled(tmp_path: Path) -> None:
    """The kill may come between the write and the end of the trail."""
    lake = Lake.open(tmp_path / "lake")
    journal = Journal(lake, SPEC, "r1", "p1")
    async with journal.kept():
        journal.add([DONE])

    assert account_for_killed(lake, SPEC, killed(tmp_path)) == 1
    assert lake.read("outcomes").height == 2


async def test_a_run_that_ends_in_order_leaves_nothing(tmp_path: Path) -> None:
    """Its outcomes are in the lake, so the file goes."""
    path = trail_path(tmp_path, "ci")
    journal = Journal(Lake.open(tmp_path / "lake"), SPEC, "r1", "p1", Trail(path, Clock(), {}))
    async with journal.kept():
        journal.note(Event("a:1"))
        during = path.exists()
        journal.note(Event("a:1", DONE))

    assert (during, path.exists()) == (True, False)


async def test_a_run_that_was_broken_off_leaves_what_was_on_its_way(tmp_path: Path) -> None:
    """The image has no outcome yet: the next run gives it one."""
    lake, path = Lake.open(tmp_path / "lake"), trail_path(tmp_path, "ci")
    journal = Journal(lake, SPEC, "r1", "p1", Trail(path, Clock(), {}))
    async with journal.kept():
        journal.note(Event("a:1"))

    assert account_for_killed(lake, SPEC, path) == 1
    assert lake.read("outcomes")["state"].to_list() == ["cancelled"]


def test_a_torn_line_is_not_read(tmp_path: Path) -> None:
    """The kill came in the middle of it."""
    path = killed(tmp_path)
    with path.open("ab") as file:
        file.write(b'{"ended": {"image": "b:1", "sta')
    left = left_behind(path)

    assert left is not None
    assert [outcome.state for outcome in left.outcomes] == ["warmed", "cancelled"]


@pytest.mark.parametrize(
    "text", ["", "x\n", "[]\n", '{"run": {}}\n{"ended": {"image": "a:1"}}\n', '{"run": {}}\n{"started": 1}\n']
)
def test_a_spoilt_file_tells_nothing(tmp_path: Path, text: str) -> None:
    """And stops no run."""
    path = tmp_path / "run.ndjson"
    path.write_text(text)
    assert left_behind(path) is None


def test_a_place_that_cannot_be_written_stops_no_run(tmp_path: Path) -> None:
    """It would matter after a kill only."""
    (tmp_path / "caches").write_text("a file")
    trail = Trail(trail_path(tmp_path, "ci"), Clock(), {})
    trail.begin(SHARED)
    trail.started("a:1")
    trail.ended(DONE)
    trail.close()
    assert left_behind(tmp_path / "nothing") is None
