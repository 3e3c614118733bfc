"""Accesses become pulls: merge the lines of one request, group requests into sessions, collapse."""

from __future__ import annotations

import polars as pl

from prewarm.logs.accesses import TIMESTAMP

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "timestamp": TIMESTAMP,      # first manifest request of the pull (an engine's event: its completion)
    "until": TIMESTAMP,          # last access of the session the pull belongs to
    "site": pl.String,
    "source": pl.String,
    "client": pl.String,
    "user": pl.String,
    "agent": pl.String,
    "registry": pl.String,
    "repository": pl.String,
    "tag": pl.String,
    "digest": pl.String,
    "kind": pl.String,           # check | manifest | layers | local | null where the source cannot tell
    "blobs": pl.Int32,
    "bytes": pl.Int64,
    "seconds": pl.Float64,
    "status": pl.String,         # ok | missed
    "cache": pl.String,
    "keys": pl.List(pl.String),  # every native id, so that a webhook and a log do not count twice
    "provisional": pl.Boolean,   # the session may still grow; replaced by the commit that re-reads it
    "offset": pl.Int64,          # of the first line of its session in its file
}
