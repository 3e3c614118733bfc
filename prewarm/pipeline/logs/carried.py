"""Requests of open sessions, carried in the lake from the end of one read to the next.

A session may go on in a file that is not yet written: the log is rotated or truncated, and the lines
that were read are gone. So what is open when reading ends is stored, under the file that was read last
of it: its owner. It is taken up again by whoever reads on in that file, or finds one of its sessions
going on in another file of the source. Rows are written before the commit of the pulls, which says with
one integer for each owner which of its rows count; after a kill in between, the older ones still do.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import timedelta

import polars as pl

from prewarm.lake import Change, Lake, Snapshot
from prewarm.logs import pulls, settling
from prewarm.logs.files import Source
from prewarm.logs.settling import LATENESS, Front
from prewarm.pipeline.logs.reading import number_of, offset_of, place

ABANDONED = timedelta(days=1)
"""An owner that was not read for so long, as the log's time goes, is taken for gone."""

_MICROSECOND = timedelta(microseconds=1)


class Carried:
    """What earlier reads of a source left open.

    Its rows have places with numbers below zero; `files` and `owners` tell what such a number stands for.
    `held` maps the owners that were taken up to the integer that was committed for them.
    """

    def __init__(self, lake: Lake, source: Source, resumed: Mapping[int, int]) -> None:
        """`resumed`: where reading begins, by identity, in the files that are read now, the newest last."""
        self._lake = lake
        snapshot = lake.snapshot("pulls")
        own = pl.col("owner").is_in(list(resumed))  # also when it was read under another name
        of_source = (pl.col("source") == source.name) & (pl.col("site") == source.site)
        stored = lake.read("carried", own | of_source).with_columns(
            source=pl.when(own).then(pl.lit(source.name)).otherwise("source")
        )
        rows = _counting(stored, snapshot, resumed)
        self._committed = {owner: committed(snapshot, owner) for owner in [*resumed, *rows["owner"].unique()]}
        self.files, self.owners, self._others = _numbered(rows)
        self.held: dict[int, int] = {}
        self._stored: set[int] = set()
        self._own = list(resumed)

    def own(self) -> pl.DataFrame:
        """The rows of the files that are read now; to be called first."""
        return self._take(self._own)

    def going_on(self, fresh: pl.DataFrame, front: Front, gap: timedelta) -> tuple[pl.DataFrame, list[int]]:
        """The rows of other owners, and these: one of whose sessions goes on in `fresh`, or that are gone.

        The newest file that is read now owns their rows from now on.
        """
        if self._others.is_empty():
            return self._take([]), []
        owners = sorted({*_continued(self._others, fresh, gap), *_abandoned(self._others, front)})
        self.owners |= {number: self._own[-1] for number, owner in self.owners.items() if owner in owners}
        return self._take(owners), owners

    def _take(self, owners: list[int]) -> pl.DataFrame:
        taken = pl.col("owner").is_in(owners)
        rows = self._others.filter(taken).select(settling.empty().columns)
        self._others = self._others.filter(~taken)
        self.held |= {owner: self._committed[owner] for owner in owners}
        self._stored |= set(rows["offset"])
        return rows

    def write(self, waiting: pl.DataFrame, sessions: pl.DataFrame, read: Mapping[int, int]) -> dict[int, int]:
        """Store those of the requests `waiting` that are in `sessions`; give what to commit for each owner.

        `sessions` are `settling.Settled.open`; `read` are the identities of the files by number.
        """
        owner = number_of(pl.col("offset")).max().over("session").alias("owner")
        owned = waiting.join(sessions.select("offset", owner).unique("offset"), on="offset")
        if set(owned["offset"]) == self._stored and not (owned["offset"] >= 0).any():
            return {}
        self._stored = set(owned["offset"])
        reading = secrets.randbits(62) | 1
        number = number_of(pl.col("offset"))
        rows = owned.with_columns(
            number.replace_strict({**self.files, **read}, return_dtype=pl.Int64).alias("file"),
            pl.col("owner").replace_strict({**self.owners, **read}, return_dtype=pl.Int64),
            offset_of(pl.col("offset")).alias("offset"),
            pl.lit(reading).alias("reading"),
        )
        if not rows.is_empty():
            self._lake.commit("carried", lambda _: Change(rows, replaces=self._outdated()))
        owners = set(rows["owner"])
        now = {owner: reading if owner in owners else 0 for owner in self.held}
        return {owner: value for owner, value in now.items() if value != self.held[owner]}

    def _outdated(self) -> str:
        """Rows of the owners held that do not count any more."""
        owners = ", ".join(map(str, self.held))
        counting = ", ".join(map(str, {*self.held.values(), 0}))
        return f"owner IN ({owners}) AND reading NOT IN ({counting})"


