"""The tables of the lake: what each is called, its columns and their types.

All times are UTC, in microseconds. A column that a source knows nothing of is null.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

Columns = Mapping[str, pl.DataType | type[pl.DataType]]

TIME = pl.Datetime("us", "UTC")

# On disk; in memory see `logs.pulls.SCHEMA`, which a test keeps equal to the columns before `date`.
PULLS: Columns = {
    "timestamp": TIME,
    "until": TIME,
    "site": pl.String,
    "source": pl.String,
    "client": pl.String,
    "user": pl.String,
    "agent": pl.String,
    "registry": pl.String,
    "repository": pl.String,
    "tag": pl.String,
    "digest": pl.String,
    "kind": pl.String,
    "blobs": pl.Int32,
    "bytes": pl.Int64,
    "seconds": pl.Float64,
    "status": pl.String,
    "cache": pl.String,
    "keys": pl.List(pl.String),
    "provisional": pl.Boolean,
    "offset": pl.Int64,
    "date": pl.Date,  # of the timestamp, UTC; the partition
    "file": pl.Int64,  # identity of the file that holds the session's first line
    "batch": pl.Int64,  # of the commit that wrote the row
}
# Requests of sessions that were open when reading ended: `logs.settling.empty`, and the last four.
CARRIED: Columns = {
    "timestamp": TIME,
    "client": pl.String,
    "user": pl.String,
    "agent": pl.String,
    "method": pl.String,
    "registry": pl.String,
    "upstream": pl.String,
    "repository": pl.String,
    "reference": pl.String,
    "object": pl.String,
    "status": pl.Int16,
    "bytes": pl.Int64,
    "seconds": pl.Float64,
    "cache": pl.String,
    "digest": pl.String,
    "media_type": pl.String,
    "key": pl.String,
    "family": pl.String,
    "offset": pl.Int64,  # of the line in `file`
    "site": pl.String,
    "source": pl.String,
    "paired": pl.Boolean,
    "file": pl.Int64,  # identity of the file that held the line
    "owner": pl.Int64,  # identity of the file that was read last of the session
    "reading": pl.Int64,  # counts while it is what `pulls` has committed for the owner
    "batch": pl.Int64,
}
PUSHES: Columns = {
    "timestamp": TIME,
    "site": pl.String,
    "registry": pl.String,
    "repository": pl.String,
    "tag": pl.String,
    "digest": pl.String,
}
IMAGES: Columns = {
    "registry": pl.String,
    "repository": pl.String,
    "tag": pl.String,
    "digest": pl.String,
    "media_type": pl.String,
    "platform": pl.String,
    "bytes": pl.Int64,
    "layers": pl.List(pl.Struct({"digest": pl.String, "bytes": pl.Int64})),
    "checked_at": TIME,
}
FORECASTS: Columns = {
    "cutoff": TIME,
    "site": pl.String,
    "model": pl.String,
    "image": pl.String,
    "time": TIME,
    "mean": pl.Float64,
    "probability": pl.Float64,  # of at least one pull in the hour that begins at `time`
    "level": pl.Int32,  # percent; null when no interval was asked for
    "lo": pl.Float64,
    "hi": pl.Float64,
}
PLANS: Columns = {
    "id": pl.String,
    "created_at": TIME,
    "cache": pl.String,
    "site": pl.String,
    "document": pl.String,  # the plan as JSON
}
OUTCOMES: Columns = {
    "run": pl.String,
    "plan": pl.String,
    "cache": pl.String,
    "driver": pl.String,
    "site": pl.String,
    "image": pl.String,
    "digest": pl.String,
    "state": pl.String,
    "bytes": pl.Int64,
    "seconds": pl.Float64,
    "attempts": pl.Int32,
    "error": pl.String,
    "started_at": TIME,
    "finished_at": TIME,
}
WARMED: Columns = {
    "cache": pl.String,
    "image": pl.String,
    "digest": pl.String,
    "bytes": pl.Int64,
    "filled_at": TIME,
    "expires_at": TIME,
}
TABLES: Mapping[str, Columns] = {
    "pulls": PULLS,
    "carried": CARRIED,
    "pushes": PUSHES,
    "images": IMAGES,
    "forecasts": FORECASTS,
    "plans": PLANS,
    "outcomes": OUTCOMES,
    "warmed": WARMED,
}
PARTITIONS: Mapping[str, str] = {"pulls": "date"}
