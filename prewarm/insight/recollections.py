"""What a log recollects of images: what each pull obtained, and what a tag stood for at a time.

The lake knows a pull's image, mostly its digest, and the bytes that were sent; the image catalogue knows
the layers of what was warmed or looked up. What neither knows is estimated, and counted in `Known`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from prewarm.demand.selection import image_column
from prewarm.insight.traces import Content, Push, Trace, micros

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SCOPES = ("site", "client", "cold")
SPELL = timedelta(days=1)
"""A client that was silent for so long is taken for a new node with an empty disk (scope `cold`)."""


@dataclass(frozen=True, slots=True)
class Known:
    """How many pulls are of contents whose layers the catalogue knows, whose bytes the log tells, neither."""

    layers: int = 0
    bytes: int = 0
    neither: int = 0

    @property
    def nothing(self) -> bool:
        """No size is known at all, so that bytes mean nothing."""
        return not (self.layers or self.bytes)

    def __add__(self, other: Known) -> Known:
        return Known(self.layers + other.layers, self.bytes + other.bytes, self.neither + other.neither)


@dataclass(frozen=True, eq=False, slots=True)
class Recollection:
    """A site's past pulls, and the moments at which its tags became what they were.

    A tag stood for what was pushed or pulled last. `pushes` are in order.
    """

    trace: Trace
    known: Known
    changes: Mapping[str, tuple[Sequence[int], Sequence[Content]]] = field(default_factory=dict)
    pushes: Sequence[Push] = ()

    def resolve(self, image: str, time: datetime) -> Content | None:
        """What `image` stood for just before `time`, as far as was known then; None: nobody had named it."""
        times, contents = self.changes.get(image, ((), ()))
        place = bisect_right(times, micros(time) - 1)
        return contents[place - 1] if place else None


def recollect(
    pulls: pl.DataFrame, catalogue: pl.DataFrame, pushes: pl.DataFrame, scope: str = "site"
) -> Recollection:
    """The past of one site.

    `pulls` have `timestamp, image, digest, bytes, client`; `catalogue` and `pushes` are tables of the lake. A
    pull without a digest obtained what its tag stood for: what was pushed or pulled before, else after. The
    layers are the catalogue's; without them a content is one blob of its own, as large as the largest pull
    of it, else of its image, else as the median content.
    """
    told = _events(pulls, pushes)
    contents, known = _contents(told, catalogue)
    names = told["key"].unique(maintain_order=True)
    row_of = {key: row for row, key in enumerate(names.to_list())}
    told = told.with_columns(pl.col("key").replace_strict(row_of, return_dtype=pl.Int32).alias("content"))
    asked = told.filter(~pl.col("push"))
    images = asked["image"].unique(maintain_order=True)
    numbers = {image: row for row, image in enumerate(images.to_list())}
    trace = Trace(
        asked["timestamp"].dt.epoch("us").to_numpy(),
        asked["image"].replace_strict(numbers, return_dtype=pl.Int32).to_numpy(),
        asked["content"].to_numpy(),
        tuple(numbers),
        tuple(contents[key] for key in row_of),
        nodes(asked["client"], asked["timestamp"], scope),
    )
    return Recollection(trace, known, _changes(told, trace.contents), _pushed(told, trace.contents))


def nodes(clients: pl.Series, times: pl.Series, scope: str) -> NDArray[np.int32] | None:
    """Whose disk each pull was for. Clients that the log does not name count as one."""
    if scope == "site":
        return None
    frame = pl.DataFrame({"client": clients.fill_null(""), "time": times})
    spell = pl.lit(0)
    if scope == "cold":
        spell = (pl.col("time").diff() > SPELL).fill_null(False).cum_sum().over("client").cast(pl.Int32)
    node = frame.select(pl.struct(pl.col("client"), spell.alias("spell")).rank("dense") - 1).to_series()
    return node.cast(pl.Int32).to_numpy()


def _events(pulls: pl.DataFrame, pushes: pl.DataFrame) -> pl.DataFrame:
    """Pulls and pushes in order of time, pushes first, with a `key`: the digest, else the image's name."""
    columns = ["timestamp", "image", "digest", "bytes", "client"]
    asked = pulls.select(columns).with_columns(pl.lit(False).alias("push"))
    sent = (
        pushes.with_columns(image_column())
        .drop_nulls(["image", "digest"])
        .select(
            pl.col("timestamp").cast(asked.schema["timestamp"]),
            "image",
            "digest",
            pl.lit(None, pl.Int64).alias("bytes"),
            pl.lit(None, pl.String).alias("client"),
            pl.lit(True).alias("push"),
        )
    )
    told = pl.concat([sent, asked.with_columns(pl.col("bytes").cast(pl.Int64))])
    digest = pl.col("digest").forward_fill().backward_fill().over("image")
    return told.sort("timestamp", pl.col("push").not_(), maintain_order=True).with_columns(
        pl.coalesce(digest, "image").alias("key")
    )


def _contents(told: pl.DataFrame, catalogue: pl.DataFrame) -> tuple[dict[str, Content], Known]:
    """What each key consists of, and of how many pulls that is known."""
    layers = _layers(catalogue)
    keys = told.group_by("key", maintain_order=True).agg(
        pl.col("image").first(),
        pl.col("bytes").max(),
        pl.col("push").not_().sum().alias("pulls"),
        pl.col("timestamp").filter("push").min().alias("pushed_at"),
    )
    largest = dict(told.group_by("image").agg(pl.col("bytes").max()).drop_nulls().iter_rows())
    typical = int(keys["bytes"].median() or 1)  # type: ignore[arg-type]
    contents, known = {}, Known()
    for key, image, size, pulls, pushed_at in keys.iter_rows():
        blobs = layers.get(key)
        guess = size or largest.get(image)
        contents[key] = Content(key, blobs or ((f"{key}#all", guess or typical),), pushed_at)
        known += Known(
            pulls * bool(blobs), pulls * bool(guess and not blobs), pulls * (not blobs and not guess)
        )
    return contents, known


def _layers(catalogue: pl.DataFrame) -> dict[str, tuple[tuple[str, int], ...]]:
    """Distinct blobs by digest; by the image's name for pulls whose digest nobody knows."""
    found = {}
    rows = catalogue.sort("checked_at").with_columns(image_column()).select("image", "digest", "layers")
    for image, digest, layers in rows.iter_rows():
        blobs = tuple({layer["digest"]: layer["bytes"] for layer in layers or ()}.items())
        if blobs and all(size is not None for _, size in blobs):
            found[image] = found[digest] = blobs
    return found


def _changes(told: pl.DataFrame, contents: Sequence[Content]) -> dict[str, tuple[list[int], list[Content]]]:
    """When each image began to stand for what, in order of time."""
    new = (pl.col("content") != pl.col("content").shift(1).over("image")).fill_null(True)
    changed = told.filter(new).select("image", pl.col("timestamp").dt.epoch("us"), "content")
    found: dict[str, tuple[list[int], list[Content]]] = {}
    for image, time, content in changed.iter_rows():
        times, stood_for = found.setdefault(image, ([], []))
        times.append(time)
        stood_for.append(contents[content])
    return found


def _pushed(told: pl.DataFrame, contents: Sequence[Content]) -> list[Push]:
    rows = told.filter("push").select(pl.col("timestamp").dt.epoch("us"), "image", "content")
    return [(time, image, contents[content]) for time, image, content in rows.iter_rows()]
