"""Who may ask: bearer tokens, kept as hashes, with scopes; without tokens, this machine alone."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request

if TYPE_CHECKING:
    from starlette.types import Scope

    from prewarm.settings import ServiceSection

_ELSEWHERE = "without [service.tokens] only localhost is answered: ask http://127.0.0.1 or set one"
_NO_TOKEN = "a bearer token is needed; example: Authorization: Bearer TOKEN"
_STRANGE_PAGE = "a page of another origin may not change anything here: {}"
_SIGNED = "X-Hub-Signature-256: sha256=HEX, the HMAC-SHA256 of the body with the source's secret"
SIGNATURE = "x-hub-signature-256"
_CLAIM = "prewarm.claim"  # in the scope of a request whose body has to fit its signature
_GRANT = "prewarm.grant"  # in the scope of a request that may be answered

audit = logging.getLogger("prewarm.audit")


@dataclass(frozen=True, slots=True)
class Grant:
    """Who asks, and how far that goes; None is everything."""

    name: str
    sites: frozenset[str] | None = None
    sources: frozenset[str] | None = None

    def check_site(self, site: str | None) -> None:
        """Refuse what is not of a site that this token is for; `site` None is all of them together."""
        if self.sites is not None and site not in self.sites:
            named = "all sites together" if site is None else f"site {site!r}"
            raise HTTPException(403, f"this token is for {_listed(self.sites)}, not for {named}")

    def check_source(self, source: str) -> None:
        """Refuse what another source should send."""
        if self.sources is not None and source not in self.sources:
            raise HTTPException(403, f"this token is for source {_listed(self.sources)}, not for {source!r}")


EVERYTHING = Grant("localhost")


class Failures:
    """How often each address came with a wrong token; too often, and it has to wait.

    An address has `most` failures a minute; the ones who failed longest ago are forgotten first.
    """

    def __init__(self, most: int = 20, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._failed: OrderedDict[str, list[float]] = OrderedDict()

    def wait(self, address: str) -> float:
        """Seconds for which nothing is answered to this address."""
        recent = self._recent(address)
        return 60.0 - (self._clock() - recent[0]) if len(recent) >= self._most else 0.0

    def add(self, address: str) -> None:
        """It failed once more."""
        self._failed[address] = [*self._recent(address), self._clock()][-self._most :]
        self._failed.move_to_end(address)
        while len(self._failed) > 4096:
            self._failed.popitem(last=False)

    def _recent(self, address: str) -> list[float]:
        now = self._clock()
        return [at for at in self._failed.get(address, []) if now - at < 60.0]


class Access:
    """A dependency that lets a request through when its bearer token has the scope.

    With no tokens set everyone on this machine may ask, by a name of this machine: a web page elsewhere that
    lets its own name resolve to 127.0.0.1 may not, and no page of another origin may change anything.
    """

    def __init__(self, service: ServiceSection, scope: str, failures: Failures | None = None) -> None:
        self._tokens = dict(service.tokens)
        self._scope = scope
        self._failures = failures or Failures()

    async def __call__(self, request: Request) -> None:
        found = self.judge(request.scope)
        if isinstance(found, HTTPException):
            raise found
        request.scope[_GRANT] = found

    @property
    def wants_token(self) -> bool:
        """Whether anybody needs one."""
        return bool(self._tokens)

    def judge(self, scope: Scope) -> Grant | HTTPException:
        """Who asks; or why this request may not be answered."""
        stranger = self.stranger(scope)
        if stranger is not None or not self._tokens:
            return stranger or EVERYTHING
        return self._of_token(_headers(scope).get(b"authorization", ""), scope)

    def stranger(self, scope: Scope) -> HTTPException | None:
        """Why this request may not be answered, whatever it carries."""
        headers = _headers(scope)
        host = headers.get(b"host", "")
        if scope["method"] not in ("GET", "HEAD") and not _same_origin(headers.get(b"origin"), host):
            return HTTPException(403, _STRANGE_PAGE.format("its Origin is not this service"))
        if not self._tokens:
            return None if is_loopback(_name(host)) else HTTPException(403, _ELSEWHERE)
        wait = self._failures.wait(_address(scope))
        if not wait:
            return None
        return HTTPException(429, "too many wrong tokens; come back later", {"Retry-After": f"{wait:.0f}"})

    def failed(self, scope: Scope, what: str) -> None:
        """Count a wrong token or signature of that address, and leave a line."""
        self._failures.add(_address(scope))
        audit.warning(what, extra={"client": _address(scope)})

    def _of_token(self, authorization: str, scope: Scope) -> Grant | HTTPException:
        kind, _, token = authorization[:4096].partition(" ")
        digest = hashlib.sha256(token.strip().encode()).hexdigest()
        # Every hash is compared, in constant time, whether or not an earlier one fitted.
        fitting = [name for name, known in self._tokens.items() if hmac.compare_digest(known.sha256, digest)]
        if kind.lower() != "bearer" or not fitting:
            if token:
                self.failed(scope, "a wrong token")
            return HTTPException(401, _NO_TOKEN, {"WWW-Authenticate": "Bearer"})
        for name in fitting:
            known = self._tokens[name]
            if self._scope in known.scopes:
                return Grant(name, _some(known.sites), _some(known.sources))
        return HTTPException(403, f"this token lacks the scope {self._scope!r}")


class Signed:
    """A dependency of deliveries: to a source that has a secret, a signed body is as good as a token.

    The signature is that of `X-Hub-Signature-256` (WebSub, "Authenticated Content Distribution"): `sha256=`
    and the HMAC of the body as it travels. It is held against the body by `check`, once that was read.
    """

    def __init__(self, access: Access, secrets: Mapping[str, bytes], sites: Mapping[str, str]) -> None:
        """`sites` are those of sources: a signature speaks for its source's site alone."""
        self._access = access
        self._secrets = secrets
        self._sites = sites

    async def __call__(self, request: Request) -> None:
        source = request.path_params["source"]
        secret, said = self._secrets.get(source), request.headers.get(SIGNATURE)
        if secret is None or (said is None and self._access.wants_token):
            await self._access(request)
            return
        refused = self._access.stranger(request.scope)
        if refused is not None:
            raise refused
        if said is None:
            raise HTTPException(401, f"source {source!r} wants its deliveries signed: {_SIGNED}")
        sites = frozenset([self._sites[source]])
        request.scope[_GRANT] = Grant(f"signature of {source}", sites, frozenset([source]))
        request.scope[_CLAIM] = Claim(hmac.new(secret, digestmod=hashlib.sha256), said, self._failed)

    def _failed(self, scope: Scope) -> None:
        self._access.failed(scope, "a wrong signature")


