"""Azure Container Registry: repository and login events, as Log Analytics exports them.

A manifest that was fetched is one row, by tag or by digest; HEAD is not told from GET, and layers are
not told.
"""

from __future__ import annotations

import polars as pl

from prewarm.logs.formats import Hints, ndjson, records, requests, stamps

_FIELDS = {
    "time": "TimeGenerated",
    "host": "LoginServer",
    "operation": "OperationName",
    "category": "Category",
    "table": "Type",
    "key": "CorrelationId",
    "user": "Identity",
    "client": "CallerIpAddress",
    "agent": "UserAgent",
    "name": "Repository",
    "tag": "Tag",
    "digest": "Digest",
    "media_type": "MediaType",
    "result": "ResultDescription",
}
_NAMES = ("key", "user", "client", "agent", "tag", "digest", "media_type")


def read(rows: pl.DataFrame, hints: Hints) -> pl.DataFrame:
    """Fetches and pushes of manifests."""
    found = ndjson.dig(rows, _FIELDS).with_columns(*records.known(*_NAMES))
    pull, push = pl.col("operation") == "Pull", pl.col("operation") == "Push"
    told = found.with_columns(
        records.uri(pl.col("name"), pl.coalesce("tag", "digest")),
        timestamp=stamps.rfc3339(pl.col("time")),
        method=pl.when(push).then(pl.lit("PUT")),
        status=pl.when(push & _done()).then(201).otherwise(_status()),
    )
    of_layer = pl.col("media_type").str.contains("layer|rootfs").fill_null(False)
    return records.fetches(
        requests.locate(told, host=pl.col("host")),
        (pull | push) & ~of_layer,
        {
            "no event of a registry: OperationName or LoginServer is missing": pl.any_horizontal(
                pl.col("operation", "host").is_null()
            )
        },
        {
            "a login": pl.coalesce("category", "table") == "ContainerRegistryLoginEvents",
            "an operation that is neither pull nor push of an image": ~(pull | push) | of_layer,
        },
    )


def _status() -> pl.Expr:
    return pl.col("result").cast(pl.Int16, strict=False).fill_null(200)


def _done() -> pl.Expr:
    return _status().is_between(200, 299)


FORMAT = records.Records(
    name="acr",
    summary="Azure Container Registry: repository events of Log Analytics: pulls and pushes",
    tells=frozenset({"tag", "digest", "client", "user", "agent", "host"}),
    read=read,
    marks=('"LoginServer"',),
)
