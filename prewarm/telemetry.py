"""Logging set-up: one line an event on stderr, as text for people or JSON for machines."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import IO, Literal

LOGGER = "prewarm"

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_COLOURED = "color_message"  # uvicorn's second copy of a message, for terminals


def set_up(
    level: str = "INFO",
    style: Literal["text", "json"] = "text",
    stream: IO[str] | None = None,
    others: Iterable[str] = (),
) -> logging.Logger:
    """Send the loggers `prewarm` and `others` to `stream` (stderr); again, it replaces the earlier set-up.

    What a call passes as `extra` becomes `key=value`, or a JSON member.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonLines() if style == "json" else TextLines())
    for logger in (logging.getLogger(name) for name in (LOGGER, *others)):
        logger.handlers = [handler]
        logger.setLevel(level.upper())
        logger.propagate = False
    return logging.getLogger(LOGGER)


class JsonLines(logging.Formatter):
    """`{"time": …, "level": …, "logger": …, "message": …, …}`"""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": _stamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields | _extra(record), default=str, ensure_ascii=False)


class TextLines(logging.Formatter):
    """`2026-11-24T08:00:00Z info message key=value`"""

    def format(self, record: logging.LogRecord) -> str:
        extra = "".join(f" {key}={_shown(value)}" for key, value in _extra(record).items())
        line = f"{_stamp(record)} {record.levelname.lower()} {record.getMessage()}{extra}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _shown(value: object) -> str:
    """A value on one line: what could be taken for the next field, or the next line, is quoted."""
    text = str(value)
    plain = text.isprintable() and not set(text) & set(' "=')
    return text if plain else json.dumps(text, ensure_ascii=True)


def _stamp(record: logging.LogRecord) -> str:
    return (
        datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD and key != _COLOURED}
