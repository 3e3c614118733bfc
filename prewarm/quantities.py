"""Sizes and durations as people write them."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_bytes(value: object) -> int:
    """`"40GB"` (10**9), `"512MiB"` (2**20) or a plain number of bytes."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?i?B?)(?:/s)?\s*", str(value), re.IGNORECASE)
    unit = match[2].upper() if match else None
    if unit is not None and not unit.endswith("B") and unit:
        unit += "B"
    if match is None or unit not in _UNITS:
        raise ValueError(f"{value!r} is no size; examples: 40GB, 512MiB, 1000000")
    return int(float(match[1]) * _UNITS[unit])


def parse_duration(value: object) -> timedelta:
    """`"90s"`, `"168h"`, `"7d"` or a number of seconds."""
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([smhdw]?)\s*", str(value))
    if match is None:
        raise ValueError(f"{value!r} is no duration; examples: 60s, 15m, 168h, 7d")
    return timedelta(seconds=float(match[1]) * _SECONDS[match[2] or "s"])
