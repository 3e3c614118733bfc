"""A command line in an empty folder, with a small log to read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from prewarm.__main__ import run
from tests.logs_of_a_day import access_log


@dataclass(frozen=True)
class Ran:
    """What a call printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        import json

        return json.loads(self.out)


Prewarm = Callable[..., Ran]


@pytest.fixture
def prewarm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Prewarm:
    """`prewarm("rank", "--top", "3")` in an empty folder, with no variable of the machine's."""
    monkeypatch.chdir(tmp_path)
    for name in ("LAKE", "CONFIG", "TIMEZONE"):
        monkeypatch.delenv(f"PREWARM_{name}", raising=False)
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # what is left in a buffer at exit is tested, too

    def call(*arguments: str) -> Ran:
        capfd.readouterr()
        code = run(list(arguments))
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return call


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Access lines of two weeks: api every hour of the day, web at eight."""
    path = tmp_path / "access.log"
    path.write_text(access_log())
    return path
