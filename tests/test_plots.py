"""Figures are drawn from frames, show what they were given, and leave no global state."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import prewarm
from prewarm import plots
from prewarm.demand import frames
from prewarm.demand.calendars import Site
from prewarm.errors import UnknownName
from tests.contracts import busy

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
