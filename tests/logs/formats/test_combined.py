"""Combined and common access lines."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewarm.logs import accesses
from prewarm.logs.formats import Hints, Parsed, clean, combined

STAMP = "24/Nov/2026:08:15:02 +0000"
LINE = f'10.0.0.7 - ci [{STAMP}] "GET /v2/acme/api/manifests/2.1 HTTP/1.1" 200 517 "-" "containerd/1.7"'


def parse(*lines: str) -> Parsed:
    """These lines, parsed; offsets count them."""
    return combined.FORMAT.parse(pl.DataFrame({"offset": range(len(lines)), "line": list(lines)}), Hints())


def only(line: str) -> dict[str, Any]:
    """The one access of a line."""
    (row,) = parse(line).accesses.iter_rows(named=True)
    return row


def test_every_field_of_a_line() -> None:
    """What the line says, and null for what it does not say."""
    assert only(LINE) == dict.fromkeys(accesses.SCHEMA) | {
        "timestamp": datetime(2026, 11, 24, 8, 15, 2, tzinfo=UTC),
        "client": "10.0.0.7",
        "user": "ci",
        "agent": "containerd/1.7",
        "method": "GET",
        "repository": "acme/api",
        "reference": "2.1",
        "object": "manifest",
        "status": 200,
        "bytes": 517,
        "family": "access",
        "offset": 0,
    }


def test_stamps_are_utc() -> None:
    """A zone in the stamp is honoured."""
    moved = LINE.replace("08:15:02 +0000", "13:45:02 +0530")
    assert only(moved)["timestamp"] == datetime(2026, 11, 24, 8, 15, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fraction", "microseconds"), [(".123", 123_000), (",5", 500_000), (".123456789", 123_456)]
)
def test_stamps_may_be_finer_than_a_second(fraction: str, microseconds: int) -> None:
    """As Apache writes them on demand; truncated, and lines with and without keep their order."""
    finer = LINE.replace("08:15:02", f"08:15:02{fraction}")
    parsed = parse(LINE, finer, "noise", LINE)
    at = datetime(2026, 11, 24, 8, 15, 2, tzinfo=UTC)
    assert parsed.accesses["timestamp"].to_list() == [at, at.replace(microsecond=microseconds), at]
    assert parsed.unread.to_list() == [2]


@pytest.mark.parametrize(
    ("stamp", "microseconds"),
    [
        ("2026-11-24T08:15:02+00:00", 0),
        ("2026-11-24T13:45:02.5+05:30", 500_000),
        ("2026-11-24T08:15:02Z", 0),
        ("1795508102.311", 311_000),
    ],
)
def test_stamps_may_be_iso_or_seconds(stamp: str, microseconds: int) -> None:
    """`$time_iso8601` and `$msec` of nginx, in the place of `$time_local`."""
    line = LINE.replace(STAMP, stamp)
    at = datetime(2026, 11, 24, 8, 15, 2, microseconds, tzinfo=UTC)
    assert only(line) == only(LINE) | {"timestamp": at}
    assert combined.FORMAT.sniff(pl.Series([line, "noise"])) == 0.5


@pytest.mark.parametrize("stamp", ["2026-13-24T08:15:02Z", "24/Foo/2026:08:15:02.5 +0000"])
def test_another_stamp_that_is_no_date_is_malformed(stamp: str) -> None:
    """It is not taken for the day that stands in for it."""
    parsed = parse(LINE.replace(STAMP, stamp))
    assert (len(parsed.accesses), sum(parsed.malformed.values())) == (0, 1)


@pytest.mark.parametrize("peer", ["10.0.0.7", "10.0.0.7:41822", "10.0.0.7:443"])
@pytest.mark.parametrize("forwarded", ["", ' "10.0.0.7"', ' "10.0.0.7:5123, 172.16.0.1:80"'])
def test_a_client_has_no_port(peer: str, forwarded: str) -> None:
    """Else every connection would be a client of its own; also where lines are scanned from bytes."""
    line = LINE.replace("10.0.0.7", peer) + forwarded
    assert only(line)["client"] == "10.0.0.7"
    scanned = combined.FORMAT.scan(f"{line}\n".encode(), 0)
    assert scanned is not None
    assert scanned[0].accesses["client"].to_list() == ["10.0.0.7"]


def test_an_address_of_version_6_loses_brackets_and_port() -> None:
    """`[$remote_addr]:$remote_port` of nginx."""
    for peer in ("2001:db8::7", "[2001:db8::7]", "[2001:db8::7]:41822"):
        assert only(LINE.replace("10.0.0.7", peer))["client"] == "2001:db8::7"


def test_identd_may_have_told_a_name() -> None:
    """The second field is nearly always a dash; what a shipper put before a line is no client."""
    assert only(LINE.replace("- ci", "ident ci")) == only(LINE)
    assert parse(LINE.replace("10.0.0.7 - ci", "web-1 10.0.0.7 ci")).accesses.is_empty()
    for prefix in ("web-1 | ", "ns reg-0 registry ", "Nov 24 08:15:02 host nginx: "):
        assert parse(prefix + LINE).accesses.is_empty()


def test_the_common_format_has_no_agent() -> None:
    """Without referer and agent the line is still whole."""
    row = only(LINE.split(' "-"')[0])
    assert (row["status"], row["bytes"], row["agent"]) == (200, 517, None)


@pytest.mark.parametrize("agent", ["", "-"])
def test_an_agent_that_says_nothing_is_null(agent: str) -> None:
    """gorilla writes nothing, nginx a dash."""
    assert only(LINE.replace("containerd/1.7", agent))["agent"] is None


@pytest.mark.parametrize("size", ["-", "-1", "9" * 25])
def test_unknown_sizes_are_null(size: str) -> None:
    """A size that is unknown, or that no file can have, costs the size only."""
    assert only(LINE.replace(" 517 ", f" {size} "))["bytes"] is None


def test_a_forwarded_client_wins() -> None:
    """nginx's main format ends with X-Forwarded-For; its first address is the client."""
    assert only(f'{LINE} "192.0.2.9, 10.1.1.1"')["client"] == "192.0.2.9"
    assert only(f'{LINE} "-"')["client"] == "10.0.0.7"


