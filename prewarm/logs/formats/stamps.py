"""Times as logs write them, in UTC: with a zone, without one, without a year, as a number."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from prewarm.logs.accesses import TIMESTAMP
from prewarm.logs.formats import fields

_LEAP = 2000  # a year that has every day
_HALF_YEAR = 183  # days
_AHEAD = timedelta(days=1)  # clocks differ: how far a line may be ahead of the time its file was written
_LATEST = 253402300799e6  # microseconds: the last second of the year 9999
_BITS_63 = 9.2e18  # nanoseconds that a whole number holds, nearly: the year 2261
_FARTHEST = 14 * 60  # minutes that a clock on Earth may be ahead of UTC, or behind it
_OFFSET = r"\d\d:\d\d:\d\d(?:[.,]\d+)? ?(?:(?<sign>[+-])(?<hours>\d\d):?(?<minutes>\d\d)\b|Z\b)"
_HALF_HOUR = timedelta(minutes=30)


def rfc3339(text: pl.Expr) -> pl.Expr:
    """`2026-11-24T09:15:02.311204118Z`, with `+01:00` or `+0100`, with a space for the `T`; truncated."""
    strict = text.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
    loose = text.str.replace(" ", "T", literal=True).str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.f%z", time_unit="us", time_zone="UTC", strict=False
    )
    return fields.instant(pl.coalesce(strict, loose))


def epoch(text: pl.Expr) -> pl.Expr:
    """Seconds since 1970, with a fraction; or milli-, micro- or nanoseconds, as the size shows.

    Whole nanoseconds lose no digit of the microsecond, as they would on their way through a float.
    """
    number = text.cast(pl.Float64, strict=False)
    size = number.abs()
    units = pl.when(size < 1e11).then(1e6).when(size < 1e14).then(1e3)
    scale = units.when(size < 1e17).then(1.0).when(size < _BITS_63).then(1e-3)
    microseconds = (number * scale).round()
    bounded = pl.when(microseconds.is_between(-_LATEST, _LATEST)).then(microseconds)
    exact = pl.when(size >= 1e17).then(text.cast(pl.Int64, strict=False) // 1000)
    return fields.instant(pl.coalesce(exact, bounded.cast(pl.Int64)).cast(TIMESTAMP))


def local(naive: pl.Expr, timezone: str) -> pl.Expr:
    """A time of this zone, in UTC; null where clocks skip it.

    Of an hour that clocks repeat it is the first, until stamps go back by half an hour: then the second.
    """
    naive = fields.instant(naive)
    if timezone == "UTC":
        return fields.instant(naive.dt.replace_time_zone("UTC"))
    day = naive.dt.date()
    again = pl.when(naive.diff() < -_HALF_HOUR).then(day).forward_fill() == day
    first = naive.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
    second = naive.dt.replace_time_zone(timezone, ambiguous="latest", non_existent="null")
    return fields.instant(pl.when(again).then(second).otherwise(first).dt.convert_time_zone("UTC"))


def yearless(text: pl.Series, written: datetime | None, timezone: str) -> pl.Series:
    """`Nov  4 09:15:02` or `Nov 24 09:15:02.613160`, in the latest year that is not after `written`.

    Lines of one file follow each other: where a stamp lies half a year or more before the one above it, a
    year began between them. Null without `written`: no year is invented.
    """
    spaced = text.str.replace("  ", " 0", literal=True)
    naive = (str(_LEAP) + " " + spaced).str.to_datetime("%Y %b %d %H:%M:%S%.f", time_unit="us", strict=False)
    last = naive.drop_nulls().last()
    if written is None or not isinstance(last, datetime):
        return pl.Series([None], dtype=TIMESTAMP).new_from_index(0, len(text))
    at = pl.col("at")
    step = at.forward_fill().diff().dt.total_days()
    turns = (step < -_HALF_YEAR).cast(pl.Int32) - (step > _HALF_YEAR).cast(pl.Int32)
    year = pl.col("turns") - pl.col("turns").last() + _year_of(last, written, timezone)
    leap_day = (at.dt.month() == 2) & (at.dt.day() == 29)
    dated = pl.datetime(
        pl.when(leap_day).then(year - year % 4).otherwise(year),
        *(at.dt.month(), at.dt.day(), at.dt.hour(), at.dt.minute(), at.dt.second(), at.dt.microsecond()),
    )
    numbered = pl.DataFrame({"at": naive}).with_columns(turns=turns.fill_null(0).cum_sum())
    return numbered.select(local(dated, timezone)).to_series()


def _year_of(stamp: datetime, written: datetime, timezone: str) -> int:
    """The year that puts a stamp of a leap year at or before `written`, or a little after it."""
    latest = (written + _AHEAD).astimezone(ZoneInfo(timezone)).replace(tzinfo=None)
    return latest.year if stamp.replace(year=_LEAP) <= latest.replace(year=_LEAP) else latest.year - 1


def utc_offset(lines: pl.Series) -> int | None:
    """Minutes by which most of these lines' stamps are ahead of UTC; None where none says."""
    groups = pl.col("line").str.extract_groups(_OFFSET)
    told = lines.to_frame("line").filter(pl.col("line").str.contains(_OFFSET)).select(groups).unnest("line")
    hours, minutes = (pl.col(name).cast(pl.Int64).fill_null(0) for name in ("hours", "minutes"))
    ahead = (hours * 60 + minutes) * pl.when(pl.col("sign") == "-").then(-1).otherwise(1)
    offsets = told.select(ahead=ahead).filter(pl.col("ahead").abs() <= _FARTHEST)["ahead"]
    return None if offsets.is_empty() else int(offsets.value_counts(sort=True)["ahead"][0])


def clf(text: pl.Expr) -> pl.Expr:
    """`24/Nov/2026:09:15:02 +0000`, as access logs write it, maybe with a fraction of the second."""
    return text.str.to_datetime("%d/%b/%Y:%H:%M:%S%.f %z", time_unit="us", time_zone="UTC", strict=False)


def naive(text: pl.Expr, timezone: str) -> pl.Expr:
    """`2026-11-24T09:15:02.311` (or with a space), `24/Nov/2026:09:15:02.311`, `20261124091502`."""
    iso = text.str.replace(" ", "T", literal=True).str.replace(",", ".", literal=True)
    iso = iso.str.replace_all("/", "-", literal=True)
    forms = [
        iso.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False),
        text.str.to_datetime("%d/%b/%Y:%H:%M:%S%.f", time_unit="us", strict=False),
        text.str.to_datetime("%Y%m%d%H%M%S", time_unit="us", strict=False),
    ]
    return local(pl.coalesce(forms), timezone)


def zoned(text: pl.Expr) -> pl.Expr:
    """A time that needs no zone to be known: RFC 3339, or a number."""
    return pl.coalesce(rfc3339(text), epoch(text))


def any_of(text: pl.Expr, timezone: str) -> pl.Expr:
    """A time in whatever form it is written: with a zone, of this one, or a number."""
    return pl.coalesce(rfc3339(text), clf(text), naive(text, timezone), epoch(text))
