"""Docker Hub's usage report: a CSV of how often each image was pulled in each hour, by whom.

    datehour,user_name,repository,access_token_name,ips,repository_privacy,tag,digest,version_checks,pulls

It has counts, not events: each count becomes as many pulls at the beginning of the hour, version checks
as kind `check`. The n-th pull of an hour has a key of its own, so that reports which overlap, or were
drawn before the hour was over, count once.
"""

from __future__ import annotations

import polars as pl

from prewarm.logs.formats import Hints, delimited, fields, images, records

COLUMNS = (
    *("datehour", "user_name", "repository", "access_token_name", "ips", "repository_privacy"),
    *("tag", "digest", "version_checks", "pulls"),
)
MOST = 100_000
"""Pulls that one cell may count."""

MOST_AT_ONCE = 2_000_000
"""Pulls that the lines of one chunk may count."""

_WHO = ("datehour", "user_name", "access_token_name", "name", "label", "exact")


def read(rows: pl.DataFrame, hints: Hints) -> pl.DataFrame:
    """Pulls and checks, each as often as it is counted; a line that counts none keeps one row."""
    found = delimited.read(rows, hints.header, {"datehour", "repository", "pulls"}, COLUMNS, COLUMNS)
    # A time without minutes is none to a parser.
    hour = (pl.col("datehour") + ":00").str.to_datetime("%Y/%m/%d/%H:%M", time_unit="us", strict=False)
    named = images.resolve(
        found.rename({"repository": "name", "tag": "label", "digest": "exact"}).with_columns(
            *records.known("user_name", "label", "exact"),
            timestamp=fields.instant(hour.dt.replace_time_zone("UTC")),
            image=_image(),
            checks=_number("version_checks"),
            whole=_number("pulls"),
        )
    )
    judged = named.with_columns(*records.set_aside(_malformed(), _ignored()))
    counts = pl.col("ignored").is_null() & pl.col("malformed").is_null()
    good, rest = judged.filter(counts), judged.filter(~counts)
    kinds = [
        _repeated(good, "whole", pl.lit(None, pl.String)),
        _repeated(good, "checks", pl.lit("check")),
        _columns(rest.with_columns(kind=pl.lit(None, pl.String), nth=pl.lit(0, pl.Int64))),
    ]
    return pl.concat(kinds)


def _image() -> pl.Expr:
    """The report names repositories of docker.io only, official ones as `library/...` or without it."""
    tag = pl.concat_str(pl.lit(":"), fields.known(pl.col("label"))).fill_null("")
    digest = pl.concat_str(pl.lit("@"), fields.known(pl.col("exact"))).fill_null("")
    return pl.concat_str(pl.lit("docker.io/"), "name", tag, digest)


def _number(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.Int64, strict=False)


def _malformed() -> dict[str, pl.Expr]:
    total = pl.col("checks") + pl.col("whole")
    sane = pl.all_horizontal(pl.col("checks", "whole").is_between(0, MOST)).fill_null(False)
    heading = pl.col("heading")
    return {
        "an hour that is no yyyy/mm/dd/hh": ~heading & pl.col("timestamp").is_null(),
        records.NAMELESS: ~heading & pl.col("registry").is_null(),
        f"version_checks or pulls is no number up to {MOST}": ~heading & ~sane,
        "more pulls than can be taken one by one": ~heading
        & (pl.when(sane).then(total).otherwise(0).cum_sum() > MOST_AT_ONCE),
    }


def _ignored() -> dict[str, pl.Expr]:
    return {
        "the header line": pl.col("heading"),
        "an hour without pulls": (pl.col("checks") + pl.col("whole")) == 0,
    }


def _repeated(rows: pl.DataFrame, count: str, kind: pl.Expr) -> pl.DataFrame:
    numbered = rows.filter(pl.col(count) > 0).with_columns(nth=pl.int_ranges(1, pl.col(count) + 1), kind=kind)
    return _columns(numbered.explode("nth"))


def _columns(rows: pl.DataFrame) -> pl.DataFrame:
    who = [pl.col(name).fill_null("") for name in _WHO]
    return rows.select(
        "offset",
        "line",
        "timestamp",
        pl.col("timestamp").alias("until"),
        pl.when(~pl.col("ips").str.contains("[, ]")).then(fields.known(pl.col("ips"))).alias("client"),
        pl.col("user_name").alias("user"),
        *("registry", "repository"),
        pl.when(pl.col("label").is_not_null()).then("tag").alias("tag"),  # none is not `latest`
        "digest",
        "kind",
        pl.lit("ok").alias("status"),
        records.key_of(pl.lit("docker-hub"), *who, pl.col("kind").fill_null("pull"), pl.col("nth")),
        "ignored",
        "malformed",
    )


FORMAT = records.Records(
    name="dockerhub-usage",
    summary="Docker Hub's usage report (CSV): pulls and version checks by the hour",
    tells=frozenset({"tag", "digest", "client", "user", "host"}),
    read=read,
    marks=("/", "datehour"),
    must=r"(?i)\d+/\d+/\d+/\d+|datehour",
    finished_pulls=True,
)
