"""Quay's action log: pages of its API, exports, and what its log producers write.

A manifest that was fetched is one row, by tag or by digest, so that an index and its platform are two.
HEAD is not told from GET; layers and the host are not told at all. Rotated files name kinds by numbers
that only the database of that Quay explains; their rows are set aside. A line is an action, or a page of
them: `{"logs": [...]}`.
"""

from __future__ import annotations

import polars as pl

from prewarm.logs.formats import Hints, fields, ndjson, records, requests, stamps

_FIELDS = {
    "kind": "kind",
    "number": "kind_id",
    "end": "terminator",
    "time": "datetime",
    "client": "ip",
    "space": "metadata/namespace",
    "short": "metadata/repo",
    "tag": "metadata/tag",
    "digest": "metadata/manifest_digest",
    "agent": "metadata/user-agent",
    "media_type": "metadata/mediaType",
    "name": "metadata/username",
    "performer": "performer/name",
}


def read(rows: pl.DataFrame, hints: Hints) -> pl.DataFrame:
    """Fetches and pushes of manifests."""
    found = _dig(rows)
    pull, push = pl.col("kind") == "pull_repo", pl.col("kind") == "push_repo"
    told = found.with_columns(
        records.uri(
            pl.concat_str("space", "short", separator="/"), pl.coalesce(fields.known(pl.col("tag")), "digest")
        ),
        *records.known("client", "agent", "media_type"),
        timestamp=_time(hints.timezone),
        user=fields.known(pl.coalesce("performer", "name")),
        method=pl.when(push).then(pl.lit("PUT")),
        status=pl.when(push).then(201).otherwise(200),
        key=records.keyed("quay", "time", "client", "performer", "space", "short", "tag", "digest"),
    )
    return records.fetches(
        requests.locate(told, host=pl.lit(None, pl.String)),
        pull | push,
        {"no action of Quay: kind or datetime is missing": pl.coalesce("kind", "number", "end").is_null()},
        {
            "the end of an export": pl.col("end").is_not_null(),
            "a kind that only a number names": pl.col("kind").is_null(),
            "an action that is neither pull nor push": ~pull & ~push,
        },
    )


def _dig(rows: pl.DataFrame) -> pl.DataFrame:
    inner = {f"{name}-within": f"[]/{path}" for name, path in _FIELDS.items()}
    dug = ndjson.dig(rows, _FIELDS | inner, each="logs")
    return dug.select(
        "offset", "line", *(pl.coalesce(f"{name}-within", name).alias(name) for name in _FIELDS)
    )


def _time(timezone: str) -> pl.Expr:
    """RFC 822 (API, export) or ISO 8601, with a zone or without one (Kafka, rotated files)."""
    text = pl.col("time")
    mail = text.str.replace("^[A-Za-z]{3}, ", "").str.to_datetime(
        "%d %b %Y %H:%M:%S %z", time_unit="us", time_zone="UTC", strict=False
    )
    naive = text.str.replace(" ", "T", literal=True).str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False
    )
    return pl.coalesce(fields.instant(mail), stamps.rfc3339(text), stamps.local(naive, timezone))


FORMAT = records.Records(
    name="quay",
    summary="Quay's action log: API pages and exports: pulls and pushes",
    tells=frozenset({"tag", "digest", "client", "user", "agent"}),
    read=read,
    marks=('"datetime"', '"terminator"'),
)
