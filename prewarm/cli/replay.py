"""`prewarm replay`: what a cache, a TTL, a list or a model that one does not have yet would have saved."""

from __future__ import annotations

import csv
import sys
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import click

from prewarm.cli import options, output

if TYPE_CHECKING:
    from prewarm.pipeline.insight.whatif import ReplayResult, WhatIf
    from prewarm.settings import Settings

COLUMNS = (
    *("policy", "hits", "gain", "wait s/day", "p50 s", "p95 s"),
    *("warmed", "used", "upstream", "pulls"),
)


@click.command()
@click.option("--capacity", type=options.SIZE, metavar="B", help="Disk of the mirror; without it, no limit.")
@click.option(
    "--ttl", default="168h", show_default=True, metavar="D", help="Kept after a fill; none: for ever."
)
@click.option(
    "--policy", "policies", multiple=True, metavar="P,Q", help="What to compare; `none` always is. See below."
)
@click.option("--since", type=options.TIME, help="Score from then; without a zone, the site's clock.")
@click.option("--until", type=options.TIME, help="Moment after the last.")
@click.option(
    "--schedule", metavar="NAME", help="As this schedule and its cache have it; flags that are given win."
)
@click.option("--site", metavar="S", help="One site; without it, each with a mirror of its own.")
@click.option("--top", type=int, default=50, show_default=True, metavar="N", help="Images that a list names.")
@click.option("--max-bytes", type=options.SIZE, metavar="B", help="Most that a run fetches; of any policy.")
@click.option("--at", "times", default="00:00,06:00,12:00,18:00", show_default=True, help="When runs start.")
@click.option("--days", default="mon-sun", show_default=True, help="On which days: mon-fri; sat,sun.")
@click.option(
    "--scope",
    default="site",
    show_default=True,
    metavar="S",
    help="site: one shared mirror; client: a cache on each node; cold: nodes that begin empty each day.",
)
@click.option("--objective", default="pulls", show_default=True, help="Of models: pulls, any-pull, bytes.")
@click.option("--quota", type=int, default=100, show_default=True, help="Docker Hub's, in 6 hours.")
@click.option("--latency", metavar="D", help="Round trip to upstream; without it, as logged, else 0.08s.")
@click.option(
    "--bandwidth", type=options.SIZE, metavar="B", help="Of upstream, a second; as logged, else 12.5MB."
)
@click.option("--pareto", is_flag=True, help="Also at an eighth to four times the bytes.")
@click.option("--format", "form", type=click.Choice(["table", "csv"]), default="table", show_default=True)
@options.common
def replay(settings: Settings, as_json: bool, form: str, **given: Any) -> None:
    """Replay the lake's pulls through a simulated mirror, under several policies: what would have been.

    Policies: none (a warm LRU mirror, the rival of all), lfu, longer-ttl and bigger-disk (four times),
    replicate-on-push, fixed (one list, never changed), weekly (refreshed every Monday), any of `prewarm
    models`, oracle (knows the future), belady (evicts what is not needed for longest). All may fetch the same
    bytes in a run, and models know only what had been logged before it.
    """
    from prewarm.lake import Lake
    from prewarm.pipeline.insight.replay import replay as played

    with output.progress("forecasting", "runs") as advance:
        result = played(
            Lake.open(settings.lake),
            settings.declared_sites(),
            _asked(settings, given),
            default=settings.default_site(),
            counting=settings.counting(),
            advance=advance,
        )
    for warning in result.warnings:
        output.warn(warning)
    if as_json:
        output.print_json(result.document())
    elif form == "csv":
        _csv(result)
    else:
        _show(result)


def _asked(settings: Settings, given: dict[str, Any]) -> WhatIf:
    from prewarm.pipeline.insight.whatif import POLICIES, WhatIf
    from prewarm.pipeline.warming.schedules import weekdays

    serves = timedelta(days=1)
    if given["schedule"] is not None:
        scheduled, serves = _scheduled(settings, given["schedule"])
        given = given | {name: value for name, value in scheduled.items() if not _given(name)}
    zone = settings.zone(given["site"])
    names = [name.strip() for part in given["policies"] for name in part.split(",") if name.strip()]
    return WhatIf(
        capacity=given["capacity"],
        ttl=_duration("--ttl", given["ttl"]),
        policies=names or POLICIES,
        since=options.aware(given["since"], zone),
        until=options.aware(given["until"], zone),
        site=given["site"],
        top=given["top"],
        max_bytes=given["max_bytes"],
        at=_times(given["times"]),
        days=weekdays(given["days"]),
        serves=serves,
        scope=given["scope"],
        objective=given["objective"],
        quota=given["quota"],
        pareto=given["pareto"],
        latency=_duration("--latency", given["latency"]),
        bandwidth=given["bandwidth"],
    )


