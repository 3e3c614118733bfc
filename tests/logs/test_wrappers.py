"""What shippers put around a line is peeled, from the outside in."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewarm.logs import detection, wrappers
from prewarm.logs.formats import Hints, registered

INNER = '10.0.0.7 - - [24/Nov/2026:08:15:02 +0000] "GET /v2/ HTTP/1.1" 401 87 "" "skopeo/1.9.3"'
APP = 'time="2026-11-24T08:15:02Z" level=info msg="response completed" go.version=go1.27 http.request.id=1'
HINTS = Hints("Asia/Kolkata", written=datetime(2026, 11, 24, 12, tzinfo=UTC))
AT = "2026-11-24T09:15:02.311204118Z"
WHEN = datetime(2026, 11, 24, 9, 15, 2, 311204, tzinfo=UTC)
WRAPPED = {
    "docker-json-file": json.dumps({"log": INNER + "\n", "stream": "stdout", "time": AT}),
    "cri": f"{AT} stdout F {INNER}",
    "journald": json.dumps(
        {"__CURSOR": "s=1", "MESSAGE": INNER, "__REALTIME_TIMESTAMP": f"{WHEN.timestamp() * 1e6:.0f}"}
    ),
    "loki": json.dumps({"labels": {"app": "registry"}, "line": INNER, "timestamp": AT}),
    "vector": json.dumps({"message": INNER, "source_type": "file", "timestamp": AT}),
    "filebeat": json.dumps({"@timestamp": AT, "@metadata": {}, "log": {"offset": 1}, "message": INNER}),
    "fluentbit": json.dumps({"date": 1795511702.311204, "log": INNER}),
    "json": json.dumps({"textPayload": INNER, "timestamp": AT}),
    "svlogd": f"2026-11-24_09:15:02.311204 {INNER}",
}


def frame(*lines: str) -> pl.DataFrame:
    """These lines; offsets count them."""
    return pl.DataFrame(
        {"offset": range(len(lines)), "line": list(lines)}, schema_overrides={"line": pl.String}
    )


def peel(chain: wrappers.Chain, *lines: str, hints: Hints = HINTS) -> list[dict[str, Any]]:
    """What is inside."""
    return list(wrappers.peel(frame(*lines), chain, hints).iter_rows(named=True))


def detected(*lines: str) -> tuple[str, wrappers.Chain]:
    """Name of the format, and the wrappers."""
    format, chain = detection.detect(pl.Series(list(lines)), HINTS, registered())
    return format.name, chain


@pytest.mark.parametrize("name", WRAPPED)
def test_every_wrapper_is_told_and_peeled(name: str) -> None:
    """The line is what it was, the wrapper's time stands beside it."""
    assert detected(WRAPPED[name]) == ("combined", (name,))
    (row,) = peel((name,), WRAPPED[name])
    assert row["line"] == INNER
    assert abs(row["stamp"] - WHEN).total_seconds() < 0.000002


@pytest.mark.parametrize(
    ("line", "stamp"),
    [
        ("<30>Nov 24 09:15:02 proxy[1187]: ", "2026-11-24T03:45:02"),  # docker's driver, local time
        ("Nov 24 09:15:02 host1 proxy[1187]: ", "2026-11-24T03:45:02"),
        ("Nov 24 09:15:02.311204 host1 proxy: ", "2026-11-24T03:45:02.311204"),
        ("Nov  4 09:15:02 172.18.0.1 proxy[1187]: ", "2026-11-04T03:45:02"),
        ("2026-11-24T09:15:02+0000 vm proxy[1]: ", "2026-11-24T09:15:02"),
        ("2026-11-24T09:15:02.311204+01:00 vm proxy[1]: ", "2026-11-24T08:15:02.311204"),
        ("Tue 2026-11-24 09:15:02 UTC vm proxy[1]: ", "2026-11-24T09:15:02"),
        ("Tue 2026-11-24 09:15:02 IST vm proxy[1]: ", "2026-11-24T03:45:02"),
        ("1795511702.311204 vm proxy[1]: ", "2026-11-24T09:15:02.311204"),
        ("<30>Nov 24 09:15:02 nginx:1.25/proxy[1187]: ", "2026-11-24T03:45:02"),
        ("<30>1 2026-11-24T09:15:02Z host1 registry 1187 registry - ", "2026-11-24T09:15:02"),
        ('<30>1 2026-11-24T09:15:02.3Z h r 1 - [a@1 b="c\\"]"][d] ', "2026-11-24T09:15:02.3"),
    ],
)
def test_syslog_in_all_its_forms(line: str, stamp: str) -> None:
    """Stamps without a zone are the source's, without a year the latest before the file was written."""
    assert detected(line + INNER) == ("combined", ("syslog",))
    (row,) = peel(("syslog",), line + INNER)
    assert row["line"] == INNER
    assert row["stamp"] == datetime.fromisoformat(stamp).replace(tzinfo=UTC)


