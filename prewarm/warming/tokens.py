"""Who we are, to one registry: basic and bearer, as `WWW-Authenticate` asks (distribution, "Token").

A registry is asked without a login first; its challenge says what it wants. Bearer tokens are kept per
scope until they expire or are refused, so that a run of hours goes on over many tokens. A scope is a
repository, and for a mount the one that is mounted from beside it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from yarl import URL

from prewarm.errors import RegistryError, Unauthorized
from prewarm.warming.contacts import Endpoint, base_url
from prewarm.warming.credentials import Credentials, Login
from prewarm.warming.transport import Transport, read, refusal

LIFETIME = 60.0  # seconds that a token lives when its service does not say
MAX_TOKEN = 64 << 10  # bytes of a token service's answer
MARGIN = 0.9  # share of its life after which a token is not used any more

Scope = tuple[str, ...]  # a repository, and one to mount from; ("",) is the registry itself

_PART = re.compile(
    r"""(?P<name>[\w!#$%&*+.^`|~-]+)(?:\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s,"]+)))?"""
)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in that a registry offers: a scheme in lower case, and its parameters."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """The challenges of all `WWW-Authenticate` headers, in order (RFC 9110, 11.6.1).

    >>> parse_challenges(['Bearer realm="https://auth.example/token",service="r"'])[0].parameters["service"]
    'r'
    """
    found: list[Challenge] = []
    for part in (part for header in headers for part in _PART.finditer(header)):
        value = part["plain"] if part["quoted"] is None else re.sub(r"\\(.)", r"\1", part["quoted"])
        if value is None:
            found.append(Challenge(part["name"].lower()))
        elif found:
            found[-1].parameters[part["name"].lower()] = value
    return found


@dataclass(frozen=True, slots=True)
class _Pass:
    """An Authorization header and the moment (of the clock) after which it is stale."""

    header: str = field(repr=False)
    until: float


class Authorizer:
    """The Authorization headers of one registry; `clock` gives seconds that only go forward."""

    def __init__(
        self, endpoint: Endpoint, credentials: Credentials, transport: Transport, clock: Callable[[], float]
    ) -> None:
        self._endpoint = endpoint
        self._credentials = credentials
        self._transport = transport
        self._clock = clock
        self._passes: dict[Scope, _Pass] = {}
        self._turns: defaultdict[Scope, asyncio.Lock] = defaultdict(asyncio.Lock)

    def header(self, scope: Scope) -> str | None:
        """What was learned for `scope`, while it is fresh."""
        known = self._passes.get(scope)
        return known.header if known and known.until > self._clock() else None

    async def renew(self, scope: Scope, challenges: list[Challenge], refused: str | None) -> str:
        """A new header after `refused` was; Unauthorized when there is no way in.

        Requests that are refused together share one new token.
        """
        async with self._turns[scope]:
            current = self.header(scope)
            if current is not None and current != refused:
                return current
            fresh = await self._answer(scope, challenges)
            if fresh.header == refused:  # a password does not become right by repetition
                registry = self._endpoint.registry
                raise Unauthorized(
                    f"registry {registry} refuses the login; `docker login {registry}`", status=401
                )
            self._passes[scope] = fresh
            return fresh.header

    async def login(self) -> Login | None:
        """The login under the registry's name in references, else under the host of its url."""
        return await self._credentials.of(self._endpoint.registry, base_url(self._endpoint).authority)

    async def _answer(self, scope: Scope, challenges: list[Challenge]) -> _Pass:
        login = await self.login()
        for challenge in challenges:
            if challenge.scheme == "bearer" and "realm" in challenge.parameters:
                return await self._token(scope, challenge, login)
            if challenge.scheme == "basic" and login and login.username:
                return _Pass(login.basic, float("inf"))
        raise self._no_way(challenges, login)

    async def _token(self, scope: Scope, challenge: Challenge, login: Login | None) -> _Pass:
        scopes = _scopes(scope, self._endpoint.actions) or [challenge.parameters.get("scope", "")]
        asked = {"service": [challenge.parameters.get("service", "")], "scope": scopes}
        asked = {name: values for name, values in asked.items() if any(values)}
        method, url, headers, form = _token_request(_realm(challenge, self._endpoint), asked, login)
        async with self._transport.request(self._endpoint, method, url, headers, form=form) as response:
            if response.status != 200:
                raise await refusal(self._endpoint.registry, "its token service", response)
            body = await read(response, MAX_TOKEN)
        return self._read_token(body)

    def _read_token(self, body: bytes) -> _Pass:
        try:
            answer: Any = json.loads(body)
            token = answer.get("token") or answer["access_token"]
            lifetime = float(answer.get("expires_in") or LIFETIME)
        except (ValueError, LookupError, TypeError, AttributeError):  # not chained: it may hold the token
            raise RegistryError(
                f"registry {self._endpoint.registry}: its token service gave no token"
            ) from None
        if not isinstance(token, str) or not (token.isascii() and token.isprintable()):
            raise RegistryError(f"registry {self._endpoint.registry}: its token is no text")
        return _Pass(f"Bearer {token}", self._clock() + max(lifetime, 1.0) * MARGIN)

    def _no_way(self, challenges: list[Challenge], login: Login | None) -> Unauthorized:
        registry = self._endpoint.registry
        if login is None and any(challenge.scheme == "basic" for challenge in challenges):
            return Unauthorized(
                f"registry {registry} asks for a login; `docker login {registry}` stores one", status=401
            )
        offered = ", ".join(challenge.scheme for challenge in challenges)[:80] or "no way in"
        return Unauthorized(
            f"registry {registry} offers {offered!a}; expected basic, or bearer with a realm", status=401
        )


def _scopes(scope: Scope, actions: str) -> list[str]:
    """The token scopes of what is worked on, and of what is mounted from (distribution, "Token Scope")."""
    asked = [f"repository:{repository}:{actions}" for repository in scope[:1] if repository]
    return asked + [f"repository:{repository}:pull" for repository in scope[1:]]


def _realm(challenge: Challenge, endpoint: Endpoint) -> URL:
    try:
        realm = URL(challenge.parameters["realm"])
    except ValueError:
        realm = URL()
    if not realm.absolute:
        raise RegistryError(f"registry {endpoint.registry}: the realm of its token service is no URL")
    return realm


def _token_request(
    realm: URL, asked: dict[str, list[str]], login: Login | None
) -> tuple[str, URL, dict[str, str], dict[str, str] | None]:
    """Method, address, headers and form: GET, or POST for an identity token (distribution, "OAuth2")."""
    if login and login.identity_token:
        grant = {"grant_type": "refresh_token", "refresh_token": login.identity_token, "client_id": "prewarm"}
        return "POST", realm, {}, grant | {name: " ".join(values) for name, values in asked.items()}
    headers = {"Authorization": login.basic} if login else {}
    return "GET", realm.update_query(asked), headers, None
