"""Committing what was read: pulls of sessions that are over, progress with them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import polars as pl

from prewarm.errors import LakeError
from prewarm.lake import Change, Lake, Snapshot
from prewarm.logs import files, pulls, settling
from prewarm.logs.accesses import merge_requests
from prewarm.logs.files import Progress, Source
from prewarm.logs.settling import Front
from prewarm.pipeline.logs import carried, clocks, duplicates
from prewarm.pipeline.logs.carried import Carried
from prewarm.pipeline.logs.reading import Cursor, Pace, Read, front_of, number_of, offset_of, place

PAIRS_LAST = timedelta(days=30)
"""How long a tag is believed to mean the digest it was last seen with."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Settlement:
    """What was read of one source and is not yet committed.

    `add` commits by itself whenever enough was read, `finish` commits the rest with the provisional
    pulls of open sessions. `added`, `pushed`, `duplicates` and `accesses` (by number of the file,
    lines read before not counted) tell what came of it.
    """

    def __init__(self, lake: Lake, source: Source, cursors: list[Cursor], gap: timedelta, pace: Pace) -> None:
        self.lake, self.source, self.cursors, self.gap = lake, source, cursors, gap
        self._batch = pace.batch
        self.added = self.pushed = self.duplicates = 0
        self.accesses: dict[int, int] = {}
        self._ids = {cursor.number: cursor.known.id for cursor in cursors}
        self._committed = {cursor.known.id: cursor.known.progress for cursor in cursors}
        self._carried = Carried(lake, source, {cursor.known.id: cursor.resumed for cursor in cursors})
        self._waiting = self._carried.own()
        self._read: list[pl.DataFrame] = []
        self._finished_pulls: list[pl.DataFrame] = []
        self._counted = pl.DataFrame(schema=settling.COUNTED)
        self._remembered = not any(self._committed.values())
        self._replaced: list[int] = []
        snapshot = lake.snapshot("pulls")
        self._families = duplicates.read_before(
            [*self._ids.values(), *self._carried.files.values()], snapshot
        )
        self._families_read = snapshot.progress(duplicates.ALL) or 0
        if any(self._committed.values()):
            self._replace(list(self._ids.values()))

    def add(self, cursor: Cursor, read: Read) -> None:
        """Take what a chunk said."""
        self._families[cursor.known.id] |= duplicates.families_of(read.accesses)
        self._read.append(read.accesses.with_columns(paired=pl.lit(False)).select(settling.empty().columns))
        if read.pulls.height:
            unfinished = pl.lit(not read.chunk.whole)
            self._finished_pulls.append(read.pulls.with_columns(provisional=unfinished))
        if sum(map(len, self._read)) + sum(map(len, self._finished_pulls)) >= self._batch:
            self._commit(last=False)

    def finish(self) -> None:
        """Commit what is left, open sessions too."""
        self._commit(last=True)

    def _commit(self, last: bool) -> None:
        fresh = pl.concat([settling.empty(), *self._read])
        front = front_of(self.cursors) or Front(0, 0)
        waiting = pl.concat([self._waiting, self._going_on(fresh, front), fresh])
        self._remember(waiting)
        settled = settling.settle(waiting, self._counted, front, self.gap, self._unfinished(waiting, front))
        finished = self._told_once(pl.concat(self._finished_pulls or [settled.final.clear()]))
        found = [settled.final]
        if last:
            found.append(settling.provisional(settled.open))
        named = self._attributed(pl.concat(found), finished)
        rows = self._without_duplicates(pl.concat([named, finished]))
        self._commit_pushes(fresh)
        kept = settled.waiting if last else settled.waiting.filter(pl.col("offset") < 0)
        owners = self._carried.write(kept, settled.open, self._ids)
        self._commit_pulls(self._filed(rows, settled.open), self._progress(settled.open, last), owners)
        self._count(settled.done)
        if last:
            self._count(settled.waiting)
        self._waiting, self._read, self._finished_pulls = settled.waiting, [], []
        ended = settling.recent(settled.final, front, self.gap)
        self._counted = settling.recent(
            pl.concat([self._counted, settling.counted_by(ended)]), front, self.gap
        )

    def _going_on(self, fresh: pl.DataFrame, front: Front) -> pl.DataFrame:
        """Open sessions of files that are not read now, where the log goes on in those that are."""
        rows, owners = self._carried.going_on(fresh, front, self.gap)
        self._replace(owners)
        return rows

    def _replace(self, owners: list[int]) -> None:
        """The provisional pulls of these files are made anew."""
        self._replaced += owners
        if owners:
            self.added -= _pulls_in(self.lake.read("pulls", _provisional(owners), columns=["kind"]))

    # -------------------------------------------------------------- progress

    def _unfinished(self, waiting: pl.DataFrame, front: Front) -> frozenset[int]:
        """Lines whose session stays open: half written, or of a time that reading has not come to yet."""
        half = {
            place(cursor.number, cursor.unfinished)
            for cursor in self.cursors
            if cursor.unfinished is not None
        }
        beyond = front.high + settling.LATENESS // timedelta(microseconds=1)
        ahead = waiting.filter(pl.col("offset") < 0, pl.col("timestamp").cast(pl.Int64) > beyond)
        return frozenset({*half, *ahead["offset"]})

    def _progress(self, open_rows: pl.DataFrame, last: bool) -> dict[int, Progress]:
        """How far each file was read, for those where that moved since the last commit.

        While reading goes on, open sessions are read again after a kill; at the end they are carried.
        """
        first = open_rows.group_by(number_of(pl.col("offset")).alias("number")).agg(
            offset_of(pl.col("offset").min())
        )
        oldest = {} if last else dict(first.iter_rows())
        now = {
            cursor.known.id: cursor.progress(oldest.get(cursor.number))
            for cursor in self.cursors
            if cursor.reads is not None and cursor.seen
        }
        return {id: each for id, each in now.items() if each != self._committed[id]}

    def _commit_pulls(
        self, rows: pl.DataFrame, progress: dict[int, Progress], owners: dict[int, int]
    ) -> None:
        names = {
            name: value for id, each in progress.items() for name, value in files.saved(id, each).items()
        }
        names |= {carried.name_of(owner): value for owner, value in owners.items()}
        names |= {duplicates.name_of(id): self._families[id] for id in progress}
        replaces = None
        if self._replaced:
            replaces = f"provisional = true AND file IN ({', '.join(map(str, self._replaced))})"

        def decide(seen: Snapshot) -> Change:
            self._refuse_rivals(seen, progress)
            return Change(rows, names | self._sums(seen, progress), replaces)

        self.lake.commit("pulls", decide)
        self.added += _pulls_in(rows)
        self._replaced = []
        self._committed |= progress
        self._carried.held |= owners

    def _sums(self, seen: Snapshot, progress: dict[int, Progress]) -> dict[str, int]:
        """What is known of all files together: how many bytes they are known by, their lines, their clock."""
        names = (files.HEADS, duplicates.ALL, clocks.name_of(self.source.site))
        before = {name: seen.progress(name) for name in names}
        heads, families = (before[name] or 0 for name in names[:2])
        for cursor in self.cursors:
            if cursor.known.id in progress:
                heads |= cursor.known.head
                families |= self._families[cursor.known.id]
        now = {files.HEADS: heads, duplicates.ALL: families} | self._utc_offset(progress)
        return {name: value for name, value in now.items() if value != before.get(name)}

    def _utc_offset(self, progress: dict[int, Progress]) -> dict[str, int]:
        """As the newest of the files writes it."""
        told = [cursor.log.utc_offset for cursor in self.cursors if cursor.known.id in progress]
        return {clocks.name_of(self.source.site): each for each in told if each is not None}

    def _refuse_rivals(self, seen: Snapshot, progress: dict[int, Progress]) -> None:
        names = {cursor.known.id: cursor.log.shown for cursor in self.cursors}
        moved = [
            id
            for id in self._committed
            if (id in progress or id in self._replaced)
            and files.loaded(id, seen.progress) != self._committed[id]
        ]
        moved += [
            owner for owner, held in self._carried.held.items() if carried.committed(seen, owner) != held
        ]
        if moved:
            raise LakeError(
                f"{names.get(moved[0], f'source {self.source.name}')} is being read into {self.lake.shown} "
                "by another process; nothing is lost, read it again when that one has ended"
            )

    def _filed(self, rows: pl.DataFrame, open_rows: pl.DataFrame) -> pl.DataFrame:
        """Places become the identity of the file and the offset in it; provisional pulls go to the owner."""
        latest = open_rows.group_by(offset="session_offset").agg(last=number_of(pl.col("offset").max()))
        file = _mapped(number_of(pl.col("offset")), {**self._carried.files, **self._ids})
        owner = _mapped(pl.col("last"), {**self._carried.owners, **self._ids})
        return (
            rows.join(latest, on="offset", how="left", maintain_order="left")
            .with_columns(
                pl.when("provisional").then(pl.coalesce(owner, file)).otherwise(file).alias("file"),
                offset_of(pl.col("offset")),
            )
            .drop("last")
        )

    # -------------------------------------------------------------- what the lake knows already

    def _own_provisional(self) -> pl.Expr:
        return _provisional([*self._ids.values(), *self._carried.held])

    def _remember(self, waiting: pl.DataFrame) -> None:
        """Before lines of files that were read before are settled: which sessions they were counted in."""
        if self._remembered or waiting.is_empty():
            return
        self._remembered = True
        since = _as_time(waiting["timestamp"].min()) - self.gap
        final = self.lake.read(
            "pulls",
            pl.col("date") >= (since - settling.LONGEST - timedelta(days=1)).date(),
            pl.col("file").is_in(list(self._ids.values())),
            pl.col("until") >= since,
            ~self._own_provisional(),
        )
        self._counted = settling.counted_by(final.with_columns(source=pl.lit(self.source.name)))

    def _attributed(self, rows: pl.DataFrame, finished: pl.DataFrame) -> pl.DataFrame:
        """Digests become tags, as far as earlier pulls tell; those of this batch and of the lake.

        A finished pull names the image as it was asked for: by digest is by digest.
        """
        nameless = rows.filter(pl.col("tag").is_null() & pl.col("digest").is_not_null())
        if nameless.is_empty():
            return rows
        first = _as_time(nameless["timestamp"].min())
        known = self.lake.read(
            "pulls",
            pl.col("date") >= (first - PAIRS_LAST).date(),
            pl.col("tag").is_not_null(),
            pl.col("digest").is_in(nameless["digest"].unique().implode()),
            ~self._own_provisional(),
            columns=["timestamp", "registry", "repository", "digest", "tag"],
        )
        return pulls.attribute(rows, pl.concat([known, pulls.pairs_of(pl.concat([rows, finished]))]))

    def _without_duplicates(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Leave out pulls that are in the lake, told by another log; carried ones were reported before."""
        known = self._known_by_key(rows) | self._known_by_request(rows)
        self.duplicates += int((known & (rows["offset"] >= 0)).sum())
        return rows.filter(~known)

    def _told_once(self, finished: pl.DataFrame) -> pl.DataFrame:
        """Finished pulls without those of which a line before told, in whatever file, by their native ids.

        No session joins them: lists that overlap, or were taken again, tell of a pull more than once.
        """
        key = pl.col("keys").list.first()
        again = finished.select(key.is_not_null() & ~key.is_first_distinct()).to_series()
        keyed = finished.filter(key.is_not_null())
        if keyed.is_empty():
            return finished
        first, last = _as_time(keyed["timestamp"].min()), _as_time(keyed["timestamp"].max())
        told = self.lake.read(
            "pulls",
            pl.col("date").is_between(first.date(), last.date()),
            pl.col("timestamp").is_between(first, last),
            pl.col("file").is_in(list(self._ids.values())),
            ~self._own_provisional(),
            pl.col("keys").list.len() > 0,
            columns=["keys"],
        )
        if not told.is_empty():
            again |= duplicates.by_key(finished, told)
        self.duplicates += int(again.sum())
        return finished.filter(~again)

    def _known_by_key(self, rows: pl.DataFrame) -> pl.Series:
        keyed = rows.filter(pl.col("keys").list.len() > 0)
        if keyed.is_empty():
            return _none(rows)
        told = self._told_elsewhere(keyed, ["keys"], pl.col("keys").list.len() > 0)
        return _none(rows) if told.is_empty() else duplicates.by_key(rows, told)

    def _known_by_request(self, rows: pl.DataFrame) -> pl.Series:
        """The registry's own log and the access log tell of the same requests, without a native id."""
        families = _mapped(number_of(pl.col("offset")), self._families_by_number())
        candidates = rows.with_columns(families=families)
        if not (candidates["families"].is_in(duplicates.opposite_of(self._families_read)).any()):
            return _none(rows)
        told = self._told_elsewhere(rows, [*duplicates.TOLD, "file"])
        read = duplicates.read_before(
            told["file"].drop_nulls().unique().to_list(), self.lake.snapshot("pulls")
        )
        return duplicates.by_request(candidates, told.with_columns(families=_mapped(pl.col("file"), read)))

    def _told_elsewhere(self, rows: pl.DataFrame, columns: list[str], *where: pl.Expr) -> pl.DataFrame:
        """Pulls of other files around the times of `rows`."""
        first = _as_time(rows["timestamp"].min()) - settling.LONGEST
        last = _as_time(rows["timestamp"].max()) + settling.LONGEST
        return self.lake.read(
            "pulls",
            pl.col("date").is_between(first.date(), last.date()),
            pl.col("timestamp").is_between(first, last),
            ~pl.col("file").is_in(list(self._ids.values())).fill_null(False),
            ~self._own_provisional(),
            *where,
            columns=columns,
        )

    def _families_by_number(self) -> dict[int, int]:
        files_of = {**self._carried.files, **self._ids}
        return {number: self._families.get(file, 0) for number, file in files_of.items()}

    # -------------------------------------------------------------- pushes and counts

    def _commit_pushes(self, fresh: pl.DataFrame) -> None:
        """Before the pulls, with a progress of its own: lines read again bring no second push."""
        puts = fresh.filter((pl.col("object") == "manifest") & (pl.col("method") == "PUT"))
        if puts.is_empty():
            return
        pushed = 0

        def decide(seen: Snapshot) -> Change | None:
            nonlocal pushed
            names = {cursor.number: f"file-{cursor.known.id:x}-pushed" for cursor in self.cursors}
            before = pl.DataFrame(
                [(number, place(number, seen.progress(name) or 0)) for number, name in names.items()],
                schema={"number": pl.Int64, "from": pl.Int64},
                orient="row",
            )
            number = number_of(pl.col("offset")).alias("number")
            new = (
                puts.with_columns(number).join(before, on="number").filter(pl.col("offset") >= pl.col("from"))
            )
            rows = pulls.pushes(merge_requests(new.select(puts.columns)))
            pushed = rows.height
            ends = {names[cursor.number]: cursor.seen for cursor in self.cursors if cursor.seen}
            return Change(rows, ends) if pushed else None

        self.lake.commit("pushes", decide)
        self.pushed += pushed

    def _count(self, requests: pl.DataFrame) -> None:
        """Requests by file, those left out that were counted when they were first read."""
        number = number_of(pl.col("offset"))
        border = _mapped(number, {c.number: place(c.number, c.before) for c in self.cursors})
        logged = ~pl.col("family").is_in(["event", "upstream"]).fill_null(False) & (
            pl.col("offset") >= border
        )
        counts = requests.select("offset", "family").filter(logged).group_by(number.alias("number")).len()
        for file, count in counts.iter_rows():
            self.accesses[file] = self.accesses.get(file, 0) + count


def _provisional(owners: list[int]) -> pl.Expr:
    return pl.col("provisional") & pl.col("file").is_in(owners)


def _none(rows: pl.DataFrame) -> pl.Series:
    return pl.repeat(False, len(rows), dtype=pl.Boolean, eager=True)


def _mapped(number: pl.Expr, values: Mapping[int, int]) -> pl.Expr:
    return number.replace_strict(values, default=None, return_dtype=pl.Int64)


def _pulls_in(rows: pl.DataFrame) -> int:
    """How many rows are pulls; what was there already was used, not pulled."""
    return rows.height - int((rows["kind"] == "local").sum())


def _as_time(value: object) -> datetime:
    """A frame's extreme time; 1970 for none."""
    return value if isinstance(value, datetime) else _EPOCH
