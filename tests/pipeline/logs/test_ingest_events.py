"""Ingest of what is no log of requests: exports, events and webhooks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from prewarm.errors import UnreadableInput
from prewarm.lake import Lake
from prewarm.logs.files import Source
from prewarm.pipeline.logs.ingest import IngestResult, ingest
from prewarm.pipeline.logs.reading import Pace

START = datetime(2026, 11, 24, 8, tzinfo=UTC)
DIGEST = "sha256:" + "81" * 32


def read(lake: Path, *paths: Path, source: str = "default") -> IngestResult:
    return ingest(Lake.open(lake), [Source(source, tuple(map(str, paths)))])


def exported(path: Path, rows: int, start: int = 0) -> Path:
    """A Parquet file of one pull a minute."""
    times = [START + timedelta(minutes=minute) for minute in range(start, start + rows)]
    pl.DataFrame({"timestamp": times, "image": ["nginx:1"] * rows}).write_parquet(path)
    return path


def ndjson(path: Path, records: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_a_folder_of_parquet_files_is_read_once(tmp_path: Path) -> None:
    """A damaged one among them is named; one that grew brings what is new."""
    folder = tmp_path / "export"
    folder.mkdir()
    exported(folder / "a.parquet", 5)
    exported(folder / "b.parquet", 3, start=100)
    (folder / "c.parquet").write_bytes(b"PAR1 and no more")
    first = read(tmp_path / "lake", folder)
    assert (first.pulls, first.accesses, first.lines) == (8, 0, 8)
    assert [warning for warning in first.warnings if "c.parquet" in warning]
    assert read(tmp_path / "lake", folder).pulls == 0
    exported(folder / "b.parquet", 4, start=100)
    assert read(tmp_path / "lake", folder).pulls == 1


def test_a_parquet_file_of_something_else_is_refused(tmp_path: Path) -> None:
    """The error names what is missing."""
    pl.DataFrame({"x": [1]}).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(UnreadableInput, match="without a column image and timestamp"):
        read(tmp_path / "lake", tmp_path / "x.parquet")


def notification(id: str, tag: str | None, method: str) -> dict[str, Any]:
    return {
        "timestamp": "2026-11-24T08:00:00.5Z",
        "action": "pull",
        "target": {
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "repository": "library/nginx",
            "digest": DIGEST,
            "tag": tag,
            "url": f"http://mirror:5000/v2/library/nginx/manifests/{DIGEST}",
        },
        "request": {"id": id, "addr": "10.0.0.7:5", "host": "mirror:5000", "method": method},
    }


@pytest.mark.parametrize("same_source", [True, False])
@pytest.mark.parametrize("log_first", [True, False])
def test_a_webhook_and_a_log_of_one_registry_count_once(
    tmp_path: Path, log_first: bool, same_source: bool
) -> None:
    """In either order, of one source or of two: the request's id stands in both."""
    log = tmp_path / "registry.log"
    log.write_text(
        "".join(
            f'time="2026-11-24T08:00:00.5Z" level=info msg="response completed" http.request.id={id} '
            f'http.request.host="mirror:5000" http.request.method={method} http.response.status=200 '
            f"http.request.remoteaddr=10.0.0.7:5 http.request.uri=/v2/library/nginx/manifests/{reference}\n"
            for id, method, reference in (("r1", "HEAD", "1.25"), ("r2", "GET", DIGEST))
        )
    )
    events = [notification("r1", "1.25", "HEAD"), notification("r2", None, "GET")]
    hook = ndjson(tmp_path / "hook.ndjson", [{"events": events}])
    order = [log, hook] if log_first else [hook, log]
    told = [read(tmp_path / "lake", path, source="one" if same_source else path.stem) for path in order]
    assert [each.pulls for each in told] == [1, 0]


def test_what_was_there_already_is_kept_but_no_pull(tmp_path: Path) -> None:
    """A node cache that works must not erase its own evidence."""
    lines = ["2026-11-24T08:00:00Z,nginx:1,,,,,local", "2026-11-24T08:00:00Z,nginx:1,,,,,layers"]
    (tmp_path / "uses.csv").write_text("\n".join(lines) + "\n")
    assert read(tmp_path / "lake", tmp_path / "uses.csv").pulls == 1
    assert Lake.open(tmp_path / "lake").read("pulls").height == 2


def events(numbers: range) -> list[dict[str, Any]]:
    """Kubernetes events of one pull a minute."""
    return [
        {
            "metadata": {"uid": f"u{number}"},
            "involvedObject": {"kind": "Pod"},
            "reason": "Pulled",
            "message": 'Successfully pulled image "nginx:1" in 1s',
            "source": {"host": "node-1"},
            "lastTimestamp": f"2026-11-24T08:{number:02}:00Z",
            "count": 1,
        }
        for number in numbers
    ]


@pytest.mark.parametrize("at_once", [True, False])
def test_overlapping_lists_count_once(tmp_path: Path, at_once: bool) -> None:
    """A cluster's events are taken again and again, each time with those of the last hour."""
    lists = [tmp_path / "first.json", tmp_path / "second.json"]
    for path, numbers in zip(lists, (range(4), range(2, 6)), strict=True):
        path.write_text(json.dumps({"kind": "List", "items": events(numbers)}, indent=2))
    calls = [lists] if at_once else [[path] for path in lists]
    told = [read(tmp_path / "lake", *paths) for paths in calls]
    assert (sum(each.pulls for each in told), sum(each.duplicates for each in told)) == (6, 2)


def test_a_file_that_tells_of_a_pull_again_counts_it_once(tmp_path: Path) -> None:
    """However it is cut into chunks and commits, and when it grows."""
    path, first, second = tmp_path / "events.ndjson", events(range(40)), events(range(20, 60))
    ndjson(path, first + second)
    source = [Source(paths=(str(path),))]
    told = ingest(Lake.open(tmp_path / "lake"), source, pace=Pace(chunk=2_000, batch=10))
    ndjson(path, first + second + events(range(30, 60)))
    again = ingest(Lake.open(tmp_path / "lake"), source)
    assert [(each.pulls, each.duplicates) for each in (told, again)] == [(60, 20), (0, 30)]


def test_a_finished_pull_keeps_the_name_it_was_asked_by(tmp_path: Path) -> None:
    """Only a registry's log has tag and digest in different requests; an engine's pull by digest is one."""
    lines = [f"2026-11-24T08:0{n}:00Z,nginx{name}" for n, name in enumerate((f":1@{DIGEST}", f"@{DIGEST}"))]
    (tmp_path / "pulls.csv").write_text("\n".join(lines) + "\n")
    read(tmp_path / "lake", tmp_path / "pulls.csv")
    rows = Lake.open(tmp_path / "lake").read("pulls").sort("timestamp")
    assert rows["tag"].to_list() == ["1", None]
