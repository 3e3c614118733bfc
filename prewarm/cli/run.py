"""`prewarm plan` and `prewarm run`: decide what to warm, then do it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from prewarm.cli import options, output

if TYPE_CHECKING:
    from prewarm.pipeline.warming.plan import Planned, Request
    from prewarm.pipeline.warming.run import Conduct, RunResult
    from prewarm.settings import ScheduleSection, Settings
    from prewarm.warming.executor import Event
    from prewarm.warming.planning import Plan

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

MODEL_HELP = "auto, or one of `prewarm models`."
WISHES = ("at", "hours", "top", "max_bytes", "max_pulls", "ready_by", "objective", "model")
OBJECTIVES = click.Choice(["pulls", "any-pull", "bytes"])


def wanted(command: F) -> F:
    """What `plan` and `run` may be asked for."""
    for option in reversed(
        [
            click.option(
                "--at", type=options.TIME, help="First hour to serve; without a zone, the site's clock [now]."
            ),
            click.option(
                "--hours", type=click.IntRange(1, 744), default=1, show_default=True, help="Hours to serve."
            ),
            click.option("--top", type=click.IntRange(1, 10_000), default=20, show_default=True, metavar="N"),
            click.option("--max-bytes", type=options.SIZE, help="Most bytes to add: 40GB."),
            click.option("--max-pulls", type=click.IntRange(0), metavar="N", help="Most images to warm."),
            click.option("--ready-by", type=options.TIME, help="When everything must be there."),
            click.option("--objective", type=OBJECTIVES, default="pulls", show_default=True),
            click.option("--model", default="auto", show_default=True, metavar="NAME", help=MODEL_HELP),
        ]
    ):
        command = option(command)
    return command


def once(_: click.Context, param: click.Parameter, values: tuple[str, ...]) -> str | None:
    """The one value of a flag that must not be repeated: to drop one would leave a cache cold in silence."""
    if len(set(values)) > 1:
        raise click.UsageError(
            f"{param.opts[0]} was given {len(values)} times; give one, and call once for each"
        )
    return values[0] if values else None


@click.command()
@click.option(
    "--cache",
    required=True,
    multiple=True,
    callback=once,
    metavar="NAME",
    help="One of the settings' [caches.NAME].",
)
@wanted
@options.common
def plan(
    settings: Settings,
    as_json: bool,
    cache: str,
    **asked: Any,
) -> None:
    """Plan what a cache should hold, without warming anything: the dry run."""
    planned = _plan(settings, cache, _request(settings, cache, **asked))
    _warn(planned.warnings)
    if as_json:
        output.print_json(planned.document())
    else:
        _show_plan(planned.plan)


@click.command()
@click.option(
    "--cache",
    multiple=True,
    callback=once,
    metavar="NAME",
    help="Plan for this cache from now, and execute the plan.",
)
@click.option(
    "--plan",
    "plan_name",
    multiple=True,
    callback=once,
    metavar="FILE|ID",
    help="Execute exactly this plan.",
)
@click.option(
    "--schedule",
    multiple=True,
    callback=once,
    metavar="NAME",
    help="Do what this schedule says: run, refresh or prune.",
)
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@wanted
@options.common
def run(
    settings: Settings,
    as_json: bool,
    cache: str | None,
    plan_name: str | None,
    schedule: str | None,
    dry_run: bool,
    **asked: Any,
) -> int:
    """Warm a cache: execute a plan. Exit 3 when some images failed; each outcome says why."""
    if sum(given is not None for given in (cache, plan_name, schedule)) != 1:
        raise click.UsageError("say what to run with one of --cache NAME, --plan FILE|ID, --schedule NAME")
    if cache is None:
        _refuse_wishes("--plan" if plan_name else "--schedule")
    section = None if schedule is None else settings.schedule(schedule)
    if section is not None and section.mode == "forecast-only":
        dry_run = True
    if section is not None and section.verb != "run":
        return _keep(settings, section, as_json, apply=not dry_run)
    work = _work(settings, cache, plan_name, schedule, asked)
    if dry_run:
        return _show_dry(settings, work, as_json)
    result = _run(settings, work)
    _warn(result.warnings)
    if as_json:
        output.print_json(result.document())
    else:
        _show_run(result)
    return 0 if result.state == "done" else output.PARTLY


def _keep(settings: Settings, section: ScheduleSection, as_json: bool, *, apply: bool) -> int:
    from prewarm.cli import upkeep

    if section.verb == "refresh":
        return upkeep.refresh_caches(settings, [section.cache], as_json, apply=apply, over=section.over)
    return upkeep.prune_caches(settings, [section.cache], as_json, apply=apply)


def _refuse_wishes(given: str) -> None:
    """A plan or a schedule says what is warmed: `--max-bytes` beside it would be dropped in silence."""
    context = click.get_current_context()
    beside = [
        f"--{name.replace('_', '-')}"
        for name in WISHES
        if context.get_parameter_source(name) == ParameterSource.COMMANDLINE
    ]
    if beside:
        raise click.UsageError(f"{given} says itself what is warmed; leave out {', '.join(beside)}")


@dataclass(frozen=True)
class _Work:
    cache: str
    what: Plan | Request


def _work(
    settings: Settings, cache: str | None, plan_name: str | None, schedule: str | None, asked: dict[str, Any]
) -> _Work:
    from prewarm.lake import Lake
    from prewarm.pipeline.warming.plan import find

    if plan_name is not None:
        found = find(Lake.open(settings.lake), plan_name)
        return _Work(found.cache, found)
    if schedule is not None:
        from prewarm.pipeline.warming.schedules import due

        when, site = settings.when(schedule)
        return _Work(settings.schedule(schedule).cache, due(when, site, datetime.now(UTC)))
    assert cache is not None
    return _Work(cache, _request(settings, cache, **asked))


def _request(settings: Settings, cache: str, **asked: Any) -> Request:
    from prewarm.pipeline.warming.plan import Request
    from prewarm.warming.planning import Budget

    zone = settings.zone(settings.cache(cache).site)
    budget = Budget(
        asked["top"], asked["max_bytes"], asked["max_pulls"], options.aware(asked["ready_by"], zone)
    )
    at = options.aware(asked["at"], zone) or datetime.now(UTC)
    return Request(at, asked["hours"], budget, asked["objective"], asked["model"])


def _plan(settings: Settings, cache: str, request: Request) -> Planned:
    from prewarm.lake import Lake
    from prewarm.pipeline.warming.plan import plan as decide

    return asyncio.run(
        decide(
            Lake.open(settings.lake),
            settings.cache_spec(cache),
            settings.endpoints(),
            request,
            now=datetime.now(UTC),
            demand=settings.demand_of_sites(),
        )
    )


def _run(settings: Settings, work: _Work) -> RunResult:
    from prewarm.lake import Lake
    from prewarm.pipeline.warming.plan import Request
    from prewarm.pipeline.warming.run import run as execute

    def go(conduct: Conduct) -> Coroutine[Any, Any, RunResult]:
        return execute(
            Lake.open(settings.lake),
            settings.cache_spec(work.cache),
            settings.endpoints(),
            work.what,
            demand=settings.demand_of_sites() if isinstance(work.what, Request) else None,
            conduct=conduct,
        )

    return asyncio.run(_watched(go))


async def _watched(go: Callable[[Conduct], Coroutine[Any, Any, RunResult]]) -> RunResult:
    """A run with a progress bar, which an interrupt ends early but in order."""
    from prewarm.pipeline.warming.run import Conduct, stopped_by_signals

    stop = asyncio.Event()
    done = total = 0
    with output.progress("warming", unit="images") as advance, stopped_by_signals(stop):

        def planned(plan: Plan) -> None:
            nonlocal total
            total = len(plan.warms)

        def happened(event: Event) -> None:
            nonlocal done
            done += event.outcome is not None
            advance(done, total)

        return await go(replace(Conduct(), stop=stop, on_plan=planned, on_event=happened))


def _show_dry(settings: Settings, work: _Work, as_json: bool) -> int:
    from prewarm.pipeline.warming.documents import to_document
    from prewarm.pipeline.warming.plan import permitted
    from prewarm.warming.planning import Plan, warnings_of

    if isinstance(work.what, Plan):
        plan = permitted(work.what, settings.cache_spec(work.cache), settings.endpoints())
        warnings = warnings_of(plan)
    else:
        made = _plan(settings, work.cache, work.what)
        plan, warnings = made.plan, made.warnings
    _warn(warnings)
    if as_json:
        output.print_json({**to_document(plan), "warnings": list(warnings)})
    else:
        _show_plan(plan)
    return 0


def _show_plan(planned: Plan) -> None:
    start, end = (output.shown(moment) for moment in planned.window)
    title = f"plan {planned.id} for {planned.cache}, {start} – {end}: {output.size(planned.bytes)} to warm"
    rows = [(warm.image, output.size(warm.bytes), warm.reason) for warm in planned.warms]
    rows += [(skip.image, "–", f"not warmed: {skip.reason}") for skip in planned.skipped]
    rows += [(held.image, "–", held.reason) for held in planned.withheld]
    output.print_table(("image", "adds", "why"), rows, right=("adds",), title=title)


def _show_run(result: RunResult) -> None:
    totals = result.totals
    title = (
        f"run {result.id} of {result.plan.cache}: {result.state}, {totals['warmed']} warmed, "
        f"{totals['already']} already there, {totals['failed']} failed, "
        f"{output.size(int(totals['bytes']))} in {totals['seconds']:.1f} s"
    )
    rows = [
        (o.image, o.state, output.size(o.bytes), f"{o.seconds:.1f}", o.error or o.note or "")
        for o in result.outcomes
    ]
    output.print_table(("image", "state", "bytes", "s", "how"), rows, right=("bytes", "s"), title=title)


def _warn(warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        output.warn(warning)
