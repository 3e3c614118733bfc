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
4. Where bytes are short, the images that are worth the most together are taken, in rank order: by rank, or by
   value per marginal byte, whichever is more.

What warming an image is worth is its score times the chance that the cache is cold or stale by then. The
ranking only guesses at the second (`p_stale`); the plan asks, and it becomes 1 for an image that the cache
does not hold in the digest of its tag, 0 for one that it holds, and of several nodes the share that lacks it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo

from prewarm.warming.rules import Gate, Rules
from prewarm.warming.worth import Offer, best

Blob = tuple[str, str]  # place and digest
_WORTH_SAYING = 0.1  # of the chance that a tag has moved
RIVALS = 10_000  # candidates that compete for bytes, by rank; as many as the longest ranking has
OUTBID = "other images are worth more for as many bytes"


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
    cold: float = 1.0  # chance that who pulls it finds it missing: of several nodes, the share without it
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
    short: bool = False  # the budget had no room for it


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
    order = [_Called(candidate, gate.always(candidate.image)) for candidate in candidates]
    order.sort(key=_Called.turn)
    verdicts = [_decide(each, gate, ledger, served) for each in order]
    if ledger.short:
        _spend_better(order, verdicts, ledger, served)
    warms = tuple(verdict for verdict in verdicts if isinstance(verdict, Warm))
    skipped = tuple(verdict for verdict in verdicts if isinstance(verdict, Skip))
    return Plan(id, cache, site, created_at, window, budget, model, objective, warms, skipped)


def in_order(candidates: Iterable[Candidate], gate: Gate) -> list[Candidate]:
    """The operator's `always` images first, then by rank."""
    return sorted(candidates, key=lambda candidate: (not gate.always(candidate.image), candidate.rank))


def refusal(candidate: Candidate, gate: Gate, *, always: bool | None = None) -> str | None:
    """Why the candidate may not be warmed by the operator's rules, in words; None when it may.

    `always` is whether it is on that list, where somebody has looked.
    """
    forbidden = gate.forbids(candidate.image) or candidate.barred
    if forbidden:
        return forbidden
    unpopular = gate.unpopular(candidate.clients)
    if unpopular and not (gate.always(candidate.image) if always is None else always):
        return unpopular
    return None


def takes_place(candidate: Candidate) -> bool:
    """Whether a candidate counts among the top N: it does not when it can never be warmed."""
    return candidate.problem is None or candidate.passing


@dataclass(frozen=True, slots=True)
class _Called:
    """A candidate, and whether the operator wants it in every plan."""

    candidate: Candidate
    always: bool

    def turn(self) -> tuple[bool, int]:
        return not self.always, self.candidate.rank


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
        self.held = frozenset(brought)
        self.places = 0
        self.bytes = 0
        self.pulls = 0
        self.short = False  # whether an image was left out for its bytes alone

    @property
    def full(self) -> bool:
        return self.budget.top is not None and self.places >= self.budget.top

    def again(self) -> _Ledger:
        """The same budget, with nothing spent of it."""
        return _Ledger(self.budget, set(self.held))

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
            self.short = True
            return f"needs {in_units(cost)}, {in_units(left)} of {in_units(self.budget.max_bytes)} are left"
        return None

    def spend(self, lying: set[Blob], cost: int | None) -> None:
        self.pulls += 1
        self.bytes += cost or 0
        self.brought |= lying


def _decide(each: _Called, gate: Gate, ledger: _Ledger, window: _Window) -> Warm | Skip:
    candidate, always = each.candidate, each.always
    refused = refusal(candidate, gate, always=always)
    if refused:
        return _skip(candidate, refused)
    if not always and ledger.full:
        return _skip(candidate, f"rank {candidate.rank} is beyond the top {ledger.budget.top}")
    if not always and takes_place(candidate):
        ledger.places += 1
    if candidate.problem:
        return replace(_skip(candidate, candidate.problem), failed=True)
    if candidate.held:
        return replace(_skip(candidate, _held_until(candidate, window)), held=True)
    return _afford(each, ledger, window)


def _afford(each: _Called, ledger: _Ledger, window: _Window) -> Warm | Skip:
    """A warm, unless the budget has no room for what it adds."""
    candidate, lying = each.candidate, _lying(each.candidate)
    cost = _marginal(candidate, lying, ledger.brought)
    refused = ledger.refusal(cost)
    if refused:
        return Skip(candidate.image, refused, digest=candidate.digest, rank=candidate.rank, short=True)
    ledger.spend(lying, cost)
    reason = _reason(candidate, each.always, window)
    return Warm(
        candidate.image, candidate.digest, cost, candidate.score, reason, candidate.rank, candidate.p_stale
    )


def _spend_better(
    order: Sequence[_Called], verdicts: list[Warm | Skip], ledger: _Ledger, window: _Window
) -> None:
    """Replace the verdicts of what competes for bytes, where another choice is worth more than rank order.

    The operator's own images stay. What is chosen is warmed in rank order.
    """
    rivals = [at for at, verdict in enumerate(verdicts) if isinstance(verdict, Warm) or verdict.short]
    spent = ledger.again()
    own = [at for at in rivals if order[at].always]
    for at in own:
        _afford(order[at], spent, window)
    others = [at for at in rivals if not order[at].always and _known(order[at].candidate)]
    offers = [_offer(order[at].candidate) for at in others[:RIVALS]]
    pulls = None if ledger.budget.max_pulls is None else ledger.budget.max_pulls - spent.pulls
    room = (ledger.budget.max_bytes or 0) - spent.bytes
    taken = [others[place] for place in best(offers, room, brought=spent.brought, most=pulls)]
    before = [at for at in others if isinstance(verdicts[at], Warm)]
    beyond = [at for at in others[RIVALS:] if isinstance(verdicts[at], Warm)]
    choice = {at: _afford(order[at], spent, window) for at in sorted(taken) + beyond}
    after = [at for at, verdict in choice.items() if isinstance(verdict, Warm)]
    if _value(order, after) <= _value(order, before):
        return
    for at in before:
        verdicts[at] = _skip(order[at].candidate, OUTBID)
    left = [at for at in others if at not in before and at not in choice]
    for at in left:  # what each of them lacks now
        choice[at] = _afford(order[at], spent, window)
    for at, verdict in choice.items():
        verdicts[at] = verdict


def _known(candidate: Candidate) -> bool:
    """Whether what it adds can be told."""
    return bool(candidate.blobs) or candidate.bytes is not None


def _offer(candidate: Candidate) -> Offer:
    value = candidate.score * candidate.cold
    if not candidate.blobs:
        return Offer(value, {candidate.image: candidate.bytes or 0})
    return Offer(value, {(candidate.place, digest): size for digest, size in candidate.blobs})


def _value(order: Sequence[_Called], places: Iterable[int]) -> float:
    return sum(order[at].candidate.score * order[at].candidate.cold for at in places)


def _marginal(candidate: Candidate, lying: set[Blob], brought: set[Blob]) -> int | None:
    """Bytes that warming the candidate adds to what is brought; None when unknown."""
    if not candidate.blobs:
        return candidate.bytes
    new = lying - brought
    return sum(size for digest, size in dict(candidate.blobs).items() if (candidate.place, digest) in new)


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
    if candidate.cold < 1:
        words += f", missing on {candidate.cold:.0%} of the nodes"
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
