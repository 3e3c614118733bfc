"""Every error that prewarm raises on purpose, in one tree.

* PrewarmError
  x InvalidReference      a text that is no image reference
  x SettingsError         a config key, variable or flag that cannot be used
  x UnknownName           a cache, source, site, plan or driver that nobody defined
  x BrokenDriver          a driver whose module cannot be imported
  x UnreadableInput       a log that cannot be read
    + UnknownFormat       ... because no format fits its lines
  x NotEnoughHistory      a forecast asked of a lake that holds nothing to learn from
  x LakeError             a table that cannot be read or written
  x Full                  deliveries that come faster than the lake takes them
  x ForbiddenHost         a host that no setting allows to be contacted
  x RegistryError         a registry's refusal; `code`, `status`, `retryable`, `retry_after`
    + Unauthorized
    + NotFound
    + RateLimited
    + Unavailable         network failures, time-outs and 5xx
  x DigestMismatch        content that is not what its digest says
  x UnsupportedImage      a manifest that prewarm understands but refuses (schema 1, nested loops)
  x CacheError            a cache that did not do what it was asked
    + CacheBusy           another run holds it
    + Paused              somebody has set the kill switch
    + TagMoved            a tag points elsewhere than when it was asked about
  x ServiceError          a prewarm service that does not answer, or refuses

Messages are one line that teaches: what was wrong, what was expected, an example.
They never carry credentials, tokens or signed URLs.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class PrewarmError(Exception):
    """Root of the tree; `str(error)` is one line fit for a person."""


class InvalidReference(PrewarmError, ValueError):
    """A text that is no image reference."""


class SettingsError(PrewarmError, ValueError):
    """A config key, variable or flag that cannot be used."""


class UnknownName(PrewarmError, LookupError):
    """A name that nobody defined; the message lists the known ones.

    >>> str(UnknownName("cache", "ofice", ["office", "edge"]))
    "no cache called 'ofice'; did you mean 'office'? known: edge, office"
    """

    def __init__(self, noun: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = nearest(name, names)
        hint = f"; did you mean {near!r}?" if near else ";"
        super().__init__(f"no {noun} called {name!r}{hint} known: {', '.join(names) or 'none'}")


class BrokenDriver(PrewarmError, ImportError):
    """A driver whose module cannot be imported; the message names the package that declares it."""


class UnreadableInput(PrewarmError):
    """A log that cannot be read; the message names the file and why."""


class UnknownFormat(UnreadableInput):
    """A log whose lines fit no known format; the message names the closest ones."""


class NotEnoughHistory(PrewarmError):
    """A forecast asked of a lake that holds nothing to learn from."""


class LakeError(PrewarmError):
    """A table of the lake that cannot be read or written."""


class Full(PrewarmError):
    """Deliveries that come faster than the lake takes them; nothing was taken."""


class ForbiddenHost(PrewarmError):
    """A host that no setting allows to be contacted."""


class RegistryError(PrewarmError):
    """A registry's refusal.

    `code` is the OCI error code where the registry gave one (distribution-spec, "Error Codes"),
    `status` the HTTP status or None, `retryable` whether the same request may succeed later,
    `retry_after` the seconds that the registry asked us to wait, or None.
    """

    retryable = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.retry_after = retry_after


class Unauthorized(RegistryError):
    """401 or 403, after the token flow was tried."""


class NotFound(RegistryError):
    """404: no such repository, manifest or blob."""


class RateLimited(RegistryError):
    """429; `retry_after` says when to come back."""

    retryable = True


class Unavailable(RegistryError):
    """Network failures, time-outs and 5xx."""

    retryable = True


class DigestMismatch(PrewarmError):
    """Content that is not what its digest says; the message contains the word digest."""


class UnsupportedImage(PrewarmError):
    """A manifest that prewarm understands but refuses, such as schema 1."""


class CacheError(PrewarmError):
    """A cache that did not do what it was asked."""


class CacheBusy(CacheError):
    """Another run holds this cache."""


class Paused(CacheError):
    """Somebody has set the kill switch: nothing warms until it is resumed."""


class TagMoved(CacheError):
    """A tag points elsewhere than when it was asked about; asking again tells where."""


class ServiceError(PrewarmError):
    """A prewarm service that does not answer, or refuses (`client.Refused`)."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, or None when none is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return close[0] if close else None


_SECRETS = (
    (re.compile(r"[^\s/'\"@:.,=]+:[^\s/'\"@]+@(?!sha\d)"), "…@"),  # name:password@host, not name:tag@sha256
    (re.compile(r"(?i)\b((?:[\w-]*token|sig|[\w-]*signature|password|[\w-]*secret)=)[^&\s'\"]+"), r"\1…"),
    (re.compile(r"(?i)(\bauthorization\W{1,4}(?:(?:basic|bearer)\s+)?)[^\s'\",]+"), r"\1…"),
)


def hide_secrets(text: str) -> str:
    """`text` without what looks like a secret: logins in URLs, signatures and tokens in queries and headers.

    For words that repeat what somebody else wrote: a line of a log, a value of the settings.

    >>> hide_secrets("GET /v2/?token=abc to https://bob:pw@x")
    'GET /v2/?token=… to https://…@x'
    """
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text
