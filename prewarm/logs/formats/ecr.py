"""Amazon ECR: CloudTrail's records of its API, and EventBridge's events.

`BatchGetImage` is asked for every manifest, index and platform alike; `GetDownloadUrlForLayer` for layers
that the client does not have, told only where the client, not another service of AWS, asked. CloudTrail
does not tell HEAD from GET, and stamps whole seconds. EventBridge's own events tell of pushes only; it may
pass on CloudTrail's records, too.
"""

from __future__ import annotations

import polars as pl

from prewarm.logs.formats import Hints, fields, ndjson, records, requests, stamps

_CALL = {
    "source": "eventSource",
    "name": "eventName",
    "time": "eventTime",
    "region": "awsRegion",
    "peer": "sourceIPAddress",
    "agent": "userAgent",
    "user": "userIdentity/arn",
    "account": "requestParameters/registryId",
    "owner": "recipientAccountId",
    "repository_name": "requestParameters/repositoryName",
    "layer": "requestParameters/layerDigest",
    "pushed_tag": "requestParameters/imageTag",
    "pushed_digest": "responseElements/image/imageId/imageDigest",
    "error": "errorCode",
    "key": "eventID",
    "tag": "[]/imageTag",
    "exact": "[]/imageDigest",
}
_EVENT = {
    "type": "detail-type",
    "source": "source",
    "time": "time",
    "region": "region",
    "account": "account",
    "action": "detail/action-type",
    "result": "detail/result",
    "repository_name": "detail/repository-name",
    "tag": "detail/image-tag",
    "digest": "detail/image-digest",
    "key": "id",
}
_ADDRESS = r"^[0-9A-Fa-f:.]+$"  # others are names of services, or "AWS Internal"
_FORWARDED = r'"detail-type": ?"AWS API Call via CloudTrail"'
_ABSENT = ("ImageNotFoundException", "RepositoryNotFoundException")


def read_calls(rows: pl.DataFrame, hints: Hints, within: str = "") -> pl.DataFrame:
    """Fetches and pushes of manifests, fetches of layers, of records that stand `within` another."""
    paths = {name: path if path.startswith("[]") else within + path for name, path in _CALL.items()}
    calls = ndjson.dig(rows, paths, each=f"{within}requestParameters/imageIds")
    ours = pl.col("source") == "ecr.amazonaws.com"
    image, layer, push = (
        ours & (pl.col("name") == name) for name in ("BatchGetImage", "GetDownloadUrlForLayer", "PutImage")
    )
    outside = pl.col("peer").str.contains(_ADDRESS)
    absent = pl.col("error").is_in(_ABSENT)
    told = calls.with_columns(
        records.uri(
            pl.col("repository_name"),
            pl.coalesce(
                pl.when(layer).then("layer"),
                pl.when(push).then(pl.coalesce("pushed_tag", "pushed_digest")),
                "tag",
                "exact",
            ),
            pl.when(layer).then(pl.lit("blobs")).otherwise(pl.lit("manifests")),
        ),
        _registry(pl.coalesce("account", "owner")),
        timestamp=stamps.rfc3339(pl.col("time")),
        client=pl.when(outside).then("peer"),
        agent=pl.when(outside).then("agent"),
        digest=pl.when(push).then("pushed_digest").otherwise("exact"),
        method=pl.when(layer).then(pl.lit("GET")).when(push).then(pl.lit("PUT")),
        status=pl.when(absent).then(404).when(push).then(201).otherwise(200),
    )
    return records.fetches(
        requests.locate(told, host=pl.col("host")),
        image | layer | push,
        {
            "no record of CloudTrail: eventSource or eventName is missing": pl.any_horizontal(
                pl.col("source", "name").is_null()
            )
        },
        {
            "a call that fetches no image": ~(image | layer | push),
            "a call that was refused": pl.col("error").is_not_null() & ~absent,
            "a layer that AWS fetched for a client it does not name": layer & ~outside.fill_null(False),
        },
    )


def read_events(rows: pl.DataFrame, hints: Hints) -> pl.DataFrame:
    """What events tell, and what the records of CloudTrail that come as events do."""
    forwarded = rows["line"].str.contains(_FORWARDED)
    told = [_read_own(rows.filter(~forwarded)), read_calls(rows.filter(forwarded), hints, within="detail/")]
    return pl.concat(told, how="diagonal_relaxed").sort("offset")


def _read_own(rows: pl.DataFrame) -> pl.DataFrame:
    """Pushes. That ECR filled its own cache from upstream is no demand."""
    push = (
        (pl.col("type") == "ECR Image Action")
        & (pl.col("action") == "PUSH")
        & (pl.col("result") == "SUCCESS")
    ).fill_null(False)
    told = ndjson.dig(rows, _EVENT).with_columns(
        records.uri(pl.col("repository_name"), pl.coalesce(fields.known(pl.col("tag")), "digest")),
        _registry(pl.col("account")),
        timestamp=stamps.rfc3339(pl.col("time")),
        method=pl.lit("PUT"),
        status=pl.lit(201),
    )
    return records.fetches(
        requests.locate(told, host=pl.col("host")),
        push,
        {
            "no event of ECR: detail-type is missing": pl.col("type").is_null()
            | (pl.col("source") != "aws.ecr")
        },
        {
            "ECR filling its own cache": pl.col("type") == "ECR Pull Through Cache Action",
            "an event that is no push": ~push,
        },
    )


def _registry(account: pl.Expr) -> pl.Expr:
    china = pl.when(pl.col("region").str.starts_with("cn-")).then(pl.lit(".cn")).otherwise(pl.lit(""))
    return pl.concat_str(account, pl.lit(".dkr.ecr."), "region", pl.lit(".amazonaws.com"), china).alias(
        "host"
    )


CLOUDTRAIL = records.Records(
    name="ecr-cloudtrail",
    summary="Amazon ECR by CloudTrail: pulls and pushes",
    tells=frozenset({"tag", "digest", "client", "user", "agent", "host"}),
    read=read_calls,
    marks=('"eventSource"',),
)
EVENTBRIDGE = records.Records(
    name="ecr-eventbridge",
    summary="Amazon ECR by EventBridge: pushes, and pulls where it passes on CloudTrail",
    tells=frozenset({"tag", "digest", "client", "user", "agent", "host"}),
    read=read_events,
    marks=('"detail-type"',),
)
