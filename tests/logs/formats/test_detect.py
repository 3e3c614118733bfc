"""Which format a log is in shows in its lines."""

from __future__ import annotations

import polars as pl
import pytest

from prewarm.errors import UnknownFormat, UnreadableInput
from prewarm.logs.formats import Hints, Parsed, combined, detect, fitting, share

ACCESS = '10.0.0.7 - - [24/Nov/2026:08:15:02 +0000] "GET /v2/ HTTP/1.1" 401 87 "" "skopeo/1.9.3"'
APP = 'time="2026-11-24T08:15:02Z" level=info msg="response completed" go.version=go1.27 http.request.id=1'
EVENT = "2026-11-24T08:15:02Z,nginx"


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ([ACCESS], "combined"),
        ([APP], "distribution"),
        ([ACCESS] * 50 + [APP], "distribution"),
        (["timestamp,image", EVENT], "events"),
        (["timestamp,image"], "events"),
        (["", "garbage", ACCESS], "combined"),
        (["panic: x"] * 8 + [APP] * 2, "distribution"),
    ],
)
def test_the_format_that_fits_most_lines_wins(lines: list[str], name: str) -> None:
    """Application lines make a mix Distribution's; noise does not hide a format."""
    assert detect(pl.Series(lines)).name == name


def test_lines_of_no_format_name_the_closest() -> None:
    """One line that says what came closest, if anything did, and what the log starts with."""
    with pytest.raises(UnknownFormat, match=r"of 3 lines none fits any .*'hello'") as caught:
        detect(pl.Series(["hello", "wor\x1bld", "!"]))
    assert "\n" not in str(caught.value)
    with pytest.raises(UnknownFormat, match=r"of 21 lines combined fits 5%.*'hello'"):
        detect(pl.Series(["hello"] * 20 + [ACCESS]))


def test_no_lines_are_no_format() -> None:
    """An empty file says so."""
    with pytest.raises(UnknownFormat, match="no lines"):
        detect(pl.Series([], dtype=pl.String))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("\x1b[36mINFO\x1b[0m[0000] redis not configured", "tty: false"),
        ('10.0.0.7 - "GET /v2/ HTTP/1.1" 401 76 "-" "docker/27" 0.004 0.004 .', "no time"),
    ],
)
def test_known_lines_that_cannot_be_used_say_why(line: str, reason: str) -> None:
    """The reason teaches how to log the time."""
    with pytest.raises(UnreadableInput, match=reason):
        detect(pl.Series([line] * 3))


class _Narrow:
    """A format that fits some of the lines that the combined one fits."""

    name, summary, tells, finished_pulls = "narrow", "", frozenset[str](), False

    def sniff(self, lines: pl.Series) -> float:
        return share(lines.str.contains("skopeo"))

    def refuse(self, lines: pl.Series) -> str | None:
        return None

    def parse(self, lines: pl.DataFrame, hints: Hints) -> Parsed:
        return Parsed()


@pytest.mark.parametrize(("others", "name"), [(0, "narrow"), (4, "narrow"), (9, "combined")])
def test_the_more_specific_of_two_that_fit_wins(others: int, name: str) -> None:
    """Unless it leaves more than half of the lines to the other."""
    lines = pl.Series([ACCESS] * 5 + [ACCESS.replace("skopeo", "crane")] * others)
    assert fitting(lines, [combined.FORMAT, _Narrow()]).format.name == name


def test_a_long_start_up_hides_no_format() -> None:
    """The first lines are looked at first, not only."""
    assert detect(pl.Series(["starting up"] * 600 + [ACCESS] * 400)).name == "combined"
