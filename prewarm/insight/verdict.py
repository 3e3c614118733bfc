"""Should this site pre-warm? A pure judgement over replayed policies, with its reason in words.

The skeptic goes first: a warm cache that serves everything needs nothing, and a longer expiry or a bigger
disk is cheaper than a forecast. What decides is the time that clients wait for upstream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from prewarm.insight.replay import Result


class Answer(StrEnum):
    """The three answers."""

    PAYS = "pre-warming pays"
    FIX_FIRST = "fix this first"
    NO = "do not pre-warm"


@dataclass(frozen=True, slots=True)
class Bar:
    """What a saving must reach to be worth a moving part. Seconds are per scored window."""

    seconds: float = 5.0
    share: float = 0.1  # of all waiting without pre-warming
    as_good: float = 0.9  # a rival that saves this share of ours does as well


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer, why, and the waiting per scored window that it rests on."""

    answer: Answer
    reason: str
    waiting: float  # seconds without pre-warming
    saved: float  # seconds saved by ours
    possible: float  # seconds saved by an oracle of the same runs


def verdict(
    none: Result,
    ours: Result,
    oracle: Result,
    *,
    lists: Mapping[str, Result],
    fixes: Mapping[str, Result],
    windows: int,
    bar: Bar = Bar(),
) -> Verdict:
    """Judge policies replayed over the same pulls, `windows` scored windows and equal budgets.

    `lists` are simpler ways to pre-warm (a fixed list, a weekly one), `fixes` what nobody has to forecast
    (`longer expiry`, `bigger disk`), both by the name that the reason shall use.
    """
    waiting, saved, possible = (
        (none.seconds - result) / max(windows, 1) for result in (0.0, ours.seconds, oracle.seconds)
    )

    def answered(answer: Answer, reason: str) -> Verdict:
        return Verdict(answer, reason, waiting, saved, possible)

    if not _worth(possible, waiting, bar):
        return answered(Answer.NO, _nothing_to_gain(none, possible, waiting))
    fix, fixed = _best(fixes, none, windows)
    if fix and _worth(fixed, waiting, bar) and fixed >= bar.as_good * saved:
        return answered(Answer.FIX_FIRST, f"{fix} alone saves {_of(fixed, waiting)}; a forecast {_s(saved)}")
    if not _worth(saved, waiting, bar):
        return answered(Answer.NO, f"the forecast saves only {_of(saved, waiting)}; foresight {_s(possible)}")
    return answered(Answer.PAYS, _gain(saved, waiting, *_best(lists, none, windows), bar))


def _worth(saved: float, waiting: float, bar: Bar) -> bool:
    return saved >= bar.seconds and saved >= bar.share * waiting


def _best(rivals: Mapping[str, Result], none: Result, windows: int) -> tuple[str, float]:
    """The rival that saves most, and what it saves per window; ("", 0) without any."""
    saved = {name: (none.seconds - result.seconds) / max(windows, 1) for name, result in rivals.items()}
    return max(saved.items(), key=lambda item: item[1], default=("", 0.0))


def _nothing_to_gain(none: Result, possible: float, waiting: float) -> str:
    served = f"the warm cache already serves {none.hit_ratio:.1%} of pulls"
    if not none.missed:
        return f"{served}; there is no waiting to save"
    return f"{served}; even perfect foresight would save only {_of(possible, waiting)}"


def _gain(saved: float, waiting: float, rival: str, rivalled: float, bar: Bar) -> str:
    words = f"the forecast saves {_of(saved, waiting)}"
    if not rival:
        return words
    if rivalled >= bar.as_good * saved:
        return f"{words}, and {rival} does as well ({_s(rivalled)}): start with that"
    return f"{words}; {rival}, the best simpler way, saves {_s(rivalled)}"


def _of(saved: float, waiting: float) -> str:
    return f"{_s(saved)} of {_s(waiting)} waiting"


def _s(seconds: float) -> str:
    return f"{max(seconds, 0.0):.1f} s"
