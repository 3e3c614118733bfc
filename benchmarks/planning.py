"""Deciding a plan over very many candidates that share layers: `python -m benchmarks.planning [--images N]`.

Each image has three of 500 base layers of 50 MB and three of its own, one of them of any size (log-normal,
24 MB in the middle); expected pulls fall with the rank, by its power of -0.8. Beside the CPU time stands that
of the least that any planner does, sorting the candidates by score and adding up their layers, and what the
plan is worth beside a plan in rank order.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from prewarm.warming.planning import Budget, Candidate, Plan, plan
from prewarm.warming.rules import Rules

EIGHT = datetime(2026, 11, 24, 8, tzinfo=UTC)
BASES = [(f"sha256:{number:064x}", 50_000_000) for number in range(500)]
BUDGETS = {
    "top 20": Budget(top=20),
    "top 10,000 within 40 GB": Budget(top=10_000, max_bytes=40 * 10**9),
    "all within 40 GB": Budget(max_bytes=40 * 10**9),
    "all": Budget(),
}


def candidates(count: int) -> list[Candidate]:
    """The ranking, best first."""
    dice = random.Random(7)
    return [_candidate(rank, dice) for rank in range(1, count + 1)]


def _candidate(rank: int, dice: random.Random) -> Candidate:
    sizes = int(dice.lognormvariate(17, 1.5)), 90_000, 3_000
    own = [(f"sha256:{rank:062x}{number:02x}", size) for number, size in enumerate(sizes)]
    blobs = (*dice.sample(BASES, 3), *own)
    mean = 1e5 / rank**0.8
    image = f"docker.io/acme/app{rank % 3000}:{rank}"
    return Candidate(image, rank, mean, 0.9, mean, bytes=sum(size for _, size in blobs), blobs=blobs)


def decided(found: list[Candidate], budget: Budget) -> Plan:
    window = EIGHT, EIGHT + timedelta(hours=1)
    rules = Rules(never=("*/test-*",))
    return plan(
        found, budget, rules, id="p", cache="c", site=None, created_at=EIGHT, window=window, model="m",
        objective="pulls",
    )  # fmt: skip


def in_rank_order(found: list[Candidate], budget: Budget) -> float:
    """What a plan is worth that takes each image that still fits, the best rank first."""
    there: set[str] = set()
    spent, worth = 0, 0.0
    for each in sorted(found, key=lambda candidate: -candidate.score)[: budget.top]:
        cost = sum(size for digest, size in each.blobs if digest not in there)
        if budget.max_bytes is None or spent + cost <= budget.max_bytes:
            spent, worth = spent + cost, worth + each.score
            there.update(digest for digest, _ in each.blobs)
    return worth


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """CPU seconds, and what came of it."""
    begin = time.process_time()
    found = work()
    return time.process_time() - begin, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    found = candidates(parser.parse_args().images)
    least, _ = timed(lambda: in_rank_order(found, Budget()))
    print(f"{len(found):,} candidates; sorting them and adding up their layers: {least:.2f} CPU s\n")
    print(f"{'budget':26}{'warms':>9}{'CPU s':>9}{'× least':>9}{'worth beside rank order':>26}")
    for name, budget in BUDGETS.items():
        seconds, made = timed(lambda budget=budget: decided(found, budget))
        assert isinstance(made, Plan)
        worth = sum(warm.score for warm in made.warms) / in_rank_order(found, budget)
        print(f"{name:26}{len(made.warms):>9,}{seconds:>9.2f}{seconds / least:>9.1f}{worth:>26.2f}")


if __name__ == "__main__":
    main()
