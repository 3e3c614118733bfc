"""Plans are executed: one outcome per candidate, whatever happens."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from prewarm.errors import CacheBusy, CacheError, DigestMismatch, Unavailable
from prewarm.warming.executor import Event, Run, execute, lock
from prewarm.warming.images import Image
from prewarm.warming.planning import Budget, Plan, Skip, Warm
from tests.memory_cache import MemoryCache, image_of

EIGHT = datetime(2026, 11, 24, 8, tzinfo=UTC)
A, B, C = (image_of(f"{name}:1", name.encode() * 10) for name in "abc")


def ticking() -> Callable[[], datetime]:
    """A clock that advances by one second each time it is read."""
    seconds = itertools.count()
    return lambda: EIGHT + timedelta(seconds=next(seconds))


def plan_of(*warms: Warm, skipped: tuple[Skip, ...] = (), withheld: tuple[Warm, ...] = ()) -> Plan:
    """A plan with these places."""
    window = (EIGHT, EIGHT + timedelta(hours=1))
    return Plan(
        "p1", "office", "boise", EIGHT, window, Budget(), "profile", "pulls", warms, skipped, withheld
    )


def warm(image: Image, rank: int) -> Warm:
    return Warm(str(image.reference), image.digest, image.bytes, 1.0, f"rank {rank}", rank)


async def run(plan: Plan, cache: MemoryCache, **options: object) -> Run:
    return await execute(plan, cache, clock=ticking(), **options)  # type: ignore[arg-type]


def states(result: Run) -> list[str]:
    return [outcome.state for outcome in result.outcomes]


async def test_images_are_warmed_in_rank_order() -> None:
    """The best image is complete before the next begins, when one goes at a time."""
    cache = MemoryCache([A, B, C])
    result = await run(plan_of(warm(A, 1), warm(B, 2), warm(C, 3)), cache, concurrency=1)
    assert states(result) == ["warmed"] * 3
    assert cache.warmed == [str(each.reference) for each in (A, B, C)]
    assert result.state == "done"


async def test_totals_count_what_was_transferred() -> None:
    """Shared content travels once: all three have the same config."""
    result = await run(plan_of(warm(A, 1), warm(B, 2), warm(C, 3)), MemoryCache([A, B, C]), concurrency=1)
    assert [outcome.bytes for outcome in result.outcomes] == [12, 10, 10]
    assert result.totals["warmed"] == 3
    assert result.totals["bytes"] == 32
    assert result.totals["failed"] == 0


async def test_a_second_run_transfers_nothing() -> None:
    """Everything is already there."""
    cache = MemoryCache([A, B])
    plan = plan_of(warm(A, 1), warm(B, 2))
    await run(plan, cache)
    again = await run(plan, cache)
    assert states(again) == ["already", "already"]
    assert again.totals["bytes"] == 0
    assert again.state == "done"


async def test_every_candidate_has_its_outcome_in_rank_order() -> None:
    """Warms, held, refused, unresolved and withheld images side by side."""
    plan = plan_of(
        warm(C, 5),
        skipped=(
            Skip("x:1", "already held, fresh", held=True, digest="sha256:x", rank=1),
            Skip("y:1", "on the cache's never list", rank=2),
            Skip("z:1", "manifest unknown", failed=True, rank=4),
        ),
        withheld=(Warm("w:1", None, None, 1.0, "held out", 3),),
    )
    result = await run(plan, MemoryCache([C]))
    assert states(result) == ["already", "skipped", "withheld", "failed", "warmed"]
    assert result.outcomes[0].digest == "sha256:x"
    assert result.outcomes[1].error == "on the cache's never list"
    assert result.outcomes[3].error == "manifest unknown"
    assert result.state == "partly"


async def test_a_refusal_fails_one_image_and_not_the_others() -> None:
    """The error is kept; nothing failed is called warm."""
    cache = MemoryCache([A, B])
    cache.faults[str(A.reference)] = [DigestMismatch("blob has another digest than sha256:aa")]
    result = await run(plan_of(warm(A, 1), warm(B, 2)), cache)
    assert states(result) == ["failed", "warmed"]
    assert "digest" in str(result.outcomes[0].error)
    assert result.outcomes[0].attempts == 1
    assert result.outcomes[0].bytes == 0
    assert result.state == "partly"


async def test_a_passing_refusal_is_tried_again_after_the_others() -> None:
    """An upstream that is down for a moment gets that moment."""
    cache = MemoryCache([A, B])
    cache.faults[str(A.reference)] = [Unavailable("connection refused")]
    result = await run(plan_of(warm(A, 1), warm(B, 2)), cache, concurrency=1)
    assert states(result) == ["warmed", "warmed"]
    assert [outcome.attempts for outcome in result.outcomes] == [2, 1]
    assert cache.warmed == [str(each.reference) for each in (A, B, A)]


async def test_a_refusal_that_does_not_pass_fails_the_run() -> None:
    """Two tries, then the error stands."""
    cache = MemoryCache([A])
    cache.faults[str(A.reference)] = [Unavailable("connection refused")] * 2
    result = await run(plan_of(warm(A, 1)), cache)
    assert states(result) == ["failed"]
    assert result.outcomes[0].error == "connection refused"
    assert result.state == "failed"


async def test_an_image_that_vanished_since_the_plan_fails() -> None:
    """Not found at the time of the run."""
    result = await run(plan_of(warm(A, 1)), MemoryCache())
    assert states(result) == ["failed"]
    assert "manifest unknown" in str(result.outcomes[0].error)


async def test_a_tag_that_moves_under_the_warm_is_resolved_again_once() -> None:
    """The new digest is warmed and the outcome says so; one that moves again fails, in words."""
    steady, restless = MemoryCache([A]), MemoryCache([A])
    steady.fickle, restless.fickle = 1, 2
    plan = plan_of(warm(A, 1))
    [warmed] = (await run(plan, steady, known={str(A.reference): A})).outcomes
    [failed] = (await run(plan, restless, known={str(A.reference): A})).outcomes

    assert (warmed.state, warmed.digest) == ("warmed", steady.upstream[str(A.reference)].digest)
    assert f"the tag moved since the plan, which had {A.digest}" in str(warmed.note)
    assert failed.state == "failed"
    assert "moved to sha256:" in str(failed.error)


async def test_an_engine_that_pulled_what_the_tag_is_by_now_is_believed() -> None:
    """It pulls by tag and shows another digest: that of the tag as it is when it is asked again."""
    name, moved = str(A.reference), image_of("a:1", b"newer")
    cache = MemoryCache([moved])
    cache.faults[name] = [DigestMismatch(f"the engine has a:1 with digest {moved.digest}, not {A.digest}")]
    [outcome] = (await run(plan_of(warm(A, 1)), cache, known={name: A})).outcomes

    assert (outcome.state, outcome.digest) == ("warmed", moved.digest)
    assert "the tag moved since the plan" in str(outcome.note)


async def test_a_moved_tag_is_warmed_as_it_is_now_and_says_so() -> None:
    """The outcome has the new digest and names the plan's."""
    moved = image_of("a:1", b"newer")
    result = await run(plan_of(warm(A, 1)), MemoryCache([moved]))
    [outcome] = result.outcomes
    assert outcome.state == "warmed"
    assert outcome.digest == moved.digest
    assert f"the tag moved since the plan, which had {A.digest}" in str(outcome.note)


