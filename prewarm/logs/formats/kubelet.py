"""Events as the kubelet logs them, in the form of klog: no year, the zone of the node, no name of the node.

I1124 09:15:07.022204 1234 event.go:389] "Event occurred" object="ns/pod" ... reason="Pulled" message="..."
I0612 08:41:55.120647 2044 event.go:278] Event(v1.ObjectReference{...}): type: 'Normal' reason: 'Pulled' ...
"""

from __future__ import annotations

import polars as pl

from prewarm.logs.formats import Hints, fields, stamps

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_KLOG = (
    r"^[IWEF](?P<month>[0-9]{2})(?P<day>[0-9]{2}) (?P<clock>[0-9:]{8}[.][0-9]+) +[0-9]+ [^\] ]+:[0-9]+\] "
    r"(?P<text>.*)$"
)
_OLD = r"^Event\(v1\.ObjectReference\{.*\}\): type: '\w*' reason: '\w*' (.*)$"
_NEW = r'^"Event occurred" .*message=("(?:[^"\\]|\\.)*")'


def read(rows: pl.DataFrame, hints: Hints) -> pl.DataFrame:
    """`rows` plus `timestamp`, `fits` (whether a line is one of klog) and `message`, that of an event."""
    found = rows.with_columns(pl.col("line").str.extract_groups(_KLOG).alias("_")).unnest("_")
    months = {f"{number:02}": name for number, name in enumerate(_MONTHS, start=1)}
    month = pl.col("month").replace_strict(months, default=None, return_dtype=pl.String)
    stamp = found.select(pl.concat_str(month, "day", "clock", separator=" "))["month"]
    quoted = found["text"].str.extract(_NEW, 1)
    new = fields.unescape(quoted.str.strip_prefix('"').str.strip_suffix('"'))
    cut = found["text"].str.starts_with('"Event occurred"') & new.is_null()
    return found.select(
        "offset",
        "line",
        stamps.yearless(stamp, hints.written, hints.timezone).alias("timestamp"),
        (pl.col("text").is_not_null() & ~cut.fill_null(False)).alias("fits"),
        pl.coalesce(pl.col("text").str.extract(_OLD, 1), new).alias("message"),
    )
