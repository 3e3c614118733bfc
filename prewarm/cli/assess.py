"""`prewarm assess`: one page from a log, before anything is configured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prewarm.cli import html, options, output
from prewarm.cli.report import notes, rows_of

if TYPE_CHECKING:
    from datetime import timedelta

    from prewarm.insight.assessment import Assessment
    from prewarm.settings import Settings


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH…")
@click.option("--format", "log_format", metavar="NAME", help="auto, or one of `prewarm formats`.")
@click.option(
    "--registry", metavar="HOST", help="The upstream that names belong to; wins over a logged host."
)
@click.option(
    "--ttl", type=options.DURATION, metavar="7d", help="How long the cache keeps a fill, where you know it."
)
@click.option(
    "--html", "file", type=click.Path(path_type=Path), metavar="FILE", help="Also write one HTML page."
)
@options.common
def assess(
    settings: Settings,
    as_json: bool,
    paths: tuple[str, ...],
    log_format: str | None,
    registry: str | None,
    ttl: timedelta | None,
    file: Path | None,
) -> None:
    """Does pre-warming pay? One page from a log; nothing is configured and nothing is kept.

    PATH is what `ingest` takes. The verdict is `pays`, `fix this first` or `does not pay`, with its reasons,
    the misses by cause, and what the log cannot tell.
    """
    from prewarm.pipeline.insight.assess import assess as judge

    source = settings.source("log", paths)
    source = replace(
        source,
        registry=options.registry(registry) if registry else source.registry,
        format=log_format or source.format,
    )
    terms = settings.terms()
    if ttl is not None:
        terms = replace(terms, ttls={source.site: ttl})
    with output.progress("reading") as advance:
        found = judge([source], terms, advance, output.warn)
    if file is not None:
        output.write(file, html.assessment_page(found.document()))
    if as_json:
        output.print_json(found.document())
    else:
        _show(found)


def _show(found: Assessment) -> None:
    told = output.console()
    document = found.document()
    traffic = document["traffic"]
    told.print(f"pre-warming: {found.verdict}", style="bold", markup=False)
    for line in found.why:
        told.print(f"  {line}", markup=False)
    if found.top_n:
        told.print(f"  a list of {found.top_n} images is enough", markup=False)
    told.print(
        f"\n{traffic['lines']:,} lines, {traffic['pulls']:,} pulls of {traffic['clients']:,} clients, "
        f"{output.shown(traffic['first'])} to {output.shown(traffic['last'])}; "
        f"{document['concentration']['images_for_80_percent']} images make 80 % of the pulls",
        markup=False,
    )
    causes = [{"cause": cause, **row} for cause, row in document["causes"].items() if row["misses"]]
    for title, rows in (
        ("misses by cause", causes),
        ("hours", document["hours"]),
        ("top", document["top"][:10]),
    ):
        if rows:
            rows_of(title, rows)
    notes(found.sure, found.misses.evidence, found.cannot_say)
