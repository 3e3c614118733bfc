"""Find a driver by group and name.

The three plug points are entry-point groups: `prewarm.formats`, `prewarm.forecasters` and
`prewarm.caches`. Built-ins are declared in `pyproject.toml` and come in by the same door as a
third party's. A driver that fails to import raises where it was asked for by name; where all are wanted it is
left out, and told of. It is never skipped in silence.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from prewarm.errors import BrokenDriver, UnknownName

FORMATS = "prewarm.formats"
FORECASTERS = "prewarm.forecasters"
CACHES = "prewarm.caches"

_NOUNS = {FORMATS: "format", FORECASTERS: "forecaster", CACHES: "cache driver"}


def load(group: str, name: str) -> Any:
    """The object that `name` stands for in `group`.

    UnknownName lists the known ones; BrokenDriver is for one whose module cannot be imported.
    """
    found = _entries(group)
    if name not in found:
        raise UnknownName(_NOUNS[group], name, found)
    try:
        return found[name].load()
    except Exception as error:  # a third party's module may raise anything
        package = getattr(found[name].dist, "name", None) or "the package that declares it"
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise BrokenDriver(
            f"the {_NOUNS[group]} {name} cannot be loaded ({why}); repair or remove {package}"
        ) from error


def names(group: str) -> list[str]:
    """Every driver's name in `group`, sorted."""
    return sorted(_entries(group))


@cache
def usable(group: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Every driver of `group` by name, and a sentence for each one that fails to import."""
    found, broken = {}, []
    for name in names(group):
        try:
            found[name] = load(group, name)
        except BrokenDriver as error:
            broken.append(f"{error}; left out")
    return found, tuple(broken)


@cache
def _entries(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=group)}
