"""`POST /v1/ingest/{source}`: webhooks and batches of log lines, acknowledged once they are on disk."""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, HTTPException, Request

from prewarm.errors import Full, UnknownName
from prewarm.logs import deliveries
from prewarm.service import answers
from prewarm.service.access import Granted, claim

if TYPE_CHECKING:
    from prewarm.logs.deliveries import Record
    from prewarm.service.feeding import Feed
    from prewarm.settings import Settings

router = APIRouter(tags=["ingest"])

LARGEST = 16 << 20  # bytes of one delivery, as it comes and decompressed
AT_ONCE = 64 << 20  # bytes of deliveries that are being read
SMALL = 64 << 10  # bytes that are read on the event loop

RECEIPT = {"accepted": 12, "duplicates": 0}
REFUSALS = {
    401: "no token, or a signature that is not of this body with the source's secret",
    403: "a token without the scope `ingest`, for another source, or for other sites than a record names",
    404: "a source that nobody configured",
    413: "a delivery of more than 16 MiB, also when it is decompressed",
    415: "a `Content-Encoding` other than gzip or deflate",
    422: "what is no JSON, or names nothing that could be a pull",
    429: "deliveries come faster than the lake takes them: send again after `Retry-After` seconds",
    503: "the disk does not take it, or another service takes the deliveries of this lake",
}
BODIES = {
    "application/json": {
        "example": {
            "events": [
                {
                    "id": "320678d8-ca14-430f-8bb6-4ca139cd83f7",
                    "timestamp": "2026-11-30T06:31:06Z",
                    "action": "pull",
                    "target": {"repository": "library/postgres", "tag": "16", "url": "http://…/manifests/…"},
                    "request": {"id": "6df24a34", "addr": "10.0.0.7:39410", "method": "GET"},
                }
            ]
        }
    },
    "application/x-ndjson": {"example": '{"date": 1796020266.1, "log": "10.0.0.7 - - [30/Nov/2026:…"}\n'},
    "application/cloudevents+json": {},
    "text/plain": {},
}


@router.post(
    "/ingest/{source}",
    status_code=202,
    responses=answers.told(202, "on disk; the lake has it within seconds", RECEIPT, REFUSALS),
    openapi_extra={"requestBody": {"required": True, "content": BODIES}},
)
async def deliver(source: str, request: Request, grant: Granted) -> dict[str, Any]:
    """Take a delivery for `[sources.NAME]`; the answer comes when it is on disk, whatever happens then.

    Distribution's notifications, Harbor's webhooks (default and CloudEvents), other CloudEvents whose data
    has an `image`, and batches of log lines as Fluent Bit's and Vector's `http` send them: JSON lists, JSON
    lines or plain text. What was delivered before, by the id of the event or the bytes of the batch
    (`Idempotency-Key`, if given), is acknowledged and not counted again. To a source with a `secret` a
    signature in `X-Hub-Signature-256` is as good as a token.
    """
    settings: Settings = request.app.state.settings
    if source not in settings.sources:
        raise UnknownName("source", source, settings.sources)
    grant.check_source(source)
    grant.check_site(settings.sources[source].site)
    records = await _records(request)
    if grant.sites is not None:
        for site in sorted(await asyncio.to_thread(deliveries.sites, records)):
            grant.check_site(site)
    feed: Feed = request.app.state.feed
    inbox = await asyncio.to_thread(feed.inbox)
    receipt = await asyncio.wrap_future(inbox.accept(source, records, grant.sites))
    feed.taken[source, "accepted"] += receipt.accepted
    feed.taken[source, "duplicate"] += receipt.duplicates
    return {"accepted": receipt.accepted, "duplicates": receipt.duplicates}


async def _records(request: Request) -> list[Record]:
    body = await _body(request)
    headers = {name.lower(): value for name, value in request.headers.items()}
    kind = headers.get("content-type", "")
    if len(body) <= SMALL:
        return deliveries.read(body, kind, headers)
    busy = request.app.state.reading
    if busy["bytes"] + len(body) > AT_ONCE:
        raise Full("too much is being delivered at once; send this again later")
    busy["bytes"] += len(body)
    try:
        return await asyncio.to_thread(deliveries.read, body, kind, headers)
    finally:
        busy["bytes"] -= len(body)


async def _body(request: Request) -> bytes:
    """The body, decompressed. Its bytes are counted as they come, before and after."""
    signature = claim(request)
    unpack = _unpacker(request.headers.get("content-encoding", "identity"))
    taken = made = 0
    parts: list[bytes] = []
    async for chunk in request.stream():
        taken += len(chunk)
        if signature is not None:
            signature.seen.update(chunk)
        if unpack is not None:
            chunk = _unpacked(unpack, chunk, LARGEST - made)
        made += len(chunk)
        parts.append(chunk)
        if max(taken, made) > LARGEST:
            raise HTTPException(413, f"a delivery of more than {LARGEST} bytes; send several")
    if signature is not None:
        signature.check(request.scope)
    if unpack is not None and (not unpack.eof or unpack.unused_data):
        raise HTTPException(422, "the compressed body ends too early or too late; expected one gzip member")
    return b"".join(parts)


def _unpacker(encoding: str) -> Any:
    if encoding == "identity":
        return None
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise HTTPException(415, f"Content-Encoding {encoding[:40]!a}; expected gzip, deflate or none")
    return zlib.decompressobj(zlib.MAX_WBITS | 32)


def _unpacked(unpack: Any, chunk: bytes, room: int) -> bytes:
    try:
        found: bytes = unpack.decompress(chunk, room + 1)
    except zlib.error:
        raise HTTPException(422, "the body is not compressed as Content-Encoding says") from None
    return found
