"""The combined and common access log: Distribution's own (gorilla), nginx, Apache, Varnish.

    host ident user [time] "request" status bytes ["referer" "agent"] [anything]

The stamp has whole seconds, mostly; finer ones, ISO 8601 and seconds since 1970 are read, too. Gorilla's is
the start of the request, nginx's its end. Of what stands after the agent is understood: a forwarded client
(`"$http_x_forwarded_for"`), the outcome of a cache (`$upstream_cache_status`, Varnish's `hit` and `miss`),
how long the request took (`$request_time`: the first number of three decimals, or the one after `rt=` or
`request_time=`), and the fields of ingress-nginx (`upstreaminfo`); the rest is tolerated. Application lines
of Distribution may begin to come long after the first lines, which told the format: they are read as that
format reads them.
"""

from __future__ import annotations

import re
from dataclasses import replace

import polars as pl

from prewarm.logs.formats import (
    Hints,
    Parsed,
    application,
    clean,
    fields,
    lacks,
    quoted,
    scanning,
    share,
    sort_out,
    stamps,
)

TIMELESS = (
    "these access lines carry no time; log through syslog or the container runtime, which add one, or put "
    "[$time_local] in the log format"
)

_DATED = r"\[[^\]]+/[^\]]+/[^\]]+:[^\]]+\] "
_LINE = (
    r"^(?P<client>\S+) (?P<ident>[\w.+-]+) (?P<user>.*?) "
    r"\[(?P<time>[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[^\]]+|[0-9]{4}-[0-9-]{5}T[^\]]+|[0-9]{9,10}\.[0-9]+)\] "
    r'"(?P<request>(?:[^"\\]|\\.)*)" (?P<status>[0-9]{3}) (?P<bytes>[0-9]+|-)'
)
_REQUEST = re.compile(r'"[A-Z]+ \S+ HTTP/')
_ELSE = (  # Apache's %{msec_frac}t, nginx's $time_iso8601 and $msec
    r"\[(?:(\d\d/[A-Z][a-z]{2}/\d{4}(?::\d\d){3}[.,]\d{1,9} [+-]\d{4})"
    r"|(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d))|(\d{9,10}\.\d{1,6}))\] \""
)
_USUAL = '[01/Jan/1970:00:00:00 +0000] "'
_NO_STAMP = r'^\S+ - (?:\S+ )?"(?:GET|HEAD|PUT|POST|PATCH|DELETE) /\S* HTTP/'


class Combined:
    """Combined and common access lines."""

    name = "combined"
    summary = "combined or common access log: Distribution, nginx, Apache, Varnish, ingress-nginx"
    tells = frozenset({"tag", "digest", "bytes", "client", "user", "agent"})
    finished_pulls = False
    specificity = 0

    def sniff(self, lines: pl.Series) -> float:
        """The share of access lines."""
        if not (lines.str.contains(_DATED).any() or lines.str.contains(_ELSE).any()):
            return 0.0
        rows = read(clean(pl.DataFrame({"offset": range(len(lines)), "line": lines})))
        return share(rows["malformed"].is_null())

    def refuse(self, lines: pl.Series) -> str | None:
        """Access lines printed without a time, as Harbor's nginx does on a bare stdout."""
        if share(lines.str.contains(_NO_STAMP)) >= 0.5:
            return TIMELESS
        return None

    def explain(self, line: str) -> lacks.Lack | None:
        """Which field is missing first."""
        lack = lacks.of_text(line, [_LINE])
        return replace(lack, found=max(lack.found, 0.5)) if lack and _REQUEST.search(line) else lack

    def parse(self, lines: pl.DataFrame, hints: Hints) -> Parsed:
        """Accesses of family `access`; of family `app` for application lines."""
        return sort_out(_read_all(clean(lines)))

    def scan(self, data: bytes, offset: int) -> tuple[Parsed, int] | None:
        """What `parse` says of whole lines, and how many they are; None where only `parse` can tell."""
        scanned = scanning.scan(data, offset)
        if scanned is None:
            return None
        rows = scanned.rows
        if scanned.left.height:
            rows = pl.concat([rows, _read_all(clean(scanned.left))], how="diagonal").sort("offset")
        return sort_out(rows), scanned.lines


def _read_all(lines: pl.DataFrame) -> pl.DataFrame:
    """As `read`; what is no access line and may be one of the application, as that."""
    rows = read(lines)
    others = rows["malformed"].is_not_null()
    if others.any():
        others &= rows["line"].str.contains_any(application.MARKS)
    if not others.any():
        return rows
    told = application.read(rows.filter(others).select("offset", "line"))
    return pl.concat([rows.filter(~others), told], how="diagonal").sort("offset", maintain_order=True)


def read(lines: pl.DataFrame) -> pl.DataFrame:
    """Rows for `sort_out` from clean `lines` (offset, line): every line keeps its row."""
    rows = _read(lines)
    others = rows["malformed"].is_not_null()
    if others.any():
        others &= rows["line"].str.contains(_ELSE)
    return _with_other_stamps(rows, others) if others.any() else rows


def _with_other_stamps(rows: pl.DataFrame, others: pl.Series) -> pl.DataFrame:
    """Lines with a stamp that is not the usual one, read as if it were."""
    lines = rows.filter(others).select("offset", "line")
    finer, iso, seconds = (lines["line"].str.extract(_ELSE, group) for group in (1, 2, 3))
    told = [
        stamps.clf(pl.lit(finer.str.replace(",", ".", literal=True))),
        stamps.rfc3339(pl.lit(iso)),
        stamps.epoch(pl.lit(seconds)),
    ]
    as_usual = _read(lines.with_columns(pl.col("line").str.replace(_ELSE, _USUAL)))
    timed = as_usual.with_columns(lines["line"], pl.coalesce(told).alias("timestamp"))
    fine = timed["timestamp"].is_not_null()  # else it stays what it was
    every = pl.concat([rows.filter(~others), rows.filter(others).filter(~fine), timed.filter(fine)])
    return every.sort("offset", maintain_order=True)


def _read(lines: pl.DataFrame) -> pl.DataFrame:
    parts = fields.shield_quotes(lines["line"]).str.splitn('"', len(quoted.PARTS))
    rows = lines.hstack(parts.struct.rename_fields(list(quoted.PARTS)).struct.unnest())
    return quoted.meaning(rows).hstack([rows["line"]])


FORMAT = Combined()
