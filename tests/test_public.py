"""What `import prewarm` gives an analyst, and what it costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import prewarm
from prewarm.demand import frames
from prewarm.errors import NotEnoughHistory, SettingsError, UnknownName
from prewarm.lake import Lake
from tests.contracts import busy
from tests.demand.samples import after, pull, table
from tests.traffic import lines, mornings, through

DEMAND = frames.frame(busy())
HEAVY = ("sklearn", "statsmodels", "scipy", "matplotlib", "docker", "fastapi")


def lake(folder: Path, *sites: str) -> Path:
    """A lake with two weeks of pulls at eight, at each of these sites."""
    rows = [pull(after(day, 8, 5), site=site) for site in sites for day in range(14)]
    Lake.open(folder / "lake").append("pulls", table(*rows))
    return folder / "lake"


def modules_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after running `code`."""
    script = f"{code}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_prewarm_loads_nothing_heavy() -> None:
    """The name costs nothing until one of its names is used."""
    assert not modules_after("import prewarm") & {*HEAVY, "numpy", "polars", "pandas"}


def test_ranking_loads_no_statistics_package(tmp_path: Path) -> None:
    """`run` ranks, and must stay light: neither scikit-learn nor statsmodels nor scipy nor pandas."""
    code = (
        "from datetime import datetime, UTC\n"
        "from prewarm.lake import Lake\n"
        "from prewarm.pipeline.demand.forecast import rank\n"
        f"rank(Lake.open({str(lake(tmp_path, 'default'))!r}), {{}}, [datetime(2026, 2, 20, 8, tzinfo=UTC)])"
    )
    assert not modules_after(code) & {*HEAVY, "pandas"}


def test_every_public_name_is_there() -> None:
    """What `__all__` promises can be used, and nothing else is."""
    for name in prewarm.__all__:
        assert getattr(prewarm, name) is not None
    assert dir(prewarm) == sorted(prewarm.__all__)
    with pytest.raises(AttributeError, match="no attribute 'forecst'"):
        prewarm.forecst  # noqa: B018


def test_forecast_speaks_nixtlas_grammar() -> None:
    """unique_id, ds, the model's name and its intervals; h rows an image that follow the history."""
    made = prewarm.forecast(DEMAND, h=6, level=[80, 90])
    assert list(made.columns) == [
        "unique_id",
        "ds",
        "auto",
        "probability",
        "auto-lo-80",
        "auto-hi-80",
        "auto-lo-90",
        "auto-hi-90",
    ]
    assert len(made) == 6 * DEMAND["unique_id"].nunique()
    assert made["ds"].min() == DEMAND["ds"].max() + pd.Timedelta(hours=1)
    assert (made["auto-lo-90"] <= made["auto-lo-80"]).all()
    assert (made["auto-hi-80"] <= made["auto-hi-90"]).all()


def test_forecast_leaves_its_frame_alone() -> None:
    """The history is only read."""
    before = DEMAND.copy(deep=True)
    prewarm.forecast(DEMAND, h=2)
    pd.testing.assert_frame_equal(DEMAND, before)


@pytest.mark.parametrize("model", ["seasonal-naive", "last-24h"])
def test_forecast_by_another_model_has_its_column(model: str) -> None:
    """The column is called by the model."""
    assert model in prewarm.forecast(DEMAND, h=1, model=model).columns


def test_rank_is_a_frame_best_first() -> None:
    """The busiest image leads, and sizes serve the objective bytes."""
    ranked = prewarm.rank(DEMAND, h=3, top=2)
    assert list(ranked.columns) == ["rank", "image", "mean", "probability", "bytes", "score", "p_stale"]
    assert ranked["image"].iloc[0] == DEMAND["unique_id"].iloc[-1]
    rare, busiest = str(DEMAND["unique_id"].iloc[0]), str(DEMAND["unique_id"].iloc[-1])
    by_bytes = prewarm.rank(DEMAND, objective="bytes", sizes={rare: 10**12, busiest: 1}, top=1)
    assert by_bytes["image"].iloc[0] != busiest


def test_a_lake_gives_its_demand(tmp_path: Path) -> None:
    """Every hour of the history, on the clock that was given, without the incomplete last hour."""
    study = prewarm.open(lake(tmp_path, "default"), timezone="America/Boise")
    demand = study.demand()
    assert demand["y"].sum() == 13
    assert demand["ds"].max() == pd.Timestamp(after(13, 7))
    assert study.site().timezone == "America/Boise"
    assert len(study.demand(zeros=False)) == 13