async def test_what_was_resolved_a_moment_ago_is_not_asked_again() -> None:
    """Each manifest request may count against an upstream's quota."""
    cache = MemoryCache([A, B])
    await run(plan_of(warm(A, 1), warm(B, 2)), cache, known={str(A.reference): A})
    assert cache.asked == [str(B.reference)]


async def test_no_more_images_at_once_than_asked() -> None:
    """Two hang, the third has not begun."""
    cache = MemoryCache([A, B, C])
    cache.hanging = {str(each.reference) for each in (A, B, C)}
    stop = asyncio.Event()
    running = asyncio.ensure_future(
        run(plan_of(warm(A, 1), warm(B, 2), warm(C, 3)), cache, stop=stop, concurrency=2)
    )
    await cache.hung.wait()
    stop.set()
    result = await running
    assert cache.warmed == [str(A.reference), str(B.reference)]
    assert states(result) == ["cancelled"] * 3


async def test_a_stopped_run_keeps_what_it_has_done() -> None:
    """Finished images stay warmed, the rest is cancelled, each with the reason."""
    cache = MemoryCache([A, B, C])
    cache.hanging = {str(B.reference)}
    stop = asyncio.Event()
    running = asyncio.ensure_future(
        run(plan_of(warm(A, 1), warm(B, 2), warm(C, 3)), cache, stop=stop, concurrency=1)
    )
    await cache.hung.wait()
    stop.set()
    result = await running
    assert states(result) == ["warmed", "cancelled", "cancelled"]
    assert [outcome.attempts for outcome in result.outcomes] == [1, 1, 0]
    assert result.outcomes[1].error == "stopped"
    assert result.state == "partly"


