"""What every answer goes through: headers that bind browsers, a count, a word for failures."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from prewarm.service import problems

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    # The pages load their own style and script and ask this service, nothing else.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
_RAW = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


class Guard:
    """ASGI middleware around the whole application; `requests` is counted into."""

    def __init__(self, app: ASGIApp, requests: Counter[tuple[str, int]]) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        started = False

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": [*message["headers"], *_RAW]}
                self._requests[_route(scope), message["status"]] += 1
            await send(message)

        try:
            await self._app(scope, receive, guarded)
        except problems.DEFECTS:
            # Answered in here, so that it is guarded and counted as any other; the server logs its trace.
            if not started:
                await problems.failure()(scope, receive, guarded)
            raise


def _route(scope: Scope) -> str:
    """The path, as its route spells it; paths that no route fits are one, lest a scanner fill the memory."""
    route = scope.get("route")
    if route is None:
        return "other"
    return str(route.path if scope.get("path_params") else scope["path"])
