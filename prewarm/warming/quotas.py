"""Pull quotas: what a registry leaves us, and the share of it that is kept for people.

Docker Hub counts GETs of manifests per six hours and tells the state with every answer about a manifest;
a HEAD is free ("Docker Hub usage and limits").
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from prewarm.errors import RateLimited, RegistryError

_HEADER = re.compile(r"\s*(?P<count>\d{1,12})\s*(?:;\s*w=(?P<window>\d{1,12}))?\s*")


@dataclass(frozen=True, slots=True)
class Quota:
    """A registry's pull quota as its last answer told it (Docker Hub's `RateLimit-*` headers)."""

    limit: int  # pulls per window
    remaining: int
    window: float  # seconds

    def spare(self, reserve: float) -> float:
        """Pulls that are left beside the share `reserve` of the limit."""
        return self.remaining - reserve * self.limit


def parse_quota(headers: Mapping[str, str]) -> Quota | None:
    """Docker Hub's `ratelimit-limit: 100;w=21600` and `ratelimit-remaining`; None when there are none."""
    limit = _HEADER.fullmatch(headers.get("RateLimit-Limit", ""))
    remaining = _HEADER.fullmatch(headers.get("RateLimit-Remaining", ""))
    if not limit or not remaining:
        return None
    return Quota(int(limit["count"]), int(remaining["count"]), float(limit["window"] or 0))


class Allowance:
    """The pulls of one registry that we may spend."""

    def __init__(self, registry: str, reserve: float) -> None:
        """`reserve` is the share of the quota that is kept for people; 0 counts nothing."""
        self.quota: Quota | None = None
        self._registry = registry
        self._reserve = reserve
        self._unmetered = reserve <= 0  # as far as we need to know
        self._counting = asyncio.Lock()
        self._pulling = 0  # manifests on their way

    def learn(self, headers: Mapping[str, str]) -> None:
        """Take what an answer says of the quota."""
        self.quota = parse_quota(headers) or self.quota

    @asynccontextmanager
    async def one_pull(self, ask: Callable[[], Awaitable[Quota | None]]) -> AsyncGenerator[None, None]:
        """One of the pulls that may be spent, within; RateLimited when the others are kept for people.

        `ask` tells the present quota for free, None where there is none.
        """
        async with self._counting:
            if not self._unmetered:
                await self._spend(ask)
            self._pulling += 1
        try:
            yield
        finally:
            self._pulling -= 1

    async def _spend(self, ask: Callable[[], Awaitable[Quota | None]]) -> None:
        quota = self.quota
        if quota is None or quota.spare(self._reserve) < 1:  # unknown, or the window may have passed
            try:
                quota = await ask()
            except RegistryError:
                return  # the pull that follows says what is wrong
            if quota is not None:  # pulls on their way may not be counted there yet
                quota = replace(quota, remaining=quota.remaining - self._pulling)
        if quota is None:
            self._unmetered = True
            return
        if quota.spare(self._reserve) < 1:
            raise RateLimited(
                f"registry {self._registry}: {quota.remaining} of {quota.limit} pulls are left, and "
                f"{self._reserve * quota.limit:.0f} are kept for people (reserve = {self._reserve:g})"
            )
        self.quota = replace(quota, remaining=quota.remaining - 1)
