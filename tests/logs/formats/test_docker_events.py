"""Events of a Docker engine become pulls."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from prewarm.logs import pulls
from prewarm.logs.formats import Hints, Parsed, docker_events

TEXT = "2026-11-24T01:58:43.094329905Z image pull nginx:1.25 (name=nginx)"
JSON = json.dumps(
    {
        "Type": "image",
        "Action": "pull",
        "Actor": {"ID": "nginx:1.25", "Attributes": {"name": "nginx"}},
        "time": 1795485523,
        "timeNano": 1795485523094329905,
    }
)


def parse(*lines: str) -> Parsed:
    frame = pl.DataFrame({"offset": range(len(lines)), "line": list(lines)})
    return docker_events.FORMAT.parse(frame, Hints())


def rows(parsed: Parsed) -> list[dict[str, Any]]:
    assert parsed.pulls is not None
    return list(pulls.conform(parsed.pulls).drop("offset").iter_rows(named=True))


def test_both_forms_tell_the_same_pull() -> None:
    """Also by their key, so that captures which overlap count once."""
    (text,), (record,) = rows(parse(TEXT)), rows(parse(JSON))
    assert text == record
    assert (text["registry"], text["repository"], text["tag"]) == ("docker.io", "library/nginx", "1.25")
    assert (text["kind"], text["client"], len(text["keys"])) == (None, None, 1)


def test_old_engines_have_whole_seconds() -> None:
    """Before API 1.22: status, id and time."""
    (pull,) = rows(parse('{"status":"pull","id":"nginx:1.25","time":1795485523}'))
    assert (pull["tag"], pull["timestamp"].microsecond) == ("1.25", 0)


def test_text_may_have_an_offset() -> None:
    """The engine prints the zone of its host."""
    (pull,) = rows(parse(TEXT.replace("01:58:43.094329905Z", "02:58:43.094329905+01:00")))
    assert pull == rows(parse(TEXT))[0]


@pytest.mark.parametrize(
    "line",
    [
        TEXT.replace("image pull", "image tag"),
        '2026-11-24T01:58:43Z container exec_create: sh -c "image pull x" 4be1 (image=nginx, name=web)',
        JSON.replace('"pull"', '"push"'),
        '{"Type":"network","Action":"connect","timeNano":1795485523094329905}',
    ],
)
def test_other_events_are_ignored(line: str) -> None:
    """They are events, but no pulls."""
    parsed = parse(line)
    assert (rows(parsed), sum(parsed.ignored.values())) == ([], 1)


def test_labels_of_an_image_may_hold_anything() -> None:
    """Brackets, for example, and what looks like the end of the attributes."""
    labels = "(name=nginx, org.opencontainers.image.description=A (small) server, x=(y))"
    (pull,) = rows(parse(f"2026-11-24T01:58:43.094329905Z image pull nginx:1.25 {labels}"))
    assert (pull["repository"], pull["tag"]) == ("library/nginx", "1.25")


@pytest.mark.parametrize(
    "line",
    [
        TEXT.replace("nginx:1.25", "NOT:AN:IMAGE"),
        TEXT.replace("2026-11-24T", "yesterday "),
        TEXT.replace("2026-11-24", "2026-13-24"),
        JSON.replace("1795485523094329905", '"soon"').replace("1795485523", "null"),
        JSON[:-9],
    ],
)
def test_bad_lines_are_malformed(line: str) -> None:
    """No image, no time, no event."""
    parsed = parse(line)
    assert (rows(parsed), sum(parsed.malformed.values())) == ([], 1)
