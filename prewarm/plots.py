"""Figures: one function each, for notebooks, the page and reports alike.

They take frames and grids, and return a matplotlib Figure that nothing else holds: show it, save it
(`figure.savefig("rhythm.png")`), or put it into a page with `svg`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from prewarm.demand import patterns
from prewarm.demand.frames import history
from prewarm.errors import NotEnoughHistory, UnknownName

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from prewarm.demand.calendars import Site
    from prewarm.insight.reports import Report

_DAY, _WEEK = 24, 168  # hours
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_INK, _ACCENT = "#1f3b57", "#d1603d"
_SHADES = ("#1f3b57", "#d1603d", "#7a9e9f", "#e3b23c", "#8c5e8c", "#9aa5b1")
_DARK = {_INK: "#7fb2dd", _ACCENT: "#f0955f"}
"""On a dark page: what would not stand out from it."""


def rhythm(df: pd.DataFrame, site: Site | None = None, image: str | None = None) -> Figure:
    """Heat map of the mean pulls an hour, weekday x hour of day on the site's clock.

    `df` is a long frame `unique_id, ds, y`; `image` picks one of its `unique_id`.
    """
    grid = history(df, site)
    _known(grid.images, image)
    figure, axes = _figure(9, 3.2, f"When {image or 'the site'} is pulled")
    table = patterns.rhythm(grid, image)
    drawn = axes.imshow(table, aspect="auto", cmap="YlOrBr", vmin=0)
    axes.set_yticks(range(7), WEEKDAYS)
    axes.set_xticks(range(0, 24, 2), [f"{hour:02}" for hour in range(0, 24, 2)])
    axes.set_xlabel(f"hour of day, {grid.site.timezone}")
    figure.colorbar(drawn, ax=axes, label="pulls an hour")
    return figure


def top(ranking: pd.DataFrame, n: int = 10) -> Figure:
    """Bars of the first `n` rows of a ranking (`image` or `unique_id`, `mean`), best on top."""
    rows = ranking.head(n).iloc[::-1]
    names = rows["unique_id" if "unique_id" in rows.columns else "image"].map(_short)
    figure, axes = _figure(8, 0.6 + 0.34 * max(len(rows), 1), "Expected pulls")
    axes.barh(range(len(rows)), rows["mean"], color=_INK)
    axes.set_yticks(range(len(rows)), names)
    axes.set_xlabel("pulls in the window")
    return figure


def band(df: pd.DataFrame, forecasts: pd.DataFrame, unique_id: str, level: int = 90) -> Figure:
    """The last week of one image, its forecast, and the interval that holds `level` percent.

    `forecasts` is what `prewarm.forecast` returns, with the columns `<model>-lo-<level>` and `-hi-`.
    """
    _known(tuple(df["unique_id"].unique()), unique_id)
    past = df[df["unique_id"] == unique_id].sort_values("ds").tail(_WEEK)
    ahead = forecasts[forecasts["unique_id"] == unique_id].sort_values("ds")
    model = next(str(name)[: -len(f"-lo-{level}")] for name in ahead.columns if f"-lo-{level}" in str(name))
    figure, axes = _figure(9, 3.2, _short(unique_id))
    axes.step(past["ds"], past["y"], where="post", color=_INK, label="pulled")
    axes.step(ahead["ds"], ahead[model], where="post", color=_ACCENT, label=model)
    axes.fill_between(
        ahead["ds"],
        ahead[f"{model}-lo-{level}"],
        ahead[f"{model}-hi-{level}"],
        step="post",
        color=_ACCENT,
        alpha=0.2,
        label=f"{level} %",
    )
    axes.set_ylabel("pulls an hour")
    axes.legend(frameon=False, ncols=3)
    figure.autofmt_xdate()
    return figure


def concentration(df: pd.DataFrame) -> Figure:
    """Share of all pulls that the busiest images have, from one to all of them (log axis)."""
    share = patterns.concentration(history(df))
    figure, axes = _figure(6, 3.2, "How few images carry the registry")
    axes.plot(np.arange(1, len(share) + 1), 100 * share, color=_INK)
    axes.set_xscale("log")
    axes.set_ylim(0, 102)
    axes.set_xlabel("busiest images")
    axes.set_ylabel("% of pulls")
    return figure


def churn(df: pd.DataFrame, top: int = 10) -> Figure:
    """Day by day: the share of pulls that went to images never seen before, and of the top that stayed."""
    told = patterns.churn(history(df), top)
    figure, axes = _figure(9, 3.2, "What changes from day to day")
    days = np.arange(2, len(told.kept) + 2)
    axes.bar(days, 100 * told.new_share, color=_ACCENT, label="% of pulls that were of new images")
    axes.plot(days, 100 * told.kept, color=_INK, label=f"% of the top {top} that stayed from the day before")
    axes.set_ylim(0, 102)
    axes.set_xlabel("day")
    axes.legend(frameon=False)
    return figure


def decomposition(df: pd.DataFrame, unique_id: str) -> Figure:
    """One image's demand as trend, week (or day, before two weeks are known) and rest.

    (STL, robust to bursts: Cleveland and others, 1990; by statsmodels.) Outages count as hours without pulls.
    Raises NotEnoughHistory before two days are known.
    """
    from statsmodels.tsa.seasonal import STL

    _known(tuple(df["unique_id"].unique()), unique_id)
    past = df[df["unique_id"] == unique_id].set_index("ds")["y"].sort_index().fillna(0.0)
    if len(past) < 2 * _DAY:
        raise NotEnoughHistory(f"{unique_id} has {len(past)} hours; expected two days at least")
    period = _WEEK if len(past) >= 2 * _WEEK else _DAY
    parts = STL(past.to_numpy(), period=period, robust=True).fit()
    figure, axes = _figures(9, 5, _short(unique_id), 4)
    drawn = {"pulls": past, "trend": parts.trend, f"{period} hours": parts.seasonal, "rest": parts.resid}
    for place, (name, values) in zip(axes, drawn.items(), strict=True):
        place.plot(past.index, values, color=_ACCENT if name == "rest" else _INK, linewidth=0.8)
        place.set_ylabel(name)
    figure.autofmt_xdate()
    return figure


def scores(table: pd.DataFrame, score: str = "capture@10") -> Figure:
    """Bars of one score of every model, best on top; `table` is what `prewarm.evaluate` returns."""
    if score not in table.columns:
        raise UnknownName("score", score, [str(name) for name in table.columns])
    drawn = table[score].sort_values()
    figure, axes = _figure(8, 0.8 + 0.32 * len(drawn), score)
    colours = [_ACCENT if name == table.index[0] else _INK for name in drawn.index]
    axes.bar_label(axes.barh(drawn.index, drawn, color=colours), fmt="%.2f", padding=4)
    axes.margins(x=0.08)
    return figure


def calibration(said: pd.DataFrame, model: str = "auto", bins: int = 10) -> Figure:
    """How often there was a pull, where so much of a chance of one was foretold; on the diagonal is right.

    `said` is what `prewarm.cross_validation` returns; the grey bars are how many hours each chance had.
    """
    if f"{model}-any" not in said.columns:
        known = [name.removesuffix("-any") for name in map(str, said.columns) if name.endswith("-any")]
        raise UnknownName("model", model, known)
    kept = said[said["y"].notna()]
    where = np.minimum((kept[f"{model}-any"] * bins).astype(int), bins - 1)
    told = kept.assign(came=kept["y"] > 0).groupby(where)[[f"{model}-any", "came"]].agg(["mean", "size"])
    figure, axes = _figure(6, 4, f"When {model} says so, is it pulled?")
    axes.plot([0, 1], [0, 1], color="#9aa5b1", linestyle="--", linewidth=1)
    axes.plot(told[f"{model}-any", "mean"], told["came", "mean"], marker="o", color=_ACCENT)
    axes.set_xlabel("chance of a pull that was foretold")
    axes.set_ylabel("share of hours that had one")
    counts: Any = axes.twinx()
    counts.bar(told[f"{model}-any", "mean"], told["came", "size"], width=0.03, color=_INK, alpha=0.25)
    counts.set_yscale("log")
    counts.set_ylabel("hours of images")
    return figure


def replay(frame: pd.DataFrame) -> Figure:
    """Seconds that clients wait for upstream in a day, by policy, with the hit ratio of each.

    `frame` is what `prewarm.replay(…).frame()` returns; the rival of all, `none`, comes first.
    """
    figure, axes = _figure(9, 0.8 + 0.35 * len(frame), "Waiting for upstream, by policy")
    drawn = frame.iloc[::-1]
    colours = [_ACCENT if name == "none" else _INK for name in drawn["policy"]]
    bars = axes.barh(drawn["policy"], drawn["waiting"], color=colours)
    axes.bar_label(bars, [f"{hits:.1%} hits" for hits in drawn["hit_ratio"]], padding=4)
    axes.margins(x=0.12)
    axes.set_xlabel("seconds a day")
    return figure


def misses(table: pd.DataFrame) -> Figure:
    """Misses by policy and cause, stacked; `table` is what `prewarm.replay(…).misses()` returns."""
    figure, axes = _figure(9, 1.2 + 0.35 * len(table), "Why pulls miss")
    drawn = table.iloc[::-1]
    begin = np.zeros(len(drawn))
    for place, cause in enumerate(drawn.columns):
        shade = _SHADES[place % len(_SHADES)]
        axes.barh(drawn.index, drawn[cause], left=begin, color=shade, label=cause)
        begin = begin + drawn[cause].to_numpy()
    axes.set_xlabel("misses")
    if len(drawn.columns):
        figure.legend(frameon=False, ncols=3, loc="outside lower center")
    return figure


def pareto(curve: pd.DataFrame) -> Figure:
    """What the waiting comes to for the bytes that are warmed: a line for a policy, a mark for a budget.

    `curve` is what `prewarm.replay(…, pareto=True).pareto()` returns. Lower and further left is better; the
    dashed line is the mirror that nobody warms. Where no size is known, images stand for bytes.
    """
    figure, axes = _figure(9, 4, "What more bytes would buy")
    sized = curve["warmed_bytes"].notna().all()
    none = curve[curve["policy"] == "none"]
    axes.axhline(float(none["waiting"].iloc[0]), color=_INK, linestyle="--", linewidth=1, label="none")
    drawn = curve[curve["policy"] != "none"]
    for place, (policy, points) in enumerate(drawn.groupby("policy", sort=False)):
        warmed = points["warmed_bytes"] / 1e9 if sized else points["warmed"]
        shade = _SHADES[place % len(_SHADES)]
        axes.plot(warmed, points["waiting"], marker="o", markersize=4, color=shade, label=str(policy))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("GB warmed" if sized else "images warmed")
    axes.set_ylabel("seconds waited a day")
    axes.legend(frameon=False)
    return figure


def report(made: Report) -> Figure:
    """The picture of a report: what its main table or its days say.

    Raises NotEnoughHistory where the report has nothing to draw.
    """
    table, draw = _DRAWN[made.name]
    rows = [row for row in made.tables.get(table, ()) if draw is not _by_cause or row["misses"]]
    if not rows:
        raise NotEnoughHistory(f"the report {made.name} has no {table}: {'; '.join(made.cannot_say[:1])}")
    figure, axes = _figure(8, 3.2, made.name)
    draw(axes, rows, made)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    return figure


def _by_cause(axes: Axes, rows: Sequence[Mapping[str, Any]], made: Report) -> None:
    remedies = list(dict.fromkeys(row["remedy"] for row in rows))
    for place, remedy in enumerate(remedies):
        mine = [row for row in rows if row["remedy"] == remedy]
        axes.barh(
            [row["cause"] for row in mine],
            [row["misses"] for row in mine],
            color=_SHADES[place],
            label=remedy,
        )
    axes.set_xlabel("misses")


def _by_day(axes: Axes, rows: Sequence[Mapping[str, Any]], made: Report) -> None:
    days = [row["day"] for row in rows]
    axes.plot(days, [100 * row["hit_rate"] for row in rows], marker="o", color=_INK)
    for bound, said in ((60, "from here on a cache pays"), (20, "below it is waste")):
        axes.axhline(bound, color=_ACCENT, linestyle="--", linewidth=1)
        axes.annotate(said, (days[0], bound), textcoords="offset points", xytext=(0, 3), color=_ACCENT)
    axes.set_ylim(0, 102)
    axes.set_ylabel("% of pulls served")
    axes.tick_params("x", rotation=30)


def _by_hour(axes: Axes, rows: Sequence[Mapping[str, Any]], made: Report) -> None:
    hours = [row["hour"] for row in rows]
    for which, shade in (("cold", _ACCENT), ("warm", _INK)):
        for level, line in (("p95", ":"), ("p50", "-")):
            seconds = [np.nan if (value := row[f"{which}_{level}"]) is None else value for row in rows]
            axes.plot(hours, seconds, line, marker=".", color=shade, label=f"{which}, {level.upper()}")
    axes.set_yscale("log")
    _count(axes)
    axes.set_xlabel("hour of day")
    axes.set_ylabel("seconds of a pull")


def _by_rank(axes: Axes, rows: Sequence[Mapping[str, Any]], made: Report) -> None:
    axes.bar(
        [row["rank"] for row in rows], [100 * row["share"] for row in rows], color=_INK, label="each image"
    )
    axes.plot(
        [row["rank"] for row in rows],
        [100 * row["together"] for row in rows],
        color=_ACCENT,
        label="together",
    )
    _count(axes)
    axes.set_xlabel(f"busiest images; {made.summary['images_for_80_percent']} make 80 % of the pulls")
    axes.set_ylabel("% of pulls")


def _by_window(axes: Axes, rows: Sequence[Mapping[str, Any]], made: Report) -> None:
    windows = range(1, len(rows) + 1)
    axes.bar(windows, [row["pulls"] for row in rows], color=_SHADES[5], label="pulls of docker.io")
    axes.bar(windows, [row["upstream_pulls"] for row in rows], color=_INK, label="of them upstream")
    axes.axhline(made.summary["quota"], color=_ACCENT, linestyle="--", label="quota")
    _count(axes)
    axes.set_xlabel("fullest windows of six hours")


def _by_run(axes: Axes, rows: Sequence[Mapping[str, Any]], made: Report) -> None:
    runs = range(1, len(rows) + 1)
    wasted = [row["wasted_bytes"] / 1e9 for row in rows]
    used = [row["bytes"] / 1e9 - waste for row, waste in zip(rows, wasted, strict=True)]
    axes.bar(runs, used, color=_INK, label="used")
    axes.bar(runs, wasted, bottom=used, color=_ACCENT, label="wasted")
    _count(axes)
    axes.set_xlabel("runs, in order")
    axes.set_ylabel("GB transferred")


def _by_arm(axes: Axes, rows: Sequence[Mapping[str, Any]], made: Report) -> None:
    drawn = [row for row in rows if row["first_miss_rate"] is not None]
    rates = [row["first_miss_rate"] for row in drawn]
    bounds = [
        [row["first_miss_rate"] - row["first_miss_rate_lo"] for row in drawn],
        [row["first_miss_rate_hi"] - row["first_miss_rate"] for row in drawn],
    ]
    axes.barh([row["arm"] for row in drawn], rates, xerr=bounds, color=_INK, ecolor=_ACCENT, capsize=4)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of images whose first pull missed, and its 95 % interval")


def _by_growth(axes: Axes, rows: Sequence[Mapping[str, Any]], made: Report) -> None:
    days = [row["day"] for row in rows]
    axes.fill_between(
        days, [(row["bytes"] or 0) / 1e9 for row in rows], color=_SHADES[5], alpha=0.5, label="all so far"
    )
    axes.bar(days, [(row["new_bytes"] or 0) / 1e9 for row in rows], color=_INK, label="new that day")
    axes.set_ylabel("GB of distinct versions")
    axes.tick_params("x", rotation=30)


_DRAWN: Mapping[str, tuple[str, Callable[[Axes, Sequence[Mapping[str, Any]], Report], None]]] = {
    "misses": ("causes", _by_cause),
    "hit-rate": ("days", _by_day),
    "latency": ("hours", _by_hour),
    "concentration": ("top", _by_rank),
    "savings": ("docker_hub", _by_window),
    "warmed": ("runs_in_order", _by_run),
    "holdout": ("arms", _by_arm),
    "growth": ("days", _by_growth),
}
"""By report: the table that its picture shows, and how."""


def svg(figure: Figure, *, dark: bool = False) -> bytes:
    """The figure as SVG for a page: see-through, text as text, in the colours of a light or a dark page."""
    from matplotlib import rc_context
    from matplotlib.text import Text

    ink = "#e6ebf1" if dark else "#1b2733"
    for axes in figure.axes:
        axes.tick_params(colors=ink, which="both")
        for spine in axes.spines.values():
            spine.set_edgecolor(ink)
    for text in figure.findobj(Text):
        if text.get_color() in ("black", "k", "#000000"):
            text.set_color(ink)
    made = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "prewarm"}):  # the same figure, the same bytes
        figure.savefig(made, format="svg", transparent=True, metadata={"Date": None})
    drawn = made.getvalue()
    for light, shade in _DARK.items() if dark else ():
        drawn = drawn.replace(light.encode(), shade.encode())
    return drawn


def _figure(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    figure, (axes,) = _figures(width, height, title, 1)
    return figure, axes


def _figures(width: float, height: float, title: str, rows: int) -> tuple[Figure, list[Any]]:
    """Empty axes of our looks, one above the other, outside pyplot's global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes: list[Any] = figure.subplots(rows, sharex=True, squeeze=False)[:, 0].tolist()
    axes[0].set_title(title, loc="left")
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _count(axes: Axes) -> None:
    """Whole numbers along the bottom."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _short(image: str) -> str:
    """The familiar form: `nginx:1.25` for docker.io/library/nginx:1.25."""
    return image.removeprefix("docker.io/").removeprefix("library/")


def _known(images: Sequence[str], image: str | None) -> None:
    if image is not None and image not in images:
        raise UnknownName("image", image, list(images)[:10])
