"""What a request asked for: from its URI to registry, repository, reference and object.

The paths are those of the OCI distribution specification (section "Endpoints"), read from the
right, because a repository may itself be called `manifests` or `blobs`. Each distinct URI is
resolved once.
"""

from __future__ import annotations

from urllib.parse import unquote

import polars as pl

METHODS = ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE")

_URI = (
    r"^(?:[Hh][Tt][Tt][Pp][Ss]?://(?:[^/?#@]*@)?(?P<authority>[^/?#]*))?"
    r"(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?"
)
_API = r"^(?:/artifactory|/nexus)?(?:/api/docker/[^/]+|/repository/[^/]+)?/v2(/.*)?$"  # product prefixes
_ENDPOINT = r"^/(?P<repository>.+)/(?P<noun>manifests|blobs|tags|referrers)/(?P<item>uploads/?.*|[^/]+)$"
_STORAGE = r"/docker/registry/v2/blobs/(?P<algorithm>[a-z0-9]+)/[0-9a-f]{2}/(?P<hex>[0-9a-f]{32,128})/data$"
_REPOSITORY = r"^[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*$"
_TAG = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"
_DIGEST = r"^[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9A-Fa-f]{32,}$"
_HEX_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
_HOST = r"^[A-Za-z0-9._-]+(?::[0-9]{1,5})?$|^\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?$"


def locate(frame: pl.DataFrame, host: pl.Expr) -> pl.DataFrame:
    """`frame` (with `uri`) plus registry, repository, reference, object; `host` is the logged one or null.

    `registry` is `?ns=` if present, else the host of an absolute URI, else `host`. `object` is null
    where the request is outside the registry's API.
    """
    resolved = frame.join(targets(frame["uri"].unique()), on="uri", how="left", maintain_order="left")
    logged = pl.when(host.str.contains(_HOST)).then(host.str.to_lowercase())
    return resolved.with_columns(registry=pl.coalesce("registry", logged))


def targets(uris: pl.Series) -> pl.DataFrame:
    """For each of `uris`: uri, registry (if the URI names it), repository, reference, object."""
    parts = (
        pl.DataFrame({"uri": uris})
        .with_columns(pl.col("uri").str.extract_groups(_URI).alias("_"))
        .unnest("_")
    )
    decoded = parts.with_columns(
        path=_percent_decoded(parts["path"]),
        ns=_percent_decoded(pl.select(parts["query"].str.extract(r"(?:^|&)ns=([^&]*)", 1)).to_series()),
    )
    split = decoded.with_columns(
        pl.col("path").str.extract(_API, 1).alias("endpoint"),
        pl.col("path").str.contains(_API).alias("api"),
        pl.col("path").str.extract_groups(_STORAGE).alias("storage"),
    ).with_columns(pl.col("endpoint").str.extract_groups(_ENDPOINT).alias("_"))
    return split.unnest("_").unnest("storage").select("uri", *_target())


def is_digest(text: pl.Expr) -> pl.Expr:
    """Whether a reference is a well-formed digest rather than a tag (image-spec, "Digests")."""
    length = text.str.len_bytes() - text.str.find(":", literal=True) - 1
    right = [
        ~text.str.starts_with(f"{algorithm}:") | (length == digits)
        for algorithm, digits in _HEX_LENGTHS.items()
    ]
    return text.str.contains(_DIGEST) & pl.all_horizontal(right)


def _target() -> list[pl.Expr]:
    noun, item = pl.col("noun"), pl.col("item")
    named = pl.col("repository").str.contains(_REPOSITORY) & (pl.col("repository").str.len_bytes() <= 255)
    digest = is_digest(item)
    stored = pl.concat_str("algorithm", pl.lit(":"), "hex")
    found = (
        pl.when(named & (noun == "manifests") & (digest | item.str.contains(_TAG)))
        .then(pl.lit("manifest"))
        .when(named & (noun == "blobs") & digest)
        .then(pl.lit("blob"))
        .when(named & (noun == "blobs") & item.str.contains("^uploads(?:/|$)"))
        .then(pl.lit("upload"))
        .when(named & (noun == "tags") & (item == "list"))
        .then(pl.lit("tags"))
        .when(named & (noun == "referrers") & digest)
        .then(pl.lit("referrers"))
    )
    kind = (
        pl.when(stored.is_not_null())
        .then(pl.lit("blob"))
        .when(pl.col("api"))
        .then(
            pl.coalesce(
                found,
                pl.when(pl.col("endpoint").fill_null("/") == "/")
                .then(pl.lit("base"))
                .otherwise(pl.lit("other")),
            )
        )
    )
    registry = pl.coalesce(
        pl.when(pl.col(column).str.contains(_HOST)).then(pl.col(column).str.to_lowercase())
        for column in ("ns", "authority")
    )
    return [
        registry.alias("registry"),
        pl.when(found.is_not_null()).then(pl.col("repository")).alias("repository"),
        pl.when(found.is_in(["manifest", "blob", "referrers"]))
        .then(item)
        .otherwise(stored)
        .alias("reference"),
        kind.alias("object"),
    ]


def _percent_decoded(texts: pl.Series) -> pl.Series:
    """Once, not twice: `%252F` stays an escaped slash. Invalid escapes stay as they are."""
    escaped = texts.filter(texts.str.contains("%", literal=True)).unique()
    if escaped.is_empty():
        return texts
    return texts.replace(escaped, pl.Series([unquote(text) for text in escaped], dtype=pl.String))
