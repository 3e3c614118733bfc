"""When to try again: pure functions of the attempt, the refusal and a random source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

ATTEMPTS = 4  # requests in all, before a retryable refusal is final
FIRST = 0.5  # seconds before the second attempt; doubled each time
LONGEST = 30.0  # seconds between two attempts, whatever their number
PATIENCE = 60.0  # a registry that asks for more than this is left alone; the caller is told
PATIENT = 3  # requests in a row that were given up before a registry is not waited for any more


def delay(attempt: int, chance: Callable[[], float], retry_after: float | None = None) -> float | None:
    """Seconds to wait after failed attempt number `attempt` (from 1); None: give up.

    Exponential with jitter, so that many warmers do not come back in step: between half of the step
    and the whole step, `chance` giving numbers in [0, 1). Never sooner than `retry_after`.
    """
    if attempt >= ATTEMPTS or (retry_after or 0) > PATIENCE:
        return None
    step = min(FIRST * 2.0 ** (attempt - 1), LONGEST)
    return (retry_after or 0.0) + step * (0.5 + chance() / 2)


@dataclass
class Breaker:
    """Whether a registry that fails is worth waiting for.

    After a few requests in a row that were given up, each gets one attempt, until one succeeds: a registry
    that is down costs a run of many images no minutes, and one that is back is noticed at once.
    """

    given_up: int = 0  # in a row

    @property
    def patient(self) -> bool:
        return self.given_up < PATIENT

    def worked(self) -> None:
        self.given_up = 0

    def failed(self) -> None:
        self.given_up += 1


def parse_retry_after(text: str | None, now: datetime) -> float | None:
    """Seconds that a `Retry-After` header asks for: a number or an HTTP date (RFC 9110, 10.2.3).

    None when there is none or it cannot be read; dates in the past are 0.
    """
    if not text:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (aware - now).total_seconds())
