"""What a pull costs the client that waits for it, in seconds: assumed, or measured from a log."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from prewarm.insight.traces import Trace

HOUR, WEEK = 3_600_000_000, 7 * 86_400_000_000  # microseconds
ENOUGH = 30  # pulls of each sort, before a log's durations are believed


@dataclass(frozen=True, slots=True)
class Cost:
    """From the mirror: round trips (two for the manifests, one for each blob) times its latency, plus bytes
    over its bandwidth; free by default. What is missing comes from upstream on top of that: round trips (two
    for the manifests, one for each missing object) and missing bytes.
    """

    round_trip: float = 0.08  # seconds, upstream
    bandwidth: float = 12.5e6  # bytes per second, upstream: 100 Mbit/s
    local_round_trip: float = 0.0
    local_bandwidth: float = float("inf")
    measured: int = 0  # pulls whose durations it rests on; 0: assumed

    def waiting(self, objects: NDArray[np.int64], size: NDArray[np.int64]) -> NDArray[np.float64]:
        """Seconds for upstream, per miss."""
        return np.asarray(self.round_trip * (2 + objects) + size / self.bandwidth, dtype=np.float64)

    def local(self, blobs: NDArray[np.int64], size: NDArray[np.int64]) -> NDArray[np.float64]:
        """Seconds for the mirror, per pull."""
        return np.asarray(self.local_round_trip * (2 + blobs) + size / self.local_bandwidth, dtype=np.float64)


ASSUMED = Cost()
OFFICE = Cost(local_round_trip=0.002, local_bandwidth=125e6)
"""What is assumed where no log tells: upstream 80 ms and 100 Mbit/s away, the mirror 2 ms and 1 Gbit/s."""


def measured(
    trace: Trace, size: NDArray[np.float64], seconds: NDArray[np.float64], assumed: Cost = OFFICE
) -> Cost:
    """The cost that a log's own durations tell, else `assumed`.

    `size` and `seconds` are those of each pull of the trace, NaN where not logged. Served from the mirror
    is for certain what somebody had pulled within the hour before; fetched from upstream, what was pulled
    for the first time after a week of log. Both are fitted by Tukey's resistant line, per request: a few
    stalled clients do not move it. Where one of them tells nothing sensible, all of it stays assumed.
    """
    order = np.argsort(trace.content, kind="stable")
    same = np.diff(trace.content[order], prepend=-1) == 0
    since = np.full(len(trace), np.iinfo(np.int64).max)
    since[order[same]] = np.diff(trace.times[order], prepend=0)[same]
    first = np.ones(len(trace), dtype=np.bool_)
    first[order[same]] = False
    begin = trace.times[0] if len(trace) else 0
    timed = np.isfinite(size) & np.isfinite(seconds) & (seconds > 0)
    blobs = np.array([len(content.blobs) for content in trace.contents], dtype=np.float64)
    requests = 2 + blobs[trace.content]
    warm, cold = timed & (since <= HOUR), timed & first & (trace.times - begin > WEEK)
    if min(warm.sum(), cold.sum()) < ENOUGH:
        return assumed
    local = resistant(size[warm] / requests[warm], seconds[warm] / requests[warm])
    extra = seconds[cold] / requests[cold] - local[0] - local[1] * size[cold] / requests[cold]
    upstream = resistant(size[cold] / requests[cold], extra)
    if min(*local, *upstream) <= 0:
        return assumed
    return replace(
        assumed,
        round_trip=upstream[0],
        bandwidth=1 / upstream[1],
        local_round_trip=local[0],
        local_bandwidth=1 / local[1],
        measured=int(warm.sum() + cold.sum()),
    )


def resistant(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Intercept and slope of Tukey's resistant line (Exploratory Data Analysis, 1977): medians of thirds."""
    order = np.argsort(x, kind="stable")
    low, _, high = np.array_split(order, 3)
    run = float(np.median(x[high]) - np.median(x[low]))
    slope = float(np.median(y[high]) - np.median(y[low])) / run if run > 0 else 0.0
    return float(np.median(y - slope * x)), slope
