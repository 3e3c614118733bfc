"""What shippers put around a log changes nothing of what is read from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from prewarm.lake import Lake
from prewarm.logs.files import Source
from prewarm.pipeline.logs.ingest import IngestResult, ingest
from prewarm.pipeline.logs.reading import PACE, Pace
from tests import logmaker

AT = "2026-11-24T09:15:02.311204118Z"
LOG = logmaker.log(1).decode()


def cut(line: str) -> Iterator[tuple[str, bool]]:
    """A line in pieces, and whether more follow."""
    for at in range(0, len(line), 100):
        yield line[at : at + 100], at + 100 < len(line)


def json_file(line: str) -> str:
    records = ({"log": part + "\n" * (not more), "stream": "stderr", "time": AT} for part, more in cut(line))
    return "".join(json.dumps(record) + "\n" for record in records)


def cri(line: str) -> str:
    return "".join(f"{AT} stderr {'P' if more else 'F'} {part}\n" for part, more in cut(line))


def syslog(line: str) -> str:
    return f"<30>Nov 24 09:15:02 host1 registry[1187]: {line}\n"


def shipped(line: str) -> str:
    """What Fluent Bit made of lines that the container runtime had cut."""
    pieces = cri(line).splitlines()
    return "".join(json.dumps({"date": 1795511702.5, "log": piece}) + "\n" for piece in pieces)


def forwarded(line: str) -> str:
    """What syslog made of the records of docker's json-file."""
    return "".join(map(syslog, json_file(line).splitlines()))


def read(lake: Path, path: Path, pace: Pace) -> tuple[IngestResult, list[tuple[object, ...]]]:
    result = ingest(Lake.open(lake), [Source(paths=(str(path),))], pace=pace)
    columns = [
        "timestamp",
        "client",
        "agent",
        "repository",
        "tag",
        "digest",
        "kind",
        "blobs",
        "bytes",
        "keys",
    ]
    return result, sorted(Lake.open(lake).read("pulls", columns=columns).rows(), key=repr)


@pytest.mark.parametrize(
    ("wrap", "name"),
    [
        (json_file, "docker-json-file"),
        (cri, "cri"),
        (syslog, "syslog"),
        (shipped, "fluentbit, cri"),
        (forwarded, "syslog, docker-json-file"),
    ],
)
@pytest.mark.parametrize("chunk", [1_500, 20_000])
def test_a_wrapped_log_gives_what_it_gives_bare(
    tmp_path: Path, wrap: Callable[[str], str], name: str, chunk: int
) -> None:
    """Wherever chunks end, though lines are cut."""
    (tmp_path / "bare.log").write_text(LOG)
    (tmp_path / "wrapped.log").write_text("".join(map(wrap, LOG.splitlines())))
    bare, expected = read(tmp_path / "a", tmp_path / "bare.log", PACE)
    wrapped, found = read(tmp_path / "b", tmp_path / "wrapped.log", Pace(chunk=chunk, batch=60))
    assert found == expected
    assert (wrapped.accesses, wrapped.malformed) == (bare.accesses, bare.malformed)
    assert [report.wrapper for report in (*bare.files, *wrapped.files)] == [None, name]


