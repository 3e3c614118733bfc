"""Drivers are found by entry points, whoever declares them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prewarm import plugins
from prewarm.errors import UnknownName

LINE = '10.0.0.1 - - [24/Nov/2026:09:00:00 +0000] "GET /v2/a/b/manifests/1 HTTP/1.1" 200 5 "" "docker/24"\n'


def installed(folder: Path, **formats: str) -> None:
    """A package `broken` in `folder` that declares these formats."""
    info = folder / "broken-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    lines = "".join(f"{name} = {target}\n" for name, target in formats.items())
    (info / "entry_points.txt").write_text(f"[prewarm.formats]\n{lines}")


def prewarm(packages: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "prewarm", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(packages)},
        check=False,
    )


def test_a_format_whose_module_is_missing_is_one_warning(tmp_path: Path) -> None:
    """Everything else is read as if it were not there; the line names the format and its package."""
    installed(tmp_path / "packages", gone="no_such_module_at_all:FORMAT")
    (tmp_path / "x.log").write_text(LINE)
    ran = prewarm(
        tmp_path / "packages", "--lake", f"{tmp_path}/lake", "ingest", "--json", f"{tmp_path}/x.log"
    )
    assert (ran.returncode, json.loads(ran.stdout)["pulls"]) == (0, 1)
    (warning,) = ran.stderr.splitlines()
    assert all(word in warning for word in ("format gone", "ModuleNotFoundError", "remove broken"))


def test_formats_lists_what_can_be_read(tmp_path: Path) -> None:
    """One that cannot be loaded is told of beside the list."""
    installed(tmp_path / "packages", gone="no_such_module_at_all:FORMAT")
    ran = prewarm(tmp_path / "packages", "formats", "--json")
    names = [each["name"] for each in json.loads(ran.stdout)["formats"]]
    assert "combined" in names
    assert "gone" not in names
    assert "format gone" in ran.stderr


def test_a_broken_format_asked_for_by_name_is_refused_in_a_line(tmp_path: Path) -> None:
    """No traceback: what cannot be loaded, why, and which package to repair."""
    installed(tmp_path / "packages", gone="no_such_module_at_all:FORMAT")
    (tmp_path / "x.log").write_text(LINE)
    ran = prewarm(
        tmp_path / "packages", "--lake", f"{tmp_path}/lake", "ingest", "--format", "gone", f"{tmp_path}/x.log"
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("prewarm: the format gone cannot be loaded (ModuleNotFoundError")


def test_a_driver_asked_for_by_name_is_never_skipped() -> None:
    """A name that nobody defined raises, with the nearest known one."""
    with pytest.raises(UnknownName, match="combined"):
        plugins.load(plugins.FORMATS, "combinde")


def test_every_built_in_driver_can_be_loaded() -> None:
    """Nothing that we declare is missing."""
    for group in (plugins.FORMATS, plugins.FORECASTERS, plugins.CACHES):
        found, broken = plugins.usable(group)
        assert sorted(found) == plugins.names(group)
        assert broken == ()