def _scheduled(settings: Settings, name: str) -> tuple[dict[str, Any], timedelta]:
    """The flags that stand for a schedule that warms, and how long the hours are that its runs are for.

    A run begins when all must be there: how long it takes is not replayed.
    """
    when, _ = settings.when(name)
    cache = settings.cache(settings.schedule(name).cache)
    begin, end = when.covers.split("-")
    ready = when.ready_by or begin
    limits = [limit for limit in (when.budget.max_bytes, cache.max_bytes) if limit is not None]
    flags = {
        "site": cache.site,
        "ttl": "none" if cache.ttl is None else f"{cache.ttl.total_seconds():.0f}s",
        "max_bytes": min(limits, default=None),
        "times": ready,
        "days": when.days,
        "objective": when.objective,
    }
    if when.budget.top is not None:
        flags["top"] = when.budget.top
    first, last = (datetime.combine(date.min, at) for text in (ready, end) for at in _times(text))
    return flags, (last - first) % timedelta(days=1) or timedelta(days=1)


def _given(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE


def _duration(flag: str, text: str | None) -> timedelta | None:
    from prewarm.quantities import parse_duration

    if text is None or text == "none":
        return None
    try:
        return parse_duration(text)
    except ValueError as wrong:
        raise click.UsageError(f"{flag}: {wrong}") from None


def _times(text: str) -> tuple[time, ...]:
    try:
        return tuple(sorted({time.fromisoformat(part.strip()) for part in text.split(",")}))
    except ValueError:
        raise click.UsageError(f"--at {text!r}: expected times of day such as 07:00,12:30") from None


def _show(result: ReplayResult) -> None:
    document = result.document()
    rows = [_row(name, told) for name, told in document["policies"].items()]
    output.print_table(COLUMNS, rows, right=COLUMNS[1:], title=_title(document))
    if result.asked.pareto:
        curve = [(_row(each["policy"], each), output.size(each["max_bytes"])) for each in document["pareto"]]
        output.print_table(
            (*COLUMNS, "budget"), [(*row, budget) for row, budget in curve], right=(*COLUMNS[1:], "budget")
        )
    _causes(document["policies"])
    for name, why in document["skipped"].items():
        click.echo(f"not replayed: {name}: {why}")
    for site in result.sites:
        if site.verdict is not None:
            click.echo(
                f"{output.shown(site.site)}: {site.verdict.answer.words} ({site.verdict.reason}, a day)"
            )


def _title(document: dict[str, Any]) -> str:
    ttl = "for ever" if document["ttl"] is None else f"{document['ttl'] / timedelta(hours=1):.0f} h"
    disk = "no limit" if document["capacity"] is None else output.size(document["capacity"])
    pulls = next(iter(document["policies"].values()))["pulls"]
    span = f"{_day(document['since'])} to {_day(document['until'])}"
    return f"{pulls:,} pulls, {', '.join(document['sites'])}, {span}; disk {disk}, kept {ttl}"


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"


def _row(name: str, told: dict[str, Any]) -> tuple[object, ...]:
    refused = f" (-{told['over_quota']:,})" if told["over_quota"] else ""
    return (
        name,
        f"{told['hit_ratio']:.1%}",
        f"{100 * told['gain']:+.1f}",
        f"{told['waiting']:,.1f}",
        output.shown(told["p50"]),
        output.shown(told["p95"]),
        output.size(told["warmed_bytes"]),
        _share(told["precision"]),
        output.size(told["upstream_bytes"]),
        f"{told['upstream_pulls']:,}{refused}",
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _causes(policies: dict[str, dict[str, Any]]) -> None:
    """Why pulls missed, policy by policy."""
    causes = sorted({cause for told in policies.values() for cause in told["misses"]})
    rows = [(name, *(told["misses"].get(cause, 0) for cause in causes)) for name, told in policies.items()]
    if causes:
        output.print_table(("misses by cause", *causes), rows, right=causes)


def _csv(result: ReplayResult) -> None:
    """A row for each policy, and for each point of the curve; misses are left to JSON."""
    rows = [{"policy": name, "max_bytes": None, **told} for name, told in result.policies.items()]
    rows += result.curve
    for row in rows:
        row.pop("misses")
    writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
