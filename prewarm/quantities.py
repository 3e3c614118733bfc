"""Sizes, durations and times as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
BEGINNING, END = datetime(1900, 1, 1, tzinfo=UTC), datetime(9900, 1, 1, tzinfo=UTC)
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


def reckonable(moment: datetime) -> datetime:
    """`moment` in UTC, with room on both sides for years to be added and taken away.

    What lies before all logs or long after them (0001-01-01, 9999-12-31) becomes the first or the last time
    of that kind, which means the same. Raises ValueError where the zone leads out of all time.
    """
    try:
        return min(max(moment.astimezone(UTC), BEGINNING), END)
    except OverflowError:
        raise ValueError(f"{moment} is at the end of time; example: 2026-11-30T08:00Z") from None
