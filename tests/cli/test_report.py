"""`prewarm report`: JSON, CSV and tables of what happened."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from prewarm.cli.report import NAMES
from prewarm.insight import reports
from prewarm.pipeline.insight.reports import MAKERS
from tests.cli.conftest import Prewarm


@pytest.mark.parametrize("name", NAMES)
def test_a_report_is_printed_in_every_form(prewarm: Prewarm, log: Path, name: str) -> None:
    """One JSON object, a table for people with what it cannot say, and CSV with a header."""
    prewarm("ingest", str(log))

    document = prewarm("report", name, "--json").document
    table = prewarm("report", name)
    rows = list(csv.DictReader(io.StringIO(prewarm("report", name, "--format", "csv").out)))

    assert document["report"] == name
    assert rows
    assert table.code == 0
    assert all(line in table.out for line in document["cannot_say"])


def test_the_command_line_offers_every_report() -> None:
    """And none that nobody makes."""
    assert NAMES == reports.NAMES
    assert set(NAMES) == set(MAKERS)


def test_a_report_nobody_has_is_a_usage_error(prewarm: Prewarm) -> None:
    """The names are listed."""
    ran = prewarm("report", "hits")

    assert ran.code == 2
    assert "hit-rate" in ran.err


def test_a_report_is_one_page_of_html(prewarm: Prewarm, log: Path, tmp_path: Path) -> None:
    """With a picture of the hours, for a colleague without prewarm."""
    prewarm("ingest", str(log))

    assert prewarm("report", "misses", "--html", "misses.html").code == 0
    page = (tmp_path / "misses.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "<svg" in page
