"""Request logs that are one JSON object a line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from prewarm import plugins
from prewarm.logs import detection
from prewarm.logs.formats import Hints, Parsed, registered

DIGEST = "sha256:" + "0f" * 32
AT = datetime(2026, 11, 24, 9, 15, 2, tzinfo=UTC)
NGINX = {
    "time_iso8601": "2026-11-24T09:15:02+00:00",
    "remote_addr": "10.20.1.17",
    "request_method": "GET",
    "request_uri": "/v2/acme/api/manifests/2.1",
    "status": "200",
    "body_bytes_sent": "1791",
    "request_time": "0.012",
    "http_user_agent": "containerd/v1.7.22",
    "http_host": "Registry.example.com:5000",
}
CADDY = {
    "level": "info",
    "ts": 1795511702.5,
    "logger": "http.log.access.log0",
    "msg": "handled request",
    "request": {
        "remote_ip": "10.20.1.17",
        "method": "GET",
        "host": "registry.example.com",
        "uri": "/v2/acme/api/manifests/2.1",
        "headers": {"User-Agent": ['say "hi" \\(linux\\)']},
    },
    "duration": 0.012,
    "size": 1791,
    "status": 200,
    "resp_headers": {"Docker-Content-Digest": [DIGEST]},
}
ISTIO = {
    "start_time": "2026-11-24T09:15:02.000Z",
    "method": "GET",
    "path": "/v2/acme/api/manifests/2.1",
    "response_code": 200,
    "bytes_sent": 1791,
    "duration": 12,
    "x_forwarded_for": None,
    "user_agent": "containerd/v1.7.22",
    "authority": "registry.example.com",
    "request_id": "id-1",
    "downstream_remote_address": "10.20.1.17:41822",
}


def parse(name: str, *records: dict[str, Any] | str, hints: Hints | None = None) -> Parsed:
    """These records, or lines, parsed as the format of this name."""
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    frame = pl.DataFrame({"offset": range(len(lines)), "line": lines})
    parsed: Parsed = plugins.load(plugins.FORMATS, name).parse(frame, hints or Hints())
    return parsed


def only(name: str, record: dict[str, Any], hints: Hints | None = None) -> dict[str, Any]:
    """The one access of a record."""
    (row,) = parse(name, record, hints=hints).accesses.iter_rows(named=True)
    return row


def test_numbers_may_be_quoted_or_not() -> None:
    """`escape=json` quotes them, a hand-written format may not."""
    bare = NGINX | {"status": 200, "body_bytes_sent": 1791, "request_time": 0.012}
    row = only("nginx-json", NGINX)
    assert row == only("nginx-json", bare)
    assert (row["status"], row["bytes"], row["seconds"]) == (200, 1791, 0.012)
    assert (row["registry"], row["client"], row["timestamp"]) == (
        "registry.example.com:5000",
        "10.20.1.17",
        AT,
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("msec", "1795511702.000"),
        ("@timestamp", "2026-11-24T10:15:02+01:00"),
        ("time_local", "24/Nov/2026:09:15:02 +0000"),
        ("timestamp", "2026-11-24 14:45:02"),
        ("ts", 1795511702000),
    ],
)
def test_times_in_many_forms(key: str, value: object) -> None:
    """With a zone, in that of the source, as a number."""
    record = {name: value for name, value in NGINX.items() if name != "time_iso8601"} | {key: value}
    assert only("nginx-json", record, Hints("Asia/Kolkata"))["timestamp"] == AT


def test_a_request_line_is_enough() -> None:
    """Method and URI may be logged together only."""
    record = {name: value for name, value in NGINX.items() if name not in ("request_method", "request_uri")}
    row = only("nginx-json", record | {"request": "HEAD /v2/acme/api/manifests/2.1 HTTP/2.0"})
    assert (row["method"], row["repository"], row["reference"]) == ("HEAD", "acme/api", "2.1")


def test_names_that_log_collectors_give() -> None:
    """Logstash's pattern of Apache's log, and REST gateways."""
    record = {
        **{"@timestamp": "2026-11-24T09:15:02Z", "clientip": "10.20.1.17", "verb": "GET", "response": "200"},
        **{"request": "/v2/acme/api/manifests/2.1?ns=ghcr.io", "bytes": "1791", "httpversion": "1.1"},
    }
    row = only("nginx-json", record)
    assert (row["method"], row["registry"], row["repository"], row["status"], row["bytes"]) == (
        *("GET", "ghcr.io", "acme/api"),
        *(200, 1791),
    )
    other = {"ts": 1795511702, "client_ip": "::1", "http_method": "HEAD", "url": "/v2/a/manifests/1"}
    row = only("nginx-json", other | {"status_code": 200})
    assert (row["client"], row["method"], row["reference"], row["status"]) == ("::1", "HEAD", "1", 200)


def test_what_a_cache_says() -> None:
    """nginx as a cache; STALE and REVALIDATED bytes came from it, too."""
    states = ["HIT", "MISS", "EXPIRED", "STALE", "REVALIDATED", "-", ""]
    parsed = parse("nginx-json", *(NGINX | {"upstream_cache_status": state} for state in states))
    assert parsed.accesses["cache"].to_list() == ["hit", "miss", "miss", "hit", "hit", None, None]


def test_keys_of_the_operators_choice() -> None:
    """Also nested ones, and a duration in milliseconds."""
    record = {
        "when": "2026-11-24T09:15:02Z",
        "req": {"path": NGINX["request_uri"], "verb": "GET"},
        "code": 200,
    }
    keys = {
        "timestamp": "when",
        "uri": "req/path",
        "method": "req/verb",
        "status": "code",
        "milliseconds": "ms",
    }
    row = only("nginx-json", record | {"ms": "1500"}, Hints(keys=keys | {"client": "from"}))
    assert (row["timestamp"], row["repository"], row["seconds"], row["client"]) == (AT, "acme/api", 1.5, None)


def test_caddy_names_the_digest() -> None:
    """From the response's headers; an agent may hold quotes and backslashes."""
    row = only("caddy", CADDY)
    assert (row["digest"], row["agent"], row["seconds"]) == (DIGEST, 'say "hi" \\(linux\\)', 0.012)