def name_of(owner: int) -> str:
    """Under this name is committed which rows of the owner count, 0 for none."""
    return f"file-{owner:x}-carried"


def committed(snapshot: Snapshot, owner: int) -> int:
    """Which rows of `owner` count as of `snapshot`."""
    return snapshot.progress(name_of(owner)) or 0


def _counting(rows: pl.DataFrame, snapshot: Snapshot, resumed: Mapping[int, int]) -> pl.DataFrame:
    """The rows that count, but for those whose lines will be read again."""
    reading = {owner: committed(snapshot, owner) for owner in rows["owner"].unique()}
    counts = pl.col("owner").replace_strict(reading, default=None, return_dtype=pl.Int64)
    again = pl.col("file").replace_strict(dict(resumed), default=None, return_dtype=pl.Int64)
    return rows.filter(pl.col("reading") == counts, (pl.col("offset") < again).fill_null(True))


def _numbered(rows: pl.DataFrame) -> tuple[dict[int, int], dict[int, int], pl.DataFrame]:
    """Files and owners by number, the oldest lowest; and the rows with places for offsets."""
    pairs = rows.group_by("owner", "file").agg(pl.col("timestamp").min()).sort("timestamp", "owner", "file")
    numbered = pairs.with_columns(number=pl.int_range(pl.len(), dtype=pl.Int64) - len(pairs))
    placed = rows.join(numbered.drop("timestamp"), on=["owner", "file"]).with_columns(
        offset=place(pl.col("number"), pl.col("offset"))
    )
    files = dict(numbered.select("number", "file").iter_rows())
    owners = dict(numbered.select("number", "owner").iter_rows())
    return files, owners, placed.select(*settling.empty().columns, "owner")


def _continued(stored: pl.DataFrame, fresh: pl.DataFrame, gap: timedelta) -> list[int]:
    """Owners of a session whose client asks on for the same repository, soon enough."""
    margin = (gap + LATENESS) // _MICROSECOND
    times = sorted(stored["timestamp"].to_physical())  # in integers, since a log may claim any time
    near = fresh.filter(pl.col("timestamp").cast(pl.Int64).is_between(times[0] - margin, times[-1] + margin))
    asked = _spans(near.with_columns(owner=pl.lit(0)), gap)
    both = _spans(stored, gap).join(asked, on="who", suffix="_fresh")
    joined = both.filter(
        pl.col("timestamp_fresh") <= pl.col("until") + gap,
        pl.col("until_fresh") >= pl.col("timestamp") - gap,
    )
    return joined["owner"].unique().to_list()


def _spans(rows: pl.DataFrame, gap: timedelta) -> pl.DataFrame:
    """Who asked, from when until when, for each session and owner."""
    requests = pulls.sessions(rows, gap)
    spans = settling.counted_by(requests.with_columns(timestamp="asked", until="session_until"))
    return (
        spans.with_columns(requests["owner"]).group_by("who", "until", "owner").agg(pl.col("timestamp").min())
    )


def _abandoned(stored: pl.DataFrame, front: Front) -> list[int]:
    horizon = front.low - ABANDONED // _MICROSECOND
    newest = stored.group_by("owner").agg(pl.col("timestamp").max().cast(pl.Int64))
    return newest.filter(pl.col("timestamp") < horizon)["owner"].to_list()
