"""What a request asked for: from its URI to registry, repository, reference and object.

The paths are those of the OCI distribution specification (section "Endpoints"), read from the
right, because a repository may itself be called `manifests` or `blobs`. Each distinct URI is
resolved once, whatever chunk it stands in.
"""

from __future__ import annotations

from urllib.parse import unquote

import polars as pl

from prewarm.logs.formats.remembered import Remembered

METHODS = ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE")

TARGET = ("registry", "upstream", "repository", "reference", "object")
"""Columns that `locate` and `targets` give."""

OUTSIDE = "outside the registry API"
NO_REQUEST = "a message about no request"

_ABSOLUTE = (
    r"^[Hh][Tt][Tt][Pp][Ss]?://(?:[^/?#@]*@)?(?P<authority>[^/?#]*)(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?"
)
_API = r"^(?:/artifactory|/nexus)?(?:/api/docker/[^/]+|/repository/[^/]+)?/v2(|/.*)$"  # product prefixes
_ENDPOINT = r"^/(?P<repository>.+)/(?P<noun>manifests|blobs|tags|referrers)/(?P<item>uploads/?.*|[^/]+)$"
_STORAGE = r"/docker/registry/v2/blobs/(?P<algorithm>[a-z0-9]+)/[0-9a-f]{2}/(?P<hex>[0-9a-f]{32,128})/data$"
_REPOSITORY = r"^[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*$"
_TAG = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"
_DIGEST = r"^[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9A-Fa-f]{32,}$"
_HEX_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
_HOST = r"^[A-Za-z0-9._-]+(?::[0-9]{1,5})?$|^\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?$"


def locate(frame: pl.DataFrame, host: pl.Expr) -> pl.DataFrame:
    """`frame` (with `uri`) plus registry, upstream, repository, reference, object.

    `host` is the logged one or null; `upstream` is `?ns=`, which outranks it.
    `registry` is `?ns=` if present, else the host of an absolute URI, else `host`. `object` is null
    where the request is outside the registry's API.
    """
    resolved = _TARGETS.join(frame)
    logged = pl.when(host.str.contains(_HOST)).then(host.str.to_lowercase())
    return resolved.with_columns(registry=pl.coalesce("registry", logged))


def targets(uris: pl.Series) -> pl.DataFrame:
    """For each of `uris`: uri, registry (if the URI names it), upstream, repository, reference, object."""
    parts = _parts(uris)
    decoded = parts.with_columns(path=_percent_decoded(parts["path"]), ns=_percent_decoded(parts["ns"]))
    return (
        decoded.lazy()
        .with_columns(endpoint=pl.col("path").str.extract(_API, 1), stored=_stored())
        .with_columns(pl.col("endpoint").str.extract_groups(_ENDPOINT).alias("_"))
        .unnest("_")
        .with_columns(is_digest(pl.col("item")).alias("digest"))
        .with_columns(_found().alias("found"))
        .select("uri", *_target())
        .collect()
    )


def ignored(request: pl.Expr) -> pl.Expr:
    """Why a well-formed line is no access, else null; `request`: whether it is an HTTP request at all."""
    return (
        pl.when(~request)
        .then(pl.lit("not an HTTP request"))
        .when(pl.col("object").is_null())
        .then(pl.lit(OUTSIDE))
    )


def _parts(uris: pl.Series) -> pl.DataFrame:
    """uri, authority, path and the value of `ns`, still encoded; nulls for what is no URI."""
    relative = uris.str.starts_with("/").fill_null(False)
    paths = pl.DataFrame({"uri": uris.filter(relative)}).select(
        "uri",
        pl.lit(None, pl.String).alias("authority"),
        pl.col("uri").str.splitn("?", 2).struct.rename_fields(["path", "query"]).struct.unnest(),
    )
    whole = pl.DataFrame({"uri": uris.filter(~relative)}).select(
        "uri", pl.col("uri").str.extract_groups(_ABSOLUTE).struct.unnest()
    )
    ns = pl.col("query").str.extract(r"(?:^|&)ns=([^&]*)", 1).alias("ns")
    return pl.concat([paths, whole]).select("uri", "authority", "path", ns)


def is_digest(text: pl.Expr) -> pl.Expr:
    """Whether a reference is a well-formed digest rather than a tag (image-spec, "Digests")."""
    length = text.str.len_bytes() - text.str.find(":", literal=True) - 1
    right = [
        ~text.str.starts_with(f"{algorithm}:") | (length == digits)
        for algorithm, digits in _HEX_LENGTHS.items()
    ]
    return text.str.contains(_DIGEST) & pl.all_horizontal(right)


def _stored() -> pl.Expr:
    """The digest of a storage path, which names no repository."""
    groups = pl.col("path").str.extract_groups(_STORAGE)
    return pl.concat_str(groups.struct.field("algorithm"), pl.lit(":"), groups.struct.field("hex"))


def _found() -> pl.Expr:
    """The object of an endpoint whose repository and reference are well-formed, else null."""
    repository, noun, item = pl.col("repository"), pl.col("noun"), pl.col("item")
    named = repository.str.contains(_REPOSITORY) & (repository.str.len_bytes() <= 255)
    return (
        pl.when(~named)
        .then(None)
        .when((noun == "manifests") & (pl.col("digest") | item.str.contains(_TAG)))
        .then(pl.lit("manifest"))
        .when((noun == "blobs") & pl.col("digest"))
        .then(pl.lit("blob"))
        .when((noun == "blobs") & item.str.contains("^uploads(?:/|$)"))
        .then(pl.lit("upload"))
        .when((noun == "tags") & (item == "list"))
        .then(pl.lit("tags"))
        .when((noun == "referrers") & pl.col("digest"))
        .then(pl.lit("referrers"))
    )


def _target() -> list[pl.Expr]:
    found, stored = pl.col("found"), pl.col("stored")
    upstream, authority = (
        pl.when(pl.col(column).str.contains(_HOST)).then(pl.col(column).str.to_lowercase())
        for column in ("ns", "authority")
    )
    referring = found.is_in(["manifest", "blob", "referrers"])
    return [
        pl.coalesce(upstream, authority).alias("registry"),
        upstream.alias("upstream"),
        pl.when(found.is_not_null()).then("repository").alias("repository"),
        pl.when(referring).then("item").otherwise(stored).alias("reference"),
        pl.when(stored.is_not_null())
        .then(pl.lit("blob"))
        .when(pl.col("endpoint").is_in(["", "/"]))
        .then(pl.lit("base"))
        .when(pl.col("endpoint").is_not_null())
        .then(found.fill_null("other"))
        .alias("object"),
    ]


def _percent_decoded(texts: pl.Series) -> pl.Series:
    """Once, not twice: `%252F` stays an escaped slash. Invalid escapes stay as they are."""
    escaped = texts.filter(texts.str.contains("%", literal=True)).unique()
    if escaped.is_empty():
        return texts
    return texts.replace(escaped, pl.Series([unquote(text) for text in escaped], dtype=pl.String))


_TARGETS = Remembered("uri", targets)
