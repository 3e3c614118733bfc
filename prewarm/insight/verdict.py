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
    """The three answers, of a replay as of an assessment."""

    PAYS = "pays"
    FIX_FIRST = "fix this first"
    NO = "does not pay"

    @property
    def words(self) -> str:
        """As a sentence begins."""
        return {Answer.PAYS: "pre-warming pays", Answer.NO: "do not pre-warm"}.get(self, str(self))


@dataclass(frozen=True, slots=True)
class Bar:
    """What a saving must reach to be worth a moving part. Seconds are of a day or a scored window."""

    seconds: float = 5.0
    share: float = 0.1  # of all waiting without pre-warming
    misses: float = 0.01  # of all pulls, that must become hits
    much: tuple[float, float] | None = (600.0, 20.0)  # seconds, in all and for each client, worth it anyway
    as_good: float = 0.9  # a rival that saves this share of ours does as well

    def met(self, saved: float, waiting: float, removed: int, pulls: int, clients: int = 1) -> bool:
        """Whether `saved` of `waiting` seconds, and `removed` misses of `pulls`, are worth it."""
        much = self.much is not None and saved >= self.much[0] and saved >= self.much[1] * clients
        often = removed > 0 and removed >= self.misses * pulls
        return saved >= self.seconds and saved >= self.share * waiting and (often or much)


BAR = Bar()


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
    clients: int = 1,
    bar: Bar = BAR,
) -> Verdict:
    """Judge policies replayed over the same pulls, `windows` scored windows and equal budgets.

    `lists` are simpler ways to pre-warm (a fixed list, a weekly one), `fixes` what nobody has to forecast
    (`longer expiry`, `bigger disk`), both by the name that the reason shall use. `clients` are those that
    pulled. Nothing is worth it, a fix no more than a forecast, where hardly a pull would become a hit.
    """
    waiting, saved, possible = (
        (none.seconds - result) / max(windows, 1) for result in (0.0, ours.seconds, oracle.seconds)
    )

    def answered(answer: Answer, reason: str) -> Verdict:
        return Verdict(answer, reason, waiting, saved, possible)

    def worth(rival: Result) -> bool:
        gained = (none.seconds - rival.seconds) / max(windows, 1)
        return bar.met(gained, waiting, none.missed - rival.missed, none.pulls, clients)

    if not worth(oracle):
        return answered(Answer.NO, _nothing_to_gain(none, oracle, possible, waiting))
    fix, fixed = _best(fixes, none, windows)
    if fix and worth(fixes[fix]) and fixed >= bar.as_good * saved:
        return answered(Answer.FIX_FIRST, f"{fix} alone saves {_of(fixed, waiting)}; a forecast {_s(saved)}")
    if not worth(ours):
        return answered(Answer.NO, _too_little(none, ours, saved, possible, waiting))
    return answered(Answer.PAYS, _gain(saved, waiting, *_best(lists, none, windows), bar))


def _best(rivals: Mapping[str, Result], none: Result, windows: int) -> tuple[str, float]:
    """The rival that saves most, and what it saves per window; ("", 0) without any."""
    saved = {name: (none.seconds - result.seconds) / max(windows, 1) for name, result in rivals.items()}
    return max(saved.items(), key=lambda item: item[1], default=("", 0.0))


def _nothing_to_gain(none: Result, oracle: Result, possible: float, waiting: float) -> str:
    served = f"the warm cache already serves {none.hit_ratio:.1%} of pulls"
    if not none.missed:
        return f"{served}; there is no waiting to save"
    return f"{served}; even perfect foresight would save only {_of(possible, waiting)}{_turned(none, oracle)}"


def _too_little(none: Result, ours: Result, saved: float, possible: float, waiting: float) -> str:
    return f"the forecast saves only {_of(saved, waiting)}{_turned(none, ours)}; foresight {_s(possible)}"


def _turned(none: Result, rival: Result) -> str:
    """How many pulls become hits, for people who see seconds alone."""
    return f", {(none.missed - rival.missed) / none.pulls:.1%} of the pulls" if none.pulls else ""


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
