"""What Distribution writes through logrus, text or JSON, as columns of text.

    time="…" level=info msg="response completed" … http.request.host="mirror:5000" http.request.id=… …
    {…,"http.request.host":"mirror:5000","http.request.id":"…",…,"level":"info","msg":"…","time":"…"}

Lines that share a layout are read many at once: cut where fields begin, and of a field that repeats
only its distinct texts are read. Only lines that certainly mean the same either way are taken, those
whose every field closes the quotes that it opens and holds no other field; any other line is read by
itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import polars as pl

from prewarm.logs.formats import fields, layouts, ndjson
from prewarm.logs.formats.layouts import ROW, Layout
from prewarm.logs.formats.remembered import Remembered

FIELDS = {
    "time": "time",
    "msg": "message",
    "http.request.id": "key",
    "http.request.method": "method",
    "http.request.host": "host",
    "http.request.uri": "uri",
    "http.request.remoteaddr": "peer",
    "http.request.useragent": "agent",
    "http.response.status": "status",
    "http.response.written": "bytes",
    "http.response.duration": "took",
    "http.response.contenttype": "media_type",
    "auth.user.name": "user",
}
_LOGSTASH = {"@timestamp": "time", "message": "message"}  # what release 2.x calls them
_MEMBERS = FIELDS | _LOGSTASH
_VARIED = frozenset({"time", "key", "peer", "bytes", "took"})  # of which most lines have their own

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_TOKEN = (  # a field of ours, or a quoted text of another: what is quoted cannot pass for a field
    rf'(?:^| )(?:{"|".join(FIELDS).replace(".", "[.]")})=(?:{_QUOTED}|[^" ]*)|{_QUOTED}'
)
_TOKENS = re.compile(_TOKEN)
_CLOSED = re.compile(rf'(?:[^"]|{_QUOTED})*')
_CUT, _REQUEST = " http.re", "http.re"  # request or response: where most fields of ours begin
_HEAD = "level="  # what stands between the stamp and them
_ENDLESS = 1 << 30
_TEXT_KEY, _JSON_KEY = re.compile(r"[\w.-]+="), re.compile(r'[\w@.-]+":')


def from_text(lines: pl.Series) -> pl.DataFrame:
    """A row a line, a column for each of FIELDS, from text lines; of a repeated key the first counts."""
    return _completed(text_alike(lines), lines, text_alone)


def from_json(lines: pl.Series) -> pl.DataFrame:
    """A row a line, a column for each of FIELDS, from JSON lines; nulls for a line that is no object."""
    return _completed(json_alike(lines), lines, json_alone)


def text_alike(lines: pl.Series) -> pl.DataFrame:
    """Some of the columns of `from_text`, and `row`, for lines that are surely read by their layout."""
    return layouts.read(_cut_text(lines), _text_layout, _mean_text)


def json_alike(lines: pl.Series) -> pl.DataFrame:
    """Some of the columns of `from_json`, and `row`, for lines that are surely read by their layout."""
    return layouts.read(_cut_json(lines), _json_layout, _mean_json)


def _completed(
    quick: pl.DataFrame, lines: pl.Series, slowly: Callable[[pl.Series], pl.DataFrame]
) -> pl.DataFrame:
    """A row a line: those found the quick way, and those that are left read slowly."""
    missing = [pl.lit(None, pl.String).alias(name) for name in FIELDS.values() if name not in quick.columns]
    found = quick.with_columns(missing).select(ROW, *FIELDS.values())
    if found.height < len(lines):
        left = pl.repeat(True, len(lines), eager=True).scatter(found[ROW], False)
        found = pl.concat([found, pl.DataFrame({ROW: left.arg_true()}).hstack(slowly(lines.filter(left)))])
    return (found if found[ROW].is_sorted() else found.sort(ROW)).drop(ROW)


def text_alone(lines: pl.Series) -> pl.DataFrame:
    """As `from_text`, each line by itself."""
    row = pl.int_range(len(lines), dtype=pl.UInt32, eager=True).alias(ROW)
    tokens = (
        pl.DataFrame([row, lines.str.extract_all(_TOKEN).alias("token")])
        .explode("token")
        .select(ROW, pl.col("token").str.strip_chars_start(" ").str.splitn("=", 2).struct.unnest())
        .filter(pl.col("field_0").is_in(list(FIELDS)))
    )
    wide = tokens.pivot(
        "field_0", on_columns=list(FIELDS), index=ROW, values="field_1", aggregate_function="first"
    )
    values = pl.DataFrame([row]).join(wide, on=ROW, how="left", maintain_order="left").drop(ROW)
    return pl.DataFrame([_unquoted(column) for column in values.rename(FIELDS)])


def json_alone(lines: pl.Series) -> pl.DataFrame:
    """As `from_json`, each line by itself."""
    decoded = ndjson.decode(lines, _MEMBERS)
    return decoded.select(
        pl.coalesce(field, *(old for old, new in _LOGSTASH.items() if new == name)).alias(name)
        for field, name in FIELDS.items()
    )


def _unquoted(values: pl.Series) -> pl.Series:
    return fields.unescape(values.str.strip_prefix('"').str.strip_suffix('"'))


def _cut_text(lines: pl.Series) -> pl.DataFrame:
    """The stamp, what stands between it and the first field of the request, each field from there on."""
    pieces = layouts.cut(lines, _CUT)
    head = pieces["field_0"].str.splitn(" ", 2).struct.rename_fields(["stamp", "head"]).struct.unnest()
    return head.hstack(pieces.drop("field_0"))


def _text_layout(line: Sequence[str]) -> Layout | None:
    names = [_TEXT_KEY.match(field) for field in line[2:]]
    if not names or not all(names):
        return None
    keys = ["time=", _HEAD, *(name[0] for name in names if name)]
    return _layout(line, keys, ["time", "message", *(FIELDS.get(_REQUEST + key[:-1]) for key in keys[2:])])


def _mean_text(pieces: pl.DataFrame, layout: Layout) -> pl.DataFrame:
    """Columns of text and `sure`, for lines whose fields begin as the layout says."""
    *names, last = pieces.columns[: len(layout.openings)]
    parts = pieces.select(*names, last)
    if layout.columns[-1] in _VARIED:  # what else the line tells is no part of this value
        end = pl.col(last).str.find(" ", literal=True).fill_null(_ENDLESS)
        parts = parts.with_columns(pl.col(last).str.slice(0, end), pl.col(last).str.slice(end).alias("tail"))
    return _meaning(parts, layout, _TEXT)


def _cut_json(lines: pl.Series) -> pl.DataFrame:
    return layouts.cut(lines, ',"')


def _json_layout(line: Sequence[str]) -> Layout | None:
    names = [_JSON_KEY.match(field) for field in (line[0][2:], *line[1:])]
    if not line[0].startswith('{"') or not all(names):
        return None
    keys = [name[0] for name in names if name]
    return _layout(line, [f'{{"{keys[0]}', *keys[1:]], [_MEMBERS.get(key[:-2]) for key in keys])


def _mean_json(pieces: pl.DataFrame, layout: Layout) -> pl.DataFrame:
    """Columns of text and `sure`, for lines whose members begin as the layout says."""
    names = pieces.columns[: len(layout.openings)]
    last = pl.col(names[-1])
    parts = pieces.select(*names[:-1], pl.when(last.str.ends_with("}")).then(last.str.strip_suffix("}")))
    return _meaning(parts, layout, _JSON)


def _layout(line: Sequence[str], keys: Sequence[str], columns: Sequence[str | None]) -> Layout | None:
    """A layout whose openings hold the quote of values that vary, unless some lines lack it."""
    if _VARIED.issuperset(columns):
        return None
    each = zip(line, keys, columns, strict=True)
    quoted = _VARIED - {"took"}
    return Layout.of(
        [f'{key}"' if name in quoted and field.startswith(f'{key}"') else key for field, key, name in each],
        columns,
    )


def _meaning(parts: pl.DataFrame, layout: Layout, grammar: _Grammar) -> pl.DataFrame:
    """The columns of a layout, and `sure`: values that vary as they stand there, of others what is known."""
    columns = dict(zip(parts.columns, layout.columns, strict=False))
    known = _known(parts.select(name for name in parts.columns if columns.get(name) not in _VARIED), grammar)
    found, sure = grammar.values(tuple(parts.columns), layout)
    told = [each["value"].alias(str(columns[name])) for name, each in known.items() if columns.get(name)]
    if "head" in known:
        told.append(known["head"]["user"])
    surely = pl.all_horizontal(*sure, *(_spread(each["sure"]) for each in known.values()))
    every = [*found, *map(_spread, told), surely.fill_null(False).alias("sure")]
    return parts.with_columns(every).select(each.meta.output_name() for each in every)


def _known(parts: pl.DataFrame, grammar: _Grammar) -> dict[str, pl.DataFrame]:
    """What is known of each column, in one row where it is the same text in all."""
    texts = [part.head(1) if _constant(part) else part for part in parts]
    known = grammar.known.join(pl.concat([text.alias("text") for text in texts]).to_frame())
    ends = accumulate(map(len, texts))
    return {text.name: known.slice(end - len(text), len(text)) for text, end in zip(texts, ends, strict=True)}


def _constant(part: pl.Series) -> bool:
    first = part[0]
    return bool(part[-1] == first and part.eq_missing(first).all())


def _spread(values: pl.Series) -> pl.Expr:
    """The values, or the one that all rows have."""
    return pl.lit(values if len(values) != 1 else values[0], values.dtype).alias(values.name)


@dataclass(frozen=True, slots=True)
class _Grammar:
    """How a value stands in its field. `never`: what one between quotes cannot hold if it means itself.

    `always`: what any other that means itself looks like. `known`: what distinct fields mean.
    """

    never: str
    always: str
    known: Remembered

    @lru_cache(maxsize=64)  # noqa: B019 - there are two grammars, for good
    def values(self, names: tuple[str, ...], layout: Layout) -> tuple[list[pl.Expr], list[pl.Expr]]:
        """Of fields that vary, their values, and whether these mean themselves."""
        found, sure = [], []
        for name, opening, column in zip(names, layout.openings, layout.columns, strict=False):
            if column in _VARIED:
                value, certain = self._value(pl.col(name).str.slice(len(opening)), opening)
                found.append(value.alias(column))
                sure.append(certain)
        return found, sure

    def _value(self, rest: pl.Expr, opening: str) -> tuple[pl.Expr, pl.Expr]:
        if opening.endswith('"'):
            inner = rest.str.strip_suffix('"')
            return inner, rest.str.ends_with('"') & ~inner.str.contains(self.never)
        return rest.str.strip_chars('"'), rest.str.contains(self.always)


def _parts(texts: pl.Series) -> pl.DataFrame:
    """Of distinct parts of text lines: value, user, and whether they tell nothing else of ours."""
    schema = {"value": pl.String, "user": pl.String, "sure": pl.Boolean}
    found = pl.DataFrame([_part(text) for text in texts], schema=schema, orient="row")
    return pl.DataFrame([texts.alias("text"), *map(_unquoted, found[:, :2]), found["sure"]])


def _part(text: str) -> tuple[str | None, str | None, bool]:
    """The value of a field, or the message and the user of a head, and whether that is all."""
    head, tail = text.startswith(_HEAD), text.startswith(" ") or not text
    own = _own(text if tail else f" {text}" if head else f"{_REQUEST}{text}")
    closed = _CLOSED.fullmatch(text) is not None
    if head:
        return own.get("msg"), own.get("auth.user.name"), closed and own.keys() <= {"msg", "auth.user.name"}
    key = _REQUEST + text.partition("=")[0]
    return own.get(key), None, closed and list(own) == ([key] if key in FIELDS and not tail else [])


def _own(text: str) -> dict[str, str]:
    """Fields of ours in a part of a text line, of a repeated one the first."""
    own: dict[str, str] = {}
    for token in _TOKENS.findall(text):
        key, _, value = token.lstrip(" ").partition("=")
        if key in FIELDS:
            own.setdefault(key, value)
    return own


def _members(texts: pl.Series) -> pl.DataFrame:
    """Of distinct members of objects: value and whether that is sure."""
    found = [_member(text.removeprefix('{"')) for text in texts]
    schema = {"value": pl.String, "sure": pl.Boolean}
    return texts.alias("text").to_frame().hstack(pl.DataFrame(found, schema=schema, orient="row"))


def _member(text: str) -> tuple[str | None, bool]:
    """The value of one member as text, and whether every reader of JSON gives the same."""
    try:
        ((key, value),) = json.loads(f'{{"{text}}}', object_pairs_hook=list, parse_constant=list)
        written = text.removeprefix(f'{key}":')
        if isinstance(value, str):
            value.encode()  # a lone surrogate is no text
            return value, written != text
    except (ValueError, RecursionError):
        return None, False
    whole = isinstance(value, int) and abs(value) < 1 << 63 and json.dumps(value) == written
    return (None if value is None else written), value is None or whole


_TEXT = _Grammar(r'["\\ ]', r'^(?:"[^"\\ ]*"|[^"\\ ]*)$', Remembered("text", _parts))
_JSON = _Grammar(
    r'["\\\x00-\x1f]', r'^(?:"[^"\\\x00-\x1f]*"|0|[1-9][0-9]{0,17})$', Remembered("text", _members)
)
