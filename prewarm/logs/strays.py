"""Lines of another format than their file's: streams that were mixed, a log whose format was changed.

What the file's own format cannot read is looked at as if it were a file of its own. Only formats of the same
kind are tried: an engine's finished pulls beside the requests they made would count twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from prewarm.logs import detection, wrappers
from prewarm.logs.formats import Format, Hints, Parsed

MOST = 3
"""Other formats that the lines of one chunk may be of."""


def reread(
    parsed: Parsed, lines: pl.DataFrame, format: Format, hints: Hints, formats: Sequence[Format]
) -> Parsed:
    """`parsed`, what `format` says of `lines` (offset, line, maybe stamp), with what others say of the rest.

    Lines that no format reads stay malformed for the reason that `format` gives.
    """
    left = _those(lines, parsed)
    others = [
        each for each in formats if each.name != format.name and each.finished_pulls == format.finished_pulls
    ]
    found: list[Parsed] = []
    while len(found) < MOST and (told := detection.stray(left, hints, others)):
        other, chain = told
        others.remove(other)
        found.append(other.parse(wrappers.inside(left, chain, hints, other), hints))
        left = _those(left, found[-1])
    return _together(parsed, found, format.parse(left, hints)) if found else parsed


def _those(lines: pl.DataFrame, parsed: Parsed) -> pl.DataFrame:
    """The lines that were malformed."""
    return lines.filter(pl.col("offset").is_in(parsed.unread.implode()))


def _together(parsed: Parsed, found: list[Parsed], rest: Parsed) -> Parsed:
    every = [parsed, *found]
    accesses = pl.concat([each.accesses for each in every]).sort("offset", maintain_order=True)
    pulls = [each.pulls for each in every if each.pulls is not None]
    ignored = sum((Counter(each.ignored) for each in every), Counter[str]())
    examples = {reason: text for each in [*reversed(every), rest] for reason, text in each.examples.items()}
    return replace(
        parsed,
        accesses=accesses,
        pulls=pl.concat(pulls, how="diagonal").sort("offset", maintain_order=True) if pulls else None,
        ignored=dict(ignored),
        malformed=rest.malformed,
        examples={reason: examples[reason] for reason in (*ignored, *rest.malformed) if reason in examples},
        unread=rest.unread,
    )
