"""Advice from a lake: what a replay of the cheap policies says each repository would gain."""

from __future__ import annotations

import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from prewarm.lake import Lake
from prewarm.pipeline.insight.advise import Advice, advise
from prewarm.pipeline.insight.reports import Terms
from prewarm.quantities import parse_duration
from tests.traffic import MONDAY, Ask, days, frame, mornings, steady, through

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
APP = "docker.io/acme/app"


def _advised(folder: Path, pulls: pl.DataFrame, pushes: pl.DataFrame | None = None, **terms: Any) -> Advice:
    lake = Lake.open(folder / "lake")
    lake.append("pulls", pulls)
    if pushes is not None:
        lake.append("pushes", pushes)
    return advise(lake, terms=Terms(**terms))


def _row(found: Advice, repository: str = APP) -> dict[str, Any]:
    (row,) = [row for row in found.repositories if row["repository"] == repository]
    return row


def _daily(moves: bool, ttl: timedelta | None = None) -> list[Any]:
    asks = [
        Ask(at + timedelta(minutes=20 * n), f"c{n}", "acme/app:main", day if moves else 0, 300_000_000)
        for day, at in enumerate(days(20))
        for n in range(3)
    ]
    return through(asks, ttl)


def test_a_longer_ttl_gains_what_lapses_cost(tmp_path: Path) -> None:
    """Read off the log, 20 hours; four times that saves three of four fills."""
    found = _advised(tmp_path, frame(_daily(False, timedelta(hours=20)), cache=True))

    gain = _row(found)["gain"]
    assert _row(found)["strategy"] == "raise the TTL"
    assert gain["policy"] == "longer-ttl"
    kept = parse_duration(tomllib.loads(_row(found)["config"])["caches"]["mirror"]["ttl"])
    assert 4 * timedelta(hours=20) <= kept <= 4 * DAY  # pulls come once a day: no log of them tells nearer
    assert gain["of"] == pytest.approx(24.3, rel=0.1)
    assert 0.6 * gain["of"] <= gain["lo"] == gain["hi"] <= 0.85 * gain["of"]


def test_a_gain_is_a_range_where_pushes_are_not_logged(tmp_path: Path) -> None:
    """A tag that moves every night: a list gains nothing or all of it, and it is said why."""
    found = _advised(tmp_path, frame(_daily(True), cache=True))

    gain = _row(found)["gain"]
    assert _row(found)["strategy"] == "pre-warm"
    assert gain["lo"] == 0
    assert gain["hi"] == pytest.approx(gain["of"], rel=0.15)
    assert any(word.startswith("when tags moved") for word in found.cannot_say)


def test_logged_pushes_make_it_one_number_and_name_the_cheaper_way(tmp_path: Path) -> None:
    """Pushed at two in the night: a list gains it all, and so does replication on push."""
    pulls = frame(_daily(True), cache=True)
    pushes = pulls.group_by("registry", "repository", "tag", "digest").agg(
        pl.col("timestamp").min().dt.truncate("1d") + 2 * HOUR
    )

    gain = _row(_advised(tmp_path, pulls, pushes))["gain"]

    assert gain["lo"] == gain["hi"] == pytest.approx(gain["of"], rel=0.15)
    assert gain["cheaper"] == "replicate-on-push"


def test_every_row_has_its_rivals_and_what_to_set(tmp_path: Path) -> None:
    """The cheap policies first, whatever the strategy."""
    found = _advised(tmp_path, frame(through([*steady(14), *mornings(14)]), cache=True))

    order = ["longer-ttl", "replicate-on-push", "weekly"]
    assert all(list(row["rivals"]) == order for row in found.repositories)
    assert "covers = " in _row(found, "docker.io/acme/app1")["config"]


def test_a_log_that_is_too_short_for_a_replay_says_so(tmp_path: Path) -> None:
    """Advice rests on what was logged alone; the gains are missing, not zero."""
    found = _advised(tmp_path, frame(through([Ask(MONDAY, "c", "acme/app:1", 0, 10**6)]), cache=True))

    assert _row(found)["gain"] is None
    assert _row(found)["rivals"] == {}
    assert any(word.startswith("gains by replay: site 'office'") for word in found.cannot_say)


def test_each_site_has_its_own_clock(tmp_path: Path) -> None:
    """The same pulls at two sites: a schedule covers hours of the site it is for."""
    pulls = frame(_daily(True), cache=True)
    both = pl.concat(
        pulls.with_columns(pl.lit(site).alias("site"), pl.lit(f"acme/{site}").alias("repository"))
        for site in ("lon", "tok")
    )

    found = _advised(tmp_path, both, zone="UTC", zones={"tok": "Asia/Tokyo"})

    covers = {row["site"]: row["config"].partition("covers = ")[2][:13] for row in found.repositories}
    lon, tok = (int(covers[site][1:3]) for site in ("lon", "tok"))
    assert (tok - lon) % 24 == 9
