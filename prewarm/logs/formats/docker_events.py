"""Events of a Docker engine, as `docker events` prints them: JSON (`--format '{{json .}}'`) or text.

One pull event is one pull that an engine finished, also when it had every layer already. Names are
familiar ones (`nginx:1.25`). Engine 29 (API 1.52) leaves `status` and `id` out. The key is name and
nanosecond, so that captures which overlap, and the two forms, tell of one pull once.
"""

from __future__ import annotations

import polars as pl

from prewarm.logs.formats import Hints, images, ndjson, records

_PATHS = {
    "type": "Type",
    "action": "Action",
    "status": "status",
    "actor": "Actor/ID",
    "id": "id",
    "second": "time",
    "nanosecond": "timeNano",
}
_TEXT = (
    r"^(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)) "
    r"(?P<type>builder|config|container|daemon|image|network|node|plugin|secret|service|volume) "
    r"(?P<action>\S+) (?P<actor>\S.*?)(?: \(.*\))?$"
)


def read(rows: pl.DataFrame, hints: Hints) -> pl.DataFrame:
    """Finished pulls."""
    is_json = rows["line"].str.starts_with("{")
    events = pl.concat([_from_json(rows.filter(is_json)), _from_text(rows.filter(~is_json))]).sort("offset")
    pulled = (pl.col("type") == "image") & (pl.col("action") == "pull")
    named = images.resolve(events.with_columns(image=pl.when(pulled).then("actor"), timestamp=_time()))
    malformed = {
        "no event of an engine": pl.col("action").is_null(),
        "a time that is no number of seconds": pl.col("timestamp").is_null(),
        "no image reference": pulled & pl.col("registry").is_null(),
    }
    return named.select(
        "offset",
        "line",
        "timestamp",
        pl.col("timestamp").alias("until"),
        *images.PARTS,
        pl.lit("ok").alias("status"),
        records.key_of("image", pl.col("nanosecond")),
        *records.set_aside(malformed, {"an event that is no pull": ~pulled}),
    )


def _from_json(rows: pl.DataFrame) -> pl.DataFrame:
    """Engines before 1.10 (API 1.22) have only `status`, `id` and `time`."""
    found = ndjson.dig(rows, _PATHS)
    seconds = pl.col("second").cast(pl.Int64, strict=False) * 1_000_000_000
    return found.select(
        "offset",
        "line",
        pl.col("type").fill_null("image").alias("type"),
        pl.coalesce("action", "status").alias("action"),
        pl.coalesce("actor", "id").alias("actor"),
        pl.coalesce(pl.col("nanosecond").cast(pl.Int64, strict=False), seconds).alias("nanosecond"),
    )


def _from_text(rows: pl.DataFrame) -> pl.DataFrame:
    found = rows.with_columns(pl.col("line").str.extract_groups(_TEXT).alias("_")).unnest("_")
    time = pl.col("time").str.to_datetime("%+", time_unit="ns", time_zone="UTC", strict=False)
    return found.select("offset", "line", "type", "action", "actor", time.dt.epoch("ns").alias("nanosecond"))


def _time() -> pl.Expr:
    return (pl.col("nanosecond") // 1000).cast(pl.Datetime("us", "UTC"))


FORMAT = records.Records(
    name="docker-events",
    summary="docker events, as JSON or text: what an engine pulled",
    tells=frozenset({"tag", "digest", "host"}),
    read=read,
    marks=('"timeNano"', '"Action"', " image ", " container ", " network ", " volume "),
    finished_pulls=True,
)
