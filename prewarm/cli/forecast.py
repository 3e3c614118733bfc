"""`prewarm forecast` and `prewarm rank`: what will be pulled, per image, site and hour."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import click

from prewarm.cli import options, output

if TYPE_CHECKING:
    from prewarm.demand.ranking import Explanation
    from prewarm.pipeline.demand.forecast import Answer, ForecastResult, RankResult
    from prewarm.settings import Settings

OBJECTIVES = click.Choice(["pulls", "any-pull", "bytes"])


@click.command()
@click.option("--at", type=options.TIME, help="First hour; without a zone, the site's clock [now].")
@click.option("--hours", type=click.IntRange(1, 10_000), default=24, show_default=True)
@click.option("--site", metavar="S", help="One site; without it, every site.")
@click.option(
    "--model", default="auto", show_default=True, metavar="NAME", help="auto, or one of `prewarm models`."
)
@click.option("--level", default="90", show_default=True, metavar="80,90", help="Percents of the intervals.")
@options.common
def forecast(
    settings: Settings,
    as_json: bool,
    at: datetime | None,
    hours: int,
    site: str | None,
    model: str,
    level: str,
) -> None:
    """Forecast pulls per image and hour, and keep the forecast in the lake."""
    from prewarm.lake import Lake
    from prewarm.pipeline.demand.forecast import forecast as predict

    result = predict(
        Lake.open(settings.lake),
        settings.declared_sites(),
        _moment(settings, site, at),
        hours,
        site,
        model,
        options.percents(level),
        **_asked(settings),
    )
    _warn(result.warnings)
    if as_json:
        output.print_json(result.document())
    else:
        _show_forecast(result)


def _show_forecast(result: ForecastResult) -> None:
    import polars as pl

    busiest = (
        result.rows.unique(["site", "image", "time"])
        .group_by("image")
        .agg(pl.col("mean").sum(), pl.col("time").get(pl.col("mean").arg_max()).alias("peak"))
        .sort("mean", "image", descending=[True, False])
    )
    output.console().print(
        f"model {result.model}, cutoff {output.shown(result.cutoff)}, {busiest.height:,} images"
    )
    rows = busiest.select("image", "mean", "peak").head(20).iter_rows()
    output.print_table(("image", "pulls expected", "busiest hour"), rows, right=("pulls expected",))


@click.command()
@click.option(
    "--at", "moments", type=options.TIME, multiple=True, help="Start of the window; may be repeated [now]."
)
@click.option("--day", type=options.DAY, help="All 24 hours of the site's day, each ranked.")
@click.option(
    "--hours", type=click.IntRange(1, 10_000), default=1, show_default=True, help="Length of the window."
)
@click.option("--top", type=click.IntRange(1), default=20, show_default=True, metavar="N")
@click.option("--site", metavar="S", help="One site; without it, all sites together.")
@click.option("--objective", type=OBJECTIVES, default="pulls", show_default=True)
@click.option(
    "--model", default="auto", show_default=True, metavar="NAME", help="auto, or one of `prewarm models`."
)
@click.option("--explain", metavar="IMAGE", help="Show how this image comes to its number.")
@options.common
def rank(
    settings: Settings,
    as_json: bool,
    moments: tuple[datetime, ...],
    day: date | None,
    hours: int,
    top: int,
    site: str | None,
    objective: str,
    model: str,
    explain: str | None,
) -> None:
    """Rank the images of an hour, a window or a day by expected pulls."""
    from prewarm.lake import Lake
    from prewarm.pipeline.demand import forecast as verbs

    if day and (moments or explain or hours != 1):
        raise click.UsageError("--day ranks all 24 hours of a day; leave out --at, --hours and --explain")
    if explain and len(moments) > 1:
        raise click.UsageError("--explain tells of one hour; give one --at")
    stored, sites, asked = Lake.open(settings.lake), settings.declared_sites(), _asked(settings)
    at = [_moment(settings, site, moment) for moment in moments or (None,)]
    told = (
        verbs.explain(stored, sites, options.image(explain), at[0], site, model, **asked) if explain else []
    )
    if day:
        result = verbs.rank_day(stored, sites, day, top, site, objective, model, **asked)
    else:
        result = verbs.rank(stored, sites, at, hours, top, site, objective, model, **asked)
    _warn(result.warnings)
    if as_json:
        explained = {"explanations": [asdict(each) for each in told]} if explain else {}
        output.print_json(result.document() | explained)
    elif explain:
        _explain(told)
    else:
        for answer in result.answers:
            _show_answer(result, answer)


def _show_answer(result: RankResult, answer: Answer) -> None:
    where = result.site or "all sites"
    title = f"{where}, {output.shown(answer.at)} + {result.hours} h, by {result.objective} ({result.model})"
    rows = [
        (r.rank, r.image, f"{r.mean:.1f}", f"{r.probability:.2f}", output.size(r.bytes), _chance(r.p_stale))
        for r in answer.ranking
    ]
    columns = ("#", "image", "pulls", "P(≥1)", "size", "P(moved)")
    output.print_table(columns, rows, right=("#", *columns[2:]), title=title)


def _chance(p: float | None) -> str:
    return "" if p is None else f"{p:.2f}"


def _explain(found: list[Explanation]) -> None:
    for each in found:
        title = f"{each.image}, {output.shown(each.time)}"
        rows: list[tuple[object, ...]] = [(link.step, f"{link.value:.3f}", link.note) for link in each.links]
        if each.waited is None:
            told = "how the last hours compare with the profile"
            rows.append(("recent level", f"× {each.ratio:.2f}", told))
        rows += [
            (f"by {view.name}", f"{view.mean:.3f}", f"weighs {view.weight:.0%} in the average")
            for view in each.views
        ]
        if each.views:
            rows.append(
                ("what became of such", f"× {each.factor:.2f}", "images as silent, as old, as superseded")
            )
        if each.plain:
            told = f"weighs {each.plain.weight:.0%} beside all this, as it told the images apart"
            rows.append((f"by {each.plain.name}", f"{each.plain.mean:.3f}", told))
        born = (
            "" if each.waited is None else f"pushed {each.waited} hours before the log ends, not pulled yet"
        )
        rows.append((f"expected by {each.model}", f"{each.mean:.3f}", born))
        output.print_table(
            ("step", "pulls an hour", "what it is"), rows, right=("pulls an hour",), title=title
        )


def _asked(settings: Settings) -> dict[str, Any]:
    return {"default": settings.default_site(), "counting": settings.counting()}


def _moment(settings: Settings, site: str | None, at: datetime | None) -> datetime:
    return options.aware(at, settings.zone(site)) or datetime.now(UTC)


def _warn(warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        output.warn(warning)
