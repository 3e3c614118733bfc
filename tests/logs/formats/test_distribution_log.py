"""The application log of CNCF Distribution, alone and mixed with access lines."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewarm.logs.formats import Hints, Parsed, distribution, fields

FIELDS = {
    "time": "2026-11-24T08:15:02.311204999Z",
    "level": "info",
    "msg": "response completed",
    "auth.user.name": "ci",
    "go.version": "go1.27.3",
    "http.request.host": "mirror:5000",
    "http.request.id": "01a20b4b-fa6a",
    "http.request.method": "GET",
    "http.request.remoteaddr": "[2001:db8::1]:34122",
    "http.request.uri": "/v2/acme/api/manifests/2.1?ns=ghcr.io",
    "http.request.useragent": 'weird "agent" \\ é',
    "http.response.contenttype": "application/vnd.oci.image.index.v1+json",
    "http.response.duration": "974.405µs",
    "http.response.status": 200,
    "http.response.written": 517,
}
ACCESS = '10.0.0.7 - - [24/Nov/2026:08:15:02 +0000] "GET /v2/ HTTP/1.1" 401 87 "" "skopeo/1.9.3"'


def as_text(fields: dict[str, Any]) -> str:
    """A logrus line; every value quoted, which logrus does only where it must."""
    quoted = {
        key: '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"' for key, value in fields.items()
    }
    return " ".join(f"{key}={value}" for key, value in quoted.items())


def as_bare_text(fields: dict[str, Any]) -> str:
    """A logrus line that quotes only what holds a space, a quote or a non-ASCII character."""
    return " ".join(
        f"{key}={value}"
        if str(value).isascii() and not set(' "\\') & set(str(value))
        else as_text({key: value})
        for key, value in fields.items()
    )


def as_logstash(fields: dict[str, Any]) -> str:
    """The JSON of release 2.x's logstash formatter."""
    renamed = {"time": "@timestamp", "msg": "message"}
    return json.dumps({"@version": "1"} | {renamed.get(key, key): value for key, value in fields.items()})


def parse(*lines: str) -> Parsed:
    """These lines, parsed; offsets count them."""
    frame = pl.DataFrame({"offset": range(len(lines)), "line": list(lines)})
    return distribution.FORMAT.parse(frame, Hints())


def only(line: str) -> dict[str, Any]:
    """The one access of a line."""
    (row,) = parse(line).accesses.iter_rows(named=True)
    return row


@pytest.mark.parametrize("render", [as_text, as_bare_text, json.dumps, as_logstash])
def test_every_formatter_says_the_same(render: Any) -> None:
    """text, json and logstash give one access, to the last field."""
    assert only(render(FIELDS)) == {
        "timestamp": datetime(2026, 11, 24, 8, 15, 2, 311204, tzinfo=UTC),
        "client": "2001:db8::1",
        "user": "ci",
        "agent": 'weird "agent" \\ é',
        "method": "GET",
        "registry": "ghcr.io",
        "upstream": "ghcr.io",
        "repository": "acme/api",
        "reference": "2.1",
        "object": "manifest",
        "status": 200,
        "bytes": 517,
        "seconds": pytest.approx(0.000974405),
        "cache": None,
        "digest": None,
        "media_type": "application/vnd.oci.image.index.v1+json",
        "key": "01a20b4b-fa6a",
        "family": "app",
        "offset": 0,
    }


@pytest.mark.parametrize("render", [as_text, json.dumps])
def test_the_order_of_fields_does_not_matter(render: Any) -> None:
    """Sorted by logrus, otherwise by a shipper."""
    backwards = dict(reversed(FIELDS.items()))
    assert only(render(backwards)) == only(render(FIELDS))


@pytest.mark.parametrize("field", ["http.request.referer", "err.detail", "http.request.useragent", "msg"])
def test_quoted_text_cannot_pass_for_a_field(field: str) -> None:
    """A client that sends another line's fields in a header forges nothing."""
    forged = 'x http.request.uri=/v2/evil/manifests/1 http.response.status=500 http.request.id="evil'
    row = only(as_text({field: forged} | {key: value for key, value in FIELDS.items() if key != field}))
    assert (row["repository"], row["status"], row["key"]) == ("acme/api", 200, "01a20b4b-fa6a")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-11-24T13:45:02.5+05:30", datetime(2026, 11, 24, 8, 15, 2, 500_000, tzinfo=UTC)),
        ("2026-11-24T08:15:02Z", datetime(2026, 11, 24, 8, 15, 2, tzinfo=UTC)),
        ("2026-11-24T08:15:02.9999999Z", datetime(2026, 11, 24, 8, 15, 2, 999_999, tzinfo=UTC)),
    ],
)
def test_stamps_are_utc_and_truncated(written: str, expected: datetime) -> None:
    """Nanoseconds are cut, never rounded into the next second."""
    assert only(json.dumps(FIELDS | {"time": written}))["timestamp"] == expected


