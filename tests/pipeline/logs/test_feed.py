"""Deliveries become pulls in the lake, once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from prewarm.errors import UnknownName
from prewarm.lake import Lake
from prewarm.logs.deliveries import Record, read
from prewarm.logs.files import Source
from prewarm.pipeline.logs.feed import feed
from prewarm.pipeline.logs.inbox import Inbox
from tests.past import NOW

GOLDENS = Path(__file__).parents[2] / "goldens"
MIRROR = Source("mirror", site="boise", registry="docker.io")


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    inbox = Inbox(tmp_path / "inbox")
    yield inbox
    inbox.close()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def source_of(name: str) -> Source:
    if name != "mirror":
        raise UnknownName("source", name, ["mirror"])
    return MIRROR


def deliver(inbox: Inbox, name: str, source: str = "mirror") -> None:
    for body in (GOLDENS / name).read_bytes().splitlines():
        inbox.accept(source, read(body, "application/json", {})).result(60)


def pulled(lake: Lake) -> int:
    return lake.read("pulls", pl.col("kind") != "check").height


def test_lines_are_held_to_the_sites_of_their_sender(lake: Lake, inbox: Inbox) -> None:
    """Whatever an earlier delivery's header made of their columns; others of the source are not bound."""
    head, row = "timestamp,site,image", "2026-11-24T08:00:00Z,berlin,acme/{}:1"
    for sites, lines in (
        (frozenset({"boise"}), f"{head}\n{row.format('own').replace('berlin', 'boise')}"),
        (frozenset({"boise"}), row.format("foreign")),
        (None, f"{head}\n{row.format('any')}"),
    ):
        inbox.accept("mirror", [Record("lines", lines.encode())], sites).result(60)

    result = feed(lake, inbox, source_of, now=NOW)

    assert sorted(lake.read("pulls").select("repository", "site").rows()) == [
        ("acme/any", "berlin"),
        ("acme/own", "boise"),
    ]
    assert result.malformed_reasons == {"a site that its sender may not speak of": 1}


FOREIGN = '{"timestamp": "2026-11-24T08:00:00Z", "image": "acme/api:1", "site": "berlin"}'


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", FOREIGN.replace("site", "s\\u0069te")),
        ("application/json", FOREIGN.replace("acme/", "acme/\u2028")),
        ("application/json", FOREIGN.replace("}", ', "site": "boise"}')),
        ("application/json", json.dumps([{"log": FOREIGN}])),
        ("text/plain", f"x\n{FOREIGN}"),
        ("text/plain", f"\ufeff{FOREIGN}"),
        ("text/plain", f"2026-11-24T08:00:00.1Z stdout F {FOREIGN}"),
        ("text/plain", f"Nov 24 08:00:00 host prewarm: {FOREIGN}"),
        ("text/plain", "2026-11-24T08:00:00Z,acme/api:1,c1,berlin"),
    ],
)
def test_no_shape_of_a_line_reaches_another_site(lake: Lake, inbox: Inbox, kind: str, body: str) -> None:
    """Escaped, doubled, wrapped or without a header: it is the parsed row that counts."""
    inbox.accept("mirror", read(body.encode(), kind, {}), frozenset({"boise"})).result(60)

    feed(lake, inbox, source_of, now=NOW)

    assert "berlin" not in lake.read("pulls")["site"].to_list()


def test_notifications_are_pulls_of_their_site(lake: Lake, inbox: Inbox) -> None:
    """As from a log of them; delivered again, or fed again, they are no more."""
    deliver(inbox, "distribution-webhook-v1-distribution-2.8.ndjson")
    first = feed(lake, inbox, source_of, now=NOW)
    found = pulled(lake)
    deliver(inbox, "distribution-webhook-v1-distribution-2.8.ndjson")
    second = feed(lake, inbox, source_of, now=NOW)

    assert first.pulls >= found > 0
    assert (second.lines, pulled(lake), inbox.waiting) == (0, found, 0)
    assert lake.read("pulls")["site"].unique().to_list() == ["boise"]


def test_kinds_of_one_source_do_not_disturb_each_other(lake: Lake, inbox: Inbox) -> None:
    """Webhooks of Harbor and lines of a shipper, one source: both are read."""
    deliver(inbox, "harbor-webhook-cloudevents.ndjson")
    deliver(inbox, "export-fluentbit.ndjson")

    result = feed(lake, inbox, source_of, now=NOW)

    assert {report.format for report in result.files} >= {"harbor-webhook"}
    assert len(result.files) == 2
    assert all(report.lines for report in result.files)


def test_what_no_format_fits_is_told_and_stops_nothing(lake: Lake, inbox: Inbox) -> None:
    """Others are read, and what was delivered stays where it can be looked at."""
    inbox.accept("mirror", read(b'{"level": "debug"}', "application/json", {})).result(60)
    deliver(inbox, "distribution-webhook-v1-distribution-2.8.ndjson")

    result = feed(lake, inbox, source_of, now=NOW)

    assert pulled(lake) > 0
    assert any("lines/000000.ndjson" in warning for warning in result.warnings)


def test_deliveries_of_a_forgotten_source_wait(lake: Lake, inbox: Inbox) -> None:
    """Until it is configured again."""
    deliver(inbox, "distribution-webhook-v1-distribution-2.8.ndjson", "gone")

    result = feed(lake, inbox, source_of, now=NOW)
    assert "no source called 'gone'" in result.warnings[0]
    feed(lake, inbox, lambda _: MIRROR, now=NOW)

    assert pulled(lake) > 0


def test_a_spool_that_was_read_goes_when_it_grows_no_more(lake: Lake, inbox: Inbox) -> None:
    """The newest stays, so that the next lines find it."""
    deliver(inbox, "distribution-webhook-v1-distribution-2.8.ndjson")
    feed(lake, inbox, source_of, now=NOW)
    (spool,) = inbox.spools()
    (spool.path.parent / "000001.ndjson").write_bytes(
        (GOLDENS / "distribution-webhook-v2-distribution-3.1.ndjson").read_bytes()
    )

    feed(lake, inbox, source_of, now=NOW)

    assert [each.path.name for each in inbox.spools()] == ["000001.ndjson"]