@pytest.mark.parametrize(
    ("rest", "cache", "seconds"),
    [
        ("HIT", "hit", None),
        ('"MISS"', "miss", None),
        ("EXPIRED 0.204", "miss", 0.204),
        ("0.012 STALE", "hit", 0.012),
        ('"192.0.2.9" REVALIDATED 1.500', "hit", 1.5),
        ('"-" rt=0.250 uct="0.000" urt="0.249" cs=MISS', "miss", 0.25),
        ("request_time=2.125 cache:HIT", "hit", 2.125),
        ("hit", "hit", None),
        ("- 0.003 0.002", None, 0.003),
        ('"https://miss.example.org/HIT"', None, None),
        ("1764000000.123", None, None),
    ],
)
def test_the_outcome_of_a_cache_and_the_time_it_took(
    rest: str, cache: str | None, seconds: float | None
) -> None:
    """Operators append `$upstream_cache_status` and `$request_time`, bare, quoted or named."""
    row = only(f"{LINE} {rest}")
    assert (row["cache"], row["seconds"], row["agent"]) == (cache, seconds, "containerd/1.7")
    scanned = combined.FORMAT.scan(f"{LINE} {rest}\n{LINE}\n".encode(), 0)
    assert scanned is None or scanned[0].accesses.row(0, named=True) == row


def test_unknown_trailing_fields_are_tolerated() -> None:
    """Whatever an operator appended is left alone."""
    row = only(f'{LINE} 181 "registry@docker" "http://172.19.0.3:5000" 12ms')
    assert (row["client"], row["seconds"]) == ("10.0.0.7", None)


def test_carriage_returns_and_a_byte_order_mark_are_dropped() -> None:
    """A file that went through Windows reads the same."""
    assert (
        parse("\ufeff" + LINE + "\r", LINE + "\r").accesses.select("client", "agent").rows()
        == [("10.0.0.7", "containerd/1.7")] * 2
    )


def test_nuls_of_a_truncated_file_are_skipped() -> None:
    """copytruncate leaves NULs where the writer's offset was."""
    assert only("\0" * 50 + LINE)["client"] == "10.0.0.7"


@pytest.mark.parametrize(
    ("request_line", "reason"),
    [
        (r"\x16\x03\x01\x00\xDE\x01'b\xAC", "not an HTTP request"),
        ("<BADREQ>", "not an HTTP request"),
        ("-", "not an HTTP request"),
        ("GET /metrics HTTP/1.1", "outside the registry API"),
    ],
)
def test_other_requests_are_ignored_not_malformed(request_line: str, reason: str) -> None:
    """They fit the grammar and are no registry requests."""
    parsed = parse(LINE.replace("GET /v2/acme/api/manifests/2.1 HTTP/1.1", request_line))
    assert (parsed.ignored, parsed.malformed, parsed.accesses.height) == ({reason: 1}, {}, 0)


@pytest.mark.parametrize(
    "line",
    [
        "done",
        LINE[:60],
        LINE.replace(" 200 ", " ok "),
        LINE.replace("- ci", "ci"),
        LINE.replace("24/Nov", "31/Feb"),
        LINE.replace(" 200 517 ", " 99999 517 "),
        f"goroutine 1 [running]: {LINE[:20]}",
    ],
)
def test_what_fits_no_grammar_is_malformed_with_an_example(line: str) -> None:
    """Counted under a reason, with the line."""
    parsed = parse(line, LINE)
    assert list(parsed.malformed.values()) == [1]
    assert parsed.examples[next(iter(parsed.malformed))] == line[:200]
    assert parsed.accesses.height == 1


