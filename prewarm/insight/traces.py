"""A trace: who pulled what, in order of time, as numbers; each name and each content is kept once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

Window = tuple[datetime, datetime]
"""A stretch of time: [start, end)."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a digest consists of: distinct blobs as (digest, bytes), config and layers."""

    digest: str
    blobs: tuple[tuple[str, int], ...]
    pushed_at: datetime | None = None  # None: unknown

    @property
    def bytes(self) -> int:
        return sum(size for _, size in self.blobs)


Push = tuple[int, str, Content]
"""(microseconds, image, what its tag stands for from then on)."""


@dataclass(frozen=True, slots=True)
class Pull:
    """One client asked for `image` and was given `content`."""

    time: datetime
    image: str
    content: Content


@dataclass(frozen=True, eq=False, slots=True)
class Trace:
    """Pulls in order of time. `images` and `contents` are told apart by name and by digest.

    `node` numbers whose disk a pull was for, where each client has a cache of its own; None where all share
    one mirror.
    """

    times: NDArray[np.int64]  # microseconds since 1970, UTC
    image: NDArray[np.int32]  # row of `images`, per pull
    content: NDArray[np.int32]  # row of `contents`, per pull
    images: tuple[str, ...]
    contents: tuple[Content, ...]
    node: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.times)

    @classmethod
    def of(cls, pulls: Iterable[Pull]) -> Trace:
        """The trace of these pulls, which are in order of time."""
        images: dict[str, int] = {}
        contents: dict[str, int] = {}
        found: list[Content] = []
        rows = []
        for pull in pulls:
            if pull.content.digest not in contents:
                contents[pull.content.digest] = len(found)
                found.append(pull.content)
            image = images.setdefault(pull.image, len(images))
            rows.append((micros(pull.time), image, contents[pull.content.digest]))
        times, image_rows, content_rows = np.array(rows, dtype=np.int64).reshape(-1, 3).T
        return cls(
            times, image_rows.astype(np.int32), content_rows.astype(np.int32), tuple(images), tuple(found)
        )

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Bytes of each of `contents`."""
        return np.array([content.bytes for content in self.contents], dtype=np.int64)

    def between(self, start: datetime | None, end: datetime | None) -> slice:
        """Which pulls lie in [start, end)."""
        first = 0 if start is None else int(np.searchsorted(self.times, micros(start)))
        last = len(self) if end is None else int(np.searchsorted(self.times, micros(end)))
        return slice(first, max(first, last))

    def only(self, rows: slice | NDArray[np.int64]) -> Trace:
        """Some of the pulls; images and contents keep their numbers."""
        node = None if self.node is None else self.node[rows]
        return replace(
            self, times=self.times[rows], image=self.image[rows], content=self.content[rows], node=node
        )


def micros(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - EPOCH) // MICROSECOND


def moment(micros: int) -> datetime:
    """The inverse of `micros`."""
    return EPOCH + int(micros) * MICROSECOND


def traced(pulls: Trace | Sequence[Pull]) -> Trace:
    """`pulls` as a trace."""
    return pulls if isinstance(pulls, Trace) else Trace.of(pulls)
