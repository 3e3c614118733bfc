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
    requests,
    scanning,
    share,
    sort_out,
    stamps,
)

TIMELESS = (
    "these access lines carry no time; log through syslog or the container runtime, which add one, or put "
    "[$time_local] in the log format"
)

_STAMP = "[%d/%b/%Y:%H:%M:%S %z] "
_DATED = r"\[[^\]]+/[^\]]+/[^\]]+:[^\]]+\] "
_STAMP_LENGTH = len("[24/Nov/2026:01:58:42 +0000] ")
_LINE = (
    r"^(?P<client>\S+) (?P<ident>-) (?P<user>.*?) "
    r"\[(?P<time>[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[^\]]+)\] "
    r'"(?P<request>(?:[^"\\]|\\.)*)" (?P<status>[0-9]{3}) (?P<bytes>[0-9]+|-)'
)
_REQUEST = re.compile(r'"[A-Z]+ \S+ HTTP/')
_ELSE = (  # Apache's %{msec_frac}t, nginx's $time_iso8601 and $msec
    r"\[(?:(\d\d/[A-Z][a-z]{2}/\d{4}(?::\d\d){3}[.,]\d{1,9} [+-]\d{4})"
    r"|(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d))|(\d{9,10}\.\d{1,6}))\] \""
)
_IDENT = r"^[\w.+-]+$"  # as identd told it; with blanks behind it, it is what a shipper put before the line
_USUAL = '[01/Jan/1970:00:00:00 +0000] "'
_FORWARDED = r'^ "([0-9A-Fa-f:.]+)(?:,[^"]*)?"'
_INGRESS = r"^ [0-9]+ (?P<took>[0-9.]+) \[[^\]]*\] \[[^\]]*\] .* (?P<request>[0-9a-f]{32})$"
_CACHE = (  # alone between blanks, quotes or a name and its value
    r"(?:^|[ \"'=:])((?i:HIT|MISS)|EXPIRED|BYPASS|STALE|UPDATING|REVALIDATED)(?:$|[ \"',;])"
)
_NAMED_TIME = r"(?:^|[ \"'])(?:rt|request_time)[=:]\"?([0-9]+\.[0-9]+)"
_TIME = r"(?:^|[ \"])([0-9]{1,6}\.[0-9]{3})(?:$|[ \"])"
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
    quoted = fields.shield_quotes(lines["line"]).str.splitn('"', 7).struct.unnest()
    split = lines.hstack(quoted).lazy().select("offset", "line", *_split()).unnest("who", "what", "size")
    rows = split.with_columns(_malformed()).collect()
    rows = rows.with_columns(agent=fields.known_unescaped(rows["agent"]))
    located = requests.locate(_read_rest(rows), host=pl.lit(None, pl.String)).with_columns(_ignored())
    return located.select(
        "offset",
        "line",
        "timestamp",
        _client(located["forwarded"], located["peer"]),
        fields.known(pl.col("user").str.strip_chars()).alias("user"),
        "agent",
        "method",
        *requests.TARGET,
        pl.col("status").cast(pl.Int16, strict=False),
        fields.count(pl.col("bytes")).alias("bytes"),
        "seconds",
        "cache",
        "key",
        pl.lit("access").alias("family"),
        "ignored",
        "malformed",
    )


def _client(forwarded: pl.Series, peers: pl.Series) -> pl.Series:
    """The forwarded address, else the peer's; some log formats write its port beside it."""
    return fields.address(forwarded.zip_with(forwarded.is_not_null(), peers)).alias("client")


def _split() -> list[pl.Expr]:
    def words(text: pl.Expr, *names: str) -> pl.Expr:
        return text.str.splitn(" ", 3).struct.rename_fields(list(names))

    head = pl.col("field_0")
    stamp = head.str.tail(_STAMP_LENGTH).str.to_datetime(_STAMP, time_unit="us", strict=False)
    return [
        words(head.str.head(-_STAMP_LENGTH), "peer", "ident", "user").alias("who"),
        words(pl.col("field_1"), "method", "uri", "protocol").alias("what"),
        words(pl.col("field_2").str.strip_chars(), "status", "bytes", "more").alias("size"),
        stamp.alias("timestamp"),
        pl.col("field_5").alias("agent"),
        pl.col("field_6").alias("rest"),
    ]


def _read_rest(rows: pl.DataFrame) -> pl.DataFrame:
    """`forwarded`, `seconds`, `cache` and `key` from what stands after the agent, if anything does."""
    rest = pl.col("rest")
    if rows.select((rest.str.len_bytes() > 0).any()).item():
        return (
            rows.with_columns(
                rest.str.extract(_FORWARDED, 1).alias("forwarded"),
                rest.str.extract_groups(_INGRESS).alias("_"),
            )
            .unnest("_")
            .with_columns(
                fields.took(
                    pl.coalesce("took", rest.str.extract(_NAMED_TIME), rest.str.extract(_TIME))
                ).alias("seconds"),
                fields.cache_of(rest.str.extract(_CACHE)).alias("cache"),
                pl.col("request").alias("key"),
            )
        )
    return rows.with_columns(
        pl.lit(None, pl.String).alias("forwarded"),
        pl.lit(None, pl.Float64).alias("seconds"),
        pl.lit(None, pl.String).alias("cache"),
        pl.lit(None, pl.String).alias("key"),
    )


def _ignored() -> pl.Expr:
    request = pl.col("method").is_in(requests.METHODS) & pl.col("uri").is_not_null()
    return pl.when(pl.col("malformed").is_null()).then(requests.ignored(request)).alias("ignored")


def _malformed() -> pl.Expr:
    number = pl.col("bytes").cast(pl.Int64, strict=False).is_not_null() | (pl.col("bytes") == "-")
    huge = pl.col("bytes").str.contains("^[0-9]{19,}$")  # a number, though none that we can hold
    alone = pl.col("ident").str.contains(_IDENT) & pl.col("user").str.contains(r"^\S+ $")
    shaped = (
        ((pl.col("ident") == "-") | alone)
        & (pl.col("peer") != "")
        & pl.col("status").cast(pl.Int16, strict=False).is_between(0, 999)
        & (number | huge)
    ).fill_null(False)
    return (
        pl.when(~shaped)
        .then(pl.lit("not an access line"))
        .when(pl.col("timestamp").is_null())
        .then(pl.lit("a time that is no date"))
        .alias("malformed")
    )


FORMAT = Combined()
