"""`prewarm sources`: the logs that the settings name, and whether they can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from prewarm.cli import options, output
from prewarm.errors import PrewarmError

if TYPE_CHECKING:
    from prewarm.settings import Settings


@click.command()
@click.argument("action", required=False, type=click.Choice(["check"]))
@click.argument("name", required=False)
@options.common
def sources(settings: Settings, as_json: bool, action: str | None, name: str | None) -> int:
    """List the configured sources, or check one: `prewarm sources check mirror-log`."""
    if action:
        return _check(settings, [name] if name else settings.logs(), as_json)
    columns = ("name", "site", "registry", "format", "path")
    rows = [
        (each, section.site, section.registry, section.format, section.path)
        for each, section in sorted(settings.sources.items())
    ]
    if as_json:
        output.print_json({"sources": [dict(zip(columns, row, strict=True)) for row in rows]})
        return 0
    shown = [(*row, ", ".join(paths) or "what is delivered") for *row, paths in rows]
    output.print_table(("source", *columns[1:]), shown)
    return 0


def _check(settings: Settings, names: list[str], as_json: bool) -> int:
    """Exit 0 when everything can be read, 3 when something cannot."""
    if not names:
        raise click.UsageError("no source to check: prewarm.toml has no [sources.NAME] with a path")
    found = {name: _found(settings, name) for name in names}
    if as_json:
        output.print_json({"sources": found})
    else:
        rows = [
            (name, each["subject"], "ok" if each["ok"] else "NO", each["message"])
            for name, findings in found.items()
            for each in findings
        ]
        output.print_table(("source", "file", "", "found"), rows)
    return 0 if all(each["ok"] for findings in found.values() for each in findings) else output.PARTLY


def _found(settings: Settings, name: str) -> list[dict[str, Any]]:
    """What stands in the source's files, as `prewarm caches check` says what it finds."""
    from prewarm.pipeline.logs.ingest import survey

    source = settings.source(name)
    if not source.paths:
        return [_finding("files", True, "none: it takes what is delivered to the service")]
    try:
        files, problems = survey(source)
    except PrewarmError as refused:
        return [_finding("files", False, str(refused))]
    read = [_finding(each.path, True, _words(each.format, each.wrapper)) for each in files]
    return read + [_finding("files", False, problem) for problem in problems]


def _finding(subject: str, ok: bool, message: str) -> dict[str, Any]:
    return {"subject": subject, "ok": ok, "message": message}


def _words(log_format: str, wrapper: str | None) -> str:
    return f"{log_format}, in {wrapper}" if wrapper else log_format
