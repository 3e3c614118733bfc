"""The access table: one row is one logged request to a registry.

Formats yield frames of `SCHEMA`; a column that a source does not know is null, never invented.
"""

from __future__ import annotations

import polars as pl

TIMESTAMP = pl.Datetime("us", "UTC")

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "timestamp": TIMESTAMP,      # truncated to microseconds; start or completion, as the family logs it
    "client": pl.String,         # address without port, IPv6 without brackets
    "user": pl.String,
    "agent": pl.String,          # decoded User-Agent; empty and "-" are null
    "method": pl.String,         # GET, HEAD, PUT ...
    "registry": pl.String,       # ?ns= if present, else the logged host with its port, else null
    "repository": pl.String,     # percent-decoded
    "reference": pl.String,      # tag or digest, percent-decoded
    "object": pl.String,         # manifest | blob | upload | tags | referrers | base | other
    "status": pl.Int16,
    "bytes": pl.Int64,           # as logged, even for a HEAD; "-" and -1 are null
    "seconds": pl.Float64,       # total duration
    "cache": pl.String,          # hit | miss | null
    "digest": pl.String,         # of the response, where logged
    "media_type": pl.String,
    "key": pl.String,            # the request's native id, where logged
    "family": pl.String,         # app | access: which line of a request this is (merge_requests)
    "offset": pl.Int64,          # of the line's first byte in the decompressed file
}


def empty() -> pl.DataFrame:
    """An access table with no rows."""
    return pl.DataFrame(schema=SCHEMA)


def conform(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` with exactly the columns of SCHEMA, in order; missing ones are null."""
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in SCHEMA.items()
    )
