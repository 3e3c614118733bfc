"""Whole answers, remembered as they travelled: dashboards ask the same questions over and over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import HTTPException

from prewarm.service.access import Grant
from prewarm.service.answers import HELD, named
from prewarm.service.board import Reply, keep

if TYPE_CHECKING:
    from collections.abc import Hashable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from prewarm.service.access import Access
    from prewarm.service.board import Board, Held

LARGEST = 65_536  # bytes of a body that is remembered


class Memory:
    """ASGI middleware: a question that was answered from the board is answered again without any route.

    What is remembered goes with the overview that it was made of, and with the minute. Who may not ask is
    passed on, to be refused where everybody is.
    """

    def __init__(self, app: ASGIApp, board: Board, access: Access) -> None:
        self._app = app
        self._board = board
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        held = self._board.standing
        if held is None or scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        minute = self._board.now().replace(second=0, microsecond=0)
        packed = b"gzip" in headers.get(b"accept-encoding", b"")
        question = (scope["path"], scope["query_string"], packed, minute)
        reply = held.replies.get(question)
        if reply is None:
            await self._app(scope, receive, _remembering(scope, send, held, question))
        elif not _unbound(self._access.judge(scope)):
            await self._app(scope, receive, send)
        else:
            scope["route"] = reply.route
            await _send(send, reply, _text(headers, b"if-none-match"))


def _unbound(found: Grant | HTTPException) -> bool:
    """Whether who asks may see all sites, so that what others were answered is right for them, too."""
    return isinstance(found, Grant) and found.sites is None


def _remembering(scope: Scope, send: Send, held: Held, question: Hashable) -> Send:
    """`send`, and keep what went through it when it may be sent again."""
    head: list[tuple[int, list[tuple[bytes, bytes]]]] = []  # status and headers, as they come from inside

    async def remember(message: Message) -> None:
        if message["type"] == "http.response.start":
            head.append((message["status"], list(message["headers"])))
        elif HELD in scope and not message.get("more_body"):
            (status, headers), body = head[0], message.get("body", b"")
            if status == 200 and len(body) <= LARGEST:
                keep(held.replies, question, Reply(scope["route"], headers, body))
        await send(message)

    return remember


async def _send(send: Send, reply: Reply, wanted: str) -> None:
    tag = next(value for name, value in reply.headers if name.lower() == b"etag")
    known = named(tag.decode(), wanted)
    headers = [(n, v) for n, v in reply.headers if not known or n.lower() not in _OF_A_BODY]
    await send({"type": "http.response.start", "status": 304 if known else 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if known else reply.body})


_OF_A_BODY = (b"content-length", b"content-type", b"content-encoding")


def _text(headers: dict[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1")  # as HTTP's own bytes
