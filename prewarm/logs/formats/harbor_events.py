"""What Harbor tells of pulls beside its logs: webhooks and the audit log.

Webhooks come in Harbor's own form (`PULL_ARTIFACT`) or as CloudEvents (`harbor.artifact.pulled`). A pull
by digest has the digest as `tag`. The audit log is what `GET /api/v2.0/audit-logs` and `auditlog-exts`
answer, or the copy that Harbor forwards as text. Both tell of every manifest that was fetched, of no HEADs,
no 304s and no layers: whether bytes moved is unknown. An audit log names neither host nor client.
"""

from __future__ import annotations

import polars as pl

from prewarm.logs.formats import Hints, fields, ndjson, records, requests, stamps

_PULLS = ("PULL_ARTIFACT", "harbor.artifact.pulled")
_PUSHES = ("PUSH_ARTIFACT", "harbor.artifact.pushed")
_RESOURCE = r"^(?P<name>[^@]+?)(?:@(?P<exact>.+)|:(?P<tag>[^:/@]+))?$"
_FORWARDED = (
    r'^\S+ \[[A-Z]+\] \[[^\]]*\]\[operator="(?P<user>[^"]*)" resourceType="(?P<about>[^"]*)" '
    r'time="(?P<time>[^"]*?)(?: UTC)?"\]: action:(?P<action>[^,]*), resource:(?P<resource>[^,]*)'
    r"(?:, operation_description:(?P<text>.*))?$"
)
_ENTRY = {
    "id": "id",
    "time": "op_time",
    "action": "operation",
    "resource": "resource",
    "about": "resource_type",
    "user": "username",
    "text": "operation_description",
    "result": "operation_result",
}


def read_webhooks(rows: pl.DataFrame, hints: Hints) -> pl.DataFrame:
    """Fetches and pushes of manifests."""
    cloud = rows["line"].str.contains('"specversion"', literal=True)
    found = pl.concat([_hooks(rows.filter(~cloud), "event_data"), _hooks(rows.filter(cloud), "data")])
    told = found.sort("offset").with_columns(
        records.uri(pl.col("name"), pl.coalesce(fields.known(pl.col("tag")), "digest")),
        timestamp=pl.coalesce(stamps.epoch(pl.col("occurred")), stamps.rfc3339(pl.col("time"))),
        user=fields.known(pl.col("user")),
        key=pl.coalesce("key", records.keyed("harbor", "occurred", "user", "name", "tag", "digest")),
    )
    pull, push = pl.col("type").is_in(_PULLS), pl.col("type").is_in(_PUSHES)
    return records.fetches(
        _pushed(requests.locate(told, host=pl.col("url").str.extract("^([^/]+)/", 1)), push),
        pull | push,
        {
            "no webhook of Harbor: type or its data is missing": pl.col("type").is_null()
            | pl.col("data").is_null()
        },
        {"an event that is neither pull nor push": ~pull & ~push},
    )


def _hooks(rows: pl.DataFrame, data: str) -> pl.DataFrame:
    """A row for each resource of each event, whose payload stands under `data`."""
    paths = {
        "type": "type",
        "user": "operator",
        "occurred": "occur_at",
        "time": "time",
        "key": "id",
        "name": f"{data}/repository/repo_full_name",
        "digest": "[]/digest",
        "tag": "[]/tag",
        "url": "[]/resource_url",
    }
    return ndjson.dig(rows, paths, each=f"{data}/resources").with_columns(data=pl.coalesce("name", "url"))


def read_audit(rows: pl.DataFrame, hints: Hints) -> pl.DataFrame:
    """Fetches and pushes of manifests."""
    is_json = rows["line"].str.starts_with("{")
    found = [_entries(rows.filter(is_json)), _forwarded(rows.filter(~is_json))]
    entries = (
        pl.concat(found)
        .sort("offset")
        .with_columns(pl.col("resource").str.extract_groups(_RESOURCE).alias("_"))
    )
    told = entries.unnest("_").with_columns(
        records.uri(pl.col("name"), pl.coalesce("tag", "exact")),
        timestamp=stamps.rfc3339(pl.col("time")),
        digest=pl.coalesce("exact", pl.col("text").str.extract("@(sha256:[0-9a-f]{64})", 1)),
        key=records.keyed("harbor-audit", "time", "id", "resource"),
        user=fields.known(pl.col("user")),
    )
    artifact = (pl.col("about") == "artifact") & (pl.col("result").fill_null("true") == "true")
    pull, push = artifact & (pl.col("action") == "pull"), artifact & (pl.col("action") == "create")
    return records.fetches(
        _pushed(requests.locate(told, host=pl.lit(None, pl.String)), push),
        pull | push,
        {
            "no entry of an audit log: operation or resource is missing": pl.any_horizontal(
                pl.col("action", "resource").is_null()
            )
        },
        {"an operation that is neither pull nor push, or failed": ~pull & ~push},
    )


def _entries(rows: pl.DataFrame) -> pl.DataFrame:
    return ndjson.dig(rows, _ENTRY)


def _forwarded(rows: pl.DataFrame) -> pl.DataFrame:
    found = rows.with_columns(pl.col("line").str.extract_groups(_FORWARDED).alias("_")).unnest("_")
    nothing = pl.lit(None, pl.String)
    return found.with_columns(nothing.alias("id"), nothing.alias("result")).select("offset", "line", *_ENTRY)


def _pushed(located: pl.DataFrame, push: pl.Expr) -> pl.DataFrame:
    """The method is unknown where a manifest was fetched: bytes may have moved or not."""
    return located.with_columns(
        method=pl.when(push).then(pl.lit("PUT")), status=pl.when(push).then(201).otherwise(200)
    )


WEBHOOK = records.Records(
    name="harbor-webhook",
    summary="Harbor's webhooks, its own form or CloudEvents: pulls and pushes",
    tells=frozenset({"tag", "digest", "user", "host"}),
    read=read_webhooks,
    marks=('"event_data"', '"harbor.'),
)
AUDIT = records.Records(
    name="harbor-audit",
    summary="Harbor's audit log: pages of its API (audit-logs, auditlog-exts), or forwarded as text",
    tells=frozenset({"tag", "digest", "user"}),
    read=read_audit,
    marks=('"op_time"', "]: action:"),
)
