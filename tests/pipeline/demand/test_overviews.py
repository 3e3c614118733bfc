"""What is held in memory answers as the verbs do, without a model or the lake."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from prewarm.errors import NotEnoughHistory, SettingsError, UnknownName
from prewarm.lake import Lake
from prewarm.pipeline.demand.forecast import rank
from prewarm.pipeline.demand.overviews import HORIZON, Overview, overview
from tests.past import NOW, lake_with

A, B = "docker.io/acme/a:1", "docker.io/acme/b:1"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return lake_with(tmp_path, A, B)


@pytest.fixture
def held(lake: Lake) -> Overview:
    return overview(lake, {}, NOW)


@pytest.mark.parametrize("minutes", [0, 17, 60, 24 * 60])
@pytest.mark.parametrize("hours", [1, 24])
@pytest.mark.parametrize("objective", ["pulls", "any-pull", "bytes"])
def test_a_held_ranking_is_that_of_the_verb(
    lake: Lake, held: Overview, minutes: int, hours: int, objective: str
) -> None:
    """Any window of the coming days has the verb's images, numbers and cutoff."""
    at = NOW + timedelta(minutes=minutes)

    answer = held.rank(at, hours, None, objective, 10)
    wanted = rank(lake, {}, [at], hours, 10, None, objective)

    assert [row.image for row in answer.ranking] == [row.image for row in wanted.ranking]
    assert [row.score for row in answer.ranking] == pytest.approx([row.score for row in wanted.ranking])
    assert answer.cutoffs == wanted.cutoffs


def test_it_reaches_over_the_coming_days(held: Overview) -> None:
    """What was, and what lies too far ahead, is not held."""
    assert held.reaches(NOW, 24)
    assert held.reaches(NOW, HORIZON - 1)
    assert not held.reaches(NOW, HORIZON)
    assert not held.reaches(NOW - timedelta(hours=1), 1)


def test_several_sites_are_together_or_one_by_one(tmp_path: Path) -> None:
    """Without a name the ranking is of all, and what is one site's own wants to be told which."""
    lake_with(tmp_path, A, site="boise")
    held = overview(lake_with(tmp_path, A, site="berlin"), {}, NOW)

    both = held.rank(NOW, 1, None, "pulls", 5).ranking[0].mean
    each = [held.rank(NOW, 1, site, "pulls", 5).ranking[0].mean for site in ("boise", "berlin")]

    assert both == pytest.approx(sum(each))
    assert held.one("boise").site.name == "boise"
    (word,) = held.rank(NOW, 1, "boise", "pulls", 5).warnings
    assert "site 'boise' has no time zone" in word
    with pytest.raises(SettingsError, match=r"several \(berlin, boise\); pick one: site=berlin"):
        held.one()
    with pytest.raises(UnknownName, match="did you mean 'boise'"):
        held.chosen("boize")


def test_an_image_that_a_site_never_pulled_is_refused(held: Overview) -> None:
    """The hint names what the repository has, and never the whole registry."""
    assert held.one().grid.images[held.one().row(B)] == B
    with pytest.raises(UnknownName, match=r"known: docker\.io/acme/a:1$"):
        held.one().row("docker.io/acme/a:2")


def test_a_lake_without_pulls_says_so(tmp_path: Path) -> None:
    """There is nothing to look at yet."""
    with pytest.raises(NotEnoughHistory, match="prewarm ingest"):
        overview(Lake.open(tmp_path / "lake"), {}, NOW)


def test_a_site_that_was_only_polled_stands_beside_the_others(tmp_path: Path) -> None:
    """One site without demand does not hide the rest; asked for by name it says why."""
    lake_with(tmp_path, B, site="berlin", agent="prewarm/0.1.0")
    held = overview(lake_with(tmp_path, A, site="boise"), {}, NOW)

    assert list(held.views) == ["boise"]
    with pytest.raises(NotEnoughHistory, match="set aside"):
        held.chosen("berlin")
