"""What a pull costs, as a log's durations tell."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from prewarm.insight.costs import OFFICE, Cost, measured, resistant
from prewarm.insight.traces import Content, Pull, Trace

START = datetime(2026, 11, 2, tzinfo=UTC)
TRUE = Cost(round_trip=0.1, bandwidth=5e6, local_round_trip=0.01, local_bandwidth=5e7)


def logged(images: int) -> tuple[Trace, np.ndarray, np.ndarray]:
    """Each image comes after a first week, cold, and again ten minutes later, warm; durations by `TRUE`."""
    pulls = [Pull(START, "old", Content("sha256:old", (("sha256:o", 1),)))]
    for number in range(images):
        blobs = ((f"sha256:{number}", 1_000_000 * (number + 1)),)
        first = START + timedelta(days=8, hours=number)
        pulls += [
            Pull(first + timedelta(minutes=late), f"app:{number}", Content(f"sha256:c{number}", blobs))
            for late in (0, 10)
        ]
    trace = Trace.of(pulls)
    size = trace.sizes[trace.content]
    one = np.ones(len(trace), dtype=np.int64)
    cold = np.arange(len(trace)) % 2 == 1
    seconds = TRUE.local(one, size) + np.where(cold, TRUE.waiting(one, size), 0)
    return trace, size.astype(float), seconds


def test_a_log_with_durations_tells_latency_and_bandwidth_of_mirror_and_upstream() -> None:
    """Both lines are found again; a stalled client in ten moves neither."""
    trace, size, seconds = logged(60)
    seconds[5::10] += 500
    found = measured(trace, size, seconds)
    assert found.measured == 120
    assert found.bandwidth == pytest.approx(5e6, rel=0.1)
    assert found.local_bandwidth == pytest.approx(5e7, rel=0.1)
    assert found.local_round_trip == pytest.approx(0.01, rel=0.3)


def test_without_durations_the_cost_is_assumed() -> None:
    """None logged, or too few: what is assumed says that nothing was measured."""
    trace, size, _ = logged(60)
    assert measured(trace, size, np.full(len(trace), np.nan)) is OFFICE
    assert measured(*logged(10)) is OFFICE
    assert OFFICE.measured == 0


def test_durations_that_make_no_sense_leave_it_assumed() -> None:
    """Cold pulls that are as fast as warm ones tell no bandwidth."""
    trace, size, _ = logged(60)
    assert measured(trace, size, np.ones(len(trace))) is OFFICE


def test_a_resistant_line_passes_over_outliers() -> None:
    """y = 2 + 3x, but for two wild points."""
    x = np.arange(120.0)
    y = 2 + 3 * x
    y[[0, 119]] = 1e6
    intercept, slope = resistant(x, y)
    assert slope == pytest.approx(3, rel=0.02)
    assert intercept + 60 * slope == pytest.approx(182, rel=0.02)
