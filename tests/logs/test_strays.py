"""Lines that another format reads are not lost."""

from __future__ import annotations

import json

import polars as pl

from prewarm.logs import strays
from prewarm.logs.formats import Hints, Parsed, combined, nodes, registered

ACCESS = '10.0.0.7 - - [24/Nov/2026:08:15:02 +0000] "GET /v2/a/manifests/1 HTTP/1.1" 200 87 "" "skopeo/1.9.3"'
CADDY = json.dumps(
    {
        **{"logger": "http.log.access.log0", "ts": 1795511703.25, "msg": "handled request", "status": 200},
        "request": {"remote_ip": "10.0.0.8", "method": "GET", "uri": "/v2/b/manifests/2", "host": "reg:5000"},
    }
)
ENVOY = (
    '[2026-11-24T09:15:02.311Z] "HEAD /v2/c/manifests/3 HTTP/1.1" 200 - 0 0 12 11 "10.0.0.9" "crane/1" "1d" '
    '"reg:5000" "172.19.0.3:5000"'
)
NOISE = "panic: runtime error"
ENGINE = 'time="2026-11-24T09:15:02Z" level=info msg="image pulled" digest="sha256:%s" remote="reg/c:3"' % (
    "a" * 64
)


def reread(*lines: str) -> Parsed:
    """These lines, read as combined ones, then again."""
    frame = pl.DataFrame({"offset": range(len(lines)), "line": list(lines)})
    parsed = combined.FORMAT.parse(frame, Hints())
    return strays.reread(parsed, frame, combined.FORMAT, Hints(), registered())


def test_several_formats_in_one_stream() -> None:
    """In the order of lines, and only what no format reads is malformed."""
    parsed = reread(ACCESS, CADDY, NOISE, ENVOY, ACCESS)
    told = parsed.accesses.select("offset", "client", "repository", "reference").rows()
    assert told == [
        (0, "10.0.0.7", "a", "1"),
        (1, "10.0.0.8", "b", "2"),
        (3, "10.0.0.9", "c", "3"),
        (4, "10.0.0.7", "a", "1"),
    ]
    assert parsed.malformed == {"not an access line": 1}
    assert parsed.examples == {"not an access line": NOISE}
    assert parsed.unread.to_list() == [2]


def test_what_is_wrapped_among_bare_lines() -> None:
    """Such as what a shipper sent to the same file."""
    parsed = reread(ACCESS, f"<30>Nov 24 09:15:02 lb caddy[1]: {CADDY}", NOISE)
    assert parsed.accesses["repository"].to_list() == ["a", "b"]
    assert parsed.malformed == {"not an access line": 1}


def test_lines_that_nothing_reads_stay_as_they_were() -> None:
    """With their count and their example."""
    parsed = reread(ACCESS, NOISE, NOISE)
    assert parsed.malformed == {"not an access line": 2}
    assert parsed.accesses.height == 1


def test_pulls_of_an_engine_do_not_join_the_requests_it_made() -> None:
    """They would be counted twice; read alone they are pulls."""
    parsed = reread(ACCESS, ENGINE)
    assert parsed.pulls is None
    assert sum(parsed.malformed.values()) == 1
    alone = nodes.DOCKER.parse(pl.DataFrame({"offset": [0], "line": [ENGINE]}), Hints()).pulls
    assert alone is not None
    assert alone.height == 1


def test_requests_beside_what_is_ignored() -> None:
    """What another format passes over is counted under its reason."""
    other = CADDY.replace("/v2/b/manifests/2", "/healthz")
    assert reread(ACCESS, other, CADDY).ignored == {"outside the registry API": 1}
