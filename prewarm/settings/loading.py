"""Settings from flags, variables, the file and defaults; what is wrong with them, in one line."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
)
from pydantic_settings import SettingsError as UnreadableVariable

from prewarm import plugins
from prewarm.errors import SettingsError, UnknownName, hide_secrets, nearest
from prewarm.settings.model import Settings
from prewarm.settings.sections import CacheSection, RegistrySection

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from prewarm.warming.caches import Driver


def load(config: Path | None = None, **flags: object) -> Settings:
    """Settings from flags, variables, the file and defaults; flags that are None were not given.

    `config` must exist when it is named; the default `./prewarm.toml` may be missing.
    Raises SettingsError: one line with the file, the key and what was expected.
    """
    path = config or Path("prewarm.toml")
    table = _read(path) if config or path.exists() else {}
    given = {key: value for key, value in flags.items() if value is not None}

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: object, **__: object
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (
                InitSettingsSource(settings_cls, init_kwargs=given),
                _KnownVariables(settings_cls),
                InitSettingsSource(settings_cls, init_kwargs=table),
            )

    try:
        settings = Loaded()
    except ValidationError as refused:
        where = path.name if _stands_in(table, _worst(refused)) else "flags or PREWARM_ variables"
        raise SettingsError(f"{where}: {hide_secrets(_explain(refused))}") from None
    except UnreadableVariable as refused:  # it says the field, in quotes, and no value
        name = "PREWARM_" + str(refused).split('"')[1].upper()
        raise SettingsError(f"{name} is no JSON; expected JSON, or {name}__KEY=VALUE for each key") from None
    for name, section in settings.caches.items():
        _check_driver(path, name, section)
    for name, schedule in settings.schedules.items():
        _check_cache(path, name, schedule.cache, settings.caches)
    return settings


class _KnownVariables(EnvSettingsSource):
    """PREWARM_ variables, without those that name no setting."""

    def __call__(self) -> dict[str, Any]:
        return _known(Settings, super().__call__())


def _known(model: type[BaseModel], data: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in data.items() if key in model.model_fields}
    for key, value in kept.items():
        inner = model.model_fields[key].annotation
        if isinstance(value, dict) and isinstance(inner, type) and issubclass(inner, BaseModel):
            kept[key] = _known(inner, value)
    return kept


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(
            f"{path}: no such file; --config names a TOML file such as ./prewarm.toml"
        ) from None
    except (OSError, UnicodeDecodeError) as refused:
        raise SettingsError(f"{path}: cannot be read: {refused}") from None
    except tomllib.TOMLDecodeError as refused:
        raise SettingsError(f"{path}: is no TOML: {refused}") from None


def _stands_in(table: Mapping[str, Any], problem: ErrorDetails) -> bool:
    """Whether the key that has the problem, or the section that lacks it, stands in the file."""
    place = problem["loc"][:-1] if problem["type"] == "missing" else problem["loc"]
    found: Any = table
    for part in place:
        if not isinstance(found, Mapping):
            break
        if part not in found:
            return part == "[key]"
        found = found[part]
    return True


def _explain(refused: ValidationError) -> str:
    """The first problem in words: the key, what was wrong, the nearest known key."""
    problem = _worst(refused)
    path = [str(part) for part in problem["loc"] if part != "[key]"]
    key = ".".join(path)
    if problem["type"] == "extra_forbidden":
        if path[0] == "registries" and not nearest(path[-1], RegistrySection.model_fields):
            return f'unknown key {key!r}; a host with dots needs quotes: [registries."docker.io"]'
        return _unknown_key(key, _keys_beside(problem["loc"]))
    return f"{key}: {problem['msg'].removeprefix('Value error, ')}"


def _worst(refused: ValidationError) -> ErrorDetails:
    """The first problem; a misspelt key goes before the missing one that it stands for."""
    problems = refused.errors(include_url=False, include_context=False)
    return next((each for each in problems if each["type"] == "extra_forbidden"), problems[0])


def _unknown_key(key: str, known: Iterable[str]) -> str:
    near = nearest(key.rpartition(".")[2], known)
    hint = f"; did you mean {near!r}?" if near else ";"
    return f"unknown key {key!r}{hint} known: {', '.join(sorted(known))}"


def _keys_beside(path: tuple[int | str, ...]) -> set[str]:
    """Keys that may stand where the last part of `path` stands."""
    model: type[BaseModel] = Settings
    for part in path[:-1]:
        if part in model.model_fields:
            model = _model_of(model.model_fields[str(part)].annotation) or model
    return set(model.model_fields)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The section model of `Section` or `dict[str, Section]`."""
    inner = get_args(annotation)[-1] if get_args(annotation) else annotation
    return inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None


def _check_cache(path: Path, schedule: str, cache: str, known: Iterable[str]) -> None:
    """A schedule of a cache that is not there would wait for ever, and say so to nobody."""
    if cache not in known:
        raise SettingsError(f"{path.name}: schedules.{schedule}.cache: {UnknownName('cache', cache, known)}")


def _check_driver(path: Path, name: str, section: CacheSection) -> None:
    """A driver validates its own keys, so that a third party's are refused like ours."""
    try:
        driver: Driver = plugins.load(plugins.CACHES, section.driver)
    except UnknownName as unknown:
        raise SettingsError(f"{path.name}: caches.{name}.driver: {unknown}") from None
    try:
        driver.config.model_validate(section.own)
    except ValidationError as refused:
        problem = _worst(refused)
        key = ".".join(["caches", name, *(str(part) for part in problem["loc"])])
        if problem["type"] == "extra_forbidden":
            known = set(CacheSection.model_fields) | set(driver.config.model_fields)
            raise SettingsError(f"{path.name}: {_unknown_key(key, known)}") from None
        raise SettingsError(
            f"{path.name}: {key}: {problem['msg'].removeprefix('Value error, ')} (driver {section.driver})"
        ) from None
