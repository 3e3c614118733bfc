"""`prewarm ingest` and `prewarm pulls`: logs in, pulls out."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from prewarm.cli import options, output

if TYPE_CHECKING:
    from types import FrameType

    import polars as pl

    from prewarm.logs.files import Source
    from prewarm.pipeline.logs.ingest import IngestResult
    from prewarm.settings import Settings

ROWS_AT_ONCE = 50_000  # of a CSV, in memory as text


@click.command()
@click.argument("paths", nargs=-1, metavar="PATH…")
@click.option(
    "--format", "log_format", default=None, metavar="NAME", help="auto, or one of `prewarm formats`."
)
@click.option("--source", metavar="S", help="Name of the source: one of the settings, or a new one.")
@click.option("--site", metavar="S", help="The site whose clients this log shows.")
@click.option(
    "--registry", metavar="HOST", help="The upstream that names belong to; wins over a logged host."
)
@click.option("--follow", is_flag=True, help="Keep reading what is appended, until SIGINT or SIGTERM.")
@click.option(
    "--interval",
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Pause between looks when following.",
)
@options.common
def ingest(
    settings: Settings,
    as_json: bool,
    paths: tuple[str, ...],
    log_format: str | None,
    source: str | None,
    site: str | None,
    registry: str | None,
    follow: bool,
    interval: float,
) -> None:
    """Read logs into the lake, exactly once.

    PATH is a file, a folder, a glob or - for stdin; compressed files and tar archives are read as they
    are. Without PATH every source of the settings is read. What was read before is not read again.
    """
    chosen = _sources(settings, paths, source, site, registry, log_format)
    for result in _passes(settings, chosen, follow, interval):
        for warning in result.warnings:
            output.warn(warning)
        for kind, counts in (
            ("malformed", result.malformed_reasons),
            ("kept, with a wrong clock", result.skewed),
        ):
            for reason, count in counts.items():
                example = result.examples.get(reason)
                output.warn(f"{count:,} {kind}: {reason}" + (f"; such as {example}" if example else ""))
        if as_json:
            output.print_json(result.to_dict())
        else:
            _show(result)
        sys.stdout.flush()


def _sources(
    settings: Settings,
    paths: tuple[str, ...],
    name: str | None,
    site: str | None,
    registry: str | None,
    log_format: str | None,
) -> list[Source]:
    """The sources to read, those of the settings or the given paths, as the flags change them."""
    names = [name] if name or paths else settings.logs()
    if not names:
        raise click.UsageError(
            "nothing to read: give a PATH, or a [sources.NAME] with a path in prewarm.toml"
        )
    if registry is not None:
        registry = options.registry(registry)
    found = [settings.source(each, paths) for each in names]
    if not found[0].paths:
        raise click.UsageError(
            f"nothing to read: source {found[0].name!r} has no path, so it is what `prewarm serve` is sent; "
            "give a PATH to read a file into it"
        )
    return [
        replace(
            source,
            site=site or source.site,
            registry=registry or source.registry,
            format=log_format or source.format,
        )
        for source in found
    ]


def _passes(
    settings: Settings, sources: list[Source], follow: bool, interval: float
) -> Iterator[IngestResult]:
    from prewarm.lake import Lake
    from prewarm.pipeline.logs.follow import follow as looks
    from prewarm.pipeline.logs.ingest import ingest as read

    lake, gap = Lake.open(settings.lake), settings.demand.session_gap
    if not follow:
        with output.progress("reading") as advance:
            yield read(lake, sources, gap=gap, progress=advance)
        return
    with _stopped_by_signals() as stop:
        yield from looks(lake, sources, gap=gap, pause=lambda: stop.wait(interval), stopping=stop.is_set)


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; a second one does what it always does."""
    stop = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {each: signal.getsignal(each) for each in signals}

    def restore() -> None:
        for each, handler in before.items():
            signal.signal(each, handler)

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()
        restore()

    for each in signals:
        signal.signal(each, on_signal)
    try:
        yield stop
    finally:
        restore()


