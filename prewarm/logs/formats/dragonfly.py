"""Dragonfly's dfdaemon (its client in Rust, 2.x): the requests that a node's runtime sends through the proxy.

    TIME  INFO handler{... remote_ip=IP}:...: dragonfly-client/src/proxy/mod.rs:467: proxy HTTP request via
    dfdaemon by rule config: Request { method: GET, uri: http://HOST/v2/..., headers: {"user-agent": "..."} }

HEADs go "directly to remote server". A line is written when a request begins and none tells how it ended, so
what was asked for counts as fetched, as the entries of an audit log do.
"""

from __future__ import annotations

import polars as pl

from prewarm.logs.formats import Hints, fields, records, requests, stamps

_LINE = r"^(?P<time>\d{4}-\d\d-\d\dT\S+)\s+[A-Z]+\s"
_REQUEST = r" proxy HTTPS? request .*?Request \{ method: (?P<method>[A-Z]+), uri: (?P<uri>[^\s,]+)"


def read(rows: pl.DataFrame, hints: Hints) -> pl.DataFrame:
    """Rows for `records.fetched`."""
    line = pl.col("line")
    found = rows.with_columns(
        line.str.extract_groups(_LINE).alias("head"), line.str.extract_groups(_REQUEST).alias("request")
    ).unnest("head", "request")
    peers = found["line"].str.extract(r"[{ ]remote_ip=([0-9A-Fa-f.:]+)")
    agents = found["line"].str.extract(r'"user-agent": "((?:[^"\\]|\\.)*)"')
    located = requests.locate(
        found.with_columns(
            timestamp=stamps.rfc3339(pl.col("time")),
            client=fields.address(peers),
            agent=fields.known_unescaped(agents),
            status=pl.lit(200, pl.Int16),
        ),
        host=pl.lit(None, pl.String),
    )
    asked = pl.col("uri").is_not_null()
    image = pl.col("object").is_in(["manifest", "blob"]).fill_null(False)
    return records.fetches(
        located,
        asked & image,
        {"no line of dfdaemon: it begins with no time": pl.col("time").is_null()},
        {requests.NO_REQUEST: ~asked, requests.OUTSIDE: ~image},
    )


FORMAT = records.Records(
    name="dragonfly",
    summary="Dragonfly's dfdaemon: requests through a node's proxy; how they ended is not logged",
    tells=frozenset({"tag", "digest", "client", "agent", "host"}),
    read=read,
    marks=("dragonfly-client", "dfdaemon"),
)
