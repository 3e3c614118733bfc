"""Three answers, and the words that go with them."""

from __future__ import annotations

from prewarm.insight.reasons import Cause
from prewarm.insight.replay import Result
from prewarm.insight.verdict import Answer, Verdict, verdict


def waiting(seconds: float, each: float = 4.0) -> Result:
    """A result of 1000 pulls in which clients waited so long, four seconds for each miss."""
    missed = round(seconds / each)
    misses = {Cause.TAG_MOVED: missed} if missed else {}
    return Result(1000, misses, 10**9, 10**6, (seconds,), 10**9, 0, 0)


def judged(none: float, ours: float, oracle: float, *, weekly: float, ttl: float) -> Verdict:
    """The verdict over ten mornings."""
    return verdict(
        waiting(none),
        waiting(ours),
        waiting(oracle),
        lists={"a weekly list": waiting(weekly)},
        fixes={"a longer expiry": waiting(ttl)},
        windows=10,
    )


def test_it_pays_when_only_a_forecast_saves_the_waiting() -> None:
    """400 seconds of waiting become 70; the list reaches 200 and the expiry 360."""
    told = judged(400, 70, 50, weekly=200, ttl=360)
    assert told.answer is Answer.PAYS
    assert (told.waiting, told.saved, told.possible) == (40.0, 33.0, 35.0)
    assert "33.0 s of 40.0 s" in told.reason
    assert "a weekly list, the best simpler way, saves 20.0 s" in told.reason


def test_it_says_when_a_list_does_as_well() -> None:
    """Where a weekly list saves as much, the reason says to start with that."""
    told = judged(400, 70, 50, weekly=75, ttl=360)
    assert told.answer is Answer.PAYS
    assert "a weekly list does as well" in told.reason


def test_a_cheaper_fix_comes_first() -> None:
    """A longer expiry alone saves what the forecast would."""
    told = judged(400, 70, 50, weekly=200, ttl=80)
    assert told.answer is Answer.FIX_FIRST
    assert told.reason.startswith("a longer expiry alone saves 32.0 s of 40.0 s waiting")


def test_a_warm_cache_that_serves_everything_needs_nothing() -> None:
    """Two seconds a morning are not worth a moving part, whoever saves them."""
    told = judged(20, 1, 0, weekly=5, ttl=1)
    assert told.answer is Answer.NO
    assert "the warm cache already serves 99.5% of pulls" in told.reason


def test_where_nobody_waits_it_says_so() -> None:
    """No miss at all: the reason has no figures to divide."""
    told = verdict(*[waiting(0)] * 3, lists={}, fixes={}, windows=10)
    assert told.answer is Answer.NO
    assert told.reason.endswith("there is no waiting to save")


def test_hardly_a_miss_is_no_reason_to_fix_anything() -> None:
    """Two misses of 1000 that cost 30 s each: neither a longer expiry nor a forecast is worth it."""
    results = [waiting(seconds, each=30) for seconds in (60, 0, 0)]
    told = verdict(*results, lists={}, fixes={"a longer expiry": waiting(0)}, windows=1)
    assert told.answer is Answer.NO
    assert "60.0 s of 60.0 s waiting, 0.2% of the pulls" in told.reason


def test_rare_misses_that_cost_minutes_are_worth_it() -> None:
    """Two of 1000 pulls that cost ten minutes each, for ten people; not for a hundred of them."""
    results = [waiting(seconds, each=600) for seconds in (1200, 0, 0)]
    few, many = (verdict(*results, lists={}, fixes={}, windows=1, clients=clients) for clients in (10, 100))
    assert few.answer is Answer.PAYS
    assert many.answer is Answer.NO


def test_waiting_that_no_list_can_remove_is_no_reason() -> None:
    """Fresh pushes all day: even foresight saves one second in twenty."""
    assert judged(4000, 3900, 3800, weekly=3950, ttl=4000).answer is Answer.NO


def test_a_forecast_that_does_not_find_the_gain_is_refused() -> None:
    """There is something to gain, but not by this forecast."""
    told = judged(400, 395, 50, weekly=390, ttl=400)
    assert told.answer is Answer.NO
    assert "the forecast saves only 0.5 s" in told.reason


def test_without_rivals_or_fixes_it_still_answers() -> None:
    """Nothing to compare with: the saving alone decides."""
    told = verdict(waiting(400), waiting(70), waiting(50), lists={}, fixes={}, windows=10)
    assert told.answer is Answer.PAYS
