"""`prewarm refresh` and `prewarm prune`: what was warmed is kept fresh, and taken out again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from prewarm.cli import options, output
from prewarm.errors import PrewarmError

if TYPE_CHECKING:
    from prewarm.pipeline.warming.caches import CacheSpec
    from prewarm.pipeline.warming.upkeep import Pruned, Refreshed
    from prewarm.settings import Settings

T = TypeVar("T")

ANY_CACHE = "One of the settings' [caches.NAME]; without it, each of them."


@click.command()
@click.option("--cache", metavar="NAME", help=ANY_CACHE)
@click.option("--apply", is_flag=True, help="Warm them again; without it, only say which.")
@click.option(
    "--over", type=options.DURATION, default=timedelta(0), help="Spread the questions over this time: 10m."
)
@options.common
def refresh(settings: Settings, as_json: bool, cache: str | None, apply: bool, over: timedelta) -> int:
    """Find warmed tags that moved upstream, and fills that lapsed. Tags are asked by HEAD, free of quotas."""
    return refresh_caches(settings, _named(settings, cache), as_json, apply=apply, over=over)


@click.command()
@click.option("--cache", metavar="NAME", help=ANY_CACHE)
@click.option("--apply", is_flag=True, help="Delete them; without it, only say which.")
@click.option("--unused", type=options.DURATION, help="Time without a use, such as 30d [the cache's unused].")
@options.common
def prune(settings: Settings, as_json: bool, cache: str | None, apply: bool, unused: timedelta | None) -> int:
    """Find warmed images that nobody used for long and the forecast does not expect either."""
    return prune_caches(settings, _named(settings, cache), as_json, apply=apply, unused=unused)


def refresh_caches(
    settings: Settings, names: Sequence[str], as_json: bool, *, apply: bool, over: timedelta
) -> int:
    """Refresh these caches one after another; exit code 3 when something could not be asked or warmed."""
    from prewarm.pipeline.warming.upkeep import Refreshed
    from prewarm.pipeline.warming.upkeep import refresh as work

    def one(spec: CacheSpec) -> Refreshed:
        given = (_lake(settings), spec, settings.endpoints())
        return asyncio.run(work(*given, demand=settings.demand_of_sites(), over=over, apply=apply))

    done, refused = _each(settings, names, one)
    document = {"applied": apply} | _together([Refreshed("", (), 0), *done], refused)
    _show(document, as_json, lambda: _show_refreshed(done, apply))
    return 0 if not refused and all(each.complete for each in done) else output.PARTLY


def prune_caches(
    settings: Settings, names: Sequence[str], as_json: bool, *, apply: bool, unused: timedelta | None = None
) -> int:
    """Prune these caches one after another; exit code 3 when one of several cannot be pruned."""
    from prewarm.pipeline.warming.upkeep import Pruned
    from prewarm.pipeline.warming.upkeep import prune as work
    from prewarm.warming.caches import Eviction

    def one(spec: CacheSpec) -> Pruned:
        if unused is not None:
            spec = replace(spec, patience=replace(spec.patience, unused=unused))
        given = (_lake(settings), spec, settings.endpoints())
        return asyncio.run(work(*given, demand=settings.demand_of_sites(), apply=apply))

    done, refused = _each(settings, names, one)
    document = {"applied": apply} | _together([Pruned("", (), {}, Eviction((), 0)), *done], refused)
    _show(document, as_json, lambda: _show_pruned(done, apply))
    return output.PARTLY if refused else 0


def _named(settings: Settings, cache: str | None) -> list[str]:
    if cache is None and not settings.caches:
        raise click.UsageError("no cache to look at: prewarm.toml has no [caches.NAME]")
    return [cache] if cache is not None else sorted(settings.caches)


def _lake(settings: Settings) -> Any:
    from prewarm.lake import Lake

    return Lake.open(settings.lake)


def _each(
    settings: Settings, names: Sequence[str], work: Callable[[CacheSpec], T]
) -> tuple[list[T], dict[str, str]]:
    """The work on each cache, and why it refused; the refusal of the only one is raised."""
    done: list[T] = []
    refused: dict[str, str] = {}
    for name in names:
        try:
            done.append(work(settings.cache_spec(name)))
        except PrewarmError as error:
            if len(names) == 1:
                raise
            refused[name] = str(error)
    return done, refused


def _together(done: Sequence[Refreshed] | Sequence[Pruned], refused: dict[str, str]) -> dict[str, Any]:
    """The documents of several caches as one: lists and numbers add up. The first is empty, for its keys."""
    summed: dict[str, Any] = {}
    for each in done:
        for key, value in each.document().items():
            summed[key] = summed[key] + value if key in summed else value
    return summed | {"refused": [{"cache": name, "reason": reason} for name, reason in refused.items()]}


def _show(document: dict[str, Any], as_json: bool, show: Callable[[], None]) -> None:
    for warning in dict.fromkeys(document.get("warnings", ())):
        output.warn(warning)
    for each in document["refused"]:
        output.warn(f"{each['cache']}: {each['reason']}")
    if as_json:
        output.print_json(document)
    else:
        show()


def _show_refreshed(done: Sequence[Refreshed], apply: bool) -> None:
    rows: list[tuple[str, str, str, str]] = []
    for each in done:
        states = {} if each.run is None else {outcome.image: outcome.state for outcome in each.run.outcomes}
        rows += [(each.cache, one.image, states.get(one.image, "stale"), one.reason) for one in each.moved]
        rows += [(each.cache, image, "unknown", reason) for image, reason in each.problems.items()]
        rows += [(each.cache, image, "left", reason) for image, reason in each.unwanted.items()]
    unchanged = sum(each.unchanged for each in done)
    hint = "" if apply else "; --apply warms the stale ones again"
    output.print_table(("cache", "image", "state", "why"), rows, title=f"{unchanged} are fresh{hint}")


def _show_pruned(done: Sequence[Pruned], apply: bool) -> None:
    rows = [
        (each.cache, verdict.tenant.image, "evicted" if apply else "may go", verdict.reason)
        for each in done
        for verdict in each.evict
    ]
    rows += [(each.cache, image, "stays", why) for each in done for image, why in each.keep.items()]
    size = output.size(sum(each.eviction.bytes for each in done))
    notes = "".join(f"; {note}" for note in dict.fromkeys(each.eviction.note for each in done) if note)
    title = f"{size} reclaimed{notes}" if apply else f"{size} can be reclaimed; --apply does it"
    output.print_table(("cache", "image", "", "why"), rows, title=title)
