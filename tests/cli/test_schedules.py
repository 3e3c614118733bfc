"""`prewarm schedules`: what each does, and what it says of itself."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from prewarm.lake import Lake
from prewarm.pipeline.warming.agenda import Agenda
from tests.cli.conftest import Prewarm

SETTINGS = """
[caches.here]
driver = "layout"
path = "./oci"

[schedules.tidy]
cache = "here"
verb = "prune"
cron = "0 3 * * sun"

[schedules.broken]
cache = "here"
verb = "refresh"
cron = "61 * * * *"

[schedules.waiting]
cache = "here"
covers = "07:00-11:00"
"""


def test_schedules_are_listed(tmp_path: Path, prewarm: Prewarm) -> None:
    """Each says when it is next, or in `what` why that is nothing to wait for."""
    (tmp_path / "prewarm.toml").write_text(SETTINGS)
    Agenda(Lake.open(tmp_path / "lake")).pause("waiting", True)

    rows = prewarm("schedules", "--json").document["schedules"]
    table = prewarm("schedules")

    broken, tidy, waiting = rows
    assert [row["name"] for row in rows] == ["broken", "tidy", "waiting"]
    assert (tidy["verb"], tidy["cache"], tidy["mode"], tidy["paused"]) == ("prune", "here", "warm", False)
    assert datetime.fromisoformat(tidy["next"]) > datetime.now(UTC)
    assert (tidy["last"], tidy["what"], tidy["run"]) == (None, None, None)
    assert broken["next"] is None
    assert "cannot be read" in broken["what"]
    assert (waiting["paused"], waiting["what"]) == (True, "paused")
    assert (table.code, "tidy" in table.out) == (0, True)


def test_a_schedule_of_an_unknown_cache_is_a_configuration_error(tmp_path: Path, prewarm: Prewarm) -> None:
    """Refused, with the nearest name; any verb says so, since the schedule would never begin."""
    (tmp_path / "prewarm.toml").write_text(
        SETTINGS.replace('cache = "here"\ncovers', 'cache = "her"\ncovers')
    )

    for verb in ("schedules", "caches"):
        done = prewarm(verb)
        assert done.code == 1
        assert "schedules.waiting.cache: no cache called 'her'; did you mean 'here'?" in done.err
