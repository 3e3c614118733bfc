"""The feed: what fails is told and tried again."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from prewarm.service.feeding import Feed
from prewarm.settings import load
from tests.e2e.servers import wait_until


def panic() -> datetime:
    raise pl.exceptions.PanicException("out of bounds")


def test_a_panic_ends_no_reading(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Deliveries that Polars stumbles over are told of, and the thread goes on."""
    feed = Feed(load(lake=str(tmp_path / "lake"), service={"refresh": "1s"}), panic)
    feed.inbox()
    with feed.kept_up():
        wait_until(lambda: feed.trouble is not None, "word of the defect")
        assert feed.trouble == "a defect; the service's log says which"

    assert "logs could not be read" in caplog.text
