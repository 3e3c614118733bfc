"""`prewarm scorecard`: how good each model would have been on the lake's own past."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from prewarm.cli import options, output

if TYPE_CHECKING:
    from prewarm.pipeline.demand.scorecard import Scorecard
    from prewarm.settings import Settings


@click.command()
@click.option("--origins", type=click.IntRange(1), default=7, show_default=True, metavar="N", help="Windows.")
@click.option("--hours", type=click.IntRange(1), default=24, show_default=True, help="Length of a window.")
@click.option(
    "--models", default="auto,profile", show_default=True, metavar="A,B", help="Beside every baseline."
)
@click.option("--top", default="5,10,50", show_default=True, metavar="5,10,50", help="The N of top-N.")
@click.option("--site", metavar="S", help="One site; without it, all of them.")
@click.option("--at", type=options.TIME, help="Score what was before; without a zone, the site's clock.")
@options.common
def scorecard(
    settings: Settings,
    as_json: bool,
    origins: int,
    hours: int,
    models: str,
    top: str,
    site: str | None,
    at: datetime | None,
) -> None:
    """Score models and baselines on the last windows of the lake, each forecast from before it."""
    from prewarm.lake import Lake
    from prewarm.pipeline.demand.scorecard import scorecard as judge

    result = judge(
        Lake.open(settings.lake),
        settings.declared_sites(),
        options.aware(at, settings.zone(site)),
        hours,
        origins,
        [name.strip() for name in models.split(",") if name.strip()],
        _numbers(top),
        site,
        default=settings.default_site(),
        counting=settings.counting(),
    )
    if as_json:
        output.print_json(result.document())
    else:
        _show(result)


def _show(result: Scorecard) -> None:
    document = result.document()
    n = result.main
    columns = ("model", f"recall@{n}", f"ndcg@{n}", f"capture@{n}", "deviance", "wql", "cover", "s")
    keys = (f"recall@{n}", f"ndcg@{n}", f"capture@{n}", "deviance", "wql", "coverage", "seconds")
    scores = document["models"]
    order = sorted(scores, key=lambda name: -(scores[name][f"capture@{n}"] or 0))
    rows = [(name, *(_shown(scores[name][key]) for key in keys)) for name in order]
    title = f"{result.origins} windows of {result.hours} h, {', '.join(result.sites)}; best: {result.best}"
    output.print_table(columns, rows, right=columns[1:], title=title)
    click.echo(document["verdict"])
    for name, baselines in document["fallbacks"].items():
        told = ", ".join(f"{baseline} in {count}" for baseline, count in baselines.items())
        click.echo(
            f"{name} fell back to a baseline that had ranked better: {told} of {result.origins} windows"
        )


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise click.UsageError(f"--top {text!r}: expected numbers such as 5,10,50") from None
