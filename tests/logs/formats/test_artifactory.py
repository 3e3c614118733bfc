"""Artifactory's request and access logs."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from prewarm.logs import detection, pulls
from prewarm.logs.formats import Hints, Parsed, artifactory, registered

HEX = "9a" * 32
PATH = "/api/docker/remote/v2/acme/api/manifests/2.1"
SEVEN = f"2026-11-24T09:15:02.361Z|trace1|10.20.1.17|k8s|GET|{PATH}|200|-1|1791|14|containerd/v1"
SIX = f"20261124091502|14|REQUEST|10.20.1.17|k8s|GET|{PATH}|HTTP/1.1|200|1791"
ACCESS = "2026-11-24 09:15:02,361 [trace1] [ACCEPTED DOWNLOAD] local:acme/api/2.1/{} for k8s/10.20.1.17."


def parse(*lines: str, zone: str = "UTC") -> Parsed:
    return artifactory.FORMAT.parse(
        pl.DataFrame({"offset": range(len(lines)), "line": list(lines)}), Hints(zone)
    )


@pytest.mark.parametrize("line", [SEVEN, SIX, ACCESS.format("manifest.json")])
def test_each_log_tells_the_tag(line: str) -> None:
    """Who asked for what, and when."""
    assert detection.detect(pl.Series([line]), Hints(), registered())[0].name == "artifactory"
    (row,) = parse(line).accesses.iter_rows(named=True)
    assert (row["client"], row["user"], row["repository"], row["reference"]) == (
        "10.20.1.17",
        "k8s",
        "acme/api",
        "2.1",
    )
    assert row["timestamp"].replace(microsecond=0) == datetime(2026, 11, 24, 9, 15, 2, tzinfo=UTC)


def test_local_stamps_are_the_sources() -> None:
    """Release 7 logs UTC, the older one and the access log do not."""
    rows = parse(SEVEN, SIX, ACCESS.format("manifest.json"), zone="Asia/Kolkata").accesses
    assert rows["timestamp"].dt.strftime("%H:%M").to_list() == ["09:15", "03:45", "03:45"]


def test_what_is_unknown_is_null() -> None:
    """-1 is no length; the nameless user is nobody; an agent may hold a bar, or be missing."""
    nobody = SEVEN.replace("|k8s|", "|non_authenticated_user|").replace("|1791|", "|-1|")
    rows = parse(nobody, SEVEN + "|x", SEVEN.rpartition("|")[0]).accesses
    assert rows["user"].to_list() == [None, "k8s", "k8s"]
    assert rows["bytes"].to_list() == [None, 1791, 1791]
    assert rows["agent"].to_list() == ["containerd/v1", "containerd/v1|x", None]
    assert rows["seconds"].to_list() == [0.014] * 3


def test_layers_of_the_access_log() -> None:
    """They are stored under the tag; what is no part of an image is left alone."""
    layer, index = ACCESS.format(f"sha256__{HEX}"), ACCESS.format("list.manifest.json")
    rows = parse(layer, index).accesses
    assert rows["object"].to_list() == ["blob", "manifest"]
    assert rows["reference"].to_list() == [f"sha256:{HEX}", "2.1"]
    others = parse(ACCESS.format("readme.txt"), layer.replace("DOWNLOAD", "DEPLOY"))
    assert others.ignored == {"not an HTTP request": 1, "no download": 1}


def test_denied_is_not_served() -> None:
    """It is an access, and no pull."""
    assert parse(ACCESS.format("manifest.json").replace("ACCEPTED", "DENIED")).accesses[
        "status"
    ].to_list() == [403]


def test_what_an_upstream_is_asked_tells_a_miss() -> None:
    """A line of request-out.log holds a whole URL and the trace of a client's request; it makes no pull."""
    out = SEVEN.replace("/api/docker/remote/", "https://registry-1.docker.io/").replace(
        "|k8s|", "|_internal|"
    )
    hit = SEVEN.replace("trace1", "trace2").replace("10.20.1.17", "10.20.1.18")
    parsed = parse(out, SEVEN, hit)
    assert parsed.accesses["family"].to_list() == ["upstream", "access", "access"]
    made = pulls.collapse(pulls.sessions(pulls.merge_requests(parsed.accesses))).sort("client")
    assert made.select("client", "cache").rows() == [("10.20.1.17", "miss"), ("10.20.1.18", None)]
    assert pulls.sessions(pulls.merge_requests(parse(out).accesses)).is_empty()


def test_a_line_of_neither_is_malformed() -> None:
    """Cut lines, traces."""
    parsed = parse(SEVEN[:60], "java.lang.OutOfMemoryError", "a|b|c|d|e|f|g|h|i|j|k")
    assert parsed.malformed == {"not a line of artifactory": 3}
