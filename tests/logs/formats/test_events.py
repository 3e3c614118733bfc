"""Finished pulls as CSV and NDJSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewarm.logs import pulls
from prewarm.logs.formats import Hints, Parsed, events

HEADER = "timestamp,image,client,site,bytes,seconds,kind,cache"
ROW = "2026-11-24T08:15:02Z,ghcr.io/acme/api:2.1,10.0.0.7,boise,1500,2.5,layers,miss"


def parse(*lines: str, hints: Hints | None = None) -> Parsed:
    """These lines, parsed; offsets count them."""
    frame = pl.DataFrame({"offset": range(len(lines)), "line": list(lines)})
    return events.FORMAT.parse(frame, hints or Hints())


def rows(parsed: Parsed) -> list[dict[str, Any]]:
    """The pulls, with every column of the table."""
    assert parsed.pulls is not None
    return list(pulls.conform(parsed.pulls).iter_rows(named=True))


def test_one_row_is_one_finished_pull() -> None:
    """Every column of the CSV arrives; what it does not have is null."""
    (pull,) = rows(parse(HEADER, ROW))
    assert pull == dict.fromkeys(pulls.SCHEMA) | {
        "timestamp": datetime(2026, 11, 24, 8, 15, 2, tzinfo=UTC),
        "until": datetime(2026, 11, 24, 8, 15, 2, tzinfo=UTC),
        "site": "boise",
        "client": "10.0.0.7",
        "registry": "ghcr.io",
        "repository": "acme/api",
        "tag": "2.1",
        "kind": "layers",
        "bytes": 1500,
        "seconds": 2.5,
        "status": "ok",
        "cache": "miss",
        "keys": [],
        "provisional": False,
        "offset": 1,
    }


def test_two_columns_are_enough() -> None:
    """Time and image; docker's defaults complete the name."""
    (pull,) = rows(parse("timestamp,image", "2026-11-24T08:15:02Z,nginx"))
    assert (pull["registry"], pull["repository"], pull["tag"]) == ("docker.io", "library/nginx", "latest")
    assert (pull["client"], pull["kind"]) == (None, None)


def test_the_header_names_the_columns() -> None:
    """Any order, other columns between, quotes around."""
    (pull,) = rows(parse('"Image","who","Timestamp"', '"nginx:1","x","2026-11-24T08:15:02Z"'))
    assert (pull["tag"], pull["client"]) == ("1", None)


def test_a_later_chunk_knows_the_header_by_hint() -> None:
    """The header stands in the first chunk of a file only; a repeated one is no row."""
    parsed = parse("nginx:1,2026-11-24T08:15:02Z", "image,timestamp", hints=Hints(header="image,timestamp"))
    assert [pull["tag"] for pull in rows(parsed)] == ["1"]
    assert parsed.ignored == {"the header line": 1}


def test_without_a_header_columns_are_in_the_documented_order() -> None:
    """timestamp, image, client and so on."""
    (pull,) = rows(parse(ROW))
    assert (pull["client"], pull["site"], pull["cache"]) == ("10.0.0.7", "boise", "miss")


def test_ndjson_has_the_same_keys() -> None:
    """Numbers may be numbers."""
    line = json.dumps(dict(zip(HEADER.split(","), ROW.split(","), strict=True)) | {"bytes": 1500})
    (from_json,), (from_csv,) = rows(parse(line)), rows(parse(ROW))
    assert from_json == from_csv


