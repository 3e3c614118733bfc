"""The lake: Delta tables in one folder, or under one object-storage URL.

Readers never wait: a commit is atomic, and a reader keeps the snapshot it opened. Opening creates
nothing; the first commit creates its table.

A commit may carry **progress**: named 63-bit integers that become visible with the rows or not at
all (Delta `txn` actions). `Lake.commit` is a compare-and-swap: it hands the caller a snapshot, the
caller decides what to write, and when somebody else was faster it asks again on a fresh snapshot.
"""

from __future__ import annotations

import math
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import polars as pl

from prewarm.errors import LakeError, UnknownName
from prewarm.tables import PARTITIONS, TABLES

if TYPE_CHECKING:
    from deltalake import CommitProperties, DeltaTable

LOG = "_delta_log"  # of a table: its versions
ATTEMPTS = 20
"""How often a commit looks again when others were faster."""

SPARE = 256 << 10
"""Bytes that a commit may need beside its rows: its place in the log, a checkpoint."""

PLENTY = 1 << 30
"""Bytes left on a disk from which on it is not asked whether what is written again fits, too."""


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit does to one table.

    `rows` are added and `progress` is set. `replaces` is a SQL predicate over the table's columns:
    the rows that fit it are removed in the same commit (only for tables with a `batch` column).
    """

    rows: pl.DataFrame = field(default_factory=pl.DataFrame)
    progress: Mapping[str, int] = field(default_factory=dict)
    replaces: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of one table: what `Lake.commit` lets its caller look at."""

    name: str
    handle: DeltaTable | None
    storage_options: Mapping[str, str] | None = None

    @property
    def version(self) -> int | None:
        """The table's version; None while it does not exist."""
        return None if self.handle is None else int(self.handle.version())

    def progress(self, id: str) -> int | None:
        """The integer last committed under `id`, or None."""
        found = None if self.handle is None else self.handle.transaction_version(id)
        return None if found is None else int(found)

    def scan(self) -> pl.LazyFrame:
        """The rows; filters on them are pushed down to the files."""
        columns = TABLES[self.name]
        if self.handle is None:
            return pl.LazyFrame(schema=dict(columns))
        if self.handle.protocol().min_reader_version > 1:
            # Written by others, perhaps with deletion vectors, which the files alone do not tell of.
            return pl.scan_delta(self.handle).select(columns.keys())
        return _scan(_files(self.handle), self.name, self.storage_options)


