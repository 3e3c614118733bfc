"""What an answer tells of the cache that gave it: is the content stored there, or did it come from behind?

A pull-through registry answers ranges only from what it has stored: 206 is its proof. A web cache (nginx,
Varnish, a CDN) answers ranges of anything, so that 206 proves nothing there; it tells hits and misses in
headers, and a hit is the proof. Looked for, in this order: `Cache-Status` (RFC 9211), `CF-Cache-Status`,
`X-Cache-Status`, `X-Proxy-Cache`, `X-Cache` (CloudFront, Fastly, Akamai, Azure), `X-Varnish` (a hit names two
requests), and an `Age` above zero.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

RANGE = "206 to a range, as stored ones do"
STATUS = ("CF-Cache-Status", "X-Cache-Status", "X-Proxy-Cache")
STORED = frozenset({"hit", "stale", "updating", "revalidated"})


@dataclass(frozen=True, slots=True)
class Told:
    """Whether content is stored where it was asked for, and the sign of it, in words."""

    stored: bool
    sign: str


def told(status: int, headers: Mapping[str, str]) -> Told:
    """What the answer to `Range: bytes=0-0` tells; `headers` of any case-insensitive kind.

    >>> told(206, {}).stored
    True
    >>> told(206, {"X-Cache": "MISS"})
    Told(stored=False, sign='X-Cache: MISS')
    """
    for name, hit in _signs(headers):
        return Told(hit, f"{name}: {headers[name]}")
    return Told(status == 206, RANGE if status == 206 else f"{status} to a range")


def _signs(headers: Mapping[str, str]) -> list[tuple[str, bool]]:
    """The headers that tell, the clearest first, with whether they tell of a hit."""
    found: list[tuple[str, bool]] = []
    if "Cache-Status" in headers:  # the nearest cache is the last of the list
        nearest = headers["Cache-Status"].rpartition(",")[2]
        found.append(("Cache-Status", re.search(r";\s*hit\s*(;|$)", nearest) is not None))
    found += [
        (name, headers[name].strip().lower() in STORED) for name in STATUS if headers.get(name, "").strip()
    ]
    if headers.get("X-Cache", "").strip():  # Fastly: `MISS, HIT`, the nearest last; CloudFront: `Hit from …`
        nearest = headers["X-Cache"].rpartition(",")[2].strip().lower()
        found.append(
            ("X-Cache", re.match(r"(tcp_)?([a-z]+_)?(refresh)?hit\b|refreshhit\b", nearest) is not None)
        )
    if headers.get("X-Varnish", "").strip():
        found.append(("X-Varnish", len(headers["X-Varnish"].split()) == 2))
    if headers.get("Age", "").strip().isdigit() and int(headers["Age"]) > 0:
        found.append(("Age", True))
    return found