def _show(result: IngestResult) -> None:
    rows = [
        (f.path, f.format, f.wrapper, f"{f.lines:,}", f"{f.accesses:,}", f"{f.malformed:,}")
        for f in result.files
    ]
    columns = ("file", "format", "wrapper", "lines", "accesses", "malformed")
    output.print_table(columns, rows, right=columns[3:])
    counts = f"{result.lines:,} lines, {result.accesses:,} accesses, {result.pulls:,} pulls"
    output.console().print(f"{counts} in {result.seconds:.1f} s")
    malformed, skewed = _prefixed("malformed: ", result.malformed_reasons), _prefixed("kept: ", result.skewed)
    for reason, count in {**result.ignored, **malformed, **skewed}.items():
        output.console().print(f"  {count:,} × {output.shown(reason)}", markup=False)


def _prefixed(prefix: str, counts: dict[str, int]) -> dict[str, int]:
    return {prefix + reason: count for reason, count in counts.items()}


@click.command()
@click.option("--since", type=options.TIME, help="First moment; without a zone, the site's clock.")
@click.option("--until", type=options.TIME, help="Moment after the last.")
@click.option("--site", metavar="S", help="Only this site.")
@click.option("--image", metavar="IMAGE", help="Only this image (or all tags of a repository).")
@click.option(
    "--kind", type=click.Choice(["check", "manifest", "layers", "local"]), help="Only this kind of pull."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "ndjson", "parquet"]),
    default="table",
    show_default=True,
)
@options.common
def pulls(
    settings: Settings,
    as_json: bool,
    since: datetime | None,
    until: datetime | None,
    site: str | None,
    image: str | None,
    kind: str | None,
    form: str,
) -> None:
    """Export pulls. Uses of images that were already there are listed only with --kind local."""
    from prewarm.lake import Lake
    from prewarm.pipeline.logs.pulls import export

    zone = settings.zone(site)
    frame = export(
        Lake.open(settings.lake),
        since=options.aware(since, zone),
        until=options.aware(until, zone),
        site=site,
        image=image,
        kind=kind,
        declared=settings.sites,
    )
    write = {"table": _as_table, "csv": _as_csv, "ndjson": _as_ndjson, "parquet": _as_parquet}
    (_as_json if as_json else write[form])(frame)


def _as_table(frame: pl.DataFrame) -> None:
    columns = ("timestamp", "site", "client", "image", "kind", "status", "blobs")
    output.print_table(columns, frame.select(columns).iter_rows(), right=("blobs",))


def _as_json(frame: pl.DataFrame) -> None:
    """One object, streamed: a lake of millions of pulls is never one string in memory."""
    sys.stdout.write('{"pulls": [')
    for number, row in enumerate(frame.iter_rows(named=True)):
        sys.stdout.write(", " if number else "")
        sys.stdout.write(_document(row))
    sys.stdout.write("]}\n")


def _as_ndjson(frame: pl.DataFrame) -> None:
    for row in frame.iter_rows(named=True):
        sys.stdout.write(_document(row) + "\n")


def _document(row: dict[str, Any]) -> str:
    import json

    return json.dumps(row, default=output.plain, ensure_ascii=False)


def _as_csv(frame: pl.DataFrame) -> None:
    import polars as pl

    flat = frame.with_columns(pl.selectors.list().cast(pl.List(pl.String)).list.join(" "))
    form = "%Y-%m-%dT%H:%M:%S%.6fZ"
    # Written by Python, not by Polars: a reader that goes away (| head) is no error then.
    sys.stdout.buffer.write(flat.clear().write_csv().encode())
    for part in flat.iter_slices(ROWS_AT_ONCE):
        sys.stdout.buffer.write(part.write_csv(include_header=False, datetime_format=form).encode())


def _as_parquet(frame: pl.DataFrame) -> None:
    if sys.stdout.isatty():
        raise click.UsageError("parquet is binary: redirect it, such as > pulls.parquet")
    # By way of a file, for the same reason.
    with tempfile.TemporaryFile() as whole:
        frame.write_parquet(whole)
        whole.seek(0)
        shutil.copyfileobj(whole, sys.stdout.buffer)
