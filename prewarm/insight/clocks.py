"""A pull's `timestamp` on a site's clock, as expressions: hour of the day, and day."""

from __future__ import annotations

import polars as pl


def hour(zone: str) -> pl.Expr:
    """`hour`: 0 to 23 on the clock of `zone`."""
    return _local(zone).dt.hour().alias("hour")


def day(zone: str) -> pl.Expr:
    """`day`: the date on the clock of `zone`."""
    return _local(zone).dt.date().alias("day")


def _local(zone: str) -> pl.Expr:
    return pl.col("timestamp").dt.convert_time_zone(zone)