@dataclass(frozen=True, slots=True)
class Lake:
    """Tables by name (see TABLES) under `root`, a folder or an object-storage URL.

    >>> lake = Lake.open("./lake")
    >>> lake.read("pulls", pl.col("site") == "boise", columns=["timestamp", "repository"])
    """

    root: str
    storage_options: Mapping[str, str] | None = None

    @classmethod
    def open(cls, location: str | Path, storage_options: Mapping[str, str] | None = None) -> Lake:
        """A lake at `location`; nothing is created. Raises LakeError when a file stands there.

        `storage_options` are delta-rs's; credentials of object stores are found as it finds them
        (environment, instance profile).
        """
        text = str(location)
        if "://" not in text and Path(text).exists() and not Path(text).is_dir():
            raise LakeError(f"{text} is a file; a lake is a folder or a URL, for example ./lake")
        return cls(text.rstrip("/") or "/", storage_options)

    @property
    def shown(self) -> str:
        """Where the lake is, for people: a URL without the login or the query that may hold a secret."""
        scheme, separator, rest = self.root.partition("://")
        if not separator:
            return self.root
        host, slash, path = rest.partition("?")[0].partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"

    def exists(self, table: str) -> bool:
        """Whether anything was ever committed to `table`."""
        return self.snapshot(table).handle is not None

    def snapshot(self, table: str) -> Snapshot:
        """The newest version of `table`; UnknownName for a name not in TABLES."""
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        if table not in TABLES:
            raise UnknownName("table", table, TABLES)
        with _teaching(self, table, "read"):
            try:
                handle = DeltaTable(self._path(table), storage_options=self._options())
            except TableNotFoundError:
                return Snapshot(table, None)
        return Snapshot(table, handle, self._options())

    def scan(self, table: str) -> pl.LazyFrame:
        """The newest rows of `table`, lazily; empty and typed when nothing was ever written."""
        return self.snapshot(table).scan()

    def read(self, table: str, *where: pl.Expr, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The rows of `table` that fit every expression of `where`; LakeError when it cannot be read."""
        with _teaching(self, table, "read"):
            rows = self.scan(table)
            rows = rows.filter(*where) if where else rows
            return (rows if columns is None else rows.select(columns)).collect()

    def progress(self, table: str, id: str) -> int | None:
        """The integer last committed to `table` under `id`, or None."""
        return self.snapshot(table).progress(id)

    def append(self, table: str, rows: pl.DataFrame, progress: Mapping[str, int] | None = None) -> None:
        """Add `rows`, and set `progress` with them. Missing columns become null, strange ones are refused."""
        self.commit(table, lambda _: Change(rows, progress or {}))

    def commit(self, table: str, decide: Callable[[Snapshot], Change | None]) -> bool:
        """Write what `decide` makes of the newest snapshot; False when it decides on nothing.

        `decide` is called again whenever another writer committed what it looked at, so it must
        have no effects of its own. LakeError after ATTEMPTS lost races.
        """
        from deltalake.exceptions import CommitFailedError

        batch = secrets.randbits(62)
        for attempt in range(ATTEMPTS):
            seen = self.snapshot(table)
            change = decide(seen)
            if change is None:
                return False
            if seen.handle is None:
                self._create(table)
                continue
            try:
                self._write(seen.name, seen.handle, change, batch)
                return True
            except CommitFailedError:
                time.sleep(0.01 * attempt)
        raise LakeError(f"{self._path(table)}: other writers were faster {ATTEMPTS} times; try again")

    def compact(self, table: str, keep: timedelta = timedelta(days=7)) -> None:
        """Join small files into large ones and forget files that no version younger than `keep` needs.

        Readers of versions older than `keep` fail afterwards; progress is kept. When another writer is
        faster, or the disk has no room for a second copy, it is left for the next time.
        """
        from deltalake.exceptions import CommitFailedError

        handle = self.snapshot(table).handle
        if handle is None:
            return
        if self._free() < PLENTY and self._free() < SPARE + _bytes_of(_files(handle)):
            return
        with suppress(CommitFailedError), _teaching(self, table, "compacted"):
            handle.optimize.compact()
            handle.create_checkpoint()
            handle.vacuum(
                retention_hours=int(keep / timedelta(hours=1)),
                dry_run=False,
                enforce_retention_duration=False,
            )

    def _create(self, table: str) -> None:
        """Make version 0 of `table`, unless a writer was faster."""
        from arro3.core import Table
        from deltalake import DeltaTable, Schema

        self._check_room(table, SPARE)
        empty = pl.DataFrame(schema=dict(TABLES[table]))
        with _teaching(self, table, "created"):
            DeltaTable.create(
                self._path(table),
                schema=Schema.from_arrow(Table.from_arrow(empty).schema),
                mode="ignore",
                partition_by=[PARTITIONS[table]] if table in PARTITIONS else None,
                storage_options=self._options(),
            )

    def _write(self, table: str, handle: DeltaTable, change: Change, batch: int) -> None:
        from deltalake import write_deltalake

        self._check_writable(table)
        rows = _conform(table, change.rows, batch)
        again = 0
        if change.replaces is not None and self._free() < PLENTY:
            again = _written_again(_files(handle), table, change.replaces)
        self._check_room(table, SPARE + int(rows.estimated_size()) + again)  # compression makes it less
        transactions = _transactions(change.progress)
        with _teaching(self, table, "written"):
            if change.replaces is None:
                write_deltalake(handle, rows, mode="append", commit_properties=transactions)
                return
            # What replaces must fit the predicate itself, which its batch number makes it do.
            predicate = f"({change.replaces}) OR batch = {batch}"
            write_deltalake(
                handle, rows, mode="overwrite", predicate=predicate, commit_properties=transactions
            )

    def _check_writable(self, table: str) -> None:
        """Refuse a folder that we may not write before delta-rs does, whose threads die noisily over it."""
        folder = Path(self._path(table))
        if "://" not in self.root and not (os.access(folder, os.W_OK) and os.access(folder / LOG, os.W_OK)):
            raise LakeError(f"{folder} cannot be written: Permission denied")

    def _check_room(self, table: str, needed: int) -> None:
        """Refuse a disk without room for so many bytes before delta-rs does, whose threads die over it."""
        free = self._free()
        if free < needed:
            raise LakeError(
                f"{self._path(table)} cannot be written: no space left on its disk ({free / 1e6:,.1f} MB are "
                f"free, up to {needed / 1e6:,.1f} MB are needed); make room and do it again"
            )

    def _free(self) -> float:
        """Bytes left on the disk that the lake is on; of an object store nobody knows."""
        if "://" in self.root:
            return math.inf
        folder = Path(self.root).absolute()
        return shutil.disk_usage(next(each for each in (folder, *folder.parents) if each.exists())).free

    def _path(self, table: str) -> str:
        return f"{self.root}/{table}"

    def _options(self) -> dict[str, str] | None:
        return None if self.storage_options is None else dict(self.storage_options)


def _files(handle: DeltaTable) -> list[str]:
    """Where the data files of this version are: paths, or URLs of an object store."""
    found = handle.file_uris()
    # Delta escapes a local path as if it were a URL.
    return [uri if "://" in uri else unquote(uri) for uri in found]


def _written_again(paths: list[str], table: str, predicate: str) -> int:
    """Bytes of those of these local files that hold a row which the SQL `predicate` fits."""
    rows = _scan(paths, table, None, path="path")
    touched = rows.filter(pl.sql_expr(predicate)).select(pl.col("path").unique()).collect()
    return _bytes_of(touched["path"])


def _bytes_of(paths: Iterable[str]) -> int:
    return sum(Path(path).stat().st_size for path in paths)


def _scan(
    paths: list[str], table: str, storage_options: Mapping[str, str] | None, path: str | None = None
) -> pl.LazyFrame:
    """The rows of these files; columns that a file is too old to have are null; the file as `path`, if named.

    As `pl.scan_delta` reads a plain table, which however imports pyarrow: memory in every process.
    """
    columns = TABLES[table]
    if not paths:
        return pl.LazyFrame(schema=dict(columns) | ({path: pl.String} if path else {}))
    partition = {name: dtype for name, dtype in columns.items() if name == PARTITIONS.get(table)}
    return pl.scan_parquet(
        paths,
        glob=False,
        schema={name: dtype for name, dtype in columns.items() if name not in partition},
        hive_partitioning=bool(partition),
        hive_schema=partition or None,
        missing_columns="insert",
        extra_columns="ignore",
        cast_options=pl.ScanCastOptions(
            integer_cast="upcast",
            float_cast="upcast",
            datetime_cast=["nanosecond-downcast", "convert-timezone"],
            missing_struct_fields="insert",
            extra_struct_fields="ignore",
        ),
        storage_options=None if storage_options is None else dict(storage_options),
        credential_provider=None,
        include_file_paths=path,
    ).select(*columns, *([path] if path else []))


def _transactions(progress: Mapping[str, int]) -> CommitProperties:
    from deltalake import CommitProperties, Transaction

    return CommitProperties(
        app_transactions=[Transaction(app_id=id, version=value) for id, value in progress.items()]
    )


def _conform(table: str, rows: pl.DataFrame, batch: int) -> pl.DataFrame:
    """`rows` with exactly the table's columns; `date` and `batch` are filled in."""
    columns = TABLES[table]
    if not rows.width:
        return pl.DataFrame(schema=dict(columns))
    strange = sorted(set(rows.columns) - set(columns))
    if strange:
        raise LakeError(f"{table} has no column {strange[0]!r}; its columns: {', '.join(columns)}")
    derived = {"batch": pl.lit(batch)} if "batch" in columns else {}
    if "date" in columns:
        derived["date"] = pl.col("timestamp").dt.date()
    missing = {name: pl.lit(None) for name in columns if name not in rows.columns}
    return rows.with_columns(**(missing | derived)).select(
        pl.col(name).cast(dtype) for name, dtype in columns.items()
    )


@contextmanager
def _teaching(lake: Lake, table: str, verb: str) -> Iterator[None]:
    """Turn what the storage raises into one LakeError; lost races pass through."""
    from deltalake.exceptions import CommitFailedError, DeltaError

    try:
        yield
    except CommitFailedError:
        raise
    except (DeltaError, OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        reason = reason.replace(lake.root, lake.shown)
        raise LakeError(f"{lake.shown}/{table} cannot be {verb}: {reason}") from error
