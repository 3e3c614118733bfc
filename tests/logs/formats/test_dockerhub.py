"""Docker Hub's usage report becomes as many pulls as it counts."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from prewarm.logs import pulls
from prewarm.logs.formats import Hints, Parsed, dockerhub

HEADER = ",".join(dockerhub.COLUMNS)
ROW = "2026/11/24/09,ann,library/nginx,token,203.0.113.12,public,1.27,,2,3"


def parse(*lines: str, header: str | None = HEADER) -> Parsed:
    frame = pl.DataFrame({"offset": range(len(lines)), "line": list(lines)})
    return dockerhub.FORMAT.parse(frame, Hints(header=header))


def rows(parsed: Parsed) -> list[dict[str, Any]]:
    assert parsed.pulls is not None
    return list(pulls.conform(parsed.pulls).iter_rows(named=True))


def test_counts_become_pulls_and_checks() -> None:
    """All at the beginning of their hour, told apart by their keys."""
    found = rows(parse(HEADER, ROW))
    assert [row["kind"] for row in found] == [None] * 3 + ["check"] * 2
    assert len({key for row in found for key in row["keys"]}) == 5
    assert {(row["timestamp"].hour, row["user"], row["client"], row["tag"]) for row in found} == {
        (9, "ann", "203.0.113.12", "1.27")
    }


def test_a_later_report_of_the_same_hour_has_the_same_keys() -> None:
    """Only what it counts more is new."""
    before, after = (
        {key for row in rows(parse(line)) for key in row["keys"]}
        for line in (ROW, ROW.replace(",2,3", ",2,4"))
    )
    assert before < after
    assert len(after - before) == 1


def test_several_addresses_are_no_client() -> None:
    """Which of them pulled is not told."""
    (pull,) = rows(parse(ROW.replace("203.0.113.12", '"203.0.113.12,203.0.113.13"').replace(",2,3", ",0,1")))
    assert pull["client"] is None


def test_columns_are_named_by_the_header() -> None:
    """Any order, others between; without a header they are in the documented one."""
    named = rows(parse("2026/11/24/09,x,1,0,acme/api", header="datehour,new,pulls,version_checks,repository"))
    assert [(row["repository"], row["tag"]) for row in named] == [("acme/api", None)]
    assert len(rows(parse(ROW, header=None))) == 5


@pytest.mark.parametrize(
    ("line", "ignored", "malformed"),
    [
        (HEADER, 1, 0),
        (ROW.replace(",2,3", ",0,0"), 1, 0),
        (ROW.replace("2026/11/24/09", "2026-11-24T09"), 0, 1),
        (ROW.replace("library/nginx", "NOT A NAME"), 0, 1),
        (ROW.replace(",2,3", ",2,-3"), 0, 1),
        (ROW.replace(",2,3", ",2,many"), 0, 1),
        (ROW.replace(",2,3", f",2,{dockerhub.MOST + 1}"), 0, 1),
        (ROW.replace(",2,3", ",2"), 0, 1),
    ],
)
def test_other_lines_are_set_aside(line: str, ignored: int, malformed: int) -> None:
    """Hours without pulls are no pulls, and no count can fill the memory."""
    parsed = parse(line)
    assert rows(parsed) == []
    assert (sum(parsed.ignored.values()), sum(parsed.malformed.values())) == (ignored, malformed)


def test_all_counts_together_are_bounded() -> None:
    """What is beyond is counted as malformed."""
    many = ROW.replace(",2,3", f",0,{dockerhub.MOST}")
    parsed = parse(*[many] * (dockerhub.MOST_AT_ONCE // dockerhub.MOST + 5))
    assert parsed.pulls is not None
    assert parsed.pulls.height == dockerhub.MOST_AT_ONCE
    assert sum(parsed.malformed.values()) == 5
