"""CloudFront's standard log."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl

from prewarm.logs import detection
from prewarm.logs.formats import Hints, Parsed, cloudfront, header_of, registered

NAMES = (
    "date time sc-bytes c-ip cs-method cs-uri-stem sc-status cs(User-Agent) x-edge-result-type x-host-header"
)
HEADER = ["#Version: 1.0", f"#Fields: {NAMES}"]
ROW = {
    "date": "2026-11-24",
    "time": "09:15:02",
    "sc-bytes": "2210",
    "c-ip": "203.0.113.12",
    "cs-method": "GET",
    "cs-uri-stem": "/v2/acme/api/manifests/2.1",
    "sc-status": "200",
    "cs(User-Agent)": "docker/27%20os/linux%2520x",
    "x-edge-result-type": "RefreshHit",
    "x-host-header": "registry.example.com",
}


def row(names: str = NAMES, **values: str) -> str:
    found = ROW | {key.replace("_", "-"): value for key, value in values.items()}
    return "\t".join(found.get(name, "-") for name in names.split())


def parse(*lines: str, header: str = "") -> Parsed:
    frame = pl.DataFrame({"offset": range(len(lines)), "line": list(lines)})
    return cloudfront.FORMAT.parse(frame, Hints(header=header))


def rows(parsed: Parsed) -> list[dict[str, Any]]:
    return list(parsed.accesses.iter_rows(named=True))


def test_columns_are_those_that_the_file_names() -> None:
    """In any order and number."""
    assert detection.detect(pl.Series([*HEADER, row()]), Hints(), registered())[0].name == "cloudfront"
    shuffled = " ".join(reversed(NAMES.split()))
    for lines in ([*HEADER, row()], [f"#Fields: {shuffled}", row(shuffled)]):
        (only,) = rows(parse(*lines))
        assert only["timestamp"] == datetime(2026, 11, 24, 9, 15, 2, tzinfo=UTC)
        assert (only["repository"], only["reference"], only["bytes"]) == ("acme/api", "2.1", 2210)
        assert (only["agent"], only["cache"], only["registry"]) == (
            "docker/27 os/linux x",
            "hit",
            "registry.example.com",
        )


def test_a_later_chunk_knows_the_columns() -> None:
    """From the first lines of the file."""
    header = header_of(pl.Series([*HEADER, row()]))
    assert header == "\n".join(HEADER)
    assert len(rows(parse(row(), header=header))) == 1


def test_files_put_together_may_change_their_columns() -> None:
    """Each line belongs to the names above it."""
    other = "date time cs-method cs-uri-stem sc-status c-ip"
    lines = [*HEADER, row(), f"#Fields: {other}", row(other, c_ip="192.0.2.7")]
    assert [each["client"] for each in rows(parse(*lines))] == ["203.0.113.12", "192.0.2.7"]


def test_a_line_without_its_columns_is_malformed() -> None:
    """Cut, or not of this log."""
    parsed = parse(*HEADER, row()[:30], "panic: x")
    assert parsed.malformed == {"not a line of cloudfront": 2}
    assert parsed.ignored == {"a line that names the columns": 2}
