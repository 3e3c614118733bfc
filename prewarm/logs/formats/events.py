"""Finished pulls as CSV or NDJSON: the way in for what no other format reads.

    timestamp,image[,client,site,bytes,seconds,kind,cache]

One row is one pull. CSV has these columns in the order of its header line, or in this order when it
has none; NDJSON has them as keys. `timestamp` is ISO 8601 or seconds since 1970.
"""

from __future__ import annotations

import polars as pl

from prewarm.errors import InvalidReference
from prewarm.logs.accesses import TIMESTAMP
from prewarm.logs.formats import Hints, Parsed, clean, fields, ndjson, reasons
from prewarm.references import Reference

COLUMNS = ("timestamp", "image", "client", "site", "bytes", "seconds", "kind", "cache")
KINDS = ("check", "manifest", "layers", "local")
CACHES = ("hit", "miss")
_LATEST = 253402300799.0  # the last second of the year 9999


class Events:
    """One row, one finished pull."""

    name = "events"
    summary = "finished pulls as CSV or NDJSON: timestamp,image and client,site,bytes,seconds,kind,cache"
    tells = frozenset({"tag", "digest", "bytes", "seconds", "client"})
    finished_pulls = True

    def sniff(self, lines: pl.Series) -> float:
        """The share of rows that are pulls, the header not counted."""
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
        named = _with_references(pl.concat(read).with_columns(_time(hints.timezone))).with_columns(
            _malformed()
        )
        ignored, malformed, examples = reasons(named)
        good = named.filter(pl.col("ignored").is_null() & pl.col("malformed").is_null()).sort("offset")
        return Parsed(pulls=_pulls(good), ignored=ignored, malformed=malformed, examples=examples)


def _from_json(rows: pl.DataFrame) -> pl.DataFrame:
    none = pl.lit(None, pl.String).alias("ignored")
    return rows.hstack(ndjson.decode(rows["line"], COLUMNS)).with_columns(none)


def _from_csv(rows: pl.DataFrame, header: str | None) -> pl.DataFrame:
    """Columns by the names of the header; a quote around a field is dropped (no field holds a comma)."""
    first = rows["line"][0] if rows.height else ""
    heading = next((line for line in (first, header) if line and _names(line)), None)
    names = _names(heading) if heading else list(COLUMNS)
    cells = pl.col("line").str.split(",")
    return rows.with_columns(
        *(
            (
                cells.list.get(names.index(column), null_on_oob=True).str.strip_chars(' "')
                if column in names
                else pl.lit(None, pl.String)
            ).alias(column)
            for column in COLUMNS
        ),
        pl.when(pl.col("line") == (heading or "")).then(pl.lit("the header line")).alias("ignored"),
    )


def _names(line: str) -> list[str]:
    """The column names of a header line, or none when it is no header."""
    names = [name.strip(' "').lower() for name in line.removeprefix("\ufeff").split(",")]
    return names if {"timestamp", "image"} <= set(names) else []


def _time(timezone: str) -> pl.Expr:
    """ISO 8601 with or without zone, `T` or a space between, or seconds since 1970; in UTC."""
    text = pl.col("timestamp").str.replace(" ", "T", literal=True)
    zoned = text.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
    local = (
        text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
        .dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
        .dt.convert_time_zone("UTC")
    )
    seconds = pl.col("timestamp").cast(pl.Float64, strict=False)
    epoch = (
        (pl.when(seconds.abs() <= _LATEST).then(seconds) * 1e6).cast(pl.Int64, strict=False).cast(TIMESTAMP)
    )
    return fields.instant(pl.coalesce(zoned, local, epoch)).alias("timestamp")


def _with_references(rows: pl.DataFrame) -> pl.DataFrame:
    """registry, repository, tag and digest of `image`; each distinct image is parsed once."""
    images = rows["image"].drop_nulls().unique()
    parsed = [_parse(image) for image in images]
    table = pl.DataFrame(
        {
            "image": images,
            "registry": [image.registry if image else None for image in parsed],
            "repository": [image.repository if image else None for image in parsed],
            "tag": [image.tag if image else None for image in parsed],
            "digest": [image.digest if image else None for image in parsed],
        },
        schema=dict.fromkeys(("image", "registry", "repository", "tag", "digest"), pl.String),
    )
    return rows.join(table, on="image", how="left", maintain_order="left")


def _parse(image: str) -> Reference | None:
    try:
        return Reference.parse(image)
    except InvalidReference:
        return None


def _malformed() -> pl.Expr:
    def unreadable(column: str, dtype: type[pl.DataType]) -> pl.Expr:
        return _given(column).is_not_null() & pl.col(column).cast(dtype, strict=False).is_null()

    return (
        pl.when(pl.col("ignored").is_not_null())
        .then(None)
        .when(pl.col("timestamp").is_null())
        .then(pl.lit("no timestamp (expected ISO 8601 or seconds since 1970)"))
        .when(pl.col("registry").is_null())
        .then(pl.lit("no image reference"))
        .when(unreadable("bytes", pl.Int64) | unreadable("seconds", pl.Float64))
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
        _given("client").alias("client"),
        "registry",
        "repository",
        "tag",
        "digest",
        _given("kind").alias("kind"),
        fields.count(pl.col("bytes")).alias("bytes"),
        fields.took(pl.col("seconds")).alias("seconds"),
        _given("cache").alias("cache"),
        pl.lit("ok").alias("status"),
        "offset",
    )


FORMAT = Events()
