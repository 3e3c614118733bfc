"""What a driver notes for its next run: one small JSON object in a file, which may be lost without harm."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


def read(file: Path) -> dict[str, Any]:
    """What was written; nothing when it is not there or cannot be read."""
    try:
        noted = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return noted if isinstance(noted, dict) else {}


def write(file: Path, noted: Mapping[str, Any]) -> None:
    """Replace the file at once; where that fails, the note is lost."""
    part = file.with_suffix(".part")
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(noted), encoding="utf-8")
        part.replace(file)
