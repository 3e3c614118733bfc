"""JSON lines as columns of text: fast where they are good, exact about which one is bad."""

from __future__ import annotations

import json
from collections.abc import Iterable

import polars as pl

_LEAF = 64  # lines below which a bad one is looked for line by line


def decode(lines: pl.Series, names: Iterable[str]) -> pl.DataFrame:
    """One row a line, a String column for each of `names`; null where a line lacks the key or is no object.

    Other values become their JSON text; of a repeated key the first counts. A bad line costs a few
    more looks at its neighbours: a chunk that does not decode is halved until bad lines are alone.
    """
    schema = dict.fromkeys(names, pl.String)
    objects = lines.str.starts_with("{") & lines.str.ends_with("}")  # cut lines go first, they are common
    if objects.all():
        return _decode_objects(lines, schema)
    rows = pl.DataFrame({"row": objects.arg_true()}).hstack(_decode_objects(lines.filter(objects), schema))
    every = pl.DataFrame({"row": pl.int_range(len(lines), dtype=pl.UInt32, eager=True)})
    return every.join(rows, on="row", how="left", maintain_order="left").drop("row")


def _decode_objects(lines: pl.Series, schema: dict[str, type[pl.String]]) -> pl.DataFrame:
    if len(lines) <= _LEAF:
        return pl.DataFrame([_decode_line(line, schema) for line in lines], schema=schema)
    try:
        decoded = pl.read_ndjson("\n".join(lines).encode(), schema=schema, ignore_errors=True)
    except pl.exceptions.ComputeError:
        decoded = None
    if decoded is not None and decoded.height == len(lines):
        return decoded
    half = len(lines) // 2
    return pl.concat([_decode_objects(lines[:half], schema), _decode_objects(lines[half:], schema)])


def _decode_line(line: str, schema: dict[str, type[pl.String]]) -> dict[str, str | None]:
    try:
        found = json.loads(line, object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    except (ValueError, RecursionError):
        found = {}
    return {name: _text(found.get(name)) for name in schema} if isinstance(found, dict) else {}


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()  # a lone surrogate is no text
    return None if value is None else json.dumps(value)
