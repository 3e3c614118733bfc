"""What went wrong on the wire, as errors of ours: two tables and the registry's own error document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import aiohttp

from prewarm.errors import NotFound, RateLimited, RegistryError, Unauthorized, Unavailable

MAX_ERROR = 64 << 10  # bytes of an error document that are read

# Each exception of aiohttp's client, the nearest listed ancestor deciding.
WIRE: Mapping[type[BaseException], tuple[type[RegistryError], str]] = {
    aiohttp.ClientConnectorDNSError: (Unavailable, "its name does not resolve"),
    aiohttp.ClientConnectorCertificateError: (
        RegistryError,
        "its TLS certificate is not trusted; set ca_file for a private authority",
    ),
    aiohttp.ClientConnectorSSLError: (Unavailable, "TLS failed; is the url https where it should be http?"),
    aiohttp.ClientSSLError: (Unavailable, "TLS failed; is the url https where it should be http?"),
    aiohttp.ServerFingerprintMismatch: (RegistryError, "its TLS certificate is not the expected one"),
    aiohttp.ClientConnectorError: (Unavailable, "no connection; is it running?"),
    aiohttp.ConnectionTimeoutError: (Unavailable, "no connection in time"),
    aiohttp.SocketTimeoutError: (Unavailable, "no byte in time"),
    aiohttp.ServerTimeoutError: (Unavailable, "no answer in time"),
    aiohttp.ServerDisconnectedError: (Unavailable, "it closed the connection without an answer"),
    aiohttp.ClientPayloadError: (Unavailable, "it broke off in the middle of an answer"),
    aiohttp.ClientConnectionError: (Unavailable, "the connection broke"),
    aiohttp.InvalidURL: (RegistryError, "it pointed to an address that is no URL"),
    aiohttp.NonHttpUrlClientError: (RegistryError, "it pointed to an address that is not http(s)"),
    aiohttp.RedirectClientError: (RegistryError, "it redirected to an address that is no http(s) URL"),
    aiohttp.ClientResponseError: (Unavailable, "its answer is not HTTP"),
    aiohttp.ClientError: (Unavailable, "the request failed"),
    TimeoutError: (Unavailable, "the answer took too long"),
    OSError: (Unavailable, "its name does not resolve"),  # of the look-up before a connection
}

STATUSES: Mapping[int, tuple[type[RegistryError], str]] = {
    401: (Unauthorized, "it asks for a login; `docker login {registry}` stores one"),
    403: (Unauthorized, "this login may not read it"),
    404: (NotFound, "there is no such thing"),
    408: (Unavailable, "the request took too long"),
    416: (RegistryError, "the range is not satisfiable"),
    429: (RateLimited, "too many requests"),
}


@contextmanager
def translated(registry: str) -> Iterator[None]:
    """Turn what aiohttp raises inside into a RegistryError that names `registry`."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        kind, words = of_exception(error)
        raise kind(f"registry {registry}: {words}") from error


def of_exception(error: BaseException) -> tuple[type[RegistryError], str]:
    """The row of WIRE for this exception of aiohttp's client, or of the system."""
    return WIRE[next(ancestor for ancestor in type(error).__mro__ if ancestor in WIRE)]


def of_status(
    registry: str, subject: str, status: int, body: bytes, retry_after: float | None = None
) -> RegistryError:
    """The error for a refusal: `subject` says what was asked, `body` is what came with the status."""
    other = (Unavailable, "the registry failed") if status >= 500 else (RegistryError, "it was refused")
    kind, words = STATUSES.get(status, other)
    code, message = document(body)
    said = f' ("{message}")' if message else ""
    text = f"registry {registry}: {subject}: {status}, {words.format(registry=registry)}{said}"
    return kind(text, code=code, status=status, retry_after=retry_after)


def document(body: bytes) -> tuple[str | None, str | None]:
    """The first code and message of an error document (distribution-spec, "Error Codes").

    A body that is none gives no code; one that is a web page says so.
    """
    try:
        first = json.loads(body)["errors"][0]
        return _shown(first.get("code")), _shown(first.get("message"))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None, "it answered a web page, not a registry's error" if is_html(body) else None


def is_html(body: bytes) -> bool:
    """Whether `body` starts like a web page: a portal or a proxy answered in the registry's place."""
    start = body[:200].lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head", b"<body"))


def _shown(value: object) -> str | None:
    """One printable line: what a registry says never reaches a terminal raw."""
    if not isinstance(value, str) or not value:
        return None
    return "".join(c if c.isprintable() else " " for c in value[:200])
