"""The hour grid of one site: images x hours; gaps are zeros, outages are missing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from prewarm.demand.calendars import Site

HOUR = timedelta(hours=1)


@dataclass(frozen=True, eq=False)
class Grid:
    """Pulls per image and hour of one site.

    `counts` is sparse, images x hours, float32. Column t covers `[start + t h, start + (t + 1) h)`;
    `start` is aware UTC, aligned to the site's own clock (so 08:00 in Mumbai begins a column).
    `observed[t]` is False where the site logged nothing because of an outage: those hours are
    unknown, not zero. `repositories[i]` numbers the repository of image i.
    """

    site: Site
    images: tuple[str, ...]
    repositories: NDArray[np.int32]
    start: datetime
    counts: csr_array
    observed: NDArray[np.bool_]

    @property
    def hours(self) -> int:
        return int(self.counts.shape[1])

    @property
    def cutoff(self) -> datetime:
        """End of the last hour in the grid: nothing after it is known."""
        return self.start + self.hours * HOUR
