"""Rendering: one JSON object, or a table a person likes to read."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prewarm.errors import hide_secrets

if TYPE_CHECKING:
    from rich.console import Console


PARTLY = 3
"""Exit code of a verb that did, or found, a part of what it was asked for."""


def print_json(document: Any) -> None:
    """One JSON object on stdout; times are ISO 8601 in UTC."""
    json.dump(document, sys.stdout, default=plain, ensure_ascii=False, separators=(", ", ": "))
    sys.stdout.write("\n")


def plain(value: Any) -> Any:
    """What JSON has no word for, in words it has."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Path):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Sequence[str] = (),
    title: str | None = None,
) -> None:
    """An aligned table on stdout; columns named in `right` hold numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        # Text, not markup: a name such as "[red]" is data.
        table.add_row(*(Text(shown(cell)) for cell in row))
    console().print(table)


def console(*, stderr: bool = False) -> Console:
    """A rich console; without a terminal it neither colours nor folds lines at 80 columns."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            """Leave it to the command line; rich would exit with 1."""
            raise BrokenPipeError

    stream = sys.stderr if stderr else sys.stdout
    return Plain(stderr=stderr, width=None if stream.isatty() else 200, highlight=False)


def shown(cell: object) -> str:
    """A cell as a person reads it: never a control character raw."""
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell:.2f}" if abs(cell) < 1000 else f"{cell:,.0f}"
    if isinstance(cell, datetime):
        return cell.strftime("%Y-%m-%d %H:%MZ")
    text = str(cell)
    return text if text.isprintable() else ascii(text)


def size(count: int | None) -> str:
    """`1.2 GB` (10**9), or a dash when unknown."""
    if count is None:
        return "–"
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def write(path: Path, text: str) -> None:
    """A file of text; SettingsError in one line when it cannot be written."""
    from prewarm.errors import SettingsError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from error


def discard() -> None:
    """What stdout cannot take goes nowhere: trying again at exit would be a second error."""
    with suppress(OSError):
        sys.stdout.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def warn(message: str) -> None:
    """A line on stderr that does not stop anything."""
    click.echo(f"prewarm: warning: {hide_secrets(message)}", err=True)


@contextmanager
def progress(label: str, unit: str = "bytes") -> Iterator[Callable[[int, int | None], None]]:
    """`advance(done, total)`; a bar on stderr, and only on a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    counter = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), counter, TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
