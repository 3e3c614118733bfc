"""The access table: one row is one logged request to a registry.

Formats yield frames of `SCHEMA`; a column that a source does not know is null, never invented.
`merge_requests` joins the lines that one request left, in one family of log lines or in two.
"""

from __future__ import annotations

import polars as pl

TIMESTAMP = pl.Datetime("us", "UTC")

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "timestamp": TIMESTAMP,  # truncated to microseconds; start or completion, as the family logs it
    "client": pl.String,  # address without port, IPv6 without brackets
    "user": pl.String,
    "agent": pl.String,  # decoded User-Agent; empty and "-" are null
    "method": pl.String,  # GET, HEAD, PUT ...
    "registry": pl.String,  # ?ns= if present, else the logged host with its port, else null
    "upstream": pl.String,  # ?ns=: the registry that the client wants, whatever host it asked
    "repository": pl.String,  # percent-decoded
    "reference": pl.String,  # tag or digest, percent-decoded
    "object": pl.String,  # manifest | blob | upload | tags | referrers | base | other
    "status": pl.Int16,
    "bytes": pl.Int64,  # as logged, even for a HEAD; "-" and -1 are null
    "seconds": pl.Float64,  # total duration
    "cache": pl.String,  # hit | miss | null
    "digest": pl.String,  # of the response, where logged
    "media_type": pl.String,
    "key": pl.String,  # the request's native id, where logged
    "family": pl.String,  # app | access: which line of a request; event | upstream: no request of a client
    "offset": pl.Int64,  # of the line's first byte in the decompressed file
}


def empty() -> pl.DataFrame:
    """An access table with no rows."""
    return pl.DataFrame(schema=SCHEMA)


