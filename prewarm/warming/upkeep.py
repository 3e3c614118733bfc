"""What a cache no longer needs: an image goes when its age and the forecast agree, and never on one of them.

The age is counted as far as the site's log can tell: from the last use, the fill or the beginning of the
log, whichever is the latest, to the end of the log. A log that stopped makes nothing older.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from prewarm.warming.rules import Gate

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Tenant:
    """An image that we put into a cache, with what is known of its use."""

    image: str  # canonical reference
    digest: str | None
    filled_at: datetime
    bytes: int | None = None  # of all its blobs; None: unknown
    expires_at: datetime | None = None  # when the cache will have forgotten it
    last_used: datetime | None = None  # as far as it was looked back
    probability: float = 0.0  # of at least one pull within `Patience.ahead`


@dataclass(frozen=True, slots=True)
class Patience:
    """When an image may go."""

    unused: timedelta = 30 * DAY  # without a use
    below: float = 0.05  # probability of a pull
    ahead: timedelta = 7 * DAY  # within which that pull would come


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an image may go, and why, in words."""

    tenant: Tenant
    evict: bool
    reason: str
    idle: timedelta


def judge(tenant: Tenant, logged: tuple[datetime, datetime], patience: Patience, gate: Gate) -> Verdict:
    """Whether `tenant` may go; `logged` is the time that the site's log speaks of."""
    first, last = logged
    idle = max(last - max(tenant.last_used or first, tenant.filled_at, first), timedelta(0))
    evict, reason = _judge(tenant, idle, last - first, patience, gate)
    return Verdict(tenant, evict, reason, idle)


def _judge(
    tenant: Tenant, idle: timedelta, known: timedelta, patience: Patience, gate: Gate
) -> tuple[bool, str]:
    if gate.always(tenant.image):
        return False, "always on the operator's list"
    if known < patience.unused:
        return False, f"the log tells of {_days(known)} only; {_days(patience.unused)} are needed"
    unused = f"no use for {_days(idle)}"
    expected = f"P {tenant.probability:.2f} in the next {_days(patience.ahead)}"
    if idle < patience.unused:
        return False, f"{unused}; {_days(patience.unused)} are needed"
    if tenant.probability >= patience.below:
        return False, f"{unused}, but {expected}"
    return True, f"{unused}, and {expected}"


def _days(span: timedelta) -> str:
    """`43 days`, `1 day`, `12 hours`."""
    count, unit = (span // DAY, "day") if span >= DAY else (span // timedelta(hours=1), "hour")
    return f"{count} {unit}{'' if count == 1 else 's'}"
