"""`prewarm assess`: one page from a log, and nothing left behind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.conftest import Prewarm
from tests.traffic import lines, mornings, through


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """The log of a mirror whose office comes at eight and waits for what was pushed in the night."""
    path = tmp_path / "mirror.log"
    path.write_text(lines(through(mornings(5)), cache=True, seconds=True))
    return path


def test_a_log_is_assessed_without_a_configuration(prewarm: Prewarm, mirror: Path, tmp_path: Path) -> None:
    """The keys that scripts rely on; no lake is left."""
    document = prewarm("assess", str(mirror), "--json").document

    assert document["verdict"] == "pays"
    assert document["sure"] == "high"
    assert set(document["causes"]["tag moved"]) == {"misses", "share", "wait_seconds", "remedy"}
    assert [path.name for path in tmp_path.iterdir()] == ["mirror.log"]


def test_people_read_the_verdict_first(prewarm: Prewarm, mirror: Path) -> None:
    """Then why, the causes, the hours, and how it is known."""
    out = prewarm("assess", str(mirror)).out

    assert out.startswith("pre-warming: pays\n")
    for part in ("misses by cause", "hours", "top", "sure: high"):
        assert part in out


def test_the_page_needs_nothing_from_elsewhere(prewarm: Prewarm, mirror: Path, tmp_path: Path) -> None:
    """One HTML file with a picture inside, without scripts and links."""
    prewarm("assess", str(mirror), "--html", "page.html")
    page = (tmp_path / "page.html").read_text()

    assert "<svg" in page
    assert "Does pre-warming pay here?" in page
    assert not re.search(r"<script|<link|https?://|@import|url\(", page)


def test_names_in_a_log_are_no_markup(prewarm: Prewarm, tmp_path: Path) -> None:
    """What a client wrote into the log is shown, not run."""
    log = tmp_path / "evil.log"
    text = lines(through(mornings(2)), cache=True)
    log.write_text(text.replace("docker/27.3.1", "<script>alert(1)</script>/1"))

    assert prewarm("assess", str(log), "--html", "page.html").code == 0
    assert "<script" not in (tmp_path / "page.html").read_text()


def test_a_known_ttl_is_taken(prewarm: Prewarm, mirror: Path) -> None:
    """And one that is no duration is refused with an example."""
    assert prewarm("assess", str(mirror), "--ttl", "24h").code == 0
    assert prewarm("assess", str(mirror), "--ttl", "soon").code == 2


def test_a_page_that_cannot_be_written_is_one_line(prewarm: Prewarm, mirror: Path) -> None:
    """Exit 1, and why."""
    ran = prewarm("assess", str(mirror), "--html", "no/such/folder.html")

    assert ran.code == 1
    assert "cannot be written" in ran.err
