"""`prewarm caches`, `formats` and `models`: what there is, and whether it works."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prewarm import plugins
from prewarm.cli import options, output
from prewarm.errors import hide_secrets

if TYPE_CHECKING:
    from prewarm.settings import Settings


@click.command()
@click.argument("action", required=False, type=click.Choice(["check"]))
@click.argument("name", required=False)
@options.common
def caches(
    settings: Settings,
    as_json: bool,
    action: str | None,
    name: str | None,
) -> int:
    """List the configured caches, or check one: `prewarm caches check office`."""
    if action:
        return _check(settings, [name] if name else sorted(settings.caches), as_json)
    rows = [
        {
            "name": each,
            "driver": section.driver,
            "site": section.site,
            "upstream": section.upstream,
            **{key: _shown(value) for key, value in section.own.items()},
        }
        for each, section in sorted(settings.caches.items())
    ]
    if as_json:
        output.print_json({"caches": rows, "drivers": _drivers()})
        return 0
    output.print_table(
        ("cache", "driver", "site", "upstream"), [list(row.values())[:4] for row in rows], title="configured"
    )
    columns = ("driver", "what it warms", "privilege it needs")
    output.print_table(columns, [list(driver.values()) for driver in _drivers()], title="drivers")
    return 0


def _shown(value: object) -> object:
    """A setting as it may be shown: a third party's driver may take a URL with a login."""
    return hide_secrets(value) if isinstance(value, str) else value


def _drivers() -> list[dict[str, str]]:
    found = [plugins.load(plugins.CACHES, each) for each in plugins.names(plugins.CACHES)]
    return [{"name": d.name, "summary": d.summary, "privilege": d.privilege} for d in found]


def _check(settings: Settings, names: list[str], as_json: bool) -> int:
    """Exit 0 when everything is fine, 3 when something is not."""
    from prewarm.pipeline.warming.caches import check

    if not names:
        raise click.UsageError("no cache to check: prewarm.toml has no [caches.NAME]")
    found = {name: check(settings.cache_spec(name), settings.endpoints()) for name in names}
    if as_json:
        output.print_json({"caches": found})
    else:
        rows = [
            (name, finding.subject, "ok" if finding.ok else "NO", finding.message)
            for name, findings in found.items()
            for finding in findings
        ]
        output.print_table(("cache", "what", "", "found"), rows)
    return 0 if all(finding.ok for findings in found.values() for finding in findings) else output.PARTLY


@click.command()
@options.as_json
def formats(as_json: bool) -> None:
    """List the log formats that can be read, and what each can tell."""
    usable, broken = plugins.usable(plugins.FORMATS)
    found = list(usable.values())
    for warning in broken:
        output.warn(warning)
    told = ("tag", "digest", "bytes", "seconds", "client", "user", "agent", "host")
    if as_json:
        output.print_json(
            {"formats": [{"name": f.name, "summary": f.summary, "tells": sorted(f.tells)} for f in found]}
        )
        return
    rows = [(f.name, f.summary, *("✓" if word in f.tells else "–" for word in told)) for f in found]
    output.print_table(("format", "reads", *told), rows)


@click.command()
@options.as_json
def models(as_json: bool) -> None:
    """List the forecasters that --model takes."""
    found = {
        name: (plugins.load(plugins.FORECASTERS, name).__doc__ or "").strip().partition("\n")[0]
        for name in plugins.names(plugins.FORECASTERS)
    }
    if as_json:
        output.print_json({"models": [{"name": name, "summary": summary} for name, summary in found.items()]})
        return
    output.print_table(("model", "what it is"), found.items())
