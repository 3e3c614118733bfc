"""Flags that verbs share, and the values they take."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

if TYPE_CHECKING:
    from prewarm.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def common(command: Callable[..., T]) -> Callable[..., T]:
    """`--json` and the shared flags: the verb gets `as_json`, and `settings` made of the others."""

    @wraps(command)
    def verb(
        *,
        lake: str | None,
        config: Path | None,
        timezone: str | None,
        assignments: tuple[str, ...],
        **own: Any,
    ) -> T:
        return command(settings=load(config, assignments, lake=lake, timezone=timezone), **own)

    return shared(as_json(verb))


def as_json(command: F) -> F:
    """`--json`, on every verb."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


def shared(command: F) -> F:
    """`--lake`, `--config`, `--timezone` and `--set`: on every verb, and before it."""
    for option in reversed(
        [
            click.option("--lake", metavar="PATH", help="Folder or URL of the lake [PREWARM_LAKE; ./lake]."),
            click.option(
                "--config",
                type=click.Path(path_type=Path),
                envvar="PREWARM_CONFIG",
                help="Settings file [PREWARM_CONFIG; ./prewarm.toml].",
            ),
            click.option(
                "--timezone",
                metavar="ZONE",
                help="Zone of sites and stamps without one [PREWARM_TIMEZONE; UTC].",
            ),
            click.option(
                "--set",
                "assignments",
                metavar="KEY=VALUE",
                multiple=True,
                help="Any setting: demand.session_gap=90s.",
            ),
        ]
    ):
        command = option(command)
    return command


def load(config: Path | None, assignments: tuple[str, ...], **flags: object) -> Settings:
    """The settings that these flags, the environment and the file give."""
    from prewarm.settings import load as load_settings

    given: dict[str, object] = {}
    for assignment in assignments:
        _merge(given, _assigned(assignment))
    return load_settings(
        config, **{**given, **{key: value for key, value in flags.items() if value is not None}}
    )


def _assigned(assignment: str) -> dict[str, Any]:
    key, equals, value = assignment.partition("=")
    if not equals:
        raise click.UsageError(f"--set {assignment}: expected KEY=VALUE, such as demand.session_gap=90s")
    for text in (value, json.dumps(value)):
        try:
            return tomllib.loads(f"{key} = {text}")
        except tomllib.TOMLDecodeError:
            continue
    raise click.UsageError(
        f'--set {assignment}: {key!r} is no key; example: registries."docker.io".url=https://…'
    )


def _merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


class Time(click.ParamType[datetime]):
    """An ISO 8601 time; one without a zone is kept naive until `aware` gives it the site's."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            self.fail(
                f"{value!r} is no time; examples: 2026-11-30T08:00Z, 2026-11-30T08:00 (the site's clock)",
                param,
                ctx,
            )


class Day(click.ParamType[date]):
    """An ISO 8601 day of the site's calendar."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no day; example: 2026-11-30", param, ctx)


class Size(click.ParamType[int]):
    """A number of bytes, with or without a unit."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from prewarm.quantities import parse_bytes

        try:
            return parse_bytes(value)
        except ValueError as wrong:
            self.fail(str(wrong), param, ctx)


class Duration(click.ParamType[timedelta]):
    """A length of time, with or without a unit."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        from prewarm.quantities import parse_duration

        try:
            return parse_duration(value)
        except ValueError as wrong:
            self.fail(str(wrong), param, ctx)


def aware(moment: datetime | None, zone: str | None) -> datetime | None:
    """`moment` in UTC; one without a zone is read on the clock of `zone` (UTC when None)."""
    from prewarm.quantities import reckonable

    if moment is None:
        return None
    if moment.tzinfo is None:
        try:
            moment = moment.replace(tzinfo=ZoneInfo(zone or "UTC"))
        except (ZoneInfoNotFoundError, ValueError):
            raise click.UsageError(f"{zone!r} is no time zone; example: America/Boise") from None
    try:
        return reckonable(moment)
    except ValueError as wrong:
        raise click.UsageError(str(wrong)) from None


TIME, DAY, SIZE, DURATION = Time(), Day(), Size(), Duration()


def percents(text: str) -> tuple[int, ...]:
    """`80,90` as numbers; the pipeline checks their range."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise click.UsageError(f"--level {text!r}: expected percents such as 80,90") from None


def image(text: str) -> str:
    """The canonical form of a reference; InvalidReference teaches."""
    from prewarm.references import Reference

    return str(Reference.parse(text))


def registry(text: str) -> str:
    """A registry's host, checked."""
    from prewarm.settings import parse_registry

    try:
        return parse_registry(text)
    except ValueError as wrong:
        raise click.UsageError(f"--registry: {wrong}") from None
