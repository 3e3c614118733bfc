"""JSON lines as columns of text: fast where they are good, exact about which one is bad."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

_LEAF = 64  # lines below which a bad one is looked for line by line
_AT_ONCE = 2048  # lines whose trees are in memory together
_ELEMENT = "[]/"

_Schema = Mapping[str, Any]  # names to data types
_Tree = dict[str, Any]  # names to trees, or to the type of a leaf


def decode(lines: pl.Series, names: Iterable[str]) -> pl.DataFrame:
    """One row a line, a String column for each of `names`; null where a line lacks the key or is no object.

    Other values become their JSON text; of a repeated key the first counts. A bad line costs a few
    more looks at its neighbours: a chunk that does not decode is halved until bad lines are alone.
    """
    return _decode(lines, dict.fromkeys(names, pl.String))


def dig(rows: pl.DataFrame, paths: Mapping[str, str], each: str | None = None) -> pl.DataFrame:
    """`rows` (with `line`) plus a String column for each of `paths`, which lead into nested objects.

    `metadata/uid` is the key `uid` of the object `metadata`. With `each`, the path of an array of
    objects, a row is repeated for every element, in which paths that begin with `[]/` are looked up; a
    line without elements keeps one row. Null where a line has no such value; values become text as by
    `decode`.
    """
    outer = {name: path for name, path in paths.items() if not path.startswith(_ELEMENT)}
    inner = {name: path.removeprefix(_ELEMENT) for name, path in paths.items() if name not in outer}
    tree = _tree(outer.values())
    if each:
        *above, last = each.split("/")
        _at(tree, above)[last] = pl.List(pl.Struct(_schema(_tree(inner.values()))))
    found = _decode(rows["line"], _schema(tree))
    columns = [_reached(path).alias(name) for name, path in outer.items()]
    if each is None:
        return rows.hstack(found.select(columns))
    elements = _reached(each)
    some = pl.when(elements.list.len() > 0).then(elements).alias(_ELEMENT)
    exploded = rows.hstack(found.select(*columns, some)).explode(_ELEMENT)
    return exploded.with_columns(
        _within(pl.col(_ELEMENT), path.split("/")).alias(name) for name, path in inner.items()
    ).drop(_ELEMENT)


def _tree(paths: Iterable[str]) -> _Tree:
    tree: _Tree = {}
    for path in paths:
        *above, last = path.split("/")
        _at(tree, above)[last] = pl.String
    return tree


def _at(tree: _Tree, names: Iterable[str]) -> _Tree:
    for name in names:
        tree = tree.setdefault(name, {})
    return tree


def _schema(tree: _Tree) -> dict[str, Any]:
    return {
        name: pl.Struct(_schema(below)) if isinstance(below, dict) else below for name, below in tree.items()
    }


def _reached(path: str) -> pl.Expr:
    first, *below = path.split("/")
    return _within(pl.col(first), below)


def _within(value: pl.Expr, names: Iterable[str]) -> pl.Expr:
    for name in names:
        value = value.struct.field(name)
    return value


def _decode(lines: pl.Series, schema: _Schema) -> pl.DataFrame:
    objects = lines.str.starts_with("{") & lines.str.ends_with("}")  # cut lines go first, they are common
    if objects.all():
        return _decode_objects(lines, schema)
    rows = pl.DataFrame({"row": objects.arg_true()}).hstack(_decode_objects(lines.filter(objects), schema))
    every = pl.DataFrame({"row": pl.int_range(len(lines), dtype=pl.UInt32, eager=True)})
    return every.join(rows, on="row", how="left", maintain_order="left").drop("row")


def _decode_objects(lines: pl.Series, schema: _Schema) -> pl.DataFrame:
    if len(lines) <= _LEAF:
        return pl.DataFrame([_decode_line(line, schema) for line in lines], schema=schema)
    for attempt in (_decode_strictly, _decode_loosely):
        decoded = attempt(lines, schema)
        if decoded is not None and decoded.height == len(lines):
            return decoded
    half = len(lines) // 2
    return pl.concat([_decode_objects(lines[:half], schema), _decode_objects(lines[half:], schema)])


def _decode_strictly(lines: pl.Series, schema: _Schema) -> pl.DataFrame | None:
    """Ten times as fast where objects are nested; None when a value has another shape than the schema's."""
    if not any(isinstance(dtype, (pl.Struct, pl.List)) for dtype in schema.values()):
        return None
    try:
        parts = [
            lines[start : start + _AT_ONCE].str.json_decode(pl.Struct(schema)).struct.unnest()
            for start in range(0, len(lines), _AT_ONCE)
        ]
        return pl.concat(parts)
    except pl.exceptions.ComputeError:
        return None


def _decode_loosely(lines: pl.Series, schema: _Schema) -> pl.DataFrame | None:
    """Null where a value has another shape; None when a line is no JSON."""
    try:
        return pl.read_ndjson("\n".join(lines).encode(), schema=schema, ignore_errors=True)
    except pl.exceptions.ComputeError:
        return None


def _decode_line(line: str, schema: _Schema) -> dict[str, Any]:
    try:
        found = json.loads(line, object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    except (ValueError, RecursionError):
        found = {}
    return (
        {name: _shaped(found.get(name), dtype) for name, dtype in schema.items()}
        if isinstance(found, dict)
        else {}
    )


def _shaped(value: object, dtype: Any) -> Any:
    """`value` as polars reads it into a column of this type: null where it has another shape."""
    if isinstance(dtype, pl.Struct):
        if not isinstance(value, dict):
            return None
        return {field.name: _shaped(value.get(field.name), field.dtype) for field in dtype.fields}
    if isinstance(dtype, pl.List):
        return [_shaped(each, dtype.inner) for each in value] if isinstance(value, list) else None
    return _text(value)


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()  # a lone surrogate is no text
    return None if value is None else json.dumps(value)
