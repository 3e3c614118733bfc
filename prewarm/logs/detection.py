"""What a file is: the wrappers around its lines, and the format inside.

Only lines are looked at. A wrapper that nothing else looks like is peeled first; what could be part of a line
only where no format fits the line as it stands (docs/decisions, 11).
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from prewarm.errors import UnknownFormat, UnreadableInput
from prewarm.logs import closest, wrappers
from prewarm.logs.formats import Format, Hints, printable
from prewarm.logs.wrappers import Chain

SAMPLE = 1000  # lines that detection looks at
FEW = 200  # of them are looked at first
CLEARLY = 0.5  # the share of these that needs no second look
ENOUGH = 0.1  # the least share of lines that must fit a family; random text fits none

SOME = 3
"""So many lines that fit a family are enough, too, however many others there are."""

DEEPEST = 5
"""How many wrappers may stand around each other."""

GLANCE = 20
"""Lines that confirm a guess."""

MOST_DOUBTFUL = 2
"""How many of these may be of a kind that could be part of a line."""


@dataclass(frozen=True, slots=True)
class Fit:
    """The format that fits best, the share of lines it fits, and the shares of all others by name."""

    format: Format
    share: float
    shares: dict[str, float]


def detect(
    lines: pl.Series, hints: Hints, formats: list[Format], *, show: bool = True
) -> tuple[Format, Chain]:
    """The wrappers around a file's first lines, and the one of `formats` that fits what is inside best.

    Formats without a time of their own are only tried where a wrapper tells one. Raises UnknownFormat,
    and UnreadableInput for lines of a known family that cannot be used; they `show` a line.
    """
    sample = pl.DataFrame({"line": _sample_of(lines)}).with_row_index("offset")
    fit, chain, inner = _best(sample, (), hints, formats)
    if fit.share < ENOUGH and fit.share * len(inner) < SOME:
        raise _unusable(inner, fit, formats, show)
    return fit.format, chain


def _best(
    sample: pl.DataFrame, chain: Chain, hints: Hints, formats: list[Format]
) -> tuple[Fit, Chain, pl.Series]:
    """What fits best, under which wrappers, and the lines inside: tried where something is in doubt."""
    sample, chain = _peeled(sample, chain, hints)
    inner = _sample_of(sample["line"])
    found = (fitting(inner, _usable(formats, _stamped(sample))), chain, inner)
    doubtful = [name for name in chain if not wrappers.WRAPPERS[name].certain]
    if found[0].share >= CLEARLY or len(chain) >= DEEPEST or len(doubtful) >= MOST_DOUBTFUL:
        return found
    shares = wrappers.shares(sample["line"])
    others = [
        _best(each.peel(sample, hints), (*chain, each.name), hints, formats)
        for each in wrappers.WRAPPERS.values()
        if not each.certain and shares[each.name] >= CLEARLY
    ]
    return max([found, *others], key=lambda each: each[0].share)


def _peeled(sample: pl.DataFrame, chain: Chain, hints: Hints) -> tuple[pl.DataFrame, Chain]:
    """What is inside wrappers that nothing else looks like, and `chain` with these."""
    while (wrapper := _around(sample["line"])) and wrapper.certain and len(chain) < DEEPEST:
        sample, chain = wrapper.peel(sample, hints), (*chain, wrapper.name)
    return sample, chain


def certain(lines: pl.Series, hints: Hints) -> Chain:
    """The wrappers that stand around a file's first lines beyond doubt, whatever is inside."""
    sample = pl.DataFrame({"line": _sample_of(lines)}).with_row_index("offset")
    return _peeled(sample, (), hints)[1]


def confirmed(lines: pl.Series, chain: Chain, format: Format, hints: Hints, formats: list[Format]) -> bool:
    """Whether a guess holds: these wrappers stand around the first lines, and no format says more of them."""
    sample = pl.DataFrame({"line": _sample_of(lines).head(GLANCE)}).with_row_index("offset")
    for name in chain:
        wrapper = wrappers.WRAPPERS[name]
        if (sample.select(wrapper.fits(pl.col("line")).mean()).item() or 0.0) < CLEARLY:
            return False
        sample = wrapper.peel(sample, hints)
    inner = _around(sample["line"])
    if inner is not None and inner.certain:
        return False
    return fitting(sample["line"], _usable(formats, _stamped(sample))).format is format


def stray(lines: pl.DataFrame, hints: Hints, formats: list[Format]) -> tuple[Format, Chain] | None:
    """As `detect`, for `lines` (offset, line, maybe stamp) that another format could not read."""
    sample = lines.filter(pl.col("line").str.strip_chars() != "").head(FEW)
    if sample.is_empty() or not formats:
        return None
    fit, chain, _ = _best(sample, (), hints, formats)
    return (fit.format, chain) if fit.share >= ENOUGH else None


def _sample_of(lines: pl.Series) -> pl.Series:
    """The lines that detection looks at: the first SAMPLE that are not empty."""
    return lines.filter(lines.str.strip_chars() != "").head(SAMPLE)


def fitting(sample: pl.Series, formats: list[Format]) -> Fit:
    """What fits these lines best; a few of them are looked at first, and are mostly enough.

    Of the formats that fit at least half as many lines as the one that fits most, the most specific.
    """
    few = _fitting(sample.head(FEW), formats)
    return few if few.share >= CLEARLY or len(sample) <= FEW else _fitting(sample, formats)


def _fitting(sample: pl.Series, formats: list[Format]) -> Fit:
    shares = {candidate.name: candidate.sniff(sample) for candidate in formats}
    most = max(shares.values(), default=0.0)
    good = [candidate for candidate in formats if shares[candidate.name] >= most / 2]
    best = max(good, key=lambda each: (getattr(each, "specificity", 1), shares[each.name]))
    return Fit(best, shares[best.name], shares)


def _usable(formats: list[Format], stamped: bool) -> list[Format]:
    """Those of `formats` that can read lines for which a wrapper tells a time, or none does."""
    return [each for each in formats if stamped or not getattr(each, "needs_stamp", False)] or formats


def _unusable(sample: pl.Series, found: Fit, formats: list[Format], show: bool) -> UnreadableInput:
    """The error for lines that no format fits: why they cannot be used, or what came closest."""
    for candidate in formats:
        if reason := candidate.refuse(sample):
            return UnreadableInput(f"{candidate.name}: {reason}")
    return UnknownFormat(_no_format(sample, found.shares, formats, show))


def _no_format(sample: pl.Series, shares: dict[str, float], formats: list[Format], show: bool) -> str:
    if sample.is_empty():
        return "no format to detect: there are no lines"
    if not show:
        return (
            f"no known format fits these {len(sample)} lines, not shown as clients go by pseudonyms; "
            "name one with --format, for example --format combined"
        )
    misses = closest.misses(sample, shares, formats)
    fits = ", ".join(miss.told for miss in misses) or f"none fits any of the {len(shares)} formats"
    number = misses[0].number if misses else 1
    shown = f"{'the first' if number == 1 else f'line {number}'} is {printable(sample[number - 1], 60)!r}"
    example = "name one with --format, for example --format combined"
    return f"no known format fits: of {len(sample)} lines {fits}; {shown}; {example}"


def _around(lines: pl.Series) -> wrappers.Wrapper | None:
    shares = wrappers.shares(lines)
    name = max(shares, key=lambda name: shares[name])
    return wrappers.WRAPPERS[name] if shares[name] >= CLEARLY else None


def _stamped(lines: pl.DataFrame) -> bool:
    return "stamp" in lines.columns and lines["stamp"].null_count() < lines.height
