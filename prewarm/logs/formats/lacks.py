"""What a line lacks of a format's grammar: which of its fields are there, and which one is missing first."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any


@dataclass(frozen=True, slots=True)
class Lack:
    """`found`: the share of the fields that are there (0 to 1). `reason`: what is not, in a few words."""

    found: float
    reason: str


def of_text(line: str, patterns: Sequence[str]) -> Lack | None:
    """By the pattern of which most fields are found, one after the other; None where one fits."""
    told = [lack for pattern in patterns if (lack := _of_pattern(line, pattern))]
    return max(told, key=lambda lack: lack.found) if len(told) == len(patterns) else None


def _of_pattern(line: str, pattern: str) -> Lack | None:
    if re.search(pattern, line):
        return None
    names, beginnings = _beginnings(pattern)
    found = 0
    while found < len(beginnings) and re.search(beginnings[found], line):
        found += 1
    before = f" after its {names[found - 1]}" if found else ""
    missing = names[found] if found < len(names) else "end"
    return Lack(found / (len(names) + 1), f"no {missing}{before} where one is expected")


@cache
def _beginnings(pattern: str) -> tuple[list[str], list[str]]:
    """The names of a pattern's fields, and for each the pattern up to there."""
    names, ends = [], []
    opened: list[str] = []
    in_class = escaped = False
    for at, char in enumerate(pattern):
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif in_class:
            in_class = char != "]" or pattern[at - 1] == "[" or pattern[at - 2 : at] == "[^"
        elif char == "[":
            in_class = True
        elif char == "(":
            opened.append(pattern[at:])
        elif char == ")":
            named = re.match(r"\(\?P<(\w+)>", opened.pop())
            if named and not opened:
                names.append(named[1])
                ends.append(at + 1)
    return names, [pattern[:end] for end in ends]


def of_json(line: str, paths: Mapping[str, Sequence[str]]) -> Lack | None:
    """What an object has under none of a field's keys; None where nothing is missing."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        return Lack(0.0, "no JSON object")
    missing = [name for name, keys in paths.items() if all(_at(record, key) is None for key in keys)]
    if not missing:
        return None
    first = missing[0]
    return Lack(1 - len(missing) / len(paths), f"no {first} (a key such as {_keys(paths[first])})")


def _keys(paths: Sequence[str]) -> str:
    return " or ".join(path.replace("/", ".") for path in paths[:2])


def _at(record: Any, path: str) -> Any:
    for key in path.split("/"):
        record = record.get(key) if isinstance(record, dict) else None
    return record
