"""What the stamps of a site's log tell of its clock."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from prewarm.lake import Lake
from prewarm.logs.files import Source
from prewarm.pipeline.demand.forecast import rank
from prewarm.pipeline.logs import clocks
from prewarm.pipeline.logs.ingest import ingest
from tests.logs_of_a_day import access_log

LATER = datetime(2026, 11, 16, 8, tzinfo=UTC)


def warned(lake: Lake) -> str:
    return rank(lake, {}, [LATER]).warnings[0]


def read(lake: Lake, log: Path, offset: str) -> None:
    log.write_text(access_log().replace("+0000", offset))
    ingest(lake, [Source(paths=(str(log),))])


@pytest.mark.parametrize(("offset", "shown"), [("+0200", "+02:00"), ("-0330", "-03:30"), ("+0000", "+00:00")])
def test_the_word_on_a_missing_time_zone_names_what_the_log_writes(
    tmp_path: Path, offset: str, shown: str
) -> None:
    """Accesses are UTC, so reading keeps it beside them."""
    lake = Lake.open(tmp_path / "lake")
    read(lake, tmp_path / "x.log", offset)
    assert f"its hours are UTC's (its log writes {shown}); set PREWARM_TIMEZONE=" in warned(lake)


def test_the_newest_log_tells(tmp_path: Path) -> None:
    """Clocks change: a later file writes another offset."""
    lake = Lake.open(tmp_path / "lake")
    read(lake, tmp_path / "x.log", "+0200")
    read(lake, tmp_path / "y.log", "+0100")
    assert "(its log writes +01:00)" in warned(lake)


def test_a_log_without_offsets_is_not_quoted(tmp_path: Path) -> None:
    """Nothing is made up where stamps carry no zone."""
    lake = Lake.open(tmp_path / "lake")
    rows = "".join(f"2026-11-15T{n:02}:00:00,acme/api:1\n" for n in range(24))
    (tmp_path / "x.csv").write_text("timestamp,image\n" + rows)
    ingest(lake, [Source(paths=(str(tmp_path / "x.csv"),))])
    assert lake.progress("pulls", clocks.name_of("default")) is None
    assert "its hours are UTC's; set" in warned(lake)