@pytest.mark.parametrize(
    ("written", "zone", "expected"),
    [
        ("2026-11-24T13:45:02+05:30", "UTC", datetime(2026, 11, 24, 8, 15, 2, tzinfo=UTC)),
        ("2026-11-24 08:15:02", "UTC", datetime(2026, 11, 24, 8, 15, 2, tzinfo=UTC)),
        ("2026-11-24 13:45:02.5", "Asia/Kolkata", datetime(2026, 11, 24, 8, 15, 2, 500_000, tzinfo=UTC)),
        ("2026-11-24 08:15:02 UTC", "Asia/Kolkata", datetime(2026, 11, 24, 8, 15, 2, tzinfo=UTC)),
        ("2026-11-24 13:45:02.5+05", "UTC", datetime(2026, 11, 24, 8, 45, 2, 500_000, tzinfo=UTC)),
        ("2026-11-24T08:15Z", "Asia/Kolkata", datetime(2026, 11, 24, 8, 15, tzinfo=UTC)),
        ("2026-11-24 13:45", "Asia/Kolkata", datetime(2026, 11, 24, 8, 15, tzinfo=UTC)),
        ("2026-11-24", "Asia/Kolkata", datetime(2026, 11, 23, 18, 30, tzinfo=UTC)),
        ("1795508102", "Asia/Kolkata", datetime(2026, 11, 24, 8, 15, 2, tzinfo=UTC)),
        ("1795508102123", "UTC", datetime(2026, 11, 24, 8, 15, 2, 123_000, tzinfo=UTC)),
        ("1795508102123456", "UTC", datetime(2026, 11, 24, 8, 15, 2, 123_456, tzinfo=UTC)),
        ("1795508102123456789", "UTC", datetime(2026, 11, 24, 8, 15, 2, 123_456, tzinfo=UTC)),
        ("1.795508102123e12", "UTC", datetime(2026, 11, 24, 8, 15, 2, 123_000, tzinfo=UTC)),
        ("1795508102.25", "UTC", datetime(2026, 11, 24, 8, 15, 2, 250_000, tzinfo=UTC)),
    ],
)
def test_times_are_iso_or_since_1970(written: str, zone: str, expected: datetime) -> None:
    """What has no zone is in the one that the source was given; the size of a number tells its unit."""
    (pull,) = rows(parse(f"{written},nginx", hints=Hints(timezone=zone)))
    assert pull["timestamp"] == expected


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_spreadsheets_separate_as_they_like(separator: str) -> None:
    """Commas, semicolons and tabs, with a header and without one."""
    header, row = "client,timestamp,image,note", "10.0.0.7,2026-11-24T08:15:02Z,nginx:1,x"
    headed = parse(header.replace(",", separator), row.replace(",", separator))
    bare = parse("2026-11-24T08:15:02Z,nginx:1,10.0.0.7".replace(",", separator))
    assert [(pull["client"], pull["tag"]) for pull in rows(headed) + rows(bare)] == [("10.0.0.7", "1")] * 2


@pytest.mark.parametrize(
    ("row", "client"),
    [
        ('"a, ""b""",nginx:1,2026-11-24T08:15:02Z', 'a, "b"'),
        ('"",nginx:1,"2026-11-24T08:15:02Z"', None),
        (',"nginx:1" , "2026-11-24T08:15:02Z"', None),
        ('a"b,nginx:1,2026-11-24T08:15:02Z', 'a"b'),
    ],
)
def test_a_quoted_field_may_hold_the_separator(row: str, client: str | None) -> None:
    """Quotes as RFC 4180 has them, beside rows without any."""
    parsed = parse("client,image,timestamp", ",nginx:1,2026-11-24T08:15:02Z", row)
    assert [(pull["client"], pull["tag"]) for pull in rows(parsed)] == [(None, "1"), (client, "1")]


def test_a_byte_order_mark_and_carriage_returns_are_no_text() -> None:
    """As spreadsheets save them, in the first chunk and in the header that later ones know."""
    first = parse("\ufeffimage;timestamp\r", "nginx:1;2026-11-24T08:15:02Z\r")
    later = parse("nginx:1;2026-11-24T08:15:02Z\r", hints=Hints(header="\ufeffimage;timestamp\r"))
    assert [pull["tag"] for pull in rows(first) + rows(later)] == ["1", "1"]