@dataclass(frozen=True, slots=True)
class Claim:
    """A signature that is to be held against the body, which `seen` is fed with."""

    seen: hmac.HMAC
    said: str
    failed: Callable[[Scope], None]

    def check(self, scope: Scope) -> None:
        """Refuse a body that somebody else has signed."""
        if not hmac.compare_digest(f"sha256={self.seen.hexdigest()}".encode(), self.said.strip().encode()):
            self.failed(scope)
            raise HTTPException(401, f"the signature is not that of this body: {_SIGNED}")


def claim(request: Request) -> Claim | None:
    """The signature of this request, where it was let through for one."""
    found: Claim | None = request.scope.get(_CLAIM)
    return found


def granted(request: Request) -> Grant:
    """Who asks this request, which was let through."""
    found: Grant = request.scope[_GRANT]
    return found


Granted = Annotated[Grant, Depends(granted)]


async def of_one_site(request: Request) -> None:
    """A dependency of reads: a token of some sites has to name one of them."""
    granted(request).check_site(request.query_params.get("site"))


async def of_all_sites(request: Request) -> None:
    """A dependency of reads that show all sites together."""
    granted(request).check_site(None)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def log_change(grant: Grant, what: str, **about: object) -> None:
    """One line for a change of state: who did what."""
    audit.info(what, extra={"who": grant.name, **about})


def _some(names: tuple[str, ...]) -> frozenset[str] | None:
    return frozenset(names) or None


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))


def _headers(scope: Scope) -> dict[bytes, str]:
    return {name: value.decode("latin-1") for name, value in scope["headers"]}


def _address(scope: Scope) -> str:
    return str((scope.get("client") or ("",))[0])


def _same_origin(origin: str | None, host: str) -> bool:
    """Whether a request that changes something comes from no page, or from a page of this service."""
    return origin is None or urlsplit(origin).netloc == host


def _name(host: str) -> str:
    """The Host header without its port."""
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0].lower()
