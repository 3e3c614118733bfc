"""An image may go when its age and the forecast agree."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from prewarm.warming.rules import Gate, Rules
from prewarm.warming.upkeep import Patience, Tenant, judge

DAY = timedelta(days=1)
END = datetime(2026, 11, 24, tzinfo=UTC)  # of the log
LOGGED = (END - 90 * DAY, END)
OLD = Tenant("docker.io/acme/api:1", "sha256:1", filled_at=END - 80 * DAY, last_used=END - 43 * DAY)
NOBODY = Gate(Rules())


def test_age_and_forecast_agree() -> None:
    """Both are told."""
    verdict = judge(OLD, LOGGED, Patience(), NOBODY)
    assert (verdict.evict, verdict.idle) == (True, 43 * DAY)
    assert verdict.reason == "no use for 43 days, and P 0.00 in the next 7 days"


@pytest.mark.parametrize(
    ("tenant", "reason"),
    [
        pytest.param(replace(OLD, probability=0.4), "no use for 43 days, but P 0.40 in", id="expected"),
        pytest.param(replace(OLD, last_used=END - 2 * DAY), "no use for 2 days; 30 days", id="used lately"),
        pytest.param(replace(OLD, filled_at=END - DAY), "no use for 1 day; 30 days", id="filled lately"),
        pytest.param(
            replace(OLD, filled_at=END + DAY), "no use for 0 hours", id="filled after the log's end"
        ),
    ],
)
def test_one_of_them_is_not_enough(tenant: Tenant, reason: str) -> None:
    """Neither an old image that is expected, nor an unexpected one that is not old."""
    verdict = judge(tenant, LOGGED, Patience(), NOBODY)
    assert not verdict.evict
    assert verdict.reason.startswith(reason)


def test_what_was_never_used_is_as_old_as_the_log_tells() -> None:
    """A fill from before the log began may have been used before."""
    never = replace(OLD, filled_at=END - 400 * DAY, last_used=None)
    assert judge(never, LOGGED, Patience(), NOBODY).idle == 90 * DAY
    short = judge(never, (END - 12 * DAY, END), Patience(), NOBODY)
    assert (short.evict, short.reason) == (False, "the log tells of 12 days only; 30 days are needed")


def test_what_the_operator_wants_stays() -> None:
    """The always list stands above age and forecast."""
    verdict = judge(OLD, LOGGED, Patience(), Gate(Rules(always=("docker.io/acme/*",))))
    assert (verdict.evict, verdict.reason) == (False, "always on the operator's list")


def test_patience_is_the_operators() -> None:
    """The same image under other bounds."""
    assert not judge(OLD, LOGGED, Patience(unused=60 * DAY), NOBODY).evict
    assert judge(replace(OLD, probability=0.1), LOGGED, Patience(below=0.2), NOBODY).evict
