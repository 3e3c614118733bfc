"""Application lines of CNCF Distribution, text or JSON, one row a line.

The fields are those of the request context (`http.request.*`, `http.response.*`, `auth.user.name`), stamped
at completion.
"""

from __future__ import annotations

import polars as pl

from prewarm.logs.formats import fields, logrus, requests
from prewarm.logs.formats.remembered import Remembered

MARKS = ["http.request.", "go.version", "instance.id"]
"""What logrus lines of other programs lack."""

TEXT = r"^[A-Za-z@][A-Za-z0-9_.@-]*="
"""How a line of text begins."""

_DIGITS = "0123456789"
_BEFORE_PORT = r"^(?:[^:,\[\]]+|\[[^,\[\]]*\]):$"


def read(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows for `sort_out` from clean lines (offset, line) of either form."""
    is_json = rows["line"].str.starts_with("{")
    return pl.concat([read_json(rows.filter(is_json)), read_text(rows.filter(~is_json))])


def read_text(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows for `sort_out` from clean lines (offset, line) of text."""
    return _read(rows.hstack(logrus.from_text(rows["line"])))


def read_json(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows for `sort_out` from clean lines (offset, line) of JSON."""
    return _read(rows.hstack(logrus.from_json(rows["line"])))


def _read(rows: pl.DataFrame) -> pl.DataFrame:
    """From lines whose fields are columns of text."""
    stamp = pl.col("time").str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
    stamped = rows.with_columns(timestamp=fields.instant(stamp))
    refused = pl.col("message").str.starts_with("error authorizing context")  # always answered with a 401
    status = pl.col("status").cast(pl.Float64, strict=False).cast(pl.Int16, strict=False)
    return requests.locate(stamped, host=pl.col("host")).select(
        "offset",
        "line",
        "timestamp",
        _client(rows["peer"]),
        fields.known(pl.col("user")).alias("user"),
        fields.known(pl.col("agent")).alias("agent"),
        "method",
        *requests.TARGET,
        pl.coalesce(status, pl.when(refused).then(pl.lit(401, pl.Int16))).alias("status"),
        fields.count(pl.col("bytes")).alias("bytes"),
        fields.duration(rows["took"]).alias("seconds"),
        fields.known(pl.col("media_type")).alias("media_type"),
        fields.known(pl.col("key")).alias("key"),
        pl.lit("app").alias("family"),
        _ignored().alias("ignored"),
        _malformed().alias("malformed"),
    )


def _client(peers: pl.Series) -> pl.Series:
    """Addresses without ports, worked out once for each host."""
    client = _CLIENTS.join(peers.str.strip_chars_end(_DIGITS).alias("host").to_frame())["client"]
    others = client.is_null() & peers.is_not_null()
    return client.zip_with(~others, fields.address(peers).alias("client")) if others.any() else client


def _clients(hosts: pl.Series) -> pl.DataFrame:
    """The address before any port; null where only the whole text can tell where that begins."""
    client = fields.address(hosts + "0").set(~hosts.str.contains(_BEFORE_PORT), None)
    return pl.DataFrame({"host": hosts, "client": client})


def _ignored() -> pl.Expr:
    request = pl.col("uri").is_not_null() & pl.col("method").is_not_null()
    joinable = pl.col("key").is_not_null() | pl.col("status").is_not_null()
    return (
        pl.when(_malformed().is_not_null())
        .then(None)
        .when(~request | ~joinable)
        .then(pl.lit(requests.NO_REQUEST))
        .when(pl.col("object").is_null())
        .then(pl.lit(requests.OUTSIDE))
    )


def _malformed() -> pl.Expr:
    return (
        pl.when(pl.col("time").is_null() | pl.col("message").is_null())
        .then(pl.lit("no application line: time and msg are missing"))
        .when(pl.col("timestamp").is_null())
        .then(pl.lit("a time that is not RFC 3339"))
    )


_CLIENTS = Remembered("host", _clients)