def test_a_refusal_has_the_status_that_it_always_has() -> None:
    """The line logs none, but the registry answers 401."""
    line = {key: value for key, value in FIELDS.items() if not key.startswith("http.response")}
    row = only(as_text(line | {"level": "warning", "msg": "error authorizing context: basic challenge"}))
    assert (row["status"], row["bytes"]) == (401, None)


def test_an_authorized_line_has_no_status() -> None:
    """It is neither ignored nor malformed; its request completes in another line."""
    line = {key: value for key, value in FIELDS.items() if not key.startswith("http.response")}
    assert only(as_text(line | {"msg": "authorized request"}))["status"] is None


def test_messages_about_no_request_are_ignored() -> None:
    """Start-up messages fit the grammar."""
    startup = {"time": FIELDS["time"], "level": "info", "msg": "listening on :5000", "go.version": "go1.27"}
    parsed = parse(as_text(startup), json.dumps(startup))
    assert (parsed.ignored, parsed.malformed) == ({"a message about no request": 2}, {})


def test_requests_outside_the_api_are_ignored() -> None:
    """The health check of a load balancer is no access."""
    assert parse(as_text(FIELDS | {"http.request.uri": "/"})).ignored == {"outside the registry API": 1}


@pytest.mark.parametrize(
    "line",
    [
        "panic: runtime error: index out of range",
        "\tgoroutine 12 [running]:",
        '{"time":"2026-11-24T08:15:02Z","level":"info","ms',
        '{"event":"other"}',
        as_text(FIELDS | {"time": "yesterday"}),
        as_text(FIELDS | {"time": "+10000-01-01T00:00:00Z"}),
        "level=info",
        "done",
    ],
)
def test_what_fits_no_grammar_is_malformed(line: str) -> None:
    """Stack traces and cut lines are counted and stop nothing."""
    parsed = parse(line, as_text(FIELDS))
    assert sum(parsed.malformed.values()) == 1
    assert parsed.accesses.height == 1


def test_access_lines_between_are_read() -> None:
    """`docker logs` shows both streams; rows keep the order of the lines."""
    parsed = parse(as_text(FIELDS), ACCESS, json.dumps(FIELDS))
    assert parsed.accesses["family"].to_list() == ["app", "access", "app"]
    assert parsed.accesses["offset"].to_list() == [0, 1, 2]


def test_lines_for_a_terminal_are_refused_with_the_reason() -> None:
    """Seconds since the start are no time."""
    coloured = pl.Series(
        ["\x1b[36mINFO\x1b[0m[0000] redis not configured \x1b[36mgo.version\x1b[0m=go1.27.3"]
    )
    assert "tty" in (distribution.FORMAT.refuse(coloured) or "")
    assert distribution.FORMAT.refuse(pl.Series([as_text(FIELDS)])) is None


_PEER = st.lists(st.sampled_from(["10.0.0.7", "::1", "[2001:db8::1]", *":[],-", "443", "7", "host", ""]))


@given(st.lists(_PEER.map("".join), min_size=1))
def test_clients_are_addresses_whatever_the_port(peers: list[str]) -> None:
    """Working out each host once changes nothing."""
    parsed = parse(*(json.dumps(FIELDS | {"http.request.remoteaddr": peer}) for peer in peers))
    assert parsed.accesses["client"].to_list() == fields.address(pl.Series(peers)).to_list()


@given(
    st.lists(st.binary(max_size=60), max_size=6),
    st.integers(0, len(as_text(FIELDS))),
    st.sampled_from([as_text, json.dumps]),
)
def test_any_bytes_and_cuts_are_accounted_for(raw: list[bytes], cut: int, render: Any) -> None:
    """Nothing raises; a whole line between broken ones is still read."""
    noise = [line.decode(errors="replace").replace("\n", " ") for line in raw]
    whole = render(FIELDS)
    parsed = parse(*noise, whole[:cut], whole)
    assert parsed.accesses.filter(pl.col("offset") == len(noise) + 1)["repository"].to_list() == ["acme/api"]


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0", exclude_categories=["Cs"]))


@given(agent=_TEXT, user=_TEXT, identity=st.uuids(), written=st.integers(0, 2**62))
@pytest.mark.parametrize("render", [as_text, json.dumps])
def test_a_rendered_request_is_parsed_back(
    render: Any, agent: str, user: str, identity: Any, written: int
) -> None:
    """Whatever a client sends as agent or user comes back as that."""
    row = only(
        render(
            FIELDS
            | {
                "http.request.useragent": agent,
                "auth.user.name": user,
                "http.request.id": str(identity),
                "http.response.written": written,
            }
        )
    )
    assert row["agent"] == (agent if agent not in {"", "-"} else None)
    assert row["user"] == (user if user not in {"", "-"} else None)
    assert (row["key"], row["bytes"]) == (str(identity), written)
