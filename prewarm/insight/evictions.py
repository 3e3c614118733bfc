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
        self._last: dict[int, int] = {}  # object -> number of its last use
        self._clock = 0
        # (uses, last use, object), one entry for each held object. Uses only grow, so an entry that is out of
        # date stands too far ahead, and is put right when it is met.
        self._heap: list[tuple[int, int, int]] = []

    def touch(self, part: int) -> None:
        self._uses[part] += 1
        self._clock += 1
        self._last[part] = self._clock

    def worth(self, part: int) -> bool:
        return True

    def add(self, part: int, lapses: int) -> None:
        self.held[part] = lapses
        self._clock += 1
        self._uses[part], self._last[part] = 1, self._clock
        heapq.heappush(self._heap, (1, self._clock, part))

    def remove(self, part: int) -> None:
        del self.held[part], self._uses[part], self._last[part]

    def victim(self) -> int:
        while True:
            _, last, part = self._heap[0]
            if part not in self.held:
                heapq.heappop(self._heap)
            elif self._last[part] == last:
                return part
            else:
                heapq.heapreplace(self._heap, (self._uses[part], self._last[part], part))


class Foreseen:
    """Belady's MIN: the object whose next use is farthest away goes first; one without any is not kept.

    (Belady, 1966.) No eviction has fewer misses where all objects have one size; with sizes and shared layers
    it is a strong rival that no real cache can be, but no bound.
    """

    def __init__(self, content: NDArray[np.int32], parts: Sequence[tuple[int, ...]], objects: int) -> None:
        rows, used = _uses(content, parts)
        order = np.argsort(used, kind="stable")
        bounds = np.searchsorted(used[order], np.arange(objects + 1))
        self.held: dict[int, int] = {}
        self.row = -1
        self._rows = array("i", rows[order].tobytes())  # rows of the uses, object by object
        self._at, self._stop = bounds[:-1].tolist(), bounds[1:].tolist()
        self._never = len(content)
        self._objects = objects
        self._next: dict[int, int] = {}  # held object -> row of its next use
        self._heap: list[int] = []  # -(next use x objects + object); what is past stays until it is met

    def touch(self, part: int) -> None:
        if self._next[part] <= self.row:  # else this pull has touched it already
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
            coming, part = divmod(-self._heap[0], self._objects)
            if self._next.get(part) == coming:
                return part
            heapq.heappop(self._heap)

    def _note(self, part: int) -> None:
        coming = self._next[part] = self._coming(part)
        heapq.heappush(self._heap, -(coming * self._objects + part))
        if len(self._heap) > 8 * len(self.held) + 1000:
            self._heap = [-(when * self._objects + held) for held, when in self._next.items()]
            heapq.heapify(self._heap)

    def _coming(self, part: int) -> int:
        """The row of the first use after the current one."""
        at, stop, row = self._at[part], self._stop[part], self.row
        while at < stop and (coming := self._rows[at]) <= row:
            at += 1
        self._at[part] = at
        return coming if at < stop else self._never


def _uses(
    content: NDArray[np.int32], parts: Sequence[tuple[int, ...]]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Every use of an object: the row of its pull, and the object, in order of the rows."""
    lengths = np.array([len(each) for each in parts], dtype=np.int32)
    flat = np.fromiter((part for each in parts for part in each), np.int32, int(lengths.sum()))
    begins = np.cumsum(lengths) - lengths
    many = lengths[content]
    rows = np.repeat(np.arange(len(content), dtype=np.int32), many)
    # Within a pull the uses are numbered from the first object of its content on.
    shift = begins[content] - (np.cumsum(many, dtype=np.int64) - many)
    return rows, flat[np.arange(len(rows)) + np.repeat(shift, many)]
