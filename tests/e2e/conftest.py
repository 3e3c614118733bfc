"""Fixtures of the end-to-end tests: real servers, or a skip that says why.

Names in PREWARM_REQUIRE (comma list of programs, `root` and `tmpfs`) must be there: without them
the tests fail instead of skipping. The session's summary lists what was missing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e import servers

E2E = Path(__file__).parent
PRIVILEGES = {"root", "tmpfs"}
_missing: set[str] = set()


def required() -> set[str]:
    """What PREWARM_REQUIRE demands."""
    return {name.strip() for name in os.environ.get("PREWARM_REQUIRE", "").split(",") if name.strip()}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder carries the e2e marker."""
    for item in items:
        if E2E in item.path.parents:
            item.add_marker(pytest.mark.e2e)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse to start when a required server is not installed."""
    unmet = sorted(name for name in required() - PRIVILEGES if shutil.which(name) is None)
    if unmet:
        raise pytest.UsageError(f"PREWARM_REQUIRE names what is not installed: {', '.join(unmet)}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A missing server is a skip with its reason, or a failure when it was required."""
    report = yield
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, servers.Missing) and error.name not in required():
        _missing.add(str(error))
        path, line, _ = item.location
        report.outcome = "skipped"
        report.longrepr = (path, (line or 0) + 1, f"Skipped: {error}")
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which servers were missing, so that a green run does not claim more than it proved."""
    if _missing:
        terminalreporter.section("real servers that were missing")
        for reason in sorted(_missing):
            terminalreporter.line(f"{reason}; its tests were skipped")


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    """A folder with a short path (sockets allow 107 characters), gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="prewarm-e2e-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def folder(servers_folder: Path) -> Iterator[Path]:
    """A fresh short folder for one test."""
    path = Path(tempfile.mkdtemp(dir=servers_folder))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Stops what a test started, in reverse order."""
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def origin(folder: Path) -> Iterator[servers.Distribution]:
    """An empty origin registry."""
    with servers.Distribution(folder / "origin") as registry:
        yield registry


@pytest.fixture
def mirror(folder: Path, origin: servers.Distribution) -> Iterator[servers.Distribution]:
    """A pull-through mirror of the origin, empty."""
    with servers.Distribution(folder / "mirror", upstream=origin.url) as registry:
        yield registry


@pytest.fixture
def engine(folder: Path, mirror: servers.Distribution) -> Iterator[servers.Engine]:
    """A Docker engine whose docker.io pulls go to the mirror."""
    with servers.dockerd(folder / "engine", mirror=mirror.url) as running:
        yield running


@pytest.fixture
def node(folder: Path) -> Iterator[servers.Node]:
    """A containerd node."""
    with servers.containerd(folder / "node") as running:
        yield running