def test_a_year_begins_between_two_lines() -> None:
    """Also where the file was copied, and so says that it was written later."""
    lines = [f"{day} 23:59:59 h p: x" for day in ("Dec 30", "Dec 31", "Jan  1", "Jan  2")]
    for written in (datetime(2026, 1, 2, 23, 59, 59, tzinfo=UTC), datetime(2026, 12, 31, 12, tzinfo=UTC)):
        years = [row["stamp"].year for row in peel(("syslog",), *lines, hints=Hints(written=written))]
        assert years == [2025, 2025, 2026, 2026]


def test_a_line_of_last_december_in_a_file_of_january() -> None:
    """Alone, too, it is no line of the future; a little ahead of the file is a clock that differs."""
    written = datetime(2026, 1, 3, tzinfo=UTC)
    for stamp, year in (("Dec 31 23:59:59", 2025), ("Jan  3 12:00:00", 2026), ("Feb 29 12:00:00", 2024)):
        (row,) = peel(("syslog",), f"{stamp} h p: x", hints=Hints(written=written))
        assert row["stamp"].year == year


def test_no_year_is_invented() -> None:
    """Without the file's time there is no stamp."""
    (row,) = peel(("syslog",), "Nov 24 09:15:02 h p: x", hints=Hints())
    assert row["stamp"] is None


@pytest.mark.parametrize(
    "stamp", [AT, 1795511702.311204, 1795511702311.204, 1795511702311204, "1795511702311204118"]
)
@pytest.mark.parametrize("key", ["log", "message", "MESSAGE", "line", "textPayload", "_raw"])
def test_collectors_that_nobody_named(stamp: object, key: str) -> None:
    """An object with a text that some format fits, and a time in any unit."""
    line = json.dumps({"host": "a", key: INNER, "@timestamp": stamp, "tags": ["x"]})
    assert detected(line) == ("combined", ("json",))
    (row,) = peel(("json",), line)
    assert row["line"] == INNER
    assert abs(row["stamp"] - WHEN).total_seconds() < 0.00001


def test_an_hour_that_clocks_repeat() -> None:
    """Its second time shows by stamps that go back."""
    lines = [
        f"Oct 25 {at} h p: x"
        for at in ("01:59:58", "02:30:00", "02:59:59", "02:00:01", "02:30:00", "03:00:00")
    ]
    hints = Hints("Europe/Berlin", written=datetime(2026, 10, 26, tzinfo=UTC))
    stamps = [row["stamp"].strftime("%d %H:%M:%S") for row in peel(("syslog",), *lines, hints=hints)]
    assert stamps == [
        "24 23:59:58",
        "25 00:30:00",
        "25 00:59:59",
        "25 01:00:01",
        "25 01:30:00",
        "25 02:00:00",
    ]


def test_repeated_messages_are_as_many_lines() -> None:
    """What rsyslog folds is unfolded, at the same place."""
    rows = peel(
        ("syslog",), "Nov 24 09:15:02 h p[1]: message repeated 2 times: [ a line]", "Nov 24 09:15:03 h p: b"
    )
    assert [(row["offset"], row["line"]) for row in rows] == [(0, "a line"), (0, "a line"), (1, "b")]


def test_a_repetition_that_no_log_has_is_bounded() -> None:
    """A line cannot fill the memory."""
    rows = peel(("syslog",), "Nov 24 09:15:02 h p[1]: message repeated 999999999 times: [ a line]")
    assert len(rows) == 100_000


@pytest.mark.parametrize(
    "prefix",
    [
        "registry-1  | ",
        "registry_registry.1.8x2k1p0q9abc@node2    | ",
        "\x1b[36mregistry-1  | \x1b[0m",
        f"[pod/registry-0/registry] {AT} ",
        "[pod/registry-0/registry] ",
        "registry-0 registry ",
        "registry-0 registry › ",
        "infra registry-0 registry ",
        f'{AT} {{app="registry", pod="registry-0"}} ',
        f"{AT} ",
        f"<6>{AT} ",
        f"registry-1 | {AT} ",
    ],
)
def test_prefixes_of_compose_swarm_kubectl_and_stern(prefix: str) -> None:
    """With time stamps or without."""
    assert detected(prefix + INNER) == ("combined", ("prefix",))
    (row,) = peel(("prefix",), prefix + INNER)
    assert row["line"] == INNER
    assert row["stamp"] == (WHEN if AT in prefix else None)


