"""Which object goes first when a disk is full: LRU, LFU, and the one that Belady would choose.

Each holds objects by number with the moment at which they lapse. `touch` raises KeyError for an object that
is not held: the replay asks and notes the use in one step.
"""

from __future__ import annotations

import heapq
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Eviction(Protocol):
    """What a cache holds, and in which order that would go."""

    held: dict[int, int]  # object -> when it lapses (microseconds)
    row: int  # of the pull that is being served

    def touch(self, part: int) -> object:
        """Note a use of `part`; KeyError when it is not held."""
        ...

    def worth(self, part: int) -> bool:
        """Whether an object that was fetched is kept at all."""
        ...

    def add(self, part: int, lapses: int) -> None:
        """Hold `part`."""
        ...

    def remove(self, part: int) -> None:
        """Hold it no longer."""
        ...

    def victim(self) -> int:
        """The held object that goes next."""
        ...


class Roomy:
    """A disk without limit: nothing has to go, so no order is kept."""

    def __init__(self) -> None:
        self.held: dict[int, int] = {}
        self.row = 0
        self.touch = self.held.__getitem__
        self.add = self.held.__setitem__
        self.remove = self.held.__delitem__

    def worth(self, part: int) -> bool:
        return True

    def victim(self) -> int:
        raise LookupError("a disk without limit evicts nothing")


class Recent:
    """LRU: the object that was used longest ago goes first."""

    def __init__(self) -> None:
        ordered: OrderedDict[int, int] = OrderedDict()
        self.held: dict[int, int] = ordered
        self.row = 0
        self.touch = ordered.move_to_end
        self.add = self.held.__setitem__
        self.remove = self.held.__delitem__

    def worth(self, part: int) -> bool:
        return True

    def victim(self) -> int:
        return next(iter(self.held))


class Frequent:
    """LFU: the object with the fewest uses since it came goes first, of these the one used longest ago."""

    def __init__(self) -> None:
        self.held: dict[int, int] = {}
        self.row = 0
        self._uses: dict[int, int] = {}
        self._by_uses: dict[int, OrderedDict[int, None]] = {}
        self._least = 1  # no held object has fewer uses

    def touch(self, part: int) -> None:
        uses = self._uses[part]
        self._leave(part, uses)
        self._join(part, uses + 1)

    def worth(self, part: int) -> bool:
        return True

    def add(self, part: int, lapses: int) -> None:
        self.held[part] = lapses
        self._join(part, 1)
        self._least = 1

    def remove(self, part: int) -> None:
        del self.held[part]
        self._leave(part, self._uses.pop(part))

    def victim(self) -> int:
        while self._least not in self._by_uses:
            self._least += 1
        return next(iter(self._by_uses[self._least]))

    def _join(self, part: int, uses: int) -> None:
        self._uses[part] = uses
        group = self._by_uses.get(uses)
        if group is None:
            group = self._by_uses[uses] = OrderedDict()
        group[part] = None

    def _leave(self, part: int, uses: int) -> None:
        group = self._by_uses[uses]
        del group[part]
        if not group:
            del self._by_uses[uses]


class Foreseen:
    """Belady's MIN: the object whose next use is farthest away goes first; one without any is not kept.

    (Belady, 1966.) No eviction has fewer misses where all objects have one size; with sizes and shared layers
    it is a strong rival that no real cache can be, but no bound.
    """

    def __init__(self, content: NDArray[np.int32], parts: Sequence[tuple[int, ...]], objects: int) -> None:
        rows, used = _uses(content, parts)
        order = np.argsort(used, kind="stable")
        self.held: dict[int, int] = {}
        self.row = -1
        self._rows = array("q", rows[order].tobytes())  # rows of the uses, object by object
        bounds = np.searchsorted(used[order], np.arange(objects + 1))
        self._at, self._stop = bounds[:-1].tolist(), bounds[1:].tolist()
        self._never = len(content)
        self._next: dict[int, int] = {}  # held object -> row of its next use
        self._heap: list[tuple[int, int]] = []  # (-next use, object); entries of the past stay until seen

    def touch(self, part: int) -> None:
        if part not in self.held:
            raise KeyError(part)
        self._note(part)

    def worth(self, part: int) -> bool:
        return self._coming(part) < self._never

    def add(self, part: int, lapses: int) -> None:
        self.held[part] = lapses
        self._note(part)

    def remove(self, part: int) -> None:
        del self.held[part], self._next[part]

    def victim(self) -> int:
        while True:
            coming, part = self._heap[0]
            if self._next.get(part) == -coming:
                return part
            heapq.heappop(self._heap)

    def _note(self, part: int) -> None:
        coming = self._next[part] = self._coming(part)
        heapq.heappush(self._heap, (-coming, part))
        if len(self._heap) > 4 * len(self.held) + 1000:
            self._heap = [(-when, held) for held, when in self._next.items()]
            heapq.heapify(self._heap)

    def _coming(self, part: int) -> int:
        """The row of the first use after the current one."""
        at, stop, rows, row = self._at[part], self._stop[part], self._rows, self.row
        while at < stop and rows[at] <= row:
            at += 1
        self._at[part] = at
        return rows[at] if at < stop else self._never


def _uses(
    content: NDArray[np.int32], parts: Sequence[tuple[int, ...]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every use of an object: the row of its pull, and the object, in order of the rows."""
    lengths = np.array([len(each) for each in parts], dtype=np.int64)
    flat = np.fromiter((part for each in parts for part in each), np.int64, int(lengths.sum()))
    begins = np.concatenate([[0], np.cumsum(lengths)])[:-1]
    many = lengths[content]
    rows = np.repeat(np.arange(len(content)), many)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(many) - many, many)
    return rows, flat[np.repeat(begins[content], many) + within]