def conform(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` with exactly the columns of SCHEMA, in order; missing ones are null."""
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in SCHEMA.items()
    )


def is_digest(reference: pl.Expr) -> pl.Expr:
    """Whether the reference of an access is a digest; a tag holds no colon (distribution-spec, "Pull")."""
    return reference.str.contains(":", literal=True)


_REQUEST = ("method", "object", "repository", "reference")
_SECOND = 1_000_000  # microseconds


def merge_requests(accesses: pl.DataFrame) -> pl.DataFrame:
    """One row a request, where several lines tell of the same one.

    Lines with the same native id, method and path are one request. So are an application line and
    an access line whose method, path and client agree, when the access stamp (the start) plus the
    duration is within a second of the application stamp (the completion), one to one; or, for a
    registry behind a proxy, where the client differs but second, agent, status and bytes agree.
    The application line's fields win, a missing one is taken from the other line, `offset` is that
    of the first line. Two identical lines of one family are two requests. Columns beyond SCHEMA
    (`site`, `source`) are kept, and lines of different sources never merge.
    """
    return _merge_families(_merge_by_key(_told_by_upstream(accesses)))


def _told_by_upstream(accesses: pl.DataFrame) -> pl.DataFrame:
    """`cache` of requests whose key a line of family `upstream` has: the registry asked on, a miss.

    Such lines stay, for requests still to come; they have no object, so that nothing is made of them.
    """
    upstream = (pl.col("family") == "upstream").fill_null(False)
    asked = accesses.filter(upstream).select(*_source(accesses), "key").unique()
    if asked.is_empty():
        return accesses
    known = accesses.join(
        asked.with_columns(_asked=pl.lit("miss")),
        on=asked.columns,
        how="left",
        nulls_equal=True,
        maintain_order="left",
    )
    told = pl.when(pl.col("key").is_not_null() & ~upstream).then("_asked")
    return known.with_columns(pl.coalesce("cache", told).alias("cache")).drop("_asked")


def _merge_by_key(accesses: pl.DataFrame) -> pl.DataFrame:
    identity = [*_source(accesses), "key", *_REQUEST]
    repeated = pl.col("key").is_not_null() & pl.struct(identity).is_duplicated()
    lines = accesses.filter(repeated)
    if lines.is_empty():
        return accesses
    most_telling = lines.sort(pl.col("status").is_null(), pl.col("family") != "app", "offset")
    others = [name for name in accesses.columns if name not in {*identity, "timestamp", "offset"}]
    merged = most_telling.group_by(identity).agg(
        pl.col("timestamp").first(), pl.col("offset").min(), pl.col(others).drop_nulls().first()
    )
    return pl.concat([accesses.filter(~repeated), merged.select(accesses.columns)])


def _merge_families(accesses: pl.DataFrame) -> pl.DataFrame:
    """Pair application with access lines: the same second first, then a second of doubt either way."""
    numbered = accesses.with_row_index("row")
    app, access = (_candidates(numbered, family) for family in ("app", "access"))
    if app.is_empty() or access.is_empty():
        return accesses
    what = [*_source(accesses), *_REQUEST]
    passes = [([*what, "client", "status"], shift) for shift in (0, 1, -1)]
    passes += [([*what, "client"], shift) for shift in (0, 1, -1)]
    passes += [([*what, "agent", "status", "bytes"], 0)]
    pairs = []
    for keys, shift in passes:
        pair = _pair(app, access, keys, shift)
        app = app.join(pair, left_on="row", right_on="row_app", how="anti")
        access = access.join(pair, left_on="row", right_on="row_access", how="anti")
        pairs.append(pair)
    return _name_registry(_join_pairs(numbered, pl.concat(pairs)).drop("row"))


def _candidates(numbered: pl.DataFrame, family: str) -> pl.DataFrame:
    """Rows of one family in order of their start, with the second in which they started."""
    took = (pl.col("seconds").fill_null(0) * _SECOND).cast(pl.Int64)
    stamp = pl.col("timestamp").dt.epoch("us")
    start = (stamp - took) if family == "app" else stamp
    rows = numbered.filter(pl.col("family") == family).with_columns(start=start)
    return rows.with_columns(second=pl.col("start").floordiv(_SECOND)).sort("start", "offset")


def _pair(app: pl.DataFrame, access: pl.DataFrame, keys: list[str], shift: int) -> pl.DataFrame:
    """`row_app` and `row_access` of lines that agree in `keys`, the k-th with the k-th of a second."""
    by = [*keys, "second", "nth"]
    rank = pl.int_range(pl.len()).over([*keys, "second"]).alias("nth")
    left = access.with_columns(pl.col("second") - shift).with_columns(rank)
    joined = left.join(app.with_columns(rank), on=by, nulls_equal=True, suffix="_app")
    near = (pl.col("start") - pl.col("start_app")).abs() <= _SECOND
    agree = (
        (pl.col("status") == pl.col("status_app")).fill_null(True) if "status" not in keys else pl.lit(True)
    )
    return joined.filter(near & agree).select("row_app", pl.col("row").alias("row_access"))


def _join_pairs(numbered: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    others = numbered.join(pairs, left_on="row", right_on="row_access", how="inner").drop("row")
    alone = numbered.join(pairs, left_on="row", right_on="row_access", how="anti")
    both = alone.join(others, left_on="row", right_on="row_app", how="left", suffix="_other")
    columns = [name for name in numbered.columns if name not in {"row", "offset"}]
    return both.select(
        "row",
        *(pl.coalesce(name, f"{name}_other") for name in columns),
        pl.min_horizontal("offset", "offset_other").alias("offset"),
    ).select(numbered.columns)


def _name_registry(accesses: pl.DataFrame) -> pl.DataFrame:
    """Access lines without a partner belong to the registry that all application lines name, if it is one.

    Release 3.0.0 logs no HEAD of a manifest in its application log: the tag stands in an access line
    only, which names no host, and would not meet the layers that were fetched for it.
    """
    of_app = pl.when(pl.col("family") == "app").then("registry")
    scope = _source(accesses)
    one, name = of_app.drop_nulls().n_unique() == 1, of_app.drop_nulls().first()
    only = pl.when(one.over(scope) if scope else one).then(name.over(scope) if scope else name)
    return accesses.with_columns(pl.coalesce("registry", only))


def _source(accesses: pl.DataFrame) -> list[str]:
    return [name for name in ("site", "source") if name in accesses.columns]
