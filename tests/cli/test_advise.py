"""`prewarm advise`: a row for each repository."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Prewarm


def test_advice_is_printed_for_scripts_and_for_people(prewarm: Prewarm, log: Path) -> None:
    """Repositories with strategy, why and saving; what one site's log cannot tell is said."""
    prewarm("ingest", str(log))

    document = prewarm("advise", "--json").document
    table = prewarm("advise")

    assert {row["repository"] for row in document["repositories"]} == {
        "docker.io/acme/api",
        "docker.io/acme/web",
    }
    assert all({"strategy", "why", "saving"} <= row.keys() for row in document["repositories"])
    assert any("one site" in word for word in document["cannot_say"])
    assert table.code == 0
    assert "pull-through only" in table.out


def test_an_empty_lake_is_refused(prewarm: Prewarm) -> None:
    """In one line that says what to do first."""
    ran = prewarm("advise")

    assert ran.code == 1
    assert "prewarm ingest" in ran.err
