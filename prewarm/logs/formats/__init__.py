"""Plug point: log formats, one module per family.

A format turns lines into accesses, or into pulls when its source logs finished pulls. It is a pure
function of the lines: no clock, no files, no state between chunks. Lines of one request that a
family logs more than once are all yielded; `prewarm.logs.pulls.merge_requests` joins them, since
they may fall into different chunks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import polars as pl

from prewarm.logs import accesses


@dataclass(frozen=True, slots=True)
class Hints:
    """What the lines cannot say of themselves: the zone of stamps without one."""

    timezone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a chunk of lines said.

    `accesses` has the columns of `accesses.SCHEMA`, `pulls` those of `pulls.SCHEMA` (only sources
    of finished pulls fill it). Every line that is in neither is counted: under a reason in `ignored`
    when it fits the family's grammar but is no registry request, in `malformed` when it fits none,
    with one example a reason (printable, at most 200 characters).
    """

    accesses: pl.DataFrame = field(default_factory=accesses.empty)
    pulls: pl.DataFrame | None = None
    ignored: dict[str, int] = field(default_factory=dict)
    malformed: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)


class Format(Protocol):
    """The contract of a format driver."""

    name: str
    summary: str                  # one line for `prewarm formats`
    tells: frozenset[str]         # of: tag, digest, bytes, seconds, client, user, agent, host
    finished_pulls: bool          # True: `parse` yields pulls, not accesses

    def sniff(self, lines: pl.Series) -> float:
        """The share of these lines (0 to 1) that fit this family's grammar."""
        ...

    def refuse(self, lines: pl.Series) -> str | None:
        """Why these lines, though of this family, cannot be used (no absolute time); else None."""
        ...

    def parse(self, lines: pl.DataFrame, hints: Hints) -> Parsed:
        """Parse `lines`: columns `offset` (Int64) and `line` (String, without its newline)."""
        ...
