"""A Parquet file of finished pulls becomes lines, one row a line, as `logs.formats.events` reads them.

Only the columns that `events` knows are read, a batch of rows at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl
import polars.selectors as cs

from prewarm.errors import UnreadableInput
from prewarm.logs.formats import events

BATCH = 1 << 14  # rows held at once
LARGEST = 1 << 30  # bytes that a column of a row group, which is held whole, may expand to
_MAGIC = b"PAR1"
_UNITS = {"s": (1, 1_000_000), "ms": (1, 1_000), "us": (1, 1), "ns": (1_000, 1)}  # into microseconds
_YEARS = (-62_135_596_800_000_000, 253_402_300_799_999_999)  # microseconds since 1970: the years 1 to 9999
_POLARS = (pl.exceptions.PolarsError, pl.exceptions.PanicException)  # what a hostile file may raise there


def is_parquet(head: bytes) -> bool:
    """Whether a file that begins with `head` is Parquet."""
    return head.startswith(_MAGIC)


def unroll(path: str) -> Iterator[bytes]:
    """The rows of a Parquet file as NDJSON lines; UnreadableInput for a file that cannot be read."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = _wanted(path, file)
            for batch in file.iter_batches(BATCH, columns=list(names)):
                batch.validate(full=True)  # text that is no UTF-8 is not noticed otherwise
                yield _lines({known: batch.column(name) for name, known in names.items()})
    except (pyarrow.ArrowException, ValueError, OSError, *_POLARS) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableInput(f"{path} is a Parquet file that cannot be read: {reason}") from error


def _wanted(path: str, file: Any) -> dict[str, str]:
    """The columns to read and what `events` calls them."""
    wanted: dict[str, str] = {}
    for name in (names := file.schema_arrow.names):
        if name.lower() in (*events.COLUMNS, *events.NAMED) and name.lower() not in wanted.values():
            wanted[name] = name.lower()
    missing = sorted({"timestamp", "image"} - set(wanted.values()))
    if missing:
        raise UnreadableInput(
            f"{path} is Parquet without a column {' and '.join(missing)} (it has "
            f"{', '.join(map(ascii, names[:10]))}); write timestamp, image and what there is of client, bytes"
        )
    _refuse_large(path, file.metadata, set(wanted))
    return wanted


def _refuse_large(path: str, metadata: Any, names: set[str]) -> None:
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    columns = (group.column(number) for group in groups for number in range(group.num_columns))
    for column in columns:
        if column.path_in_schema in names and column.total_uncompressed_size > LARGEST:
            raise UnreadableInput(
                f"{path}: {column.path_in_schema} has {column.total_uncompressed_size} bytes in a row group, "
                f"at most {LARGEST} are held; write smaller row groups"
            )


def _lines(columns: dict[str, Any]) -> bytes:
    """Arrow arrays as NDJSON: times as ISO 8601, bytes and categories as text."""
    rows = pl.DataFrame({name: _times(array) for name, array in columns.items()})
    texts = (cs.date() | cs.categorical() | cs.binary()).cast(pl.String, strict=False)
    return rows.with_columns(texts, cs.decimal().cast(pl.Float64)).write_ndjson().encode()


def _times(array: Any) -> pl.Series:
    """A column of times as text, with the zone's offset where it has one; any other column as it is."""
    import pyarrow

    if not pyarrow.types.is_timestamp(array.type):
        return pl.Series(pl.from_arrow(array))
    number, (divisor, factor) = pl.Series(pl.from_arrow(array.view(pyarrow.int64()))), _UNITS[array.type.unit]
    earliest, latest = (limit * divisor // factor for limit in _YEARS)
    sane = pl.when(number.is_between(earliest, latest)).then(number)
    written = "%Y-%m-%dT%H:%M:%S%.6f" + ("Z" if array.type.tz else "")
    return pl.select((sane // divisor * factor).cast(pl.Datetime("us")).dt.strftime(written)).to_series()
