"""What engines and nodes say in passing on a registry's refusal: in words, often of no use otherwise."""

from __future__ import annotations

from prewarm.errors import (
    CacheError,
    DigestMismatch,
    NotFound,
    PrewarmError,
    RateLimited,
    RegistryError,
    Unauthorized,
    Unavailable,
)

MAX_WORDS = 500

# In the order in which they are looked for.
_SIGNS: tuple[tuple[str, type[PrewarmError]], ...] = (
    ("toomanyrequests", RateLimited),
    ("too many requests", RateLimited),
    ("verification failed", DigestMismatch),
    ("unexpected commit digest", DigestMismatch),
    ("manifest unknown", NotFound),
    ("not found", NotFound),
    ("unauthorized", Unauthorized),
    ("denied", Unauthorized),
    ("no basic auth credentials", Unauthorized),
    ("authorization failed", Unauthorized),
    ("no space left", CacheError),
    ("dial tcp", Unavailable),
    ("timeout", Unavailable),
    ("deadline exceeded", Unavailable),
    ("unexpected eof", Unavailable),
    (": eof", Unavailable),
    ("connection reset", Unavailable),
    ("unexpected http status", Unavailable),
    ("unexpected status code", Unavailable),
)


def in_our_words(who: str, message: str, status: int | None = None) -> PrewarmError:
    """The error that a message stands for; `who` said it."""
    words = f"{who} says: {' '.join(message.split())[:MAX_WORDS]}"
    lower = message.lower()
    kind = next((kind for sign, kind in _SIGNS if sign in lower), CacheError)
    return kind(words, status=status) if issubclass(kind, RegistryError) else kind(words)
