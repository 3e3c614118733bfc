"""Find a driver by group and name.

The three plug points are entry-point groups: `prewarm.formats`, `prewarm.forecasters` and
`prewarm.caches`. Built-ins are declared in `pyproject.toml` and come in by the same door as a
third party's. A driver that fails to import raises; it is never skipped in silence.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from prewarm.errors import UnknownName

FORMATS = "prewarm.formats"
FORECASTERS = "prewarm.forecasters"
CACHES = "prewarm.caches"


def load(group: str, name: str) -> Any:
    """The object that `name` stands for in `group`; UnknownName lists the known ones."""
    found = _entries(group)
    if name not in found:
        raise UnknownName(group.removeprefix("prewarm.").rstrip("s"), name, found)
    return found[name].load()


def names(group: str) -> list[str]:
    """Every driver's name in `group`, sorted."""
    return sorted(_entries(group))


@cache
def _entries(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=group)}
