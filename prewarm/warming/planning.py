"""Candidates, what the cache holds and budgets become a plan. A plan is a value; `run` executes it.

The rules, in the order in which they are applied to each candidate:

1. `never` and `allow` decide what may be warmed at all, `min_clients` what is popular enough, and an image
   of a registry that may not be contacted is barred.
2. Images that match `always` come first and take none of the N places; the others take a place each, in
   rank order. One that is held keeps its place, so that a second run warms nothing; one that can never be
   warmed (not found, unsupported) gives its place to the next.
3. Bytes are marginal: a layer that the cache shows to hold, or that an earlier warm brings, is free, in the
   place where it lies: a pull-through cache fetches a layer again for each repository. An image that does
   not fit the byte budget is left out; a smaller one of a later rank may still fit.

What warming an image is worth is its score times the chance that the cache is cold or stale by then. The
ranking only guesses at the second (`p_stale`); the plan asks, and it becomes 1 for an image that the cache
does not hold in the digest of its tag, and 0 for one that it holds.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo

from prewarm.errors import InvalidReference
from prewarm.references import Reference

Blob = tuple[str, str]  # place and digest
_WORTH_SAYING = 0.1  # of the chance that a tag has moved


@dataclass(frozen=True, slots=True)
class Candidate:
    """One image of the ranking, with what is known of it when the plan is made."""

    image: str  # canonical reference
    rank: int  # 1 is the best; 0: not in the ranking
    mean: float  # expected pulls in the window
    probability: float  # P(at least one pull)
    score: float  # of the plan's objective
    digest: str | None = None
    bytes: int | None = None  # of all its blobs; None: unknown
    blobs: tuple[tuple[str, int], ...] = ()  # (digest, bytes), for shared layers
    place: str = ""  # where they lie: layers are shared within a place only
    held: bool = False  # the cache holds it, fresh
    p_stale: float | None = None  # P(its tag has moved since the cache had it last); None: unknown
    expires: datetime | None = None  # when the cache will have forgotten it; None: unknown, or never
    clients: int | None = None  # distinct clients that pulled it; None: unknown
    barred: str | None = None  # why this cache cannot serve it at all, in words
    problem: str | None = None  # why it cannot be resolved, in words
    passing: bool = False  # the problem may pass (an upstream that is down): the image keeps its place


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of one plan; None is no limit."""

    top: int | None = None
    max_bytes: int | None = None
    max_pulls: int | None = None
    ready_by: datetime | None = None

    def at_most(self, max_bytes: int | None) -> Budget:
        """The same, with no more than `max_bytes`: the cache's own limit stands above what is asked."""
        limits = [limit for limit in (self.max_bytes, max_bytes) if limit is not None]
        return replace(self, max_bytes=min(limits, default=None))

    def within(self, bandwidth: int | None, now: datetime) -> Budget:
        """The same, with no more bytes than `bandwidth` (bytes per second) can bring until `ready_by`."""
        if bandwidth is None or self.ready_by is None:
            return self
        room = int(bandwidth * max((self.ready_by - now).total_seconds(), 0.0))
        return replace(self, max_bytes=room if self.max_bytes is None else min(room, self.max_bytes))


@dataclass(frozen=True, slots=True)
class Rules:
    """An operator's lists and thresholds.

    A pattern is a reference (`nginx:1.25`), a repository (`docker.io/acme/api`: any of its tags) or a glob
    on canonical references (`*/test-*`).
    """

    always: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()  # () allows anything of a listed registry
    min_clients: int = 1


@dataclass(frozen=True, slots=True)
class Warm:
    """An image that will be warmed, and why, in words; `bytes` is what it adds to the plan."""

    image: str
    digest: str | None
    bytes: int | None
    score: float
    reason: str
    rank: int = 0  # 0: not in the ranking
    p_stale: float | None = None  # as in the ranking


@dataclass(frozen=True, slots=True)
class Skip:
    """An image that will not be warmed, and why."""

    image: str
    reason: str
    held: bool = False  # the cache has it already
    failed: bool = False  # it could not be resolved; a run reports it as failed
    digest: str | None = None
    rank: int = 0


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

    @property
    def bytes(self) -> int:
        """Bytes that the plan will transfer, as far as they are known."""
        return sum(warm.bytes or 0 for warm in self.warms)


def warnings_of(plan: Plan) -> tuple[str, ...]:
    """A sentence when the plan has candidates, and neither warms one nor knows one to be held: why."""
    skipped = plan.skipped
    if plan.warms or plan.withheld or not skipped or any(skip.held for skip in skipped):
        return ()
    # What a run would report as failed says more than what the settings leave out on purpose.
    first, count = next((skip for skip in skipped if skip.failed), skipped[0]), len(skipped)
    images = f"none of the {count} images" if count > 1 else "the one image"
    verb = "can" if count > 1 else "cannot"
    return (f"{images} in question {verb} be warmed; {first.image}: {first.reason}",)


