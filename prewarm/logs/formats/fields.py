"""What the fields of a log line mean, whoever wrote it: escapes, addresses, durations, dashes."""

from __future__ import annotations

import re

import polars as pl

_ESCAPE = re.compile(
    rb'\\(?:x(?P<byte>[0-9A-Fa-f]{2})|u(?P<short>[0-9A-Fa-f]{4})|U(?P<long>[0-9A-Fa-f]{8})|(?P<plain>["\\abfnrtv]))'
)
_UNITS = {"ns": 1e9, "µs": 1e6, "μs": 1e6, "us": 1e6, "ms": 1e3, "s": 1.0}  # the micro sign, the Greek mu
_LONGEST = 1e9  # seconds; a duration beyond thirty years is none
_PLAIN = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def known(value: pl.Expr) -> pl.Expr:
    """Null where a log writes nothing: an empty field or a dash."""
    return pl.when((value == "") | (value == "-")).then(None).otherwise(value)


def shield_quotes(lines: pl.Series) -> pl.Series:
    r"""Lines in which every `"` is a delimiter: `\"` becomes `\x22`, and `\\` becomes `\x5c`.

    The two escapes mean the same to `unescape`, so that a line can be split at quotes. Few lines
    hold an escaped quote; the others are left alone.
    """
    escaped = lines.str.contains(r"\"", literal=True).arg_true()
    if escaped.is_empty():
        return lines
    shielded = (
        lines.gather(escaped)
        .str.replace_all(r"\\", r"\x5c", literal=True)
        .str.replace_all(r"\"", r"\x22", literal=True)
    )
    return lines.clone().scatter(escaped, shielded)


def known_unescaped(values: pl.Series) -> pl.Series:
    """`unescape`, with null for an empty field or a dash."""
    return pl.select(known(pl.lit(unescape(values)))).to_series()


def unescape(values: pl.Series) -> pl.Series:
    r"""Decode the escapes of quoted fields; each distinct value with a backslash is decoded once.

    Go's `%q` and gorilla write `\"`, `\\`, `\n`, `\x1b`, `é`; nginx writes `\x22` and `\xC3\xA9`.
    """
    escaped = values.filter(values.str.contains("\\", literal=True)).unique()
    if escaped.is_empty():
        return values
    return values.replace(escaped, pl.Series([_decode(value) for value in escaped], dtype=pl.String))


def _decode(text: str) -> str:
    return _ESCAPE.sub(_character, text.encode()).decode(errors="replace")


def _character(escape: re.Match[bytes]) -> bytes:
    if escape["byte"]:
        return bytes.fromhex(escape["byte"].decode())
    if escape["plain"]:
        return _PLAIN.get(escape["plain"], escape["plain"])
    point = int(escape["short"] or escape["long"], 16)
    return chr(point if point <= 0x10FFFF else 0xFFFD).encode(errors="replace")


def address(peers: pl.Series) -> pl.Series:
    """The client's address without its port, IPv6 without brackets; the first of a forwarded list.

    `10.0.0.7:41822` gives `10.0.0.7`, `[2001:db8::1]:443` gives `2001:db8::1`, `::1` stays.
    """
    if not peers.str.contains_any([":", ","]).any():
        return pl.select(known(pl.lit(peers))).to_series()
    if peers.str.contains(",", literal=True).any():
        peers = peers.str.splitn(",", 2).struct.field("field_0").str.strip_chars()
    has_port = peers.str.count_matches(":", literal=True) == 1
    bare = peers.str.splitn(":", 2).struct.field("field_0").zip_with(has_port.fill_null(False), peers)
    bracketed = peers.str.starts_with("[").arg_true()
    if len(bracketed):
        inner = peers.gather(bracketed).str.strip_prefix("[").str.splitn("]", 2).struct.field("field_0")
        bare = bare.scatter(bracketed, inner)
    return pl.select(known(pl.lit(bare))).to_series()


def duration(texts: pl.Series) -> pl.Series:
    """Seconds of Go durations: `974.405µs`, `1.5ms`, `2.3s`, `1m2.5s`, `1h0m0.5s`; null for others."""
    unit, scale = pl.Series(list(_UNITS)), pl.Series(list(_UNITS.values()))
    number = texts.str.strip_chars_end("nµμums")
    plain = number.cast(pl.Float64, strict=False)
    suffix = texts.str.slice(number.str.len_chars())
    seconds = plain / suffix.replace_strict(unit, scale, default=None, return_dtype=pl.Float64)
    composite = (seconds.is_null() & texts.is_not_null()).arg_true()
    if len(composite):
        seconds = seconds.scatter(composite, _composite(texts.gather(composite)))
    return seconds.set(~seconds.is_between(0, _LONGEST), None)


def instant(time: pl.Expr) -> pl.Expr:
    """Null for a time that no calendar library holds: before the year 1, after 9999."""
    return pl.when(time.dt.year().is_between(1, 9999)).then(time)


def _composite(texts: pl.Series) -> pl.Series:
    parts = texts.str.extract_groups(r"^(?:(\d+)h)?(?:(\d+)m)?(\d+(?:\.\d+)?)s$").struct.unnest()
    hours, minutes, rest = (part.cast(pl.Float64, strict=False) for part in parts)
    return hours.fill_null(0) * 3600 + minutes.fill_null(0) * 60 + rest


def cache_of(said: pl.Expr) -> pl.Expr:
    """hit or miss of what nginx, CloudFront and Varnish call the outcome."""
    word = said.str.to_lowercase()
    hits = ["hit", "stale", "updating", "revalidated", "refreshhit", "originshieldhit"]
    return (
        pl.when(word.is_in(hits))
        .then(pl.lit("hit"))
        .when(word.is_in(["miss", "expired", "bypass"]))
        .then(pl.lit("miss"))
    )


def took(text: pl.Expr, scale: float = 1.0) -> pl.Expr:
    """Seconds from a number of which `scale` make one; null for what is no number or cannot be a duration."""
    seconds = text.cast(pl.Float64, strict=False) / scale
    return pl.when(seconds.is_between(0, _LONGEST)).then(seconds)


def count(text: pl.Expr) -> pl.Expr:
    """A number of bytes; null for `-`, for -1 and for what does not fit 63 bits."""
    number = text.cast(pl.Int64, strict=False)
    return pl.when(number >= 0).then(number)