APP = (
    'time="2026-11-24T08:15:03Z" level=info msg="response completed" http.request.id=1 '
    'http.request.method=GET http.request.remoteaddr="10.0.0.9:41822" '
    'http.request.uri="/v2/acme/api/manifests/2.2" http.response.status=200'
)
APP_JSON = (
    '{"http.request.id":"2","http.request.method":"GET","http.request.uri":"/v2/acme/api/manifests/2.3",'
    '"http.response.status":200,"level":"info","msg":"response completed","time":"2026-11-24T08:15:04Z"}'
)


@pytest.mark.parametrize("most", [1, 20])
def test_application_lines_that_come_late_are_read(most: int) -> None:
    """A registry may begin to write them when its first lines have told the format."""
    lines = [*[LINE] * most, APP, "time=oops", APP_JSON, LINE]
    parsed = parse(*lines)
    assert parsed.accesses["reference"].to_list() == ["2.1"] * most + ["2.2", "2.3", "2.1"]
    assert parsed.accesses["family"].to_list() == ["access"] * most + ["app", "app", "access"]
    assert parsed.malformed == {"not an access line": 1}
    data = "".join(f"{line}\n" for line in lines).encode()
    scanned = combined.FORMAT.scan(data, 0)
    assert (scanned is None) == (most == 1)
    if scanned:
        assert scanned[0].accesses.drop("offset").equals(parsed.accesses.drop("offset"))


def test_examples_are_printable() -> None:
    """A hostile line never reaches a terminal raw, nor at length."""
    (example,) = parse("\x1b[2J\x07evil" + "x" * 5000).examples.values()
    assert example.isprintable()
    assert len(example) <= 200


def test_empty_lines_are_neither() -> None:
    """They are not counted at all."""
    parsed = parse("", "   ", LINE)
    assert (parsed.accesses.height, parsed.ignored, parsed.malformed) == (1, {}, {})


def test_lines_without_a_time_are_refused_with_the_reason() -> None:
    """Harbor's nginx on a bare stdout prints no time; none is invented."""
    timeless = pl.Series(['10.0.0.7 - "GET /v2/ HTTP/1.1" 401 76 "-" "docker/27" 0.004 0.004 .'] * 3)
    assert "no time" in (combined.FORMAT.refuse(timeless) or "")
    assert combined.FORMAT.refuse(pl.Series([LINE])) is None


@pytest.mark.parametrize("year", [1970, 2099])
def test_far_dates_are_read(year: int) -> None:
    """A clock that is wrong is not our error."""
    assert only(LINE.replace("2026", str(year)))["timestamp"].year == year


@given(st.lists(st.one_of(st.binary(max_size=80), st.just(LINE.encode())), max_size=8), st.integers(0, 130))
def test_any_bytes_are_accounted_for(raw: list[bytes], cut: int) -> None:
    """No bytes raise; every line that is not empty is an access, ignored or malformed."""
    lines = [line.decode(errors="replace").replace("\n", " ") for line in raw] + [LINE[:cut]]
    kept = clean(pl.DataFrame({"offset": range(len(lines)), "line": lines})).height
    parsed = parse(*lines)
    assert parsed.accesses.height + sum(parsed.ignored.values()) + sum(parsed.malformed.values()) == kept


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0", exclude_categories=["Cs"]))
_NAME = st.from_regex(r"[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,2}", fullmatch=True)


@given(
    second=st.integers(0, 4_000_000_000),
    repository=_NAME,
    tag=st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True),
    agent=_TEXT,
    status=st.integers(100, 599),
    size=st.integers(0, 2**62),
)
def test_a_rendered_access_is_parsed_back(
    second: int, repository: str, tag: str, agent: str, status: int, size: int
) -> None:
    """What gorilla writes of a request gives that request."""
    escaped = agent.replace("\\", "\\\\").replace('"', '\\"')
    when = datetime.fromtimestamp(second, UTC)
    stamp = f"{when:%d/%b/%Y:%H:%M:%S} +0000"
    path = f"/v2/{repository}/manifests/{tag}"
    row = only(f'::1 - - [{stamp}] "HEAD {path} HTTP/1.1" {status} {size} "" "{escaped}"')
    assert row["timestamp"] == when
    assert (row["repository"], row["reference"], row["method"]) == (repository, tag, "HEAD")
    assert (row["status"], row["bytes"], row["client"]) == (status, size, "::1")
    assert row["agent"] == (agent if agent not in {"", "-"} else None)
