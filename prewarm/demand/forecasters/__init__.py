"""Plug point: forecasters, one module per model.

A forecaster is stateless: history in, means out. Hours are numbered from the cutoff: `ahead =
range(0, 24)` is the day that follows it, `range(9, 10)` one hour with nine unknown hours between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from prewarm.demand.series import Grid


class Forecaster(Protocol):
    """The contract, run over every driver (tests/contracts.py): rows after the cutoff cannot change the
    answer, the order of images does not matter, no negative or non-finite mean, any history survives."""

    name: str

    def forecast(self, history: Grid, ahead: range) -> NDArray[np.float32]:
        """Expected pulls, images x len(ahead)."""
        ...
