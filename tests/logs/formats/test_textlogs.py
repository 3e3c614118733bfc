"""Request logs that are one line of text a request."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from prewarm import plugins
from prewarm.logs import accesses, detection
from prewarm.logs.formats import Hints, Parsed, registered

HEX = "9a" * 32
AT = datetime(2026, 11, 24, 9, 15, 2, tzinfo=UTC)
REQUEST = '"GET /v2/acme/api/manifests/2.1 HTTP/1.1"'
CLF = f"10.20.1.17 - ci [24/Nov/2026:09:15:02 +0000] {REQUEST} 200"
LINES = {
    "nexus": f'{CLF} - 1791 12 "containerd/v1.7.22" [qtp1-925]',
    "quay-nginx": f'{CLF.replace("17 -", "17 (-) -")} 1791 "-" "containerd/v1.7.22" (0.012 5 -)',
    "traefik": f'{CLF} 1791 "-" "containerd/v1.7.22" 181 "registry@docker" "http://172.19.0.3:5000" 12ms',
    "haproxy": f"10.20.1.17:4 [24/Nov/2026:09:15:02.000] fe~ be/s 0/0/0/2/12 200 1791 - - ---- 1/1/0/0/0 0/0 "
    f"{{containerd/v1.7.22|registry.example.com}} {REQUEST}",
    "envoy": f'[2026-11-24T09:15:02.000Z] {REQUEST} 200 - 0 1791 12 11 "10.20.1.17" "containerd/v1.7.22" '
    '"id" "registry.example.com" "172.19.0.3:5000"',
}
HARBOR = f'10.20.1.17 - {REQUEST} 200 1791 "-" "containerd/v1.7.22" 0.012 0.011 .'


def parse(name: str, *lines: str, stamp: datetime | None = None, hints: Hints | None = None) -> Parsed:
    """These lines, parsed as the format of this name."""
    frame = pl.DataFrame({"offset": range(len(lines)), "line": list(lines)})
    if stamp:
        frame = frame.with_columns(pl.lit(stamp).cast(accesses.TIMESTAMP).alias("stamp"))
    parsed: Parsed = plugins.load(plugins.FORMATS, name).parse(frame, hints or Hints())
    return parsed


def only(name: str, line: str, **options: Any) -> dict[str, Any]:
    """The one access of a line."""
    (row,) = parse(name, line, **options).accesses.iter_rows(named=True)
    return row


@pytest.mark.parametrize("name", LINES)
def test_every_family_is_told_and_read(name: str) -> None:
    """Though most are combined lines with something after them."""
    assert detection.detect(pl.Series([LINES[name]] * 3), Hints(), registered())[0].name == name
    row = only(name, LINES[name])
    told = ("timestamp", "client", "agent", "repository", "reference", "status", "bytes", "seconds")
    expected = (AT, "10.20.1.17", "containerd/v1.7.22", "acme/api", "2.1", 200, 1791, 0.012)
    assert tuple(row[each] for each in told) == expected


@pytest.mark.parametrize("name", LINES)
def test_an_escaped_agent_is_decoded(name: str) -> None:
    """Quotes in it end no field."""
    escaped = "a/1 #22q#22 #C3#A9" if name == "haproxy" else r"a/1 \x22q\x22 \xC3\xA9"
    row = only(name, LINES[name].replace("containerd/v1.7.22", escaped))
    assert row["agent"] == 'a/1 "q" é'


@pytest.mark.parametrize("name", LINES)
def test_a_cut_line_is_malformed(name: str) -> None:
    """It is counted, with an example."""
    parsed = parse(name, LINES[name][: len(LINES[name]) // 2])
    assert parsed.malformed == {f"not a line of {name}": 1}


@pytest.mark.parametrize("name", LINES)
def test_a_date_that_is_none_is_malformed(name: str) -> None:
    """Not a request of 1970."""
    line = LINES[name].replace("24/Nov", "31/Nov").replace("-11-24", "-11-31")
    assert parse(name, line).malformed == {f"a line of {name} whose time is no date": 1}


def test_harbors_lines_have_the_wrappers_time() -> None:
    """And none without it."""
    assert only("harbor-proxy", HARBOR, stamp=AT)["timestamp"] == AT
    assert parse("harbor-proxy", HARBOR).malformed == {"no time": 1}


def test_combined_lines_between_harbors_are_read() -> None:
    """With their own time."""
    other = f'{CLF.replace("Nov/2026:09", "Nov/2026:08")} 5 "-" "curl/8"'
    rows = parse("harbor-proxy", HARBOR, other, stamp=AT).accesses
    assert rows["timestamp"].dt.hour().to_list() == [9, 8]


@pytest.mark.parametrize(
    ("host", "registry"),
    [
        ("registry.example.com:443", "registry.example.com"),
        ("registry.example.com", "registry.example.com"),
        ("localhost:5000", "localhost:5000"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
@pytest.mark.parametrize(
    "rest", [' 1791 "-" "containerd/v1.7.22"', ' 1791 "-" "containerd/v1.7.22" "10.0.0.9:80"']
)
def test_a_virtual_host_stands_before_the_line(host: str, registry: str, rest: str) -> None:
    """Debian's other_vhosts_access.log names the port, nginx-proxy does not and names the upstream."""
    line = f"{host} {CLF}{rest}"
    assert detection.detect(pl.Series([line] * 3), Hints(), registered())[0].name == "combined-vhost"
    row = only("combined-vhost", line)
    assert (row["registry"], row["client"], row["user"]) == (registry, "10.20.1.17", "ci")


