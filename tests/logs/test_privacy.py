"""Clients and users under pseudonyms."""

from __future__ import annotations

import polars as pl

from prewarm.logs import privacy

KEY = b"0123456789abcdef"


def test_a_pseudonym_is_the_beginning_of_an_hmac() -> None:
    """HMAC-SHA256, test case 2 of RFC 4231."""
    assert privacy.pseudonym(b"Jefe", "what do ya want for nothing?") == "5bdcc146bf60754e"


def test_equal_names_stay_equal_and_nothing_else_changes() -> None:
    """Null stays null; other columns are left alone."""
    rows = pl.DataFrame(
        {
            "client": ["10.0.0.7", "10.0.0.8", "10.0.0.7", None],
            "user": [None, "ci", None, None],
            "tag": ["1"] * 4,
        }
    )
    hidden = privacy.pseudonymous(rows, KEY)
    assert hidden["client"].n_unique() == 3
    assert hidden["client"][0] == hidden["client"][2] != rows["client"][0]
    assert hidden["user"].to_list() == [None, privacy.pseudonym(KEY, "ci"), None, None]
    assert hidden["tag"].equals(rows["tag"])


def test_another_key_gives_other_names() -> None:
    """Without the key nobody can try the few addresses that there are."""
    assert privacy.pseudonym(KEY, "10.0.0.7") != privacy.pseudonym(KEY[::-1], "10.0.0.7")


def test_a_column_of_nulls_stays() -> None:
    """A source that does not tell clients."""
    rows = pl.DataFrame({"client": [None], "user": [None]}, schema={"client": pl.String, "user": pl.String})
    assert privacy.pseudonymous(rows, KEY).equals(rows)
