"""Models on a frame's own past, with an analyst's own beside ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor

import prewarm
from prewarm.errors import NotEnoughHistory, SettingsError, UnknownName

HOURS = 24 * 21


def office() -> pd.DataFrame:
    """Three weeks: `busy` at nine each day, `rare` on every third day at noon."""
    ds = pd.date_range("2026-11-02", periods=HOURS, freq="h", tz="UTC")
    hour, day = ds.hour, (ds - ds[0]).days
    busy, rare = np.where(hour == 9, 6.0, 0.0), np.where((hour == 12) & (day % 3 == 0), 2.0, 0.0)
    return pd.concat(
        [pd.DataFrame({"unique_id": name, "ds": ds, "y": y}) for name, y in (("busy", busy), ("rare", rare))]
    )


class Nines:
    """An analyst's forecaster: one pull of everything, each hour."""

    name = "nines"

    def forecast(self, history: Any, ahead: range) -> Any:
        return np.ones((len(history.images), len(ahead)), dtype=np.float32)


def test_windows_follow_each_other_and_say_what_came() -> None:
    """A row for each image and hour of each window, with its cutoff."""
    said = prewarm.cross_validation(office(), h=24, n_windows=3, models=["profile", "seasonal-naive"])
    models = ["profile", "profile-any", "seasonal-naive", "seasonal-naive-any"]
    assert list(said.columns) == ["unique_id", "ds", "cutoff", "y", *models]
    assert said["profile-any"].between(0, 1).all()
    assert len(said) == 2 * 24 * 3
    assert (said["ds"] >= said["cutoff"]).all()
    assert said.groupby("cutoff")["y"].sum().tolist() == [8.0, 6.0, 6.0]
    nine = said[(said["unique_id"] == "busy") & (said["ds"].dt.hour == 9)]
    assert (nine["seasonal-naive"] == 6.0).all()


def test_nothing_of_a_window_reaches_its_models() -> None:
    """Other pulls in the last day change no word about it."""
    frame, other = office(), office()
    last = other["ds"] >= other["ds"].max() - pd.Timedelta(hours=23)
    other.loc[last, "y"] = 99.0
    told = [prewarm.cross_validation(each, n_windows=1, models=["auto"])["auto"] for each in (frame, other)]
    assert told[0].equals(told[1])


def test_an_outage_is_no_outcome() -> None:
    """`y` is NaN where nobody logged."""
    frame = office()
    frame.loc[frame["ds"] == frame["ds"].max(), "y"] = np.nan
    said = prewarm.cross_validation(frame, n_windows=1, models=["profile"])
    assert said.loc[said["ds"] == said["ds"].max(), "y"].isna().all()
    assert said["y"].notna().sum() == 2 * 23


def test_own_models_stand_beside_every_baseline() -> None:
    """An object of the contract, a regressor that takes weights and one that does not."""
    mine = {"nines": Nines(), "ridge": Ridge(), "near": KNeighborsRegressor(3), "auto": "auto"}
    scores = prewarm.evaluate(office(), n_windows=3, models=mine, top=[1])
    assert set(mine) | {"seasonal-naive", "ewma"} <= set(scores.index)
    assert {"recall@1", "ndcg@1", "capture@1", "deviance", "wql", "coverage", "seconds"} <= set(
        scores.columns
    )
    assert scores.loc["auto", "capture@1"] > scores.loc["nines", "capture@1"]
    assert not hasattr(mine["ridge"], "coef_")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"h": 0}, SettingsError, "h 0"),
        ({"h": 10_000}, SettingsError, "h 10000"),
        ({"n_windows": 0}, SettingsError, "n_windows 0"),
        ({"models": ["aut"]}, UnknownName, "auto"),
        ({"models": {"mine": 3}}, SettingsError, "'mine' is a int"),
    ],
)
@pytest.mark.parametrize("call", [prewarm.cross_validation, prewarm.evaluate])
def test_what_cannot_be_used_is_said(call: Any, options: dict[str, Any], error: Any, words: str) -> None:
    """In one line, with what was expected."""
    with pytest.raises(error, match=words):
        call(office(), **options)


@pytest.mark.parametrize("call", [prewarm.cross_validation, prewarm.evaluate])
def test_a_frame_of_an_hour_is_too_short(call: Any) -> None:
    """There is nothing to learn from before the window."""
    with pytest.raises(NotEnoughHistory, match="a week or more"):
        call(office().head(1))