@pytest.mark.parametrize("peer", ["client.example.com", "10.20.1.17", "fd00::17"])
def test_a_client_with_a_name_is_no_virtual_host(peer: str) -> None:
    """Apache's HostnameLookups."""
    line = f'{CLF.replace("10.20.1.17", peer)} 1791 "-" "containerd/v1.7.22"'
    assert detection.detect(pl.Series([line] * 3), Hints(), registered())[0].name == "combined"


def test_what_an_upstream_is_asked_is_no_demand() -> None:
    """Nexus writes a log of its own for it."""
    line = '[24/Nov/2026:09:15:05 +0000] k8s "GET https://example.com/v2/a/manifests/1 H" 200 9 285 "N" [q]'
    assert parse("nexus", line).ignored == {"Nexus asking its upstream": 1}


def test_nexus_puts_sizes_of_uploads_first() -> None:
    """The request's length stands before the response's."""
    line = LINES["nexus"].replace(" - 1791 12 ", " 999 1791 12 ")
    assert only("nexus", line)["bytes"] == 1791
    assert only("nexus", line.replace(" 999 ", " ").replace(" [qtp1-925]", ""))["bytes"] == 1791  # older


def test_haproxy_without_captures_or_with_others() -> None:
    """What is neither host nor agent is left alone; the accept time is the source's."""
    bare = LINES["haproxy"].replace("{containerd/v1.7.22|registry.example.com} ", "")
    assert (only("haproxy", bare)["agent"], only("haproxy", bare)["registry"]) == (None, None)
    both = bare.replace('"GET', '{|abc} {x} "GET')
    assert only("haproxy", both)["registry"] is None
    row = only("haproxy", bare, hints=Hints("Asia/Kolkata"))
    assert row["timestamp"] == datetime(2026, 11, 24, 3, 45, 2, tzinfo=UTC)


def test_haproxy_aborted_requests() -> None:
    """-1 is no status that anything was served with, `+` marks that it is not over."""
    line = LINES["haproxy"].replace("0/0/0/2/12 200 1791", "0/0/-1/-1/+12 -1 +0")
    assert (only("haproxy", line)["status"], only("haproxy", line)["bytes"]) == (-1, 0)


def test_envoy_prefers_whom_the_request_came_from() -> None:
    """X-Forwarded-For, else Istio's downstream address."""
    istio = (
        f'[2026-11-24T09:15:02.000Z] {REQUEST} 200 - via_upstream - "-" 0 1791 12 11 "-" "c/1" "id" '
        '"r.example.com" "172.19.0.3:5000" inbound|5000|| 127.0.0.6:4 10.244.1.7:5 [2001:db8::1]:41 - default'
    )
    assert only("envoy", istio)["client"] == "2001:db8::1"
    assert only("envoy", istio.replace('11 "-"', '11 "192.0.2.1, 10.0.0.1"'))["client"] == "192.0.2.1"


def test_storage_of_a_registry() -> None:
    """S3 logs a digest under a path that names no repository."""
    key = f"docker/registry/v2/blobs/sha256/9a/{HEX}/data"
    line = (
        f"{'0a' * 32} bucket [24/Nov/2026:09:15:02 +0000] 203.0.113.12 - REQ1 REST.GET.OBJECT {key} "
        f'"GET /{key}?X-Amz-Algorithm=x HTTP/1.1" 206 - 1024 31457280 12 7 "-" "containerd/v1" - id SigV4'
    )
    assert detection.detect(pl.Series([line]), Hints(), registered())[0].name == "s3"
    row = only("s3", line)
    assert (row["object"], row["reference"], row["repository"]) == ("blob", f"sha256:{HEX}", None)
    assert (row["status"], row["bytes"], row["seconds"], row["key"]) == (206, 1024, 0.012, "REQ1")
    lifecycle = line.replace(f'"GET /{key}?X-Amz-Algorithm=x HTTP/1.1"', "-")
    assert parse("s3", lifecycle).ignored == {"not an HTTP request": 1}
