"""Who may ask: bearer tokens, kept as hashes, with scopes; without tokens, this machine alone."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from typing import Annotated

from fastapi import Header, HTTPException

from prewarm.settings import ServiceSection

_ELSEWHERE = "without [service.tokens] only localhost is answered: ask http://127.0.0.1 or set one"
_NO_TOKEN = "a bearer token is needed; example: Authorization: Bearer TOKEN"


class Access:
    """A dependency that lets a request through when its bearer token has the scope.

    With no tokens set everyone on this machine may ask, by a name of this machine: a web page elsewhere that
    lets its own name resolve to 127.0.0.1 may not.
    """

    def __init__(self, service: ServiceSection, scope: str) -> None:
        self._tokens = tuple(service.tokens.values())
        self._scope = scope

    async def __call__(
        self,
        authorization: Annotated[str | None, Header(max_length=4096, include_in_schema=False)] = None,
        host: Annotated[str, Header(max_length=300, include_in_schema=False)] = "",
    ) -> None:
        if refused := self.refusal(authorization or "", host):
            raise refused

    def refusal(self, authorization: str, host: str) -> HTTPException | None:
        """Why a request with these headers may not be answered, or None."""
        if not self._tokens:
            return None if is_loopback(_name(host)) else HTTPException(403, _ELSEWHERE)
        kind, _, token = authorization.partition(" ")
        digest = hashlib.sha256(token.strip().encode()).hexdigest()
        # Every hash is compared, in constant time, whether or not an earlier one fitted.
        fitting = [known for known in self._tokens if hmac.compare_digest(known.sha256, digest)]
        if kind.lower() != "bearer" or not fitting:
            return HTTPException(401, _NO_TOKEN, {"WWW-Authenticate": "Bearer"})
        if not any(self._scope in known.scopes for known in fitting):
            return HTTPException(403, f"this token lacks the scope {self._scope!r}")
        return None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """The Host header without its port."""
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0].lower()