class Patterns:
    """An operator's list, compiled: does an image match any of its patterns?"""

    def __init__(self, texts: Iterable[str]) -> None:
        """`texts` as `Rules` describes them; any text is a valid pattern."""
        self.images: tuple[str, ...] = ()
        globs = []
        repositories = []
        for text in texts:
            reference = _reference(text)
            if reference is None:
                globs.append(fnmatch.translate(text))
                continue
            self.images += (str(reference),)
            if _is_repository(text):
                repositories.append(reference.name)
        self._literal = frozenset(self.images)
        self._repositories = tuple(name + end for name in repositories for end in ":@")
        self._glob = re.compile("|".join(globs)) if globs else None

    def name(self, image: str) -> bool:
        """Whether the canonical reference `image` is written out, by image or repository, without a glob."""
        return image in self._literal or image.startswith(self._repositories)

    def match(self, image: str) -> bool:
        """Whether the canonical reference `image` matches."""
        return self.name(image) or bool(self._glob and self._glob.fullmatch(image))


class Gate:
    """Rules, compiled: why an image may not be warmed, before anyone is asked about it."""

    def __init__(self, rules: Rules) -> None:
        self._never = Patterns(rules.never)
        self._allow = Patterns(rules.allow) if rules.allow else None
        self._always = Patterns(rules.always)
        self._min_clients = rules.min_clients

    def always(self, image: str) -> bool:
        """Whether the operator wants `image` in every plan."""
        return self._always.match(image)

    def named(self, image: str) -> bool:
        """Whether the operator wrote `image` or its repository out in `always` or `allow`.

        A glob names nobody: `*/library/*` must not open every host that a log line mentions.
        """
        return self._always.name(image) or (self._allow is not None and self._allow.name(image))

    def unranked(self, ranked: Iterable[str]) -> list[str]:
        """Images that the operator named in `always` and the ranking does not have, in his order."""
        known = set(ranked)
        return [image for image in dict.fromkeys(self._always.images) if image not in known]

    def forbids(self, image: str) -> str | None:
        """Why the operator's lists keep `image` out, in words; None when they do not."""
        if self._never.match(image):
            return "on the cache's never list"
        if self._allow is not None and not self._allow.match(image):
            return "not on the cache's allow list"
        return None

    def refusal(self, candidate: Candidate) -> str | None:
        """Why the candidate may not be warmed, in words; None when it may."""
        forbidden = self.forbids(candidate.image) or candidate.barred
        if forbidden:
            return forbidden
        if self._min_clients <= 1 or self.always(candidate.image):
            return None
        if candidate.clients is None:
            return f"its distinct clients are unknown, {self._min_clients} are required"
        if candidate.clients < self._min_clients:
            return f"pulled by {candidate.clients} distinct clients, {self._min_clients} are required"
        return None


def plan(
    candidates: Sequence[Candidate],
    budget: Budget,
    rules: Rules,
    *,
    id: str,
    cache: str,
    site: str | None,
    created_at: datetime,
    window: tuple[datetime, datetime],
    model: str,
    objective: str,
    clock: tzinfo = UTC,
) -> Plan:
    """Decide what to warm; each candidate ends in exactly one of `warms` and `skipped`.

    `clock` is the site's time zone, for the hours in the reasons.
    """
    gate = Gate(rules)
    served = _Window(*window, clock, _hours(window, clock))
    ledger = _Ledger(budget, brought=_held(candidates))
    warms: list[Warm] = []
    skipped: list[Skip] = []
    for candidate in in_order(candidates, gate):
        verdict = _decide(candidate, gate, ledger, served)
        if isinstance(verdict, Warm):
            warms.append(verdict)
        else:
            skipped.append(verdict)
    return Plan(id, cache, site, created_at, window, budget, model, objective, tuple(warms), tuple(skipped))


def in_order(candidates: Iterable[Candidate], gate: Gate) -> list[Candidate]:
    """The operator's `always` images first, then by rank."""
    return sorted(candidates, key=lambda candidate: (not gate.always(candidate.image), candidate.rank))


def takes_place(candidate: Candidate) -> bool:
    """Whether a candidate counts among the top N: it does not when it can never be warmed."""
    return candidate.problem is None or candidate.passing


@dataclass(frozen=True, slots=True)
class _Window:
    """The hours that a plan serves, and how they are told."""

    start: datetime
    end: datetime
    clock: tzinfo
    hours: str