@pytest.mark.parametrize("wrap", [json_file, forwarded])
def test_a_cut_line_at_the_end_is_read_again(tmp_path: Path, wrap: Callable[[str], str]) -> None:
    """Once the rest of it was written."""
    wrapped = "".join(map(wrap, LOG.splitlines()))
    records = wrapped.splitlines(keepends=True)
    at = next(n for n in range(len(records) // 2, len(records)) if r"\n" not in records[n])
    path = tmp_path / "x.log"
    path.write_text("".join(records[: at + 1]))
    read(tmp_path / "lake", path, PACE)
    path.write_text(wrapped)
    _, found = read(tmp_path / "lake", path, PACE)
    (tmp_path / "bare.log").write_text(LOG)
    assert found == read(tmp_path / "once", tmp_path / "bare.log", PACE)[1]


def test_a_json_document_is_read(tmp_path: Path) -> None:
    """Of an answer of Loki every entry is a line."""
    values = [[str(1795511702311204118 + n), line] for n, line in enumerate(LOG.splitlines())]
    answer = {
        "status": "success",
        "data": {"resultType": "streams", "result": [{"stream": {}, "values": values}]},
    }
    (tmp_path / "answer.json").write_text(json.dumps(answer, indent=1))
    (tmp_path / "bare.log").write_text(LOG)
    result, found = read(tmp_path / "lake", tmp_path / "answer.json", Pace(chunk=5_000, batch=60))
    assert found == read(tmp_path / "once", tmp_path / "bare.log", PACE)[1]
    assert [(report.path, report.wrapper) for report in result.files] == [
        (str(tmp_path / "answer.json"), "loki")
    ]


def test_a_file_beside_a_wrapped_one_is_told_for_itself(tmp_path: Path) -> None:
    """What stands around the first is no guess for the second."""
    first, second, third = (tmp_path / name for name in ("a.log", "b.log", "c.log"))
    first.write_text("".join(map(syslog, LOG.splitlines())))
    second.write_text(LOG)
    third.write_text("".join(map(cri, LOG.splitlines())))
    result = ingest(Lake.open(tmp_path / "lake"), [Source(paths=(str(tmp_path / "*.log"),))])
    assert [report.wrapper for report in result.files] == ["syslog", None, "cri"]


def test_a_json_log_under_keys_of_its_own(tmp_path: Path) -> None:
    """Its format is named, and where fields stand; what is around it is found all the same."""
    record = {
        "at": "2026-11-24T08:15:02Z",
        "http": {"path": "/v2/acme/api/manifests/2.1"},
        "verb": "GET",
        "rc": 200,
    }
    (tmp_path / "x.log").write_text(f"{AT} stdout F {json.dumps(record)}\n")
    keys = {"timestamp": "at", "uri": "http/path", "method": "verb", "status": "rc"}
    source = Source(paths=(str(tmp_path / "x.log"),), format="nginx-json", keys=keys)
    result = ingest(Lake.open(tmp_path / "lake"), [source])
    assert [(report.wrapper, report.accesses) for report in result.files] == [("cri", 1)]
    assert Lake.open(tmp_path / "lake").read("pulls")["tag"].to_list() == ["2.1"]


def test_exports_of_one_journal_may_overlap(tmp_path: Path) -> None:
    """Each entry has an id, so that what both tell counts once, though the lines inside have none."""
    request = (
        '10.0.0.{} - - [24/Nov/2026:08:{:02}:02 +0000] "GET /v2/a/b/manifests/2.1 HTTP/1.1" 200 9 "" "a/1"'
    )
    entries = [
        json.dumps(
            {
                "__CURSOR": f"s=2e1c;i={number:x};b=fedc;m=4b3c;t=660f;x=3f4c",
                "__REALTIME_TIMESTAMP": "1795511702311204",
                "MESSAGE": request.format(number, number),
            }
        )
        for number in range(1, 41)
    ]
    for name, part in (("monday", entries[:30]), ("tuesday", entries[10:])):
        (tmp_path / f"{name}.json").write_text("".join(f"{entry}\n" for entry in part))
        result = ingest(Lake.open(tmp_path / "lake"), [Source(paths=(str(tmp_path / f"{name}.json"),))])
        assert [report.wrapper for report in result.files] == ["journald"]
    clients = Lake.open(tmp_path / "lake").read("pulls")["client"]
    assert sorted(clients) == sorted(f"10.0.0.{number}" for number in range(1, 41))


def test_a_log_of_another_program_beside_is_read_as_what_it_is(tmp_path: Path) -> None:
    """Though its lines would pass for those of the first file, with fields in the wrong places."""
    line = '10.20.1.17 - k8s [24/Nov/2026:09:15:02 +0000] "GET /v2/a/b/manifests/1 HTTP/1.1" 200 '
    (tmp_path / "a.log").write_text(f'{line}1791 "-" "cri/1"\n' * 3)
    (tmp_path / "b.log").write_text(f'{line}- 1791 12 "cri/1" [qtp1-925]\n' * 3)
    result = ingest(Lake.open(tmp_path / "lake"), [Source(paths=(str(tmp_path / "*.log"),))])
    assert [report.format for report in result.files] == ["combined", "nexus"]


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("chunk", [1, 200, 1 << 20])
def test_the_line_that_ends_a_pull_knows_the_one_that_began_it(
    tmp_path: Path, chunk: int, wrap: bool
) -> None:
    """CRI-O names the tag when a pull begins: however the log is cut, and whenever it is read."""
    lines = []
    for number in range(6):
        logged = f'time="2026-11-24 09:1{number}:0{{}}.022204146Z" level=info msg="{{}}" id=pull{number}'
        logged += " name=/runtime.v1.ImageService/PullImage"
        digest = f"sha256:{number:064x}"
        lines += [
            logged.format(1, f"Pulling image: quay.io/team/app:{number}"),
            logged.format(2, f'Trying to access \\"quay.io/team/app@{digest}\\"'),
            logged.format(5, f"Pulled image: quay.io/team/app@{digest}"),
        ]
    lines = [f"2026-11-24T09:10:00.1Z stderr F {line}" for line in lines] if wrap else lines
    path = tmp_path / "crio.log"
    lake = Lake.open(tmp_path / "lake")
    for end in (2, 7, 8, len(lines)):
        path.write_text("\n".join(lines[:end]) + ("\n" if end % 2 else ""))
        ingest(lake, [Source(paths=(str(path),))], pace=Pace(chunk=chunk))
    told = lake.read("pulls").sort("timestamp").select("tag", "digest").rows()
    assert told == [(str(number), f"sha256:{number:064x}") for number in range(6)]


def test_a_last_record_is_read_though_its_newline_is_missing(tmp_path: Path) -> None:
    """It was cut in two by the runtime, and both pieces are there: no line of the log is lost."""
    line = logmaker.log(1).decode().splitlines()[0]
    pieces = f"{AT} stdout P {line[:40]}\n{AT} stdout F {line[40:]}"
    (tmp_path / "0.log").write_text(f"{AT} stdout F {line}\n{pieces}")
    result = ingest(Lake.open(tmp_path / "lake"), [Source(paths=(str(tmp_path / "0.log"),))])
    assert (result.accesses, result.lines, result.warnings) == (2, 3, [])
