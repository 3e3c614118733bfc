"""Why a pull missed, and what would remove that: one vocabulary for logs, reports and replays."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum


class Cause(StrEnum):
    """Why a pull missed; every miss has exactly one."""

    NEVER_SEEN = "never seen before"
    FRESH_PUSH = "fresh push"
    TAG_MOVED = "tag moved"
    TTL_LAPSED = "TTL lapsed"
    EVICTED = "evicted"
    COLD_NODE = "cold node or runner"  # another one of the site has had it
    OUTAGE = "outage"
    QUOTA = "quota"


class Remedy(StrEnum):
    """What removes a miss."""

    FORECAST = "a forecast can remove it"
    ROOM = "a bigger disk or longer TTL can"
    PUSH = "replication on push can"
    NOTHING = "nothing can"


REMEDIES: Mapping[Cause, Remedy] = {
    Cause.NEVER_SEEN: Remedy.NOTHING,
    Cause.FRESH_PUSH: Remedy.PUSH,
    Cause.TAG_MOVED: Remedy.FORECAST,
    Cause.TTL_LAPSED: Remedy.ROOM,
    Cause.EVICTED: Remedy.ROOM,
    Cause.COLD_NODE: Remedy.FORECAST,
    Cause.OUTAGE: Remedy.NOTHING,
    Cause.QUOTA: Remedy.FORECAST,
}

FRESH = timedelta(days=1)
"""A first pull within this time of the push is a fresh push."""
