"""Clients and users under names that only who holds the key can find again (HMAC, RFC 2104)."""

from __future__ import annotations

import hmac

import polars as pl

DIGITS = 16
"""Hexadecimal digits kept: 64 bits, by which a million clients collide once in 10^7 lakes."""


def pseudonym(key: bytes, name: str) -> str:
    """HMAC-SHA256 of `name`, its first DIGITS digits: equal names stay equal, under one key."""
    return hmac.digest(key, name.encode(), "sha256").hex()[:DIGITS]


def pseudonymous(rows: pl.DataFrame, key: bytes) -> pl.DataFrame:
    """`rows` with the columns `client` and `user` under pseudonyms; each distinct name is hashed once."""
    return rows.with_columns(_hashed(rows[column], key) for column in ("client", "user"))


def _hashed(names: pl.Series, key: bytes) -> pl.Series:
    known = names.drop_nulls().unique()
    if known.is_empty():
        return names
    return names.replace_strict(known, pl.Series([pseudonym(key, name) for name in known]), default=None)
