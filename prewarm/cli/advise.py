"""`prewarm advise`: which strategy suits which repository."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from prewarm.cli import options, output
from prewarm.cli.report import notes

if TYPE_CHECKING:
    from prewarm.settings import Settings


@click.command()
@click.option("--site", metavar="S", help="One site; without it, all of them.")
@click.option("--image", metavar="REPOSITORY", help="Only this repository (or image).")
@click.option("--group", metavar="G", help="Only these clients: a name under [clients], or a network.")
@click.option("--since", type=options.TIME, help="First moment; without a zone, the site's clock.")
@click.option("--until", type=options.TIME, help="Moment after the last.")
@options.common
def advise(
    settings: Settings,
    as_json: bool,
    site: str | None,
    image: str | None,
    group: str | None,
    since: datetime | None,
    until: datetime | None,
) -> None:
    """A strategy for each repository: why, what it saves, what to set, and what would change the advice.

    From pull-through only to pre-warming, replication on push, replicas, an edge, lazy loading, TTLs, and
    what to pin, to consolidate or to delete.
    """
    from prewarm.lake import Lake
    from prewarm.pipeline.insight.advise import advise as judge
    from prewarm.pipeline.insight.reports import Scope

    zone = settings.zone(site)
    scope = Scope(site, image, options.aware(since, zone), options.aware(until, zone), group)
    found = judge(Lake.open(settings.lake), scope, settings.terms(site))
    if as_json:
        output.print_json(found.document())
        return
    rows = [
        (
            row["site"],
            row["repository"],
            row["strategy"],
            row["why"],
            _saving(row["saving"]),
            _gain(row["gain"]),
        )
        for row in found.repositories
    ]
    output.print_table(("site", "repository", "strategy", "why", "misses cost", "replayed"), rows)
    _config(found.repositories)
    notes(found.sure, found.evidence, found.cannot_say)


def _gain(gain: dict[str, Any] | None) -> str:
    """What a replay says the strategy would gain, and which cheaper policy as much."""
    if gain is None:
        return "–"
    lo, hi = f"{gain['lo']:,.1f}", f"{gain['hi']:,.1f}"
    said = f"{gain['policy']}: {hi if lo == hi else f'{lo} to {hi}'} of {gain['of']:,.1f} s a day"
    return f"{said}; {gain['cheaper']} as much" if gain["cheaper"] else said


def _config(rows: list[dict[str, Any]]) -> None:
    """What to set for the first of them; the others' is in JSON."""
    first = next((row for row in rows if row["config"]), None)
    if first is not None:
        click.echo(f"# {output.shown(first['repository'])}: {first['strategy']} (all of them: --json)")
        click.echo(first["config"])


def _saving(saving: dict[str, Any]) -> str:
    said = []
    for key, value in saving.items():
        said.append(output.size(int(value)) if key == "bytes" else f"{value:,.1f} {key.replace('_', ' ')}")
    return ", ".join(said)
