"""CloudFront's standard log: W3C extended, between tabs, in the columns that its `#Fields` line names."""

from __future__ import annotations

from urllib.parse import unquote

import polars as pl

from prewarm.logs.formats import Hints, fields, stamps
from prewarm.logs.formats.logged import RequestLog, accesses_of

_FIELDS = "#Fields:"
_STANDARD = (
    f"{_FIELDS} date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer) "
    "cs(User-Agent) cs-uri-query cs(Cookie) x-edge-result-type x-edge-request-id x-host-header cs-protocol "
    "cs-bytes time-taken x-forwarded-for"
)
_COLUMNS = {
    "date": "date",
    "time": "time",
    "bytes": "sc-bytes",
    "peer": "c-ip",
    "forwarded": "x-forwarded-for",
    "method": "cs-method",
    "host": "x-host-header",
    "domain": "cs(Host)",
    "path": "cs-uri-stem",
    "query": "cs-uri-query",
    "status": "sc-status",
    "agent": "cs(User-Agent)",
    "result": "x-edge-result-type",
    "key": "x-edge-request-id",
    "took": "time-taken",
}


def _read(lines: pl.DataFrame, hints: Hints) -> pl.DataFrame:
    """Each line in the columns of the `#Fields` line above it; of the file's first lines where none is."""
    line = lines["line"]
    heading = line.str.starts_with(_FIELDS)
    named = pl.select(pl.when(heading).then(line).fill_null(strategy="forward")).to_series()
    named = named.fill_null(_header(hints))
    parts = [_cells(lines.filter(named == each), each) for each in named.unique()]
    rows = pl.concat([_cells(lines.head(0), _STANDARD), *parts]).sort("offset", maintain_order=True)
    stamp = pl.col("date") + "T" + pl.col("time") + "Z"
    comment = pl.col("line").str.starts_with("#")
    timestamp = stamps.rfc3339(stamp)
    query = (
        pl.when(fields.known(pl.col("query")).is_not_null()).then("?" + pl.col("query")).otherwise(pl.lit(""))
    )
    return accesses_of(
        rows.with_columns(
            timestamp.alias("timestamp"),
            fields.took(pl.col("took")).alias("seconds"),
            (pl.col("path") + query).alias("uri"),
            pl.coalesce(fields.known(pl.col("host")), "domain").alias("host"),
            _decoded(rows["agent"]).alias("agent"),
            fields.cache_of(pl.col("result")).alias("cache"),
            pl.when(comment).then(pl.lit("a line that names the columns")).alias("ignored"),
            pl.when(
                ~comment & (timestamp.is_null() | pl.col("status").cast(pl.Int16, strict=False).is_null())
            )
            .then(pl.lit("not a line of cloudfront"))
            .alias("malformed"),
        ),
        "cloudfront",
    )


def _header(hints: Hints) -> str:
    named = [line for line in (hints.header or "").split("\n") if line.startswith(_FIELDS)]
    return named[-1] if named else _STANDARD


def _cells(lines: pl.DataFrame, heading: str) -> pl.DataFrame:
    names = heading.removeprefix(_FIELDS).split()
    cells = pl.col("line").str.split("\t")
    return lines.select(
        "offset",
        "line",
        *(
            (
                cells.list.get(names.index(column), null_on_oob=True)
                if column in names
                else pl.lit(None, pl.String)
            ).alias(name)
            for name, column in _COLUMNS.items()
        ),
    )


def _decoded(agents: pl.Series) -> pl.Series:
    """Percent-escapes, which CloudFront writes once or twice; each distinct value is decoded once."""
    escaped = agents.filter(agents.str.contains("%", literal=True)).unique()
    if escaped.is_empty():
        return agents
    return agents.replace(escaped, pl.Series([unquote(unquote(agent)) for agent in escaped], dtype=pl.String))


FORMAT = RequestLog(
    "cloudfront",
    "CloudFront's standard log (W3C), in the columns that #Fields names",
    frozenset({"tag", "digest", "bytes", "seconds", "client", "agent", "host"}),
    _read,
    ("\t", "#Fields:", "#Version:"),
)
