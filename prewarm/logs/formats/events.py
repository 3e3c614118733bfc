"""Finished pulls as CSV, NDJSON or Parquet: the way in for what no other format reads.

    timestamp,image[,client,site,bytes,seconds,kind,cache]

One row is one pull. CSV has these columns in the order of its header line, or in this order when it
has none, between commas, semicolons or tabs; a field may be quoted as RFC 4180 says, but holds no line
break. NDJSON has them as keys, Parquet as columns (`logs.parquet`). Where columns are named, `user`,
`agent` and `key` may be among them, the native id of the pull: two files that tell of one key tell of one
pull. Other columns are passed over.

`timestamp` is ISO 8601, a date alone (its midnight), or a number since 1970, whose magnitude tells
seconds from milli-, micro- and nanoseconds.
"""

from __future__ import annotations

import polars as pl

from prewarm.logs import accesses
from prewarm.logs.formats import (
    Hints,
    Parsed,
    clean,
    delimited,
    fields,
    images,
    ndjson,
    reasons,
    stamps,
    unread,
)

COLUMNS = ("timestamp", "image", "client", "site", "bytes", "seconds", "kind", "cache")
NAMED = ("user", "agent", "key")
"""Columns that only a header or a JSON key can name."""

KINDS = ("check", "manifest", "layers", "local")
CACHES = ("hit", "miss")

_EVERY = (*COLUMNS, *NAMED)
_POSSIBLE = (  # a header or a key, maybe escaped, or a row whose first value may be a time
    r'(?i)timestamp|\\u00|^[\s"\x00\x{feff}]*[-+.\x{2212}0-9][-+.:\x{2212}0-9tzugmce ]*"?\s*[,;\t]'
)
_LARGEST = 9.2e18  # what 63 bits hold, nearly


class Events:
    """One row, one finished pull."""

    name = "events"
    summary = "finished pulls (CSV, NDJSON, Parquet): timestamp,image and client,site,bytes,seconds,kind…"
    tells = frozenset({"tag", "digest", "bytes", "seconds", "client", "user", "agent", "host"})
    finished_pulls = True
    specificity = 0

    def sniff(self, lines: pl.Series) -> float:
        """The share of rows that are pulls, the header not counted."""
        if not lines.str.contains(_POSSIBLE).any():
            return 0.0
        rows = pl.DataFrame({"offset": pl.int_range(len(lines), eager=True), "line": lines})
        parsed = self.parse(rows, Hints())
        counted = len(lines) - sum(parsed.ignored.values())
        pulls = 0 if parsed.pulls is None else parsed.pulls.height
        if counted == 0:
            return float(bool(parsed.ignored))
        return pulls / counted

    def refuse(self, lines: pl.Series) -> str | None:
        """Events always carry a time."""
        return None

    def parse(self, lines: pl.DataFrame, hints: Hints) -> Parsed:
        """Pulls; `hints.header` is the header line of a CSV whose first chunk this is not."""
        rows = clean(lines)
        is_json = rows["line"].str.starts_with("{")
        read = [_from_json(rows.filter(is_json)), _from_csv(rows.filter(~is_json), hints.header)]
        named = images.resolve(pl.concat(read).with_columns(_time(hints.timezone))).with_columns(_malformed())
        ignored, malformed, examples = reasons(named)
        good = named.filter(pl.col("ignored").is_null() & pl.col("malformed").is_null()).sort("offset")
        return Parsed(accesses.empty(), _pulls(good), ignored, malformed, examples, unread(named))


def _from_json(rows: pl.DataFrame) -> pl.DataFrame:
    none = pl.lit(None, pl.String).alias("ignored")
    return rows.hstack(ndjson.decode(rows["line"], _EVERY)).with_columns(none)


def _from_csv(rows: pl.DataFrame, header: str | None) -> pl.DataFrame:
    """Columns by the names of the header, else in the documented order."""
    found = delimited.read(rows, header, {"timestamp", "image"}, COLUMNS, _EVERY)
    heading = pl.when("heading").then(pl.lit("the header line")).alias("ignored")
    return found.select("offset", "line", *_EVERY, heading)


def _time(timezone: str) -> pl.Expr:
    """The time in UTC; what carries no zone is in `timezone`."""
    text = (
        pl.col("timestamp")
        .str.replace(" ", "T", literal=True)
        .str.replace(r"T?(?:UTC|GMT|Z|z)$", "Z")
        .str.replace(r"(:\d\d(?:\.\d+)?)([+-]\d\d)$", "${1}${2}:00")  # as PostgreSQL exports it
        .str.replace(r"^(\d{4}-\d\d-\d\d)$", "${1}T00:00:00")
        .str.replace(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d)($|Z|[+-])", "${1}:00${2}")
    )
    zoned = text.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
    local = (
        text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
        .dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
        .dt.convert_time_zone("UTC")
    )
    return fields.instant(pl.coalesce(zoned, local, stamps.epoch(pl.col("timestamp")))).alias("timestamp")


def _malformed() -> pl.Expr:
    def unreadable(column: str, largest: float) -> pl.Expr:
        number = pl.col(column).cast(pl.Float64, strict=False)
        return _given(column).is_not_null() & ~(number.abs() < largest).fill_null(False)

    return (
        pl.when(pl.col("ignored").is_not_null())
        .then(None)
        .when(pl.col("timestamp").is_null())
        .then(pl.lit("no timestamp (expected ISO 8601 or a number since 1970)"))
        .when(pl.col("registry").is_null())
        .then(pl.lit("no image reference"))
        .when(unreadable("bytes", _LARGEST) | unreadable("seconds", float("inf")))
        .then(pl.lit("bytes or seconds is no number"))
        .when(~_given("kind").is_in(KINDS) | ~_given("cache").is_in(CACHES))
        .then(pl.lit(f"kind is none of {', '.join(KINDS)}, or cache none of {', '.join(CACHES)}"))
        .alias("malformed")
    )


def _given(column: str) -> pl.Expr:
    return fields.known(pl.col(column))


def _pulls(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(
        "timestamp",
        pl.col("timestamp").alias("until"),
        _given("site").alias("site"),
        *(_given(column).alias(column) for column in ("client", "user", "agent")),
        "registry",
        "repository",
        "tag",
        "digest",
        _given("kind").alias("kind"),
        _bytes().alias("bytes"),
        fields.took(pl.col("seconds")).alias("seconds"),
        _given("cache").alias("cache"),
        pl.lit("ok").alias("status"),
        pl.concat_list(_given("key")).list.drop_nulls().alias("keys"),
        "offset",
    )


def _bytes() -> pl.Expr:
    """A whole number, or one that a warehouse wrote as a float; null for -1 and a dash."""
    number = pl.col("bytes").cast(pl.Float64, strict=False)
    rounded = pl.when(number.is_between(0, _LARGEST)).then(number).cast(pl.Int64)
    return pl.coalesce(fields.count(pl.col("bytes")), rounded)


FORMAT = Events()
