"""What senders deliver over HTTP becomes records: webhooks, CloudEvents, batches of log lines.

A record is one or more lines of one kind, with an id where the sender gave one: an event's own, else that of
the batch, which is its bytes. A batch of plain text has none, since two equal lines may be two requests.
"""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from prewarm.errors import UnreadableInput

Kind = Literal["distribution", "harbor", "events", "lines"]
KINDS: tuple[Kind, ...] = ("distribution", "harbor", "events", "lines")
FORMATS: Mapping[str, str] = {
    "distribution": "distribution-webhook",
    "harbor": "harbor-webhook",
    "events": "events",
}
"""The format that lines of a kind have; `lines` are of the format of their source."""

MOST = 100_000  # records of one delivery
_PULL = ("client", "user", "agent", "bytes", "seconds", "kind", "cache")  # as `events` names them
_EXAMPLES = (
    'expected a notification of Distribution ({"events": […]}), a webhook of Harbor, a CloudEvent, or JSON '
    "objects of a log, one a line"
)


@dataclass(frozen=True, slots=True)
class Record:
    """Lines of one kind, without the last newline; `id` tells a repeated delivery."""

    kind: Kind
    text: bytes
    id: int | None = None


def read(body: bytes, content_type: str, headers: Mapping[str, str]) -> list[Record]:
    """The records of one delivery; `headers` are those of the request, in lower case.

    Raises UnreadableInput, in words, for what is no JSON, too deep, or names nothing that could be a pull.
    """
    kind = content_type.partition(";")[0].strip().lower()
    batch = headers.get("idempotency-key", "")
    if kind.startswith("text/"):
        text = body.strip(b"\r\n")
        return [Record("lines", text, _id("batch", batch) if batch else None)] if text else []
    if "ce-specversion" in headers:
        return _records(_cloud_event(_binary(body, kind, headers)))
    return _of_json(body, _id("batch", batch) if batch else None)


def sites(records: Iterable[Record]) -> set[str]:
    """The sites that lines plainly name, as the format `events` has them: JSON objects, or CSV with a header.

    For a refusal at once; what is read is held to its sender's sites in any case (`files.Source.sites`).
    """
    found: set[str] = set()
    for record in records:
        if record.kind == "lines" and b"site" in record.text:
            found |= _sites(record.text.decode("utf-8", "replace").splitlines())
    return found


def _sites(lines: list[str]) -> set[str]:
    if not lines[0].lstrip().startswith("{"):
        with suppress(csv.Error):
            return {row["site"] for row in csv.DictReader(lines, restkey="") if row.get("site")}
        return set()
    values = map(_object, lines)
    return {str(value["site"]) for value in values if isinstance(value, dict) and value.get("site")}


def _object(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):  # some other format's, or nobody's
        return None


def _of_json(body: bytes, batch: int | None) -> list[Record]:
    found: list[Record] = []
    plain: list[bytes] = []
    for value, text in _documents(body):
        for each, inner in _spread(value, text):
            if (told := _event(each)) is not None:
                found += told
            else:
                plain.append(inner or _line(each))
            if len(found) + len(plain) > MOST:
                raise UnreadableInput(f"more than {MOST} records in one delivery; send several")
    if plain:
        given = batch if batch is not None else _id("body", hashlib.blake2b(body).hexdigest())
        found.append(Record("lines", b"\n".join(plain), given))
    return found


def _documents(body: bytes) -> Iterator[tuple[Any, bytes]]:
    """The JSON values of the body, one after another, each with the text it was read from."""
    try:
        text = body.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise UnreadableInput(f"the body is no UTF-8; {_EXAMPLES}") from None
    decoder, place = json.JSONDecoder(), 0
    while place < len(text):
        try:
            value, end = decoder.raw_decode(text, place)
        except ValueError as refused:
            raise UnreadableInput(f"the body is no JSON: {refused}; {_EXAMPLES}") from None
        except RecursionError:
            raise UnreadableInput(f"the body is nested too deeply; {_EXAMPLES}") from None
        yield value, text[place:end].encode()
        place = end
        while place < len(text) and text[place] in " \t\r\n":
            place += 1


def _spread(value: Any, text: bytes) -> Iterator[tuple[dict[str, Any], bytes | None]]:
    """The objects of a value: itself, or those of a list; with their text where that is one line."""
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, dict):
            raise UnreadableInput(f"a {type(each).__name__} where an object was expected; {_EXAMPLES}")
        yield each, text if each is value and b"\n" not in text else None


def _event(value: dict[str, Any]) -> list[Record] | None:
    """The records of an event of a known kind, or None: it is a line of some log."""
    if "specversion" in value:
        return _records(_cloud_event(value))
    if isinstance(events := value.get("events"), list):
        told = [_distribution(each) for each in events if isinstance(each, dict)]
        if len(told) != len(events):
            raise UnreadableInput("events: expected a list of objects, as Distribution sends it")
        return told
    if "target" in value and "action" in value:
        return [_distribution(value)]
    if "event_data" in value:
        text = _line(value)
        return [Record("harbor", text, _id("harbor", text.decode()))]
    return None


def _distribution(event: dict[str, Any]) -> Record:
    text = _line(event)
    return Record("distribution", text, _id("distribution", str(event.get("id") or text.decode())))


def _binary(body: bytes, content_type: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """A CloudEvent whose attributes are headers (HTTP protocol binding, "Binary Content Mode")."""
    event: dict[str, Any] = {
        name.removeprefix("ce-"): value for name, value in headers.items() if name.startswith("ce-")
    }
    if not content_type.endswith("json"):
        raise UnreadableInput(f"a CloudEvent of {content_type or 'no type'}; expected application/json")
    event["data"] = next(iter(_documents(body)), (None, b""))[0]
    return event


def _cloud_event(event: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """A CloudEvent and its data (CloudEvents 1.0)."""
    for name in ("id", "source", "type"):
        if not isinstance(event.get(name), str):
            raise UnreadableInput(f"a CloudEvent without {name!r}; expected specversion, id, source and type")
    data = event.get("data")
    if data is None and isinstance(packed := event.get("data_base64"), str):
        try:
            data = json.loads(base64.b64decode(packed, validate=True))
        except (ValueError, RecursionError, binascii.Error):
            raise UnreadableInput("data_base64: expected JSON in base64") from None
    return event, data


def _records(told: tuple[dict[str, Any], Any]) -> list[Record]:
    """What a CloudEvent says: in Harbor's or Distribution's words, of a pull, or as a line of a log."""
    event, data = told
    id = _id("cloudevent", event["source"], event["id"])
    if event["type"].startswith("harbor."):
        return [Record("harbor", _line(event), id)]
    if not isinstance(data, dict):
        raise UnreadableInput(f"a CloudEvent of type {event['type'][:80]!r} without an object as data")
    known = _event(data) if "specversion" not in data else None
    if known is not None:
        return known
    if isinstance(data.get("image"), str):
        return [Record("events", _line(_pull(event, data)), id)]
    return [Record("lines", _line(data), id)]


def _pull(event: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """A pull that a CloudEvent tells of, as the format `events` has it."""
    told = {name: data[name] for name in _PULL if isinstance(data.get(name), str | int | float)}
    when = data.get("timestamp") or event.get("time")
    return {"timestamp": when, "image": data["image"], **told, "key": f"{event['source']}/{event['id']}"}


def _line(value: dict[str, Any]) -> bytes:
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=True).encode()
    except RecursionError:
        raise UnreadableInput(f"the body is nested too deeply; {_EXAMPLES}") from None


def _id(*parts: str) -> int:
    found = hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(found.digest())
