"""Notifications of CNCF Distribution, `events.v1` (2.x) and `events.v2` (3.x): who fetched and pushed what.

A line is an envelope, `{"events": [...]}`, or one of its events. `action` is pull, push, mount or delete; a
pull is told for every manifest and blob, for HEADs too, so that it collapses as requests do. A HEAD by tag
names tag and digest together. `request.id` is the `http.request.id` of the registry's log: what both tell
counts once, and so does what was delivered twice.
"""

from __future__ import annotations

import polars as pl

from prewarm.logs.formats import Hints, fields, ndjson, records, requests, stamps

_FIELDS = {
    "id": "id",
    "time": "timestamp",
    "action": "action",
    "media_type": "target/mediaType",
    "size": "target/size",
    "digest": "target/digest",
    "name": "target/repository",
    "url": "target/url",
    "tag": "target/tag",
    "request": "request/id",
    "peer": "request/addr",
    "host": "request/host",
    "asked": "request/method",
    "agent": "request/useragent",
    "user": "actor/name",
}
_MANIFEST = "manifest|image.index"  # in the media types of OCI and Docker


def read(rows: pl.DataFrame, hints: Hints) -> pl.DataFrame:
    """Fetches and pushes of manifests, fetches of blobs."""
    events = _dig(rows)
    of_blob = ~pl.col("url").str.contains("/manifests/", literal=True).fill_null(
        pl.col("media_type").str.contains(_MANIFEST).fill_null(False)
    )
    told = events.with_columns(
        records.uri(
            pl.col("name"),
            pl.coalesce(fields.known(pl.col("tag")), "digest"),
            pl.when(of_blob).then(pl.lit("blobs")).otherwise(pl.lit("manifests")),
        ),
        timestamp=stamps.rfc3339(pl.col("time")),
        client=fields.address(events["peer"]),
    )
    pull, push = pl.col("action") == "pull", pl.col("action") == "push"
    located = requests.locate(told, host=pl.col("host")).with_columns(
        *records.known("user", "agent", "media_type", "digest"),
        method=pl.when(push).then(pl.lit("PUT")).otherwise("asked"),
        status=pl.when(push).then(201).otherwise(200),
        bytes=fields.count(pl.col("size")),
        key=fields.known(pl.coalesce("request", "id")),
    )
    return records.fetches(
        located,
        pull | push,
        {
            "no notification: action or target is missing": pl.any_horizontal(
                pl.col("action", "name").is_null()
            )
        },
        {"a mount or a deletion": ~pull & ~push, "a push of a blob": push & (pl.col("object") == "blob")},
    )


def _dig(rows: pl.DataFrame) -> pl.DataFrame:
    inner = {f"{name}-within": f"[]/{path}" for name, path in _FIELDS.items()}
    dug = ndjson.dig(rows, _FIELDS | inner, each="events")
    return dug.select(
        "offset", "line", *(pl.coalesce(f"{name}-within", name).alias(name) for name in _FIELDS)
    )


FORMAT = records.Records(
    name="distribution-webhook",
    summary="notifications of CNCF Distribution 2.x and 3.x (webhooks): pulls and pushes",
    tells=frozenset({"tag", "digest", "bytes", "client", "user", "agent", "host"}),
    read=read,
    marks=('"target"',),
)
