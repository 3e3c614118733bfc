"""Google Artifact Registry: the data access log of Cloud Audit Logs (it has to be turned on).

An entry is a request: method, path and what came of it, without sizes. The path begins with project and
repository of Artifact Registry, as an image's name does.
"""

from __future__ import annotations

import polars as pl

from prewarm.logs.formats import Hints, fields, ndjson, records, requests, stamps

_FIELDS = {
    "service": "protoPayload/serviceName",
    "call": "protoPayload/methodName",
    "method": "protoPayload/request/requestMethod",
    "uri": "protoPayload/request/requestUrl",
    "resource": "protoPayload/resourceName",
    "client": "protoPayload/requestMetadata/callerIp",
    "agent": "protoPayload/requestMetadata/callerSuppliedUserAgent",
    "user": "protoPayload/authenticationInfo/principalEmail",
    "code": "protoPayload/status/code",
    "time": "timestamp",
    "key": "insertId",
}
_SERVICE = "artifactregistry.googleapis.com"
_NOT_FOUND = "5"  # google.rpc.Code


def read(rows: pl.DataFrame, hints: Hints) -> pl.DataFrame:
    """Fetches and pushes."""
    told = ndjson.dig(rows, _FIELDS).with_columns(
        *records.known("client", "agent", "user"),
        timestamp=stamps.rfc3339(pl.col("time")),
        host=pl.col("resource").str.extract("/locations/([a-z0-9-]+)/", 1) + "-docker.pkg.dev",
        status=_status(),
    )
    image = pl.col("object").is_in(["manifest", "blob"]).fill_null(False)
    return records.fetches(
        requests.locate(told, host=pl.col("host")),
        image,
        {
            "no entry of an audit log: protoPayload is missing": pl.col("service").is_null()
            | pl.col("call").is_null()
        },
        {
            "an entry about another service": pl.col("service") != _SERVICE,
            "a call that fetches and pushes no image": ~image,
        },
    )


def _status() -> pl.Expr:
    code = fields.known(pl.col("code"))
    return (
        pl.when(code == _NOT_FOUND)
        .then(404)
        .when(code.is_not_null() & (code != "0"))
        .then(403)
        .when(pl.col("method") == "PUT")
        .then(201)
        .otherwise(200)
    )


FORMAT = records.Records(
    name="gcp-audit",
    summary="Google Artifact Registry by Cloud Audit Logs (data access): pulls and pushes",
    tells=frozenset({"tag", "digest", "client", "user", "agent", "host"}),
    read=read,
    marks=('"protoPayload"',),
)
