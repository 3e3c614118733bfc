"""Where the shipped samples are: inside the wheel, or at the top of a source tree."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def workload() -> Path:
    """The folder of the synthetic workload."""
    package = Path(str(files("prewarm")))
    inside = package / "data" / "samples"
    folder = inside if inside.is_dir() else package.parent / "data" / "samples"
    return folder / "workload"
