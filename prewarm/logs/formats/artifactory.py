"""Artifactory's request log (7: eleven fields between bars, 6: ten) and its access log.

    2026-11-24T09:15:02.311Z|trace|address|user|method|path|status|asked|bytes|milliseconds|agent
    20261124091502|milliseconds|REQUEST|address|user|method|path|protocol|status|bytes
    2026-11-24 09:15:02,411 [trace] [ACCEPTED DOWNLOAD] repository:path/tag/manifest.json for user/address.

request-out.log, in the form of the first, has what Artifactory asked its upstream, with the trace of the
client's request that was a miss; it is no demand. The access log counts what was served from storage; the
layers of an image stand in it under the tag.
"""

from __future__ import annotations

import polars as pl

from prewarm.logs.accesses import SCHEMA
from prewarm.logs.formats import Hints, fields, stamps
from prewarm.logs.formats.logged import RequestLog, accesses_of

_SEVEN = ("time", "key", "peer", "user", "method", "uri", "status", "asked", "bytes", "took", "agent")
_SIX = ("time", "took", "kind", "peer", "user", "method", "uri", "protocol", "status", "bytes")
_ACCESS = (
    r"^(?P<time>\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[,.]\d{1,6}Z?) \[(?P<key>[^\]]*)\] \[(?P<outcome>[A-Z]+) "
    r"(?P<action>[A-Z ]+)\] (?:[^:\s]+:)?(?P<path>\S*) for (?P<user>.*)/"
    r"(?P<peer>[0-9A-Fa-f:.]*[0-9A-Fa-f])\.?(?: .*)?$"
)
_BLOB = r"^(?P<name>.+)/[^/]+/sha256__(?P<hex>[0-9a-f]{64})$"
_MANIFEST = r"^(?P<name>.+)/(?P<reference>[^/]+)/(?:list\.)?manifest\.json$"
_NOBODY = ("non_authenticated_user", "anonymous")
_ASKING = "Artifactory asking its upstream"
_COLUMNS = ("time", "key", "peer", "user", "method", "uri", "status", "bytes", "took", "agent", "ignored")


def _read(lines: pl.DataFrame, hints: Hints) -> pl.DataFrame:
    """Each line by the grammar that its form shows; what an upstream was asked tells of a miss only."""
    rows = _read_lines(lines, hints)
    asking = (pl.col("ignored") == _ASKING).fill_null(False) & pl.col("key").is_not_null()
    nothing = [name for name in SCHEMA if name not in ("timestamp", "key", "family", "offset")]
    return rows.with_columns(
        *(pl.when(~asking).then(name).alias(name) for name in nothing if name in rows.columns),
        pl.when(asking).then(pl.lit("upstream")).otherwise("family").alias("family"),
        pl.when(~asking).then("ignored").alias("ignored"),
    )


def _read_lines(lines: pl.DataFrame, hints: Hints) -> pl.DataFrame:
    line = pl.col("line")
    bars = lines.select(line.str.count_matches("|", literal=True)).to_series()
    six = (bars == len(_SIX) - 1) & lines["line"].str.contains("|REQUEST|", literal=True)
    seven = (bars >= len(_SEVEN) - 2) & ~six  # the first releases log no agent
    parts = [
        _split(lines.filter(seven), _SEVEN).with_columns(_upstream()),
        _split(lines.filter(six), _SIX),
        _accepted(lines.filter(~six & ~seven)),
    ]
    rows = pl.concat([_padded(part) for part in parts]).sort("offset", maintain_order=True)
    user = pl.when(~pl.col("user").is_in(_NOBODY)).then("user").alias("user")
    return accesses_of(
        rows.with_columns(
            user,
            stamps.any_of(pl.col("time"), hints.timezone).alias("timestamp"),
            fields.took(pl.col("took"), 1e3).alias("seconds"),
            pl.when(pl.col("time").is_null()).then(pl.lit("not a line of artifactory")).alias("malformed"),
        ),
        "artifactory",
    )


def _split(lines: pl.DataFrame, names: tuple[str, ...]) -> pl.DataFrame:
    parts = lines["line"].str.splitn("|", len(names)).struct.rename_fields(list(names)).struct.unnest()
    status = parts["status"].cast(pl.Int16, strict=False).is_not_null()
    return lines.hstack(
        parts.with_columns(time=parts["time"].zip_with(status, pl.Series([None], dtype=pl.String)))
    )


def _upstream() -> pl.Expr:
    """request-out.log shows by absolute URLs: asked by Artifactory itself."""
    absolute = pl.col("uri").str.contains("^https?://")
    return pl.when(absolute).then(pl.lit(_ASKING)).alias("ignored")


def _accepted(lines: pl.DataFrame) -> pl.DataFrame:
    """What was downloaded, as the request that it answers."""
    found = lines.hstack(lines["line"].str.extract_groups(_ACCESS).struct.unnest())
    path, outcome = pl.col("path"), pl.col("outcome")
    blob, manifest = path.str.extract_groups(_BLOB).struct, path.str.extract_groups(_MANIFEST).struct
    return found.with_columns(
        pl.coalesce(
            pl.concat_str(pl.lit("/v2/"), blob.field("name"), pl.lit("/blobs/sha256:"), blob.field("hex")),
            pl.concat_str(
                pl.lit("/v2/"),
                manifest.field("name"),
                pl.lit("/manifests/"),
                manifest.field("reference").str.replace("__", ":", literal=True),
            ),
            pl.lit(""),
        ).alias("uri"),
        pl.lit("GET").alias("method"),
        pl.when(outcome == "ACCEPTED").then(pl.lit("200")).otherwise(pl.lit("403")).alias("status"),
        pl.when((pl.col("action") != "DOWNLOAD") | (outcome == "ACCEPTED").not_() & (outcome != "DENIED"))
        .then(pl.lit("no download"))
        .alias("ignored"),
    )


def _padded(part: pl.DataFrame) -> pl.DataFrame:
    return part.select(
        "offset",
        "line",
        *(
            (pl.col(name) if name in part.columns else pl.lit(None, pl.String)).alias(name)
            for name in _COLUMNS
        ),
    )


FORMAT = RequestLog(
    "artifactory",
    "Artifactory 7 and 6 request log, its access log; request-out.log beside it tells misses",
    frozenset({"tag", "digest", "bytes", "seconds", "client", "user", "agent"}),
    _read,
    ("|", "[ACCEPTED ", "[DENIED "),
)