def test_wrappers_around_wrappers() -> None:
    """From the outside in; the innermost time is the one that counts."""
    syslog = f"<30>Nov 24 09:15:02 proxy[1]: {INNER}"
    cri = f"2026-11-24T09:15:09Z stdout F {syslog}"
    vector = json.dumps({"message": cri, "source_type": "file", "timestamp": "2026-11-24T09:15:11Z"})
    assert detected(vector) == ("combined", ("vector", "cri", "syslog"))
    (row,) = peel(("vector", "cri", "syslog"), vector)
    assert (row["line"], row["stamp"]) == (INNER, datetime(2026, 11, 24, 3, 45, 2, tzinfo=UTC))


def test_a_line_that_the_wrapper_does_not_fit_stays() -> None:
    """It is the format that says what is wrong with it."""
    for name in wrappers.WRAPPERS:
        assert [row["line"] for row in peel((name,), "panic: x", "", '{"cut')] == ["panic: x", "", '{"cut']


def test_messages_as_bytes() -> None:
    """journald prints what is no UTF-8 as an array."""
    line = json.dumps({"MESSAGE": list(INNER.encode()), "__REALTIME_TIMESTAMP": "1"})
    assert [row["line"] for row in peel(("journald",), line)] == [INNER]


def pieces(text: str, stream: str = "stdout") -> list[str]:
    """A line that docker cut in two."""
    half = len(text) // 2
    parts = (text[:half], text[half:] + "\n")
    return [json.dumps({"log": part, "stream": stream, "time": AT}) for part in parts]


def test_cut_lines_are_joined_stream_by_stream() -> None:
    """Lines of the other stream may come between; the place is that of the first piece."""
    (a, b), (c, d) = pieces(INNER), pieces(APP, "stderr")
    rows = peel(("docker-json-file",), WRAPPED["docker-json-file"], a, c, b, d)
    assert [(row["offset"], row["line"]) for row in rows] == [(0, INNER), (1, INNER), (2, APP)]
    rows = peel(("cri",), f"{AT} stdout P {INNER[:9]}", f"{AT} stderr F {APP}", f"{AT} stdout F {INNER[9:]}")
    assert [(row["offset"], row["line"]) for row in rows] == [(0, INNER), (1, APP)]


def test_what_goes_on_after_a_chunk_is_told() -> None:
    """By where it begins, however many lines of the other stream follow."""
    whole, (a, b), (c, _) = WRAPPED["docker-json-file"], pieces(INNER), pieces(APP, "stderr")

    def rest(*lines: str) -> list[str]:
        data = "".join(f"{line}\n" for line in lines).encode()
        return data[wrappers.unfinished(data, ("docker-json-file",)) :].decode().splitlines()

    assert rest(whole, a, b) == []
    assert rest(whole, a) == [a]
    assert rest(whole, a, c) == [a, c]
    assert rest(whole, c, whole, whole) == [c, whole, whole]
    assert rest(a, b, c) == [c]


def test_what_goes_on_is_told_inside_other_wrappers_too() -> None:
    """A collector ships the pieces that the runtime cut as records of its own."""
    (a, b), (c, _) = pieces(INNER), pieces(APP, "stderr")
    chain = ("fluentbit", "docker-json-file")

    def rest(*lines: str) -> list[str]:
        data = "".join(json.dumps({"date": 1.5, "log": line}) + "\n" for line in lines).encode()
        kept = data[wrappers.unfinished(data, chain) :].decode().splitlines()
        return [json.loads(line)["log"] for line in kept]

    assert wrappers.cuts(chain)
    assert rest(a, b) == []
    assert rest(a, b, a) == [a]
    assert rest(a, c, b) == [c, b]


TEXT = st.lists(
    st.sampled_from([*WRAPPED.values(), *pieces(INNER), "<30>", INNER, "Nov 24 09:15:02 ", "[", "{", '"'])
)


@given(st.lists(TEXT.map("".join) | st.text(), max_size=6), st.sampled_from(list(wrappers.WRAPPERS)))
def test_any_lines_are_peeled(lines: list[str], name: str) -> None:
    """Nothing is raised and no line is lost, but pieces are joined."""
    peeled = wrappers.peel(frame(*lines), (name, "syslog"), HINTS)
    assert set(peeled["offset"]) <= set(range(len(lines)))
    assert (len(peeled) > 0) == (len(lines) > 0)
    assert peeled["offset"].is_sorted()


@given(st.binary(), st.sampled_from(list(wrappers.WRAPPERS)))
def test_any_bytes_have_an_end(data: bytes, name: str) -> None:
    """What goes on is never before the data or after it."""
    assert 0 <= wrappers.unfinished(data, (name,)) <= len(data)
    assert 0 <= wrappers.unfinished(data, ("syslog", name, "cri")) <= len(data)
