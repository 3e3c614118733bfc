"""Candidates, what the cache holds and budgets become a plan. A plan is a value; `run` executes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Candidate:
    """One image of the ranking, with what is known of it when the plan is made."""

    image: str                    # canonical reference
    rank: int
    mean: float                   # expected pulls in the window
    probability: float            # P(at least one pull)
    score: float                  # of the plan's objective
    digest: str | None = None
    bytes: int | None = None      # of all its blobs; None: unknown
    blobs: tuple[tuple[str, int], ...] = ()   # (digest, bytes), for shared layers
    held: bool = False            # the cache holds it, fresh
    clients: int | None = None    # distinct clients that pulled it; None: unknown
    problem: str | None = None    # why it cannot be resolved, in words


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of one plan; None is no limit."""

    top: int | None = None
    max_bytes: int | None = None
    max_pulls: int | None = None
    ready_by: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """An operator's lists (globs on canonical references) and thresholds."""

    always: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()   # () allows anything of a listed registry
    min_clients: int = 1


@dataclass(frozen=True, slots=True)
class Warm:
    """An image that will be warmed, and why, in words."""

    image: str
    digest: str | None
    bytes: int | None
    score: float
    reason: str


@dataclass(frozen=True, slots=True)
class Skip:
    """An image that will not be warmed, and why; `held` when the cache has it already."""

    image: str
    reason: str
    held: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be warmed, in rank order, and what will not."""

    id: str
    cache: str
    site: str | None
    created_at: datetime
    window: tuple[datetime, datetime]
    budget: Budget
    model: str
    objective: str
    warms: tuple[Warm, ...] = ()
    skipped: tuple[Skip, ...] = ()
    withheld: tuple[Warm, ...] = ()
    meta: dict[str, str] = field(default_factory=dict)
