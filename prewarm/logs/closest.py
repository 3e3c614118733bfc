"""Why no format fits: of the formats that come closest, what the first line that does not fit lacks.

How close is the share of lines that fit, and then how many fields of a line were found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from prewarm.logs.formats import Explaining, Format, Hints
from prewarm.logs.formats.lacks import Lack

MOST = 3
"""Formats that are named."""

CLOSE = 0.3
"""The share of its fields that a line must have for a format that fits no line to be called close."""

SHOWN = 2000
"""Characters of a line in which fields are looked for, for hostile lines make patterns slow."""

LOOKED_AT = 20
"""Lines among which the first that does not fit is looked for."""


@dataclass(frozen=True, slots=True)
class Miss:
    """A format, the share of lines that it fits, and what the `number`-th, the first other one, lacks."""

    name: str
    share: float
    lack: Lack
    number: int

    @property
    def told(self) -> str:
        """In a few words."""
        return f"{self.name} fits {self.share:.0%} (line {self.number}: {self.lack.reason})"


def misses(sample: pl.Series, shares: Mapping[str, float], formats: Sequence[Format]) -> list[Miss]:
    """The formats that come closest to these lines, the closest first; none where nothing is close."""
    told = [
        miss for each in formats if each.name in shares and (miss := _miss(sample, shares[each.name], each))
    ]
    close = [miss for miss in told if miss.share or miss.lack.found >= CLOSE]
    return sorted(close, key=lambda miss: (-miss.share, -miss.lack.found, miss.name))[:MOST]


def _miss(sample: pl.Series, share: float, format: Format) -> Miss | None:
    for number, line in enumerate(sample.head(LOOKED_AT), 1):
        if lack := _lack(line, format):
            return Miss(format.name, share, lack, number)
    return None


def _lack(line: str, format: Format) -> Lack | None:
    """What the format misses in this line; None where the line fits."""
    malformed = format.parse(pl.DataFrame({"offset": [0], "line": [line]}), Hints()).malformed
    if not malformed:
        return None
    told = format.explain(line[:SHOWN]) if isinstance(format, Explaining) else None
    return told or Lack(0.0, next(iter(malformed)))
