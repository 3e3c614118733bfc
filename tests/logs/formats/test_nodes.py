"""What containerd, CRI-O and the Docker engine log of pulls."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from prewarm.logs import pulls
from prewarm.logs.formats import Hints, Parsed, nodes

DIGEST = "sha256:811bd101f1c68c3d3f7eb6713a2aca68da23260829c630fefae114a80fb643e4"
OLD = 'PullImage "nginx:1.25" returns image reference "sha256:2666"'
NEW = (
    'Pulled image "nginx:1.25" with image id "sha256:2666", repo tag "docker.io/library/nginx:1.25", '
    f'repo digest "docker.io/library/nginx@{DIGEST}", size "171937" in 1.5s'
)


def line(msg: str, second: int = 0, rest: str = "") -> str:
    """A logrus text line."""
    quoted = msg.replace('"', r"\"")
    return f'time="2026-11-24T02:02:{second:02}.175911053Z" level=info msg="{quoted}"{rest}'


def parse(driver: nodes.Node, *lines: str) -> Parsed:
    return driver.parse(pl.DataFrame({"offset": range(len(lines)), "line": list(lines)}), Hints())


def rows(parsed: Parsed) -> list[dict[str, Any]]:
    assert parsed.pulls is not None
    return list(pulls.conform(parsed.pulls).iter_rows(named=True))


@pytest.mark.parametrize("names", [("level", "msg", "time"), ("time", "msg", "level")])
def test_objects_are_told_in_any_order_and_spacing(names: tuple[str, ...]) -> None:
    """As shippers write them again."""
    values = {"level": "info", "msg": OLD, "time": "2026-11-24T02:02:00Z"}
    text = json.dumps({name: values[name] for name in names})
    assert nodes.CONTAINERD.sniff(pl.Series([text])) == 1
    assert [pull["tag"] for pull in rows(parse(nodes.CONTAINERD, text))] == ["1.25"]


def test_containerd_tells_digest_size_and_duration() -> None:
    """As its line says from 1.7 on; the line after it is the same pull."""
    (pull,) = rows(parse(nodes.CONTAINERD, line(NEW), line(OLD)))
    assert (pull["tag"], pull["digest"], pull["bytes"], pull["seconds"]) == ("1.25", DIGEST, 171937, 1.5)
    assert pull["kind"] is None


@pytest.mark.parametrize(
    ("lines", "digests"),
    [
        ([OLD], [None]),
        ([OLD, OLD], [None, None]),
        ([NEW, OLD, NEW, OLD], [DIGEST, DIGEST]),
        ([NEW, OLD.replace("nginx", "alpine"), OLD], [None, DIGEST]),
        ([NEW], []),
        ([OLD, NEW, OLD], [None, DIGEST]),
    ],
)
def test_containerd_pulls_count_once(lines: list[str], digests: list[str | None]) -> None:
    """Every version ends a pull with one line; a chunk may begin between it and what tells more."""
    found = rows(parse(nodes.CONTAINERD, *map(line, lines)))
    assert [each["digest"] for each in found] == digests


@pytest.mark.parametrize(("error", "statuses"), [("x: not found", ["missed"]), ("i/o timeout", [])])
def test_containerd_misses_what_is_not_there(error: str, statuses: list[str]) -> None:
    """Other failures are no demand that could be told."""
    parsed = parse(nodes.CONTAINERD, line('PullImage "nginx:1.25" failed', rest=f' error="{error}"'))
    assert [row["status"] for row in rows(parsed)] == statuses


def test_crio_joins_tag_and_digest_by_request() -> None:
    """Requests interleave; one whose beginning is not known is a pull by digest."""
    request = ' file="server/image_pull.go:44" id={} name=/runtime.v1.ImageService/PullImage'
    parsed = parse(
        nodes.CRIO,
        line("Pulling image: quay.io/a/b:1", 1, request.format("i1")),
        line("Pulling image: quay.io/a/b:2", 2, request.format("i2")),
        line(f"Pulled image: quay.io/a/b@{DIGEST}", 3, request.format("i1")),
        line(f"Pulled image: quay.io/a/b@{DIGEST}", 4, request.format("i2")),
        line(f"Pulled image: quay.io/a/b@{DIGEST}", 5, request.format("i3")),
        line(f"Pulled image: quay.io/a/b@{DIGEST}", 6),
    )
    got = [(row["timestamp"].second, row["tag"], row["digest"], row["keys"]) for row in rows(parsed)]
    assert got == [
        (3, "1", DIGEST, ["i1"]),
        (4, "2", DIGEST, ["i2"]),
        (5, None, DIGEST, ["i3"]),
        (6, None, DIGEST, []),
    ]


def test_docker_tells_of_pulls_in_two_ways() -> None:
    """At level debug, and from Engine 29 on at level info; as text and as JSON."""
    pulled = {"digest": DIGEST, "remote": "docker.io/library/nginx:1.25"}
    record = {"level": "info", "msg": "image pulled", "time": "2026-11-24T02:02:02.5Z"} | pulled
    parsed = parse(
        nodes.DOCKER,
        line("Pulling ref from V2 registry: nginx:1.25", 1),
        json.dumps(record, separators=(",", ":")),
    )
    assert [(row["tag"], row["digest"]) for row in rows(parsed)] == [("1.25", None), ("1.25", DIGEST)]
    assert nodes.DOCKER.sniff(pl.Series([json.dumps(record, separators=(",", ":"))])) == 1.0


def test_a_busy_log_is_known_by_its_words() -> None:
    """Most lines are about no pull; lines of a registry, which look alike, are none of a node."""
    other = [line(f"StopPodSandbox for {n}") for n in range(5)] + [line("something else")] * 15
    assert nodes.CONTAINERD.sniff(pl.Series(other)) == 1.0
    registry = line("response completed", rest=" http.request.uri=/v2/PullImage /manifests/1")
    assert nodes.CONTAINERD.sniff(pl.Series([registry])) == 0.0
    assert nodes.CONTAINERD.sniff(pl.Series([line("something else")] * 20)) == 0.0


@pytest.mark.parametrize(
    "bad",
    [
        "plain text",
        line(OLD)[:90],
        line(NEW).replace("-11-", "-13-"),
        line(OLD.replace("nginx:1.25", "NO IMAGE")),
    ],
)
def test_bad_lines_are_malformed(bad: str) -> None:
    """No line of logrus, cut, no time, no image."""
    assert sum(parse(nodes.CONTAINERD, bad).malformed.values()) == 1


def test_a_line_that_is_cut_before_the_image_is_malformed() -> None:
    """It tells that something was pulled, not what."""
    assert sum(parse(nodes.DOCKER, line("image pulled", rest=' digest="sha256:0f')).malformed.values()) == 1


def test_events_of_the_image_store_are_refused() -> None:
    """They prove no pull; the reason names the log that does."""
    lines = ['2026-11-24 01:58:43.5 +0000 UTC default /images/create {"name":"nginx:1"}'] * 3
    reason = nodes.CONTAINERD.refuse(pl.Series(lines))
    assert reason is not None
    assert "journalctl" in reason
    assert nodes.CONTAINERD.refuse(pl.Series([line(OLD)])) is None