@pytest.mark.parametrize("ts", [1795511702.0, "2026-11-24T09:15:02.000Z", "2026/11/24 09:15:02.000"])
@pytest.mark.parametrize("duration", [0.012, "12ms", "0.012"])
def test_caddys_other_encoders(ts: object, duration: object) -> None:
    """Times and durations as text; releases before 2.5 log the address with its port."""
    request = CADDY["request"] | {"remote_ip": None, "remote_addr": "10.20.1.17:44216"}  # type: ignore[operator]
    row = only("caddy", CADDY | {"ts": ts, "duration": duration, "request": request})
    assert (row["timestamp"], row["seconds"], row["client"]) == (AT, 0.012, "10.20.1.17")


def test_other_messages_are_ignored() -> None:
    """Start-up lines, errors, and what an application says beside its requests."""
    messages = {
        "caddy": {"level": "info", "ts": 1795511702.5, "msg": "serving initial configuration"},
        "zot": {"level": "info", "time": "2026-11-24T09:15:02Z", "message": "configuration settings"},
        "gitlab": {"level": "info", "time": "2026-11-24T09:15:02Z", "msg": "blob downloaded"},
        "spegel": {"level": "INFO", "time": "2026-11-24T09:15:02Z", "msg": "running reconcile"},
    }
    for name, message in messages.items():
        parsed = parse(name, message)
        assert parsed.ignored == {"a message about no request": 1}
        assert not parsed.malformed


def test_cut_objects_are_malformed() -> None:
    """With the reason, beside whole ones."""
    for name, record in (("nginx-json", NGINX), ("caddy", CADDY), ("envoy", ISTIO)):
        parsed = parse(name, record, json.dumps(record)[:-30], "panic: x")
        assert parsed.accesses.height == 1
        assert sum(parsed.malformed.values()) == 2


def test_spegel_says_which_registry_is_wanted() -> None:
    """The upstream outranks what a source is set to."""
    record = {"time": "2026-11-24T09:15:02Z", "msg": "", "path": "/v2/acme/api/manifests/2.1", "status": 200}
    row = only(
        "spegel", record | {"method": "HEAD", "latency": "3.501ms", "ip": "10.20.1.17", "registry": "ghcr.io"}
    )
    assert (row["registry"], row["upstream"]) == ("ghcr.io", "ghcr.io")
    assert row["seconds"] == pytest.approx(0.003501)


def test_istio_in_json() -> None:
    """As its mesh-wide setting makes it."""
    row = only("envoy", ISTIO)
    assert (row["client"], row["seconds"], row["key"]) == ("10.20.1.17", 0.012, "id-1")


@pytest.mark.parametrize(("name", "record"), [("nginx-json", NGINX), ("caddy", CADDY), ("envoy", ISTIO)])
def test_families_are_told_apart(name: str, record: dict[str, Any]) -> None:
    """Whatever the order of keys."""
    for order in (record, dict(reversed(record.items()))):
        assert detection.detect(pl.Series([json.dumps(order)]), Hints(), registered())[0].name == name