def test_a_lake_gives_pulls_plans_outcomes_and_rankings(tmp_path: Path) -> None:
    """The tables are frames, empty where nothing was written."""
    study = prewarm.open(lake(tmp_path, "default"))
    assert len(study.pulls()) == len(study.pulls("default")) == 14
    assert len(study.plans()) == len(study.outcomes()) == 0
    assert study.rank(after(14, 8))["image"].tolist() == ["docker.io/library/app:1"]


def test_several_sites_must_be_told_apart(tmp_path: Path) -> None:
    """A lake of two sites asks which; each has its own declared clock."""
    berlin = prewarm.Site("berlin", "Europe/Berlin")
    study = prewarm.open(lake(tmp_path, "boise", "berlin"), sites={"berlin": berlin})
    assert study.site_names() == ["berlin", "boise"]
    with pytest.raises(SettingsError, match="several sites"):
        study.demand()
    assert study.site("berlin") == berlin
    assert study.demand("berlin")["y"].sum() == 13


@pytest.mark.parametrize("h", [0, -1, 10_000])
def test_hours_out_of_bounds_are_refused(h: int) -> None:
    """No hours, or more than two months of them, are no forecast."""
    with pytest.raises(SettingsError, match="h "):
        prewarm.forecast(DEMAND, h=h)
    with pytest.raises(SettingsError, match="h "):
        prewarm.rank(DEMAND, h=h)


def test_levels_are_percents() -> None:
    """A level of 0.9 is a mistake, not a thin interval."""
    with pytest.raises(SettingsError, match="percents"):
        prewarm.forecast(DEMAND, h=1, level=[100])


def test_an_unknown_model_is_refused() -> None:
    """The nearest is named."""
    with pytest.raises(UnknownName, match="did you mean 'profile'"):
        prewarm.forecast(DEMAND, h=1, model="profle")


def test_an_empty_lake_teaches(tmp_path: Path) -> None:
    """Nothing read: what to do."""
    with pytest.raises(NotEnoughHistory, match="prewarm ingest"):
        prewarm.open(tmp_path / "none").demand()


def test_the_mean_of_a_frame_and_of_its_grid_agree() -> None:
    """The door changes nothing."""
    from prewarm.demand.forecasters.auto import Auto
    from prewarm.pipeline.demand.histories import prior

    made = prewarm.forecast(DEMAND, h=24)
    assert np.allclose(made["auto"], Auto(prior()).forecast(busy(), range(24)).ravel(), rtol=1e-5)


def test_an_analyst_has_reports_and_advice(tmp_path: Path) -> None:
    """Key figures, tables as pandas frames, and a row for each repository."""
    study = prewarm.open(lake(tmp_path, "boise"))

    made = study.report("hit-rate")
    assert made.summary["pulls"] > 0
    assert list(made.frame()["site"]) == ["boise"]
    assert {"repository", "strategy", "why"} <= set(study.advice().columns)
    with pytest.raises(UnknownName, match="days"):
        made.frame("dayz")


def test_an_analyst_assesses_a_log(tmp_path: Path) -> None:
    """Without a lake."""
    log = tmp_path / "mirror.log"
    log.write_text(lines(through(mornings(4)), cache=True))

    found = prewarm.assess(log, timezone="Europe/Berlin")

    assert found.verdict == "pays"
    assert found.misses.frame()["misses"].sum() == found.misses.summary["misses"]


def test_replay_is_the_verb_with_frames(tmp_path: Path) -> None:
    """Policies as rows, misses by cause, the curve, and a year's business; sizes as people write them."""
    rows = [pull(after(day, 8, 5), bytes=10**9, digest="sha256:a") for day in range(14)]
    Lake.open(tmp_path / "lake").append("pulls", table(*rows))
    study = prewarm.open(tmp_path / "lake")
    result = prewarm.replay(study, ["fixed", "longer-ttl"], ttl="20h", capacity="5GB", pareto=True)
    frame = result.frame()
    assert frame["policy"].tolist() == ["none", "fixed", "longer-ttl"]
    assert frame["hit_ratio"].tolist()[:2] == [0, 1]
    assert result.misses().loc["none", "TTL lapsed"] == 7
    assert set(result.pareto()["policy"]) == {"none", "fixed"}
    case = result.business(hourly=60, attention=0.5, per_gb=0.1).set_index("policy")
    assert case.loc["none", "net"] == 0
    waited = frame["waiting"][0] * 365 / 3600
    assert case.loc["fixed", "worth"] == pytest.approx(waited * 30, rel=1e-3)
    assert case.loc["fixed", "egress"] == pytest.approx(0, abs=10)
