"""What the parts of an access line mean that stand before, between and after its quotes.

    host ident user [time zone] "request" status bytes ["referer" "agent"] [rest]

A log repeats most of them all day: each distinct one is read once.
"""

from __future__ import annotations

import polars as pl

from prewarm.logs.formats import fields, requests
from prewarm.logs.formats.remembered import Remembered

PARTS = ("head", "request", "size", "referer", "blank", "agent", "rest")
"""What quotes part a line into, in order; a common line, which has no agent, ends with `size`."""

_STAMP = "[%d/%b/%Y:%H:%M:%S %z] "
_STAMP_LENGTH = len("[24/Nov/2026:01:58:42 +0000] ")
_IDENT = r"^[\w.+-]+$"  # as identd told it; with blanks behind it, it is what a shipper put before the line
_IPV4 = r"^[0-9]{1,3}(?:\.[0-9]{1,3}){3}$"  # the client, behind a host's name: not as identd tells it
_FORWARDED = r'^ "([0-9A-Fa-f:.]+)(?:,[^"]*)?"'
_INGRESS = r"^ [0-9]+ (?P<took>[0-9.]+) \[[^\]]*\] \[[^\]]*\] .* (?P<request>[0-9a-f]{32})$"
_CACHE = (  # alone between blanks, quotes or a name and its value
    r"(?:^|[ \"'=:])((?i:HIT|MISS)|EXPIRED|BYPASS|STALE|UPDATING|REVALIDATED)(?:$|[ \"',;])"
)
_NAMED_TIME = r"(?:^|[ \"'])(?:rt|request_time)[=:]\"?([0-9]+\.[0-9]+)"
_TIME = r"(?:^|[ \"])([0-9]{1,6}\.[0-9]{3})(?:$|[ \"])"


def meaning(lines: pl.DataFrame) -> pl.DataFrame:
    """Rows for `sort_out` (but for their `line`) from `offset` and PARTS; missing ones are null or empty."""
    head = pl.col("head")
    rows = lines.select(
        *("offset", "request", "size", "agent"),
        head.str.head(-_STAMP_LENGTH).alias("who"),
        head.str.tail(_STAMP_LENGTH).alias("stamp"),
    )
    for known in _KNOWN:
        rows = known.join(rows)
    told = rows.hstack([_times(rows["stamp"]), *_after(lines["rest"])])
    judged = told.with_columns(_nearest(told["forwarded"], told["client"]), _malformed())
    return judged.select(
        *("offset", "timestamp", "client", "user"),
        *(pl.col("decoded").alias("agent"), "method", *requests.TARGET),
        *("status", "bytes", "seconds", "cache", "key"),
        pl.lit("access").alias("family"),
        pl.when(pl.col("malformed").is_null()).then("ignored").alias("ignored"),
        "malformed",
    )


def _times(stamps: pl.Series) -> pl.Series:
    """`timestamp`: null for what is no date. One that follows its like, as most do, is not read again."""
    again = stamps == stamps.shift(1)
    first = ~again.fill_null(False)
    read = stamps.filter(first).str.to_datetime(_STAMP, time_unit="us", time_zone="UTC", strict=False)
    return read.gather(first.cum_sum() - 1).alias("timestamp")


def _clients(texts: pl.Series) -> pl.DataFrame:
    """`client` and `user` of each `who`, and `named`: whether it is one."""
    words = _words(pl.col("who"), "peer", "ident", "user")
    found = pl.DataFrame({"who": texts}).select("who", words.alias("_")).unnest("_")
    told = pl.col("ident").str.contains(_IDENT) & ~pl.col("ident").str.contains(_IPV4)
    alone = told & pl.col("user").str.contains(r"^\S+ $")
    named = ((pl.col("ident") == "-") | alone) & (pl.col("peer") != "")
    return found.select(
        "who",
        fields.address(found["peer"]).alias("client"),
        fields.known(pl.col("user").str.strip_chars()).alias("user"),
        named.fill_null(False).alias("named"),
    )


def _asked(texts: pl.Series) -> pl.DataFrame:
    """`method` and target of each `request`, and why it is `ignored`."""
    words = _words(pl.col("request"), "method", "uri", "protocol")
    parts = pl.DataFrame({"request": texts}).select("request", words.alias("_")).unnest("_")
    targets = requests.targets(parts["uri"].drop_nulls().unique())
    located = parts.join(targets, on="uri", how="left", maintain_order="left")
    request = pl.col("method").is_in(requests.METHODS).fill_null(False) & pl.col("uri").is_not_null()
    return located.select("request", "method", *requests.TARGET, requests.ignored(request).alias("ignored"))


def _answers(texts: pl.Series) -> pl.DataFrame:
    """`status` and `bytes` of each `size`, and `answered`: whether it is one."""
    words = _words(pl.col("size").str.strip_chars(), "status", "bytes", "more")
    status = pl.col("status").cast(pl.Int16, strict=False)
    number = pl.col("bytes").cast(pl.Int64, strict=False).is_not_null() | (pl.col("bytes") == "-")
    huge = pl.col("bytes").str.contains("^[0-9]{19,}$")  # a number, though none that we can hold
    return (
        pl.DataFrame({"size": texts})
        .select("size", words.alias("_"))
        .unnest("_")
        .select(
            "size",
            status,
            fields.count(pl.col("bytes")).alias("bytes"),
            (status.is_between(0, 999) & (number | huge)).fill_null(False).alias("answered"),
        )
    )


def _agents(texts: pl.Series) -> pl.DataFrame:
    """`decoded`: what each `agent` is, without its escapes."""
    return pl.DataFrame({"agent": texts, "decoded": fields.known_unescaped(texts)})


def _after(rest: pl.Series) -> pl.DataFrame:
    """`forwarded`, `seconds`, `cache` and `key` from what stands after the agent, if anything does."""
    rows = rest.to_frame("rest")
    if not (rest.str.len_bytes() > 0).any():
        texts = [pl.lit(None, pl.String).alias(name) for name in ("forwarded", "cache", "key")]
        return rows.with_columns(*texts, pl.lit(None, pl.Float64).alias("seconds")).drop("rest")
    found = pl.col("rest")
    time = pl.coalesce("took", found.str.extract(_NAMED_TIME), found.str.extract(_TIME))
    return (
        rows.with_columns(found.str.extract_groups(_INGRESS).alias("_"))
        .unnest("_")
        .select(
            found.str.extract(_FORWARDED, 1).alias("forwarded"),
            fields.cache_of(found.str.extract(_CACHE)).alias("cache"),
            pl.col("request").alias("key"),
            fields.took(time).alias("seconds"),
        )
    )


def _nearest(forwarded: pl.Series, clients: pl.Series) -> pl.Series:
    """`client`: the forwarded address, else the peer's; some log formats write its port beside it."""
    if forwarded.null_count() == len(forwarded):
        return clients
    return fields.address(forwarded).zip_with(forwarded.is_not_null(), clients).alias("client")


def _malformed() -> pl.Expr:
    return (
        pl.when(~(pl.col("named") & pl.col("answered")).fill_null(False))
        .then(pl.lit("not an access line"))
        .when(pl.col("timestamp").is_null())
        .then(pl.lit("a time that is no date"))
        .alias("malformed")
    )


def _words(text: pl.Expr, *names: str) -> pl.Expr:
    return text.str.splitn(" ", 3).struct.rename_fields(list(names))


_KNOWN = (
    Remembered("who", _clients),
    Remembered("request", _asked),
    Remembered("size", _answers),
    Remembered("agent", _agents),
)
