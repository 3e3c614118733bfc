"""Kubernetes events: what the kubelets of a cluster pulled, and what they had already.

One record a line, core/v1 (`involvedObject`, `message`) or events.k8s.io/v1 (`regarding`, `note`), as
`kubectl get events -o json`, a watch, eventrouter or an event exporter gives them. The wording of the
message is that of kubernetes `pkg/kubelet/images/image_manager.go`, which changed in patch releases, so
that every variant is understood:

    Successfully pulled image "X"[ in 1.2s][ (3.4s including waiting)][. Image size: 567 bytes.]
    Container image "X" already present on machine[ and can be accessed by the pod]
    Failed to pull image "X": ... not found

The second is a use, not a pull (kind `local`); the third a pull that was missed. An event that repeats
is one record whose `count` grows: each record tells of its last occurrence, which its key numbers, so
that a record that is met again with a higher count is another pull, and with the same one is none. What
the kubelet itself logs of its events is read, too (`kubelet`).
"""

from __future__ import annotations

import polars as pl

from prewarm.logs.formats import Hints, fields, images, kubelet, ndjson, records, share, stamps

_FIELDS = {
    "reason": ("reason",),
    "message": ("message", "note"),
    "uid": ("metadata/uid",),
    "about": ("involvedObject/kind", "regarding/kind"),
    "node": ("source/host", "deprecatedSource/host", "reportingInstance"),
    "last": (
        "series/lastObservedTime",
        "lastTimestamp",
        "deprecatedLastTimestamp",
        "eventTime",
        "metadata/creationTimestamp",
    ),
    "count": ("series/count", "count", "deprecatedCount"),
}
_WRAPPED = ("", "object/", "event/")  # by a watch: {"type": "ADDED", "object": ...}; by eventrouter
_PULLED = (
    r'^Successfully pulled image "(?P<pulled>[^"]+)"(?: in (?P<took>[0-9.a-zµμ]+))?'
    r"(?: \([^)]*including waiting\))?(?:\. Image size: (?P<bytes>[0-9]+) bytes)?"
)
_LOCAL = r'^Container image "([^"]+)" already present on machine'
_MISSED = r'^Failed to pull image "([^"]+)": .*(?:[Nn]ot ?[Ff]ound|manifest unknown)'
_IMAGE = pl.coalesce("pulled", "local", "missed")
_TEXT = r"^(?:NAMESPACE +)?LAST SEEN +TYPE +REASON|^(?:\S+ +)?(?:[0-9]+[smhd])+ +(?:Normal|Warning) +\S+ "


def read(rows: pl.DataFrame, hints: Hints) -> pl.DataFrame:
    """Finished pulls and uses."""
    is_json = rows["line"].str.starts_with("{")
    events = pl.concat([_records(rows.filter(is_json)), _logged(rows.filter(~is_json), hints)]).sort("offset")
    message = pl.col("message").str
    told = events.with_columns(
        message.extract_groups(_PULLED).alias("_"),
        message.extract(_LOCAL, 1).alias("local"),
        message.extract(_MISSED, 1).alias("missed"),
    ).unnest("_")
    judged = images.resolve(told.with_columns(image=_IMAGE)).with_columns(
        *records.set_aside(_malformed(), _ignored()), keys=records.key_of("uid", "occurrence")
    )
    return _each_once(_columns(judged))


def _records(rows: pl.DataFrame) -> pl.DataFrame:
    paths = {
        f"{name}-{number}{wrapped}": f"{wrapped}{path}"
        for wrapped in _WRAPPED
        for name, found in _FIELDS.items()
        for number, path in enumerate(found)
    }
    dug = ndjson.dig(rows, paths | {"type": "type", "wrapped": "object/kind"})
    told = dug.select(
        "offset",
        "line",
        (pl.col("wrapped").is_not_null() & (pl.col("type") == "DELETED")).fill_null(False).alias("gone"),
        *(
            pl.coalesce(column for column in paths if column.startswith(f"{name}-")).alias(name)
            for name in _FIELDS
        ),
    )
    return told.select(
        "offset",
        "line",
        stamps.rfc3339(pl.col("last")).alias("timestamp"),
        pl.all_horizontal(pl.col("about", "reason").is_not_null()).alias("fits"),
        *("gone", "message", "uid", "node"),
        pl.col("count").cast(pl.Int64, strict=False).fill_null(1).alias("occurrence"),
    )


def _logged(rows: pl.DataFrame, hints: Hints) -> pl.DataFrame:
    nothing = pl.lit(None, pl.String)
    return kubelet.read(rows, hints).select(
        *("offset", "line", "timestamp"),
        "fits",
        pl.lit(False).alias("gone"),
        "message",
        nothing.alias("uid"),
        nothing.alias("node"),
        pl.lit(1, pl.Int64).alias("occurrence"),
    )


def _malformed() -> dict[str, pl.Expr]:
    return {
        "no Kubernetes event: reason or the object that it is about is missing": ~pl.col("fits"),
        records.TIMELESS: pl.col("timestamp").is_null(),
        records.NAMELESS: _IMAGE.is_not_null() & pl.col("registry").is_null(),
    }


def _ignored() -> dict[str, pl.Expr]:
    return {
        "an event that was forgotten": pl.col("gone"),
        "an event about no finished pull": pl.col("image").is_null(),
    }


def _columns(rows: pl.DataFrame) -> pl.DataFrame:
    kind = pl.when(pl.col("local").is_not_null()).then(pl.lit("local"))
    status = pl.when(pl.col("missed").is_not_null()).then(pl.lit("missed")).otherwise(pl.lit("ok"))
    return rows.select(
        "offset",
        "line",
        "timestamp",
        pl.col("timestamp").alias("until"),
        fields.known(pl.col("node")).alias("client"),
        *images.PARTS,
        kind.alias("kind"),
        fields.count(pl.col("bytes")).alias("bytes"),
        fields.duration(rows["took"]).alias("seconds"),
        status.alias("status"),
        "keys",
        "ignored",
        "malformed",
    )


def _each_once(rows: pl.DataFrame) -> pl.DataFrame:
    """An occurrence that several records tell of counts once: a list was taken again."""
    counted = pl.col("ignored").is_null() & pl.col("malformed").is_null()
    key = pl.when(counted).then(pl.col("keys").list.first())
    again = key.is_not_null() & ~key.is_first_distinct()
    return rows.with_columns(ignored=pl.when(again).then(pl.lit("told before")).otherwise("ignored"))


def _relative(lines: pl.Series) -> str | None:
    if share(lines.str.contains(_TEXT)) < 0.5:
        return None
    return (
        "this table of kubectl holds ages instead of times; take the records: kubectl get events -A -o json"
    )


FORMAT = records.Records(
    name="kubernetes-events",
    summary="Kubernetes events (records, kubelet's log): what nodes pulled, and had already",
    tells=frozenset({"tag", "digest", "bytes", "seconds", "client", "host"}),
    read=read,
    marks=('"involvedObject"', '"regarding"', ".go:"),
    finished_pulls=True,
    unusable=_relative,
)
