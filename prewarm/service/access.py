"""Who may ask: bearer tokens, kept as hashes, with scopes."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated

from fastapi import Header, HTTPException

from prewarm.settings import ServiceSection


class Access:
    """A dependency that lets a request through when its bearer token has the scope.

    With no tokens set everyone may ask: only loopback is bound then.
    """

    def __init__(self, service: ServiceSection, scope: str) -> None:
        self._tokens = tuple(service.tokens.values())
        self._scope = scope

    def __call__(self, authorization: Annotated[str | None, Header(max_length=4096)] = None) -> None:
        if not self._tokens:
            return
        kind, _, token = (authorization or "").partition(" ")
        digest = hashlib.sha256(token.strip().encode()).hexdigest()
        # Every hash is compared, in constant time, whether or not an earlier one fitted.
        fitting = [known for known in self._tokens if hmac.compare_digest(known.sha256, digest)]
        if kind.lower() != "bearer" or not fitting:
            raise HTTPException(
                401,
                "a bearer token is needed; example: Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )
        if not any(self._scope in known.scopes for known in fitting):
            raise HTTPException(403, f"this token lacks the scope {self._scope!r}")
