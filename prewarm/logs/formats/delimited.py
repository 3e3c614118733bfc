"""Lines of values between commas, semicolons or tabs, whose first line may name them (CSV, RFC 4180).

A value may be quoted, with quotes in it doubled, but holds no line break: lines are cut before.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import polars as pl

SEPARATORS = (",", ";", "\t")
_QUOTED = r'"(?:[^"]|"")*"'


def read(
    rows: pl.DataFrame,
    header: str | None,
    marks: Collection[str],
    columns: Sequence[str],
    wanted: Sequence[str],
) -> pl.DataFrame:
    """`rows` (with `line`) plus `wanted` columns of text, and `heading`: whether a line is the header.

    The header is the first line that was read, or else `header`, the first line of the file, when it
    names at least `marks`. Without one, values stand in the order of `columns`.
    """
    first = (rows["line"][0] if rows.height else "").removeprefix("\ufeff")
    header = (header or "").removeprefix("\ufeff").rstrip("\r")
    heading = next((line for line in (first, header) if set(marks) <= set(_names(line))), None)
    names = _names(heading) if heading else list(columns)
    cells = pl.col("cells")
    found = rows.with_columns(cells=_cells(rows["line"], _separator(heading or header or first)))
    return found.with_columns(
        *(
            (
                cells.list.get(names.index(column), null_on_oob=True).str.strip_chars()
                if column in names
                else pl.lit(None, pl.String)
            ).alias(column)
            for column in wanted
        ),
        heading=pl.col("line") == (heading or ""),
    ).drop("cells")


def _separator(line: str) -> str:
    """What stands between the values of a line; most lines hold only one of the three."""
    return max(SEPARATORS, key=line.count)


def _names(line: str) -> list[str]:
    return [name.strip(' "').lower() for name in line.split(_separator(line))]


def _cells(lines: pl.Series, separator: str) -> pl.Series:
    """The values of each line; only lines with a quote need a closer look."""
    quoted = lines.str.contains('"', literal=True)
    if not quoted.any():
        return lines.str.split(separator)
    cell = rf"{separator}[ ]*(?:{_QUOTED}|[^{separator}]*)"
    value = pl.element().str.strip_prefix(separator).str.strip_chars()
    bare = value.str.strip_prefix('"').str.strip_suffix('"').str.replace_all('""', '"', literal=True)
    unquoted = pl.when(value.str.starts_with('"')).then(bare).otherwise(value)
    row, line = pl.int_range(pl.len()).alias("row"), pl.col("line")
    numbered = pl.DataFrame({"line": lines, "quoted": quoted}).with_columns(row)
    closely = pl.concat_str(pl.lit(separator), line).str.extract_all(cell).list.eval(unquoted).alias("line")
    parts = [
        numbered.filter(~quoted).select("row", line.str.split(separator)),
        numbered.filter(quoted).select("row", closely),
    ]
    return pl.concat(parts).sort("row")["line"]
