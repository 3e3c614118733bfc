"""The verb `scorecard`, over a real lake."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from prewarm.demand.calendars import Site
from prewarm.errors import NotEnoughHistory, SettingsError, UnknownName
from prewarm.pipeline.demand.scorecard import scorecard
from tests.demand.samples import after, pull, table
from tests.pipeline.demand.test_forecast import SITES, lake, office, rhythm


def test_every_model_and_baseline_is_scored(tmp_path: Path) -> None:
    """The keys that scripts rely on, for what was asked and for every baseline."""
    document = scorecard(office(tmp_path), SITES, origins=3, top=(1, 2)).document()
    assert {"auto", "profile", "last-24h", "seasonal-naive", "ewma"} <= set(document["models"])
    wanted = {"recall@1", "ndcg@2", "capture@1", "deviance", "wql", "coverage", "calibration", "seconds"}
    assert all(wanted <= set(scores) for scores in document["models"].values())
    assert document["best"] in document["models"]
    assert document["origins"] == 3


def test_a_rhythm_beats_a_counter(tmp_path: Path) -> None:
    """Where each hour has its own image, auto finds it, and the counter of the last day cannot."""
    found = scorecard(office(tmp_path), SITES, origins=5, top=(1,)).document()
    scores = found["models"]
    assert scores["auto"]["recall@1"] > 0.9
    assert scores["auto"]["recall@1"] > scores["last-24h"]["recall@1"]
    assert found["against"]["last-24h"]["lo"] > 0
    assert found["fallbacks"] == {}


def test_rows_after_the_time_change_no_score(tmp_path: Path) -> None:
    """A scorecard of a past time is the one that would have been made then."""
    then = lake(tmp_path / "then", rhythm("morning", 8, 9, 14), rhythm("night", 1, 7, 14))
    now = lake(tmp_path / "now", rhythm("morning", 8, 9, 20), rhythm("night", 1, 7, 20))
    cards = [scorecard(each, SITES, at=after(14), origins=2).document()["models"] for each in (then, now)]
    for card in cards:
        for scores in card.values():
            del scores["seconds"]
    assert cards[0] == cards[1]


def test_hours_without_pulls_have_no_score_that_json_cannot_say(tmp_path: Path) -> None:
    """A site that only polls for its last days leaves nothing to compare: null, not NaN."""
    polls = [pull(after(days=12, hours=hour), kind="check") for hour in range(48)]
    quiet = lake(tmp_path, rhythm("morning", 8, 9, 6), table(*polls))
    document = scorecard(quiet, SITES, origins=2, hours=1, top=(1,)).document()
    assert document["models"]["auto"]["capture@1"] is None
    assert set(document["against"]["last-24h"].values()) == {None}


def test_a_day_of_log_has_nothing_to_compare_with(tmp_path: Path) -> None:
    """It says what is missing."""
    opened = lake(tmp_path, table(pull(after(hours=8)), pull(after(hours=20))))
    with pytest.raises(NotEnoughHistory, match="a day before them"):
        scorecard(opened, SITES)


def test_an_unknown_model_is_named(tmp_path: Path) -> None:
    """With the nearest known one."""
    with pytest.raises(UnknownName, match="did you mean 'profile'"):
        scorecard(office(tmp_path), {"default": Site()}, models=("profil",))


@pytest.mark.parametrize("wrong", [{"hours": 0}, {"hours": 500}, {"origins": 0}, {"top": ()}, {"top": (0,)}])
def test_numbers_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    """In one line, before anything is read."""
    with pytest.raises(SettingsError, match="expected"):
        scorecard(office(tmp_path), SITES, **wrong)  # type: ignore[arg-type]


def test_the_verdict_compares_with_the_best_baseline(tmp_path: Path) -> None:
    """It names it, the distance and its interval; a counter is worse where each hour has its image."""
    card = scorecard(office(tmp_path), SITES, origins=5, top=(1,), models=("last-24h",))
    assert re.match(
        r"last-24h is worse than the best baseline, [a-z-]+: capture@1 -0\.\d+ \(95 %.*\)", card.verdict
    )
