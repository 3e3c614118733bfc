"""`prewarm report`: what happened, measured from logs."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prewarm.cli import html, options, output

if TYPE_CHECKING:
    from prewarm.insight.reports import Report, Row
    from prewarm.settings import Settings

# Those of `insight.reports`, which would bring Polars with it.
NAMES = ("misses", "hit-rate", "latency", "concentration", "savings", "warmed", "holdout", "growth")
SHOWN = 12  # rows of a table on a terminal


@click.command()
@click.argument("name", type=click.Choice(NAMES), metavar="NAME")
@click.option("--site", metavar="S", help="One site; without it, all of them.")
@click.option("--image", metavar="IMAGE", help="Only this image (or all tags of a repository).")
@click.option(
    "--group",
    metavar="G",
    help="Only these clients: a name under [clients], or a network such as 10.1.2.0/24.",
)
@click.option("--since", type=options.TIME, help="First moment; also compares with the period before.")
@click.option("--until", type=options.TIME, help="Moment after the last.")
@click.option(
    "--format", "form", type=click.Choice(["table", "csv"]), default="table", show_default=True,
    help="csv is the report's main table.",
)  # fmt: skip
@click.option(
    "--html", "file", type=click.Path(path_type=Path), metavar="FILE", help="Also write one HTML page."
)
@options.common
def report(
    settings: Settings,
    as_json: bool,
    name: str,
    site: str | None,
    image: str | None,
    group: str | None,
    since: datetime | None,
    until: datetime | None,
    form: str,
    file: Path | None,
) -> None:
    """What happened, and what that cannot tell.

    NAME is misses, hit-rate, latency, concentration, savings, warmed, holdout or growth.

    Hits and misses are as the servers logged them, else told by durations, else modelled; each report says
    which, and how sure it is.
    """
    from prewarm.lake import Lake
    from prewarm.pipeline.insight.reports import Scope
    from prewarm.pipeline.insight.reports import report as make

    zone = settings.zone(site)
    scope = Scope(site, image, options.aware(since, zone), options.aware(until, zone), group)
    made = make(Lake.open(settings.lake), name, scope, settings.terms(site))
    if file is not None:
        output.write(file, html.report_page(made.document()))
    if as_json:
        output.print_json(made.document())
    elif form == "csv":
        sys.stdout.write(as_csv(made))
    else:
        show(made)


def as_csv(made: Report) -> str:
    """The report's main table, RFC 4180."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(made.main[0])
    for row in made.main:
        writer.writerow(
            [output.plain(value) if isinstance(value, datetime) else value for value in row.values()]
        )
    return text.getvalue()


def show(made: Report) -> None:
    """The summary, each table, and what it rests on."""
    change = made.change or {}
    rows = [(key.replace("_", " "), value, change.get(key)) for key, value in made.summary.items()]
    columns = ("figure", "value", "change") if change else ("figure", "value")
    output.print_table(columns, [row[: len(columns)] for row in rows], right=columns[1:], title=made.name)
    for title, table in made.tables.items():
        if table:
            rows_of(title, table)
    notes(made.sure, made.evidence, made.cannot_say)


def rows_of(title: str, table: Any) -> None:
    """Rows as a table for people."""
    names = list(table[0])
    right = [name for name in names if any(_number(row[name]) for row in table)]
    heads = [name.replace("_", " ") for name in names]
    rows = [
        [_cell(name, row) for name in names]
        for row in (table if title in ("hours", "causes") else table[:SHOWN])
    ]
    output.print_table(heads, rows, right=[name.replace("_", " ") for name in right], title=title)


def notes(sure: str | None, evidence: tuple[str, ...], cannot_say: tuple[str, ...]) -> None:
    """How it is known, and what is not."""
    told = output.console()
    if sure:
        told.print(f"sure: {sure}", markup=False)
    for line in evidence:
        told.print(f"  {output.shown(line)}", markup=False)
    for line in cannot_say:
        told.print(f"cannot say: {output.shown(line)}", markup=False)


def _cell(name: str, row: Row | Mapping[str, Any]) -> object:
    value = row[name]
    if "bytes" in name and isinstance(value, int):
        return output.size(value)
    if (name.endswith(("share", "rate")) or name == "together") and isinstance(value, float):
        return f"{value:.1%}"
    return value


def _number(value: object) -> bool:
    return isinstance(value, int | float)