class _Ledger:
    """What is left of a budget while a plan is made."""

    def __init__(self, budget: Budget, brought: set[Blob]) -> None:
        self.budget = budget
        self.brought = brought  # what the cache has, or will have by then
        self.places = 0
        self.bytes = 0
        self.pulls = 0

    @property
    def full(self) -> bool:
        return self.budget.top is not None and self.places >= self.budget.top

    def marginal(self, candidate: Candidate) -> int | None:
        """Bytes that warming the candidate adds; None when unknown."""
        if not candidate.blobs:
            return candidate.bytes
        sizes = dict(candidate.blobs)
        return sum(sizes[digest] for place, digest in _lying(candidate) - self.brought)

    def refusal(self, cost: int | None) -> str | None:
        """Why a warm of `cost` bytes does not fit, in words; None when it does."""
        if self.budget.max_pulls is not None and self.pulls >= self.budget.max_pulls:
            return f"the plan's {self.budget.max_pulls} pulls are spent"
        if self.budget.max_bytes is None:
            return None
        if cost is None:
            return "its size is unknown, and the plan has a byte budget"
        left = self.budget.max_bytes - self.bytes
        if cost > left:
            return f"needs {in_units(cost)}, {in_units(left)} of {in_units(self.budget.max_bytes)} are left"
        return None

    def spend(self, candidate: Candidate, cost: int | None) -> None:
        self.pulls += 1
        self.bytes += cost or 0
        self.brought |= _lying(candidate)


def _decide(candidate: Candidate, gate: Gate, ledger: _Ledger, window: _Window) -> Warm | Skip:
    always = gate.always(candidate.image)
    refusal = gate.refusal(candidate)
    if refusal:
        return _skip(candidate, refusal)
    if not always and ledger.full:
        return _skip(candidate, f"rank {candidate.rank} is beyond the top {ledger.budget.top}")
    if not always and takes_place(candidate):
        ledger.places += 1
    if candidate.problem:
        return replace(_skip(candidate, candidate.problem), failed=True)
    if candidate.held:
        return replace(_skip(candidate, _held_until(candidate, window)), held=True)
    cost = ledger.marginal(candidate)
    refusal = ledger.refusal(cost)
    if refusal:
        return _skip(candidate, refusal)
    ledger.spend(candidate, cost)
    reason = _reason(candidate, always, window)
    return Warm(
        candidate.image, candidate.digest, cost, candidate.score, reason, candidate.rank, candidate.p_stale
    )


def _skip(candidate: Candidate, reason: str) -> Skip:
    return Skip(candidate.image, reason, digest=candidate.digest, rank=candidate.rank)


def _held(candidates: Iterable[Candidate]) -> set[Blob]:
    return {blob for candidate in candidates if candidate.held for blob in _lying(candidate)}


def _lying(candidate: Candidate) -> set[Blob]:
    return {(candidate.place, digest) for digest, _ in candidate.blobs}


def _held_until(candidate: Candidate, window: _Window) -> str:
    """A fill lapses at its time, whoever uses it; the words say so when the hours are not over by then."""
    expires = candidate.expires
    if expires is None or expires >= window.end:
        return "already held, fresh"
    when = "before" if expires < window.start else "within"
    moment = expires.astimezone(window.clock)
    return f"already held, but its fill expires {moment:%a %d %b %H:%M}, {when} the hours {window.hours}"


def _reason(candidate: Candidate, always: bool, window: _Window) -> str:
    if candidate.rank == 0:
        return "always on the operator's list"
    words = (
        f"rank {candidate.rank}, {candidate.mean:.3g} pulls expected {window.hours}, "
        f"P {candidate.probability:.2f}"
    )
    if candidate.p_stale is not None and candidate.p_stale >= _WORTH_SAYING:
        words += f"; its tag has moved with P {candidate.p_stale:.2f}"
    return f"always on the operator's list; {words}" if always else words


def _hours(window: tuple[datetime, datetime], clock: tzinfo) -> str:
    """`08:00–09:00`, with the day where the window is longer than one."""
    start, end = (moment.astimezone(clock) for moment in window)
    short = (window[1] - window[0]).total_seconds() <= 86_400
    form = "%H:%M" if short else "%a %d %b %H:%M"
    return f"{start:{form}}–{end:{form}}"


def in_units(count: int) -> str:
    """Bytes for people: `41.2 MB` (powers of ten, as in the settings)."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}"


def _reference(text: str) -> Reference | None:
    try:
        return Reference.parse(text)
    except InvalidReference:
        return None


def _is_repository(text: str) -> bool:
    """Whether a pattern that is a reference names neither tag nor digest."""
    return "@" not in text and ":" not in text.rpartition("/")[2]