async def test_a_deadline_cancels_what_is_unfinished() -> None:
    """A run that is out of time says when its time was."""
    cache = MemoryCache([A])
    cache.hanging = {str(A.reference)}
    result = await run(plan_of(warm(A, 1)), cache, deadline=EIGHT - timedelta(seconds=1))
    assert states(result) == ["cancelled"]
    assert result.outcomes[0].error == "not finished by 2026-11-24 07:59:59 UTC, the run's deadline"
    assert result.state == "failed"


async def test_a_cancelled_caller_ends_the_work() -> None:
    """Nothing goes on behind the back of a task that was cancelled."""
    cache = MemoryCache([A])
    cache.hanging = {str(A.reference)}
    running = asyncio.ensure_future(run(plan_of(warm(A, 1)), cache))
    await cache.hung.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_defect_of_a_driver_is_not_hidden() -> None:
    """Only refusals that were meant become outcomes."""
    cache = MemoryCache([A])
    cache.faults[str(A.reference)] = [ZeroDivisionError("a defect")]
    with pytest.raises(ExceptionGroup) as raised:
        await run(plan_of(warm(A, 1)), cache)
    assert raised.group_contains(ZeroDivisionError)


async def test_events_tell_the_story_as_it_happens() -> None:
    """Each image starts and then has its outcome."""
    story: list[Event] = []
    await run(plan_of(warm(A, 1), warm(B, 2)), MemoryCache([A, B]), concurrency=1, on_event=story.append)
    assert [(event.image, event.outcome and event.outcome.state) for event in story] == [
        (str(A.reference), None),
        (str(A.reference), "warmed"),
        (str(B.reference), None),
        (str(B.reference), "warmed"),
    ]


async def test_times_come_from_the_given_clock() -> None:
    """Start, end and seconds agree."""
    result = await run(plan_of(warm(A, 1)), MemoryCache([A]))
    [outcome] = result.outcomes
    assert outcome.started_at == EIGHT + timedelta(seconds=1)
    assert outcome.finished_at == EIGHT + timedelta(seconds=2)
    assert outcome.seconds == 1.0


async def test_a_clock_that_is_set_back_makes_nothing_take_less_than_no_time() -> None:
    hours = itertools.count()
    plan = plan_of(warm(A, 1), warm(B, 2))
    result = await execute(plan, MemoryCache([A, B]), clock=lambda: EIGHT - timedelta(hours=next(hours)))
    assert states(result) == ["warmed", "warmed"]
    assert [outcome.seconds for outcome in result.outcomes] == [0.0, 0.0]
    assert result.totals["seconds"] == 0.0


def test_one_run_per_cache_at_a_time(tmp_path: Path) -> None:
    """The second is refused in words; another cache is free; afterwards it is free again."""
    with lock(tmp_path, "office", EIGHT):
        with pytest.raises(CacheBusy, match=r"'office' is being warmed by another run \(process \d+"):  # noqa: SIM117
            with lock(tmp_path, "office", EIGHT):
                pass
        with lock(tmp_path, "edge/1", EIGHT):
            pass
    with lock(tmp_path, "office", EIGHT):
        pass


def test_a_killed_run_leaves_no_lock(tmp_path: Path) -> None:
    """The kernel lets go of a dead process's lock."""
    code = (
        "import sys, time, datetime, pathlib\n"
        "from prewarm.warming.executor import lock\n"
        "with lock(pathlib.Path(sys.argv[1]), 'office', datetime.datetime.now(datetime.UTC)):\n"
        "    print('locked', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(CacheBusy), lock(tmp_path, "office", EIGHT):
            pass
        holder.kill()
        holder.wait()
        with lock(tmp_path, "office", EIGHT):
            pass


def test_a_lock_that_cannot_be_made_is_said_in_words(tmp_path: Path) -> None:
    """A file where the folder should be."""
    (tmp_path / "locks").write_text("")
    with (
        pytest.raises(CacheError, match="cannot lock cache 'office'"),
        lock(tmp_path / "locks", "office", EIGHT),
    ):
        pass
