"""What a file is: the wrappers around its lines, and the format inside.

Only lines are looked at. A wrapper that nothing else looks like is peeled first; what could be part of a line
only where no format fits the line as it stands (docs/decisions, 11).
"""

from __future__ import annotations

import polars as pl

from prewarm.logs import wrappers
from prewarm.logs.formats import (
    CLEARLY,
    ENOUGH,
    Fit,
    Format,
    Hints,
    fitting,
    sample_of,
    share,
    unusable,
    usable,
)
from prewarm.logs.wrappers import Chain

DEEPEST = 5
"""How many wrappers may stand around each other."""

GLANCE = 20
"""Lines that confirm a guess."""

MOST_DOUBTFUL = 2
"""How many of these may be of a kind that could be part of a line."""


def detect(lines: pl.Series, hints: Hints, formats: list[Format]) -> tuple[Format, Chain]:
    """The wrappers around a file's first lines, and the one of `formats` that fits what is inside best.

    Formats without a time of their own are only tried where a wrapper tells one. Raises UnknownFormat,
    and UnreadableInput for lines of a known family that cannot be used.
    """
    sample = pl.DataFrame({"line": sample_of(lines)}).with_row_index("offset")
    fit, chain, inner = _best(sample, (), hints, formats)
    if fit.share < ENOUGH:
        raise unusable(inner, fit, formats)
    return fit.format, chain


def _best(
    sample: pl.DataFrame, chain: Chain, hints: Hints, formats: list[Format]
) -> tuple[Fit, Chain, pl.Series]:
    """What fits best, under which wrappers, and the lines inside: tried where something is in doubt."""
    while (wrapper := _around(sample["line"])) and wrapper.certain and len(chain) < DEEPEST:
        sample, chain = wrapper.peel(sample, hints), (*chain, wrapper.name)
    inner = sample_of(sample["line"])
    found = (fitting(inner, usable(formats, _stamped(sample))), chain, inner)
    doubtful = [name for name in chain if not wrappers.WRAPPERS[name].certain]
    if found[0].share >= CLEARLY or len(chain) >= DEEPEST or len(doubtful) >= MOST_DOUBTFUL:
        return found
    others = [
        _best(each.peel(sample, hints), (*chain, each.name), hints, formats)
        for each in wrappers.WRAPPERS.values()
        if not each.certain and share(each.fits(sample["line"])) >= CLEARLY
    ]
    return max([found, *others], key=lambda each: each[0].share)


def certain(lines: pl.Series, hints: Hints) -> Chain:
    """The wrappers that stand around a file's first lines beyond doubt, whatever is inside."""
    sample = pl.DataFrame({"line": sample_of(lines)}).with_row_index("offset")
    chain: Chain = ()
    while (wrapper := _around(sample["line"])) and wrapper.certain and len(chain) < DEEPEST:
        sample, chain = wrapper.peel(sample, hints), (*chain, wrapper.name)
    return chain


def confirmed(lines: pl.Series, chain: Chain, format: Format, hints: Hints, formats: list[Format]) -> bool:
    """Whether a guess holds: these wrappers stand around the first lines, and no format says more of them."""
    sample = pl.DataFrame({"line": sample_of(lines).head(GLANCE)}).with_row_index("offset")
    for name in chain:
        if sample.is_empty() or share(wrappers.WRAPPERS[name].fits(sample["line"])) < CLEARLY:
            return False
        sample = wrappers.WRAPPERS[name].peel(sample, hints)
    inner = _around(sample["line"])
    if inner is not None and inner.certain:
        return False
    return fitting(sample["line"], usable(formats, _stamped(sample))).format is format


def _around(lines: pl.Series) -> wrappers.Wrapper | None:
    if lines.is_empty():
        return None
    shares = {name: share(wrapper.fits(lines)) for name, wrapper in wrappers.WRAPPERS.items()}
    name = max(shares, key=lambda name: shares[name])
    return wrappers.WRAPPERS[name] if shares[name] >= CLEARLY else None


def _stamped(lines: pl.DataFrame) -> bool:
    return "stamp" in lines.columns and lines["stamp"].null_count() < lines.height
