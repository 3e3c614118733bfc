"""A file that is one JSON document becomes lines, one record a line, so that formats only ever see lines.

Understood are arrays of records, objects that hold such an array (CloudTrail's `Records`, the `events` of a
webhook, the `logs` of an API page, the `items` of a Kubernetes list, Loki's `query_range`), and records
printed over many lines, one after the other. What holds the records is left behind. At most one record
and one block are in memory.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Generator, Iterable, Iterator
from typing import Any

SAMPLE = 64 << 10  # bytes of a file that tell whether it is a document
LONGEST_RECORD = 8 << 20  # characters
ENVELOPES = ("Records", "records", "events", "logs", "items", "entries", "value")
"""Keys under which a document holds its records, when they hold an array of objects."""

_ARRAY = re.compile(r"\s*\[\s*(?:\{|\]|$)")
_INDENTED = re.compile(r'\s*\{[ \t]*\r?\n\s*"')
_MEMBER = re.compile(r'\s*,?\s*("(?:[^"\\]|\\.)*")\s*:\s*')
_GAP = re.compile(r"[\s,]*")
_OPENED = re.compile(rf'\s*\{{.*?"(?:{"|".join(ENVELOPES)}|data)"\s*:\s*[\[{{]', re.DOTALL)
_SCANNER = json.JSONDecoder()
_EXAMPLE = 200  # characters of what could not be read, kept as a line so that it is counted


def is_document(head: bytes) -> bool:
    """Whether a file that begins with `head` (up to SAMPLE bytes) is JSON over many lines, or one envelope.

    NDJSON is none, though its lines may be envelopes themselves.
    """
    text = head.removeprefix(codecs.BOM_UTF8).decode(errors="replace")
    if _ARRAY.match(text) or _INDENTED.match(text):
        return True
    first, newline, rest = text.lstrip().partition("\n")
    if not first.startswith("{") or rest.strip():
        return False
    if not newline and len(head) >= SAMPLE:  # a single line, longer than we look
        return _OPENED.match(text) is not None
    return "events" not in (found := _parsed(first)) and _records(found) is not None


def unroll(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The records of a document as NDJSON lines.

    A document that is cut or damaged gives the records before that place, then a line with the beginning
    of what could not be read.
    """
    text = _Text(blocks)
    try:
        while text.skip_gap():
            yield from _value(text)
    except (ValueError, RecursionError):
        rest = text.rest[text.at :].strip()[:_EXAMPLE]
        yield rest.replace("\r", " ").replace("\n", " ").encode() + b"\n"


class _Text:
    """The text of a document, of which `rest` from `at` on is not yet used."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self.rest, self.at, self.ended = "", 0, False

    def more(self) -> bool:
        """Read on; False at the end."""
        block = next(self._blocks, None)
        self.ended = block is None
        self.rest = self.rest[self.at :] + self._decoder.decode(block or b"", self.ended)
        self.at = 0
        return not self.ended

    def skip_gap(self) -> bool:
        """Go to the next value of a sequence; False at the end."""
        while True:
            self.at = _end(_GAP.match(self.rest, self.at))
            if self.at < len(self.rest):
                return True
            if not self.more():
                return False

    def take(self) -> tuple[Any, str]:
        """The value that begins here, and its text. ValueError for none, and for one that is too long."""
        while True:
            try:
                value, end = _SCANNER.raw_decode(self.rest, self.at)
            except ValueError:
                if len(self.rest) - self.at > LONGEST_RECORD or not self.more():
                    raise
            else:
                raw, self.at = self.rest[self.at : end], end
                return value, raw

    def holds_value(self) -> bool:
        """Whether the value that begins here was read to its end."""
        try:
            _SCANNER.raw_decode(self.rest, self.at)
        except ValueError:
            return False
        return True

    def member(self) -> str:
        """The key of the next member of an object."""
        while (found := _MEMBER.match(self.rest, self.at)) is None or found.end() == len(self.rest):
            if len(self.rest) - self.at > LONGEST_RECORD or not self.more():
                raise ValueError("an object ends early")
        self.at = found.end()
        return str(json.loads(found[1]))


def _value(text: _Text) -> Iterator[bytes]:
    """The records of the value that begins here."""
    if text.rest[text.at] == "[":
        text.at += 1
        yield from _array(text)
        return
    while len(text.rest) - text.at < SAMPLE and text.more():
        pass
    if not text.ended and not text.holds_value() and _OPENED.match(text.rest, text.at):
        yield from _large(text)
        return
    found, raw = text.take()
    records = _records(found)
    yield from (_line(record) for record in records) if records is not None else (_line(found, raw),)


def _array(text: _Text) -> Iterator[bytes]:
    """The elements of an array whose bracket was read, up to the closing one."""
    while text.skip_gap():
        if text.rest[text.at] == "]":
            text.at += 1
            return
        yield from _lines(*text.take())
    raise ValueError("an array ends early")


def _large(text: _Text) -> Iterator[bytes]:
    """An object too large to be held: the array that it holds its records in, element by element."""
    text.at += 1
    while text.skip_gap():
        if text.rest[text.at] == "}":
            text.at += 1
            continue
        if text.rest[text.at] != '"':
            return
        key = text.member()
        if text.rest[text.at] == "[" and (key in ENVELOPES or key == "result"):
            text.at += 1
            yield from _array(text)
        elif text.rest[text.at] == "{" and key == "data":
            text.at += 1
        else:
            text.take()


def _lines(value: Any, raw: str) -> Generator[bytes, None, None]:
    streams = _entries(value)
    yield from (_line(entry) for entry in streams) if streams is not None else (_line(value, raw),)


def _line(value: Any, raw: str | None = None) -> bytes:
    """A record as one line: as it was written where that is one line already."""
    if raw is None or "\n" in raw or "\r" in raw:
        raw = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return raw.encode(errors="replace") + b"\n"


def _records(value: object) -> list[Any] | None:
    """The records that an object holds; None when it is one itself."""
    if not isinstance(value, dict):
        return None
    data = value.get("data")
    if isinstance(data, dict) and isinstance(data.get("result"), list):  # Loki
        return [entry for stream in data["result"] for entry in _entries(stream) or [stream]]
    for key in ENVELOPES:
        found = value.get(key)
        if isinstance(found, list) and all(isinstance(record, dict) for record in found):
            return found
    return None


def _entries(stream: object) -> list[dict[str, Any]] | None:
    """The entries of a Loki stream, in the form that `logcli -o jsonl` prints; None for anything else."""
    if not isinstance(stream, dict) or not isinstance(stream.get("values"), list) or "stream" not in stream:
        return None
    pairs = [pair for pair in stream["values"] if isinstance(pair, list) and len(pair) >= 2]
    return [{"labels": stream["stream"], "line": pair[1], "timestamp": pair[0]} for pair in pairs]


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return {}


def _end(found: re.Match[str] | None) -> int:
    assert found is not None  # the pattern fits the empty text
    return found.end()
