"""Figures are drawn from frames, show what they were given, and leave no global state."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import prewarm
from prewarm import plots
from prewarm.demand import frames
from prewarm.demand.calendars import Site
from prewarm.errors import NotEnoughHistory, UnknownName
from prewarm.insight.causes import Judged, judged
from prewarm.insight.reports import NAMES, Report
from prewarm.insight.reports.concentration import concentration
from prewarm.insight.reports.growth import growth
from prewarm.insight.reports.hits import hit_rate
from prewarm.insight.reports.holdout import holdout
from prewarm.insight.reports.latency import latency
from prewarm.insight.reports.misses import misses
from prewarm.insight.reports.savings import savings
from prewarm.insight.reports.trials import followed, trials
from prewarm.insight.reports.warmed import warmed
from prewarm.tables import OUTCOMES
from tests.contracts import busy
from tests.traffic import MONDAY, frame, identified, mornings, through

TIME = pl.Datetime("us", "UTC")

DEMAND = frames.frame(busy())
IMAGE = str(DEMAND["unique_id"].iloc[-1])


def ranking() -> Figure:
    """The ranking of the next hour."""
    return plots.top(prewarm.rank(DEMAND), n=3)


def band() -> Figure:
    """The busiest image and its forecast."""
    return plots.band(DEMAND, prewarm.forecast(DEMAND, h=24, level=[90]), IMAGE)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.rhythm(DEMAND),
        ranking,
        band,
        lambda: plots.concentration(DEMAND),
        lambda: plots.churn(DEMAND),
    ],
    ids=["rhythm", "top", "band", "concentration", "churn"],
)
def test_every_figure_can_be_saved(draw: Callable[[], Figure]) -> None:
    """Each function returns a Figure that becomes a picture."""
    picture = io.BytesIO()
    draw().savefig(picture, format="png", dpi=40)
    assert picture.getvalue().startswith(b"\x89PNG")


def test_the_heat_map_has_the_days_and_hours_of_the_site() -> None:
    """Seven rows, 24 columns, and the zone is named."""
    axes = plots.rhythm(DEMAND, Site("mumbai", "Asia/Kolkata"), IMAGE).axes[0]
    assert np.asarray(axes.images[0].get_array()).shape == (7, 24)
    assert "Asia/Kolkata" in axes.get_xlabel()


def test_the_bars_have_familiar_names_best_on_top() -> None:
    """docker.io/library/nginx:1.25 is called nginx:1.25."""
    table = pd.DataFrame(
        {"image": ["docker.io/library/nginx:1.25", "ghcr.io/acme/api:2"], "mean": [9.0, 2.0]}
    )
    axes = plots.top(table).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ghcr.io/acme/api:2", "nginx:1.25"]
    assert [bar.get_bbox().width for bar in axes.patches if isinstance(bar, Rectangle)] == [2.0, 9.0]


def test_an_empty_ranking_is_an_empty_figure() -> None:
    """Nothing to rank is no error."""
    assert len(plots.top(pd.DataFrame({"image": [], "mean": []})).axes[0].patches) == 0


def test_an_unknown_image_is_refused() -> None:
    """A figure of nothing would mislead."""
    with pytest.raises(UnknownName, match="no image called"):
        plots.rhythm(DEMAND, image="docker.io/library/none:1")


REPLAYED = pd.DataFrame(
    {
        "policy": ["none", "fixed", "auto"],
        "waiting": [100.0, 80.0, 20.0],
        "hit_ratio": [0.8, 0.85, 0.96],
    }
)


def test_replayed_policies_are_bars_with_their_hits() -> None:
    """The rival of all stands on top, in a colour of its own."""
    figure = plots.replay(REPLAYED)
    bars = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert [bar.get_width() for bar in bars] == [20.0, 80.0, 100.0]
    assert bars[-1].get_facecolor() != bars[0].get_facecolor()
    assert "80.0% hits" in {text.get_text() for text in figure.axes[0].texts}


def test_misses_are_stacked_by_cause() -> None:
    """A bar ends where its misses add up to."""
    table = pd.DataFrame({"evicted": [3, 1], "tag moved": [2, 2]}, index=["none", "auto"])
    bars = [patch for patch in plots.misses(table).axes[0].patches if isinstance(patch, Rectangle)]
    assert max(bar.get_x() + bar.get_width() for bar in bars) == 5


@pytest.mark.parametrize(("known", "label"), [(True, "GB warmed"), (False, "images warmed")])
def test_a_curve_has_a_line_for_each_policy_beside_the_mirror_that_nobody_warms(
    known: bool, label: str
) -> None:
    """Images stand for bytes where no size is known."""
    curve = pd.DataFrame(
        {
            "policy": ["none", "auto", "auto", "fixed"],
            "waiting": [100.0, 60.0, 20.0, 90.0],
            "warmed_bytes": [0, 10**9, 2 * 10**9, 10**9] if known else [None] * 4,
            "warmed": [0, 5, 9, 5],
        }
    )
    axes = plots.pareto(curve).axes[0]
    assert axes.get_xlabel() == label
    assert [line.get_label() for line in axes.lines] == ["none", "auto", "fixed"]
    assert list(np.asarray(axes.lines[1].get_xdata())) == ([1.0, 2.0] if known else [5, 9])


def test_the_parts_of_an_image_add_up_to_its_pulls() -> None:
    """Four rows: what was pulled, and trend, season and rest of it."""
    lines = [np.asarray(axes.lines[0].get_ydata()) for axes in plots.decomposition(DEMAND, IMAGE).axes]
    assert np.allclose(lines[0], lines[1] + lines[2] + lines[3], atol=1e-6)


def test_an_image_of_a_day_has_no_parts_yet() -> None:
    """There is no second day to tell a habit by."""
    with pytest.raises(NotEnoughHistory, match="two days"):
        plots.decomposition(DEMAND[DEMAND["ds"] < DEMAND["ds"].min() + pd.Timedelta(days=1)], IMAGE)


def test_scores_are_bars_with_the_first_model_marked() -> None:
    """Best on top; a score that is not there is named beside those that are."""
    table = pd.DataFrame({"recall@10": [0.5, 0.7, 0.2]}, index=["auto", "ewma", "yesterday"])
    axes = plots.scores(table, "recall@10").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["yesterday", "auto", "ewma"]
    colours = [bar.get_facecolor() for bar in axes.patches]
    assert colours[0] == colours[2] != colours[1]
    with pytest.raises(UnknownName, match="recall@10"):
        plots.scores(table, "recall@1")


def test_a_chance_that_is_true_lies_on_the_diagonal() -> None:
    """Of ten hours that were given 0.8, eight had a pull; an outage is not counted."""
    said = pd.DataFrame({"y": [1.0] * 8 + [0.0, 0.0, np.nan], "auto-any": [0.8] * 11})
    figure = plots.calibration(said)
    line = figure.axes[0].lines[1]
    assert (np.asarray(line.get_xdata()).round(6), np.asarray(line.get_ydata())) == ([0.8], [0.8])
    with pytest.raises(UnknownName, match="auto"):
        plots.calibration(said, "profile")


@pytest.mark.parametrize("name", NAMES)
def test_every_report_has_a_picture(name: str) -> None:
    """Of its table, with its words on the axes; of a report that has none it is said why."""
    office, told = _judged(), _followed()
    made = {
        "misses": lambda: misses(office), "hit-rate": lambda: hit_rate(office),
        "latency": lambda: latency(office),
        "concentration": lambda: concentration(office.frame.lazy()),
        "savings": lambda: savings(office, told, 0.1, 100),
        "warmed": lambda: warmed(told, office), "holdout": lambda: holdout(told, office),
        "growth": lambda: growth(office.frame.lazy(), pl.DataFrame()),
    }[name]()  # fmt: skip

    figure = plots.report(made)

    assert figure.axes[0].get_title(loc="left") == name
    assert figure.axes[0].has_data()
    with pytest.raises(NotEnoughHistory, match=name):
        plots.report(Report(name, {}, {}, cannot_say=("anything",)))


def _judged() -> Judged:
    """Two weeks of mornings whose mirror logged hits and durations."""
    return judged(identified(frame(through(mornings(14)), cache=True, seconds=True)))


def _followed() -> pl.DataFrame:
    """A run before each day, half of whose images are withheld."""
    rows = [
        {
            "image": f"docker.io/acme/app{image}:main", "run": f"r{day}", "cache": "c", "site": "office",
            "state": "withheld" if image % 2 else "warmed", "bytes": 10**9,
            "started_at": MONDAY + timedelta(days=day), "finished_at": MONDAY + timedelta(days=day, hours=1),
        }
        for day in range(10)
        for image in range(6)
    ]  # fmt: skip
    outcomes = pl.DataFrame(
        [{name: row.get(name) for name in OUTCOMES} for row in rows], schema=dict(OUTCOMES)
    )
    windows = pl.DataFrame(schema={"plan": pl.String, "start": TIME, "end": TIME})
    return followed(trials(outcomes, windows), _judged().frame)


def test_a_figure_for_a_page_keeps_its_words() -> None:
    """See-through, and dark on light or light on dark."""
    light, dark = plots.svg(band()).decode(), plots.svg(band(), dark=True).decode()
    assert "pulls an hour</text>" in light
    assert light == plots.svg(band()).decode()
    assert "#1f3b57" in light
    assert "#1f3b57" not in dark