@pytest.mark.parametrize(
    ("written", "expected"), [("1024.0", 1024), ("1e3", 1000), ("-1", None), ("", None), ("-", None)]
)
def test_bytes_may_be_written_as_a_float(written: str, expected: int | None) -> None:
    """As warehouses export a column that holds nulls; -1 and a blank are unknown."""
    (pull,) = rows(parse(f"2026-11-24T08:15:02Z,nginx,,,{written}"))
    assert pull["bytes"] == expected


def test_a_header_may_name_more_columns() -> None:
    """User, agent and a native id, which tells two exports of one pull."""
    (pull,) = rows(parse("key,user,agent,image,timestamp", "k1,ann,docker/27,nginx,2026-11-24T08:15:02Z"))
    assert (pull["keys"], pull["user"], pull["agent"]) == (["k1"], "ann", "docker/27")


@pytest.mark.parametrize(
    "line",
    [
        "yesterday,nginx",
        "2026-11-24T08:15:02Z",
        "2026-11-24T08:15:02Z,NOT AN IMAGE",
        "2026-11-24T08:15:02Z,nginx,,,many",
        "2026-11-24T08:15:02Z,nginx,,,nan",
        "2026-11-24T08:15:02Z,nginx,,,1e30",
        "2026-11-24T08:15:02Z,nginx,,,,inf",
        "1e19,nginx",
        "2026-11-24T08:15:02Z,nginx,,,,,download",
        "2026-11-24T08:15:02Z,nginx,,,,,,maybe",
        "1e300,nginx",
        "nan,nginx",
        '{"timestamp":"2026-11-24T08:15:02Z"}',
        '{"timestamp":"2026-11-24T08:1',
    ],
)
def test_bad_rows_are_malformed(line: str) -> None:
    """A row that cannot be one pull is counted, the next one is read."""
    parsed = parse(line, ROW)
    assert sum(parsed.malformed.values()) == 1
    assert len(rows(parsed)) == 1


@pytest.mark.parametrize(
    "line",
    [
        '"2026-11-24 08:15:02+00";nginx',
        "\ufeff1795508102,nginx",
        " 1.795508102e9 ,nginx",
        "2026-11-24\tnginx",
        "2026-11-24 08:15:02 UTC,nginx",
        '{"image":"nginx","timestamp":"2026-11-24T08:15:02Z"}',
        '{"im\\u0061ge":"nginx","t\\u0069mestamp":"2026-11-24T08:15:02Z"}',
    ],
)
def test_whatever_is_read_is_told_by_a_sniff(line: str) -> None:
    """Before anything is parsed, only lines that cannot be pulls are passed over."""
    assert len(rows(parse(line))) == 1
    assert events.FORMAT.sniff(pl.Series([line])) == 1


def test_sniffing_counts_the_rows_that_are_pulls() -> None:
    """The header is no row; access lines are none."""
    assert events.FORMAT.sniff(pl.Series([HEADER, ROW, "bad"])) == 0.5
    assert (
        events.FORMAT.sniff(pl.Series(['::1 - - [24/Nov/2026:08:15:02 +0000] "GET / HTTP/1.1" 200 1'])) == 0
    )


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_any_bytes_are_survived(raw: list[bytes]) -> None:
    """Nothing raises, and a good row beside them is read."""
    noise = [line.decode(errors="replace").replace("\n", " ") for line in raw]
    parsed = parse(ROW, *noise)
    assert rows(parsed)[0]["tag"] == "2.1"


def test_without_a_header_every_row_counts() -> None:
    """The first row is data like the others, and so are rows that equal it."""
    lines = ["2026-11-24T08:15:02Z,nginx:1", "2026-11-24T08:15:02Z,nginx:1", "2026-11-24T08:16:00Z,nginx:2"]

    parsed = parse(*lines, hints=Hints(header=lines[0]))

    assert [pull["tag"] for pull in rows(parsed)] == ["1", "1", "2"]
    assert parsed.ignored == {}
