"""Remembered: columns that follow from distinct texts, worked out once."""

import polars as pl

from prewarm.logs.formats import remembered
from prewarm.logs.formats.remembered import Remembered


class Lengths:
    """Work that counts how often it was asked about each text."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: pl.Series) -> pl.DataFrame:
        self.asked += texts.to_list()
        return pl.DataFrame({"text": texts, "length": texts.str.len_bytes()}).reverse()


def frame(*texts: str | None) -> pl.DataFrame:
    return pl.DataFrame(
        {"text": texts, "row": range(len(texts))}, schema={"text": pl.String, "row": pl.Int64}
    )


def test_every_row_gets_what_its_text_means_and_rows_keep_their_order() -> None:
    known = Remembered("text", Lengths())
    assert known.join(frame("bb", "a", "bb", "ccc"))["length"].to_list() == [2, 1, 2, 3]
    assert known.join(frame("dddd", "ccc", "a"))["length"].to_list() == [4, 3, 1]


def test_a_text_is_worked_out_once_however_often_it_comes() -> None:
    work = Lengths()
    known = Remembered("text", work)
    for texts in (("a", "b", "a"), ("b", "c"), ("c", "a")):
        known.join(frame(*texts))
    assert work.asked == ["a", "b", "c"]


def test_a_null_stands_for_nulls_also_before_anything_is_known() -> None:
    known = Remembered("text", Lengths())
    assert known.join(frame(None, None))["length"].to_list() == [None, None]
    assert known.join(frame("a", None))["length"].to_list() == [1, None]


def test_an_empty_frame_gets_its_columns() -> None:
    assert Remembered("text", Lengths()).join(frame()).columns == ["text", "row", "length"]


def test_ever_new_texts_are_forgotten_and_still_right() -> None:
    known = Remembered("text", Lengths())
    many = [f"{n:>{n % 9 + 6}}" for n in range(remembered.MOST_TEXTS + 10)]
    for _ in range(2):
        joined = known.join(frame(*many))
        assert joined["length"].to_list() == [len(text) for text in many]


def test_long_texts_are_forgotten_sooner_since_memory_is_bounded_in_bytes() -> None:
    work = Lengths()
    known = Remembered("text", work)
    long = "x" * (remembered.MOST_BYTES + 1)
    for text in ("a", long, "a"):
        assert known.join(frame(text))["length"].to_list() == [len(text)]
    assert work.asked == ["a", long, "a"]
