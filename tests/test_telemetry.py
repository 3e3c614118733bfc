"""Logging: text for people, JSON for machines."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from prewarm import telemetry


@pytest.fixture(autouse=True)
def quiet_afterwards() -> Iterator[None]:
    """Each test leaves the logger as it found it."""
    loggers = [logging.getLogger(name) for name in (telemetry.LOGGER, "uvicorn")]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, kept in zip(loggers, before, strict=True):
        logger.handlers, logger.level, logger.propagate = kept


def test_json_lines_carry_their_extras() -> None:
    """One object a line, so that a shipper needs no pattern."""
    out = io.StringIO()
    telemetry.set_up(style="json", stream=out).info("read %d lines", 3, extra={"file": "x.log"})
    event = json.loads(out.getvalue())
    assert (event["message"], event["file"], event["level"]) == ("read 3 lines", "x.log", "info")
    assert event["time"].endswith("Z")


def test_text_lines_read_like_a_sentence() -> None:
    """Extras follow as key=value."""
    out = io.StringIO()
    telemetry.set_up(stream=out).warning("disk nearly full", extra={"free": 12})
    assert out.getvalue().endswith("warning disk nearly full free=12\n")


def test_a_second_set_up_replaces_the_first() -> None:
    """Nothing is logged twice, and levels are honoured."""
    first, second = io.StringIO(), io.StringIO()
    telemetry.set_up(stream=first)
    logger = telemetry.set_up(level="warning", stream=second)
    logger.info("unheard")
    logger.error("heard")
    assert first.getvalue() == ""
    assert second.getvalue().count("\n") == 1


def test_others_speak_the_same_way() -> None:
    """A library's lines come to the same stream, once, without its colours."""
    out = io.StringIO()
    telemetry.set_up(stream=out, others=["uvicorn"])
    logging.getLogger("uvicorn.error").info("Started", extra={"color_message": "\x1b[36mStarted"})
    assert out.getvalue().endswith("info Started\n")
    assert out.getvalue().count("\n") == 1


def test_exceptions_are_kept_whole() -> None:
    """A traceback stays one JSON member."""
    out = io.StringIO()
    logger = telemetry.set_up(style="json", stream=out)
    try:
        raise ValueError("odd")
    except ValueError:
        logger.exception("failed")
    assert "ValueError: odd" in json.loads(out.getvalue())["exception"]


def test_what_others_wrote_stays_on_its_line() -> None:
    """A value with spaces or newlines is quoted, so that it cannot pass for a field or a line."""
    out = io.StringIO()
    telemetry.set_up(stream=out).info(
        "paused", extra={"why": "full\n2026-01-01T00:00:00Z info resumed who=x"}
    )
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().endswith('paused why="full\\n2026-01-01T00:00:00Z info resumed who=x"\n')
