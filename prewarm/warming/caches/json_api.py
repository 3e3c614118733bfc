"""Requests to an API that speaks JSON: a cluster's, Harbor's. One attempt each; refusals are CacheErrors."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

from prewarm.errors import CacheError
from prewarm.warming.transport import read

MAX_ANSWER = 64 << 20  # bytes: a list of some thousand nodes
MAX_WORDS = 500  # of a refusal


class Refused(CacheError):
    """The API's refusal; `status` is HTTP's."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Who:
    """What the API is called in messages, and what helps when it refuses a login."""

    name: str
    login_advice: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer: its JSON (None when it had none), and where it says that something was made."""

    document: Any
    location: str = ""


class JsonApi:
    """One server; an async context manager. `headers` are asked for with each request: tokens are rotated."""

    def __init__(
        self,
        server: str,
        who: Who,
        headers: Callable[[], Mapping[str, str]],
        trust: ssl.SSLContext | bool,
        timeout: float,
    ) -> None:
        self._server = server.rstrip("/")
        self._who = who
        self._headers = headers
        self._trust = trust
        self._timeout = aiohttp.ClientTimeout(total=timeout)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        """The answer; raises Refused for a refusal, CacheError when nobody answers."""
        try:
            async with self._session.request(
                method,
                f"{self._server}{path}",
                params=dict(query or {}),
                json=body,
                headers=self._headers(),
                ssl=self._trust,
                allow_redirects=False,
            ) as response:
                document = _document(await read(response, MAX_ANSWER))
                if 200 <= response.status < 300:
                    return Answer(document, response.headers.get("Location", ""))
                raise self._refused(response.status, document, f"{method} {path}")
        except (aiohttp.ClientError, OSError, TimeoutError) as lost:
            why = "it was silent" if isinstance(lost, TimeoutError) else _plain(lost)
            raise CacheError(f"no {self._who.name} answers at {self._server}: {why}") from None

    def _refused(self, status: int, document: Any, asked: str) -> Refused:
        if status == 401:
            return Refused(f"the {self._who.name} refuses our login (401); {self._who.login_advice}", status)
        said = _said(document) or f"{asked} was answered {status}"
        return Refused(f"the {self._who.name} says: {' '.join(said.split())[:MAX_WORDS]}", status)


def _document(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _said(document: Any) -> str:
    """The words of a refusal: Kubernetes' Status, or Harbor's list of errors."""
    if not isinstance(document, dict):
        return ""
    errors = document.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        return f"{errors[0].get('message') or errors[0].get('code') or ''}"
    return str(document.get("message") or "")


def _plain(lost: Exception) -> str:
    """What went wrong, without an address that may carry more than we want to show."""
    cause = getattr(lost, "os_error", None) or lost
    return getattr(cause, "strerror", None) or type(cause).__name__
