"""Reports on traffic whose truth is known: sums, shares, and what each cannot say."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from prewarm.insight.causes import Judged, judged
from prewarm.insight.reasons import Remedy
from prewarm.insight.reports import Report
from prewarm.insight.reports.concentration import concentration, fewest
from prewarm.insight.reports.hits import hit_rate, judgement
from prewarm.insight.reports.latency import latency
from prewarm.insight.reports.misses import misses
from tests.traffic import Met, frame, identified, mornings, steady, through


@pytest.fixture(scope="module")
def met() -> list[Met]:
    return through([*steady(10), *mornings(10)], timedelta(days=3))


@pytest.fixture(scope="module")
def told(met: list[Met]) -> Judged:
    return judged(identified(frame(met, cache=True, seconds=True)))


def test_misses_sum_to_the_whole(met: list[Met], told: Judged) -> None:
    """Shares of causes and of remedies are 1, hours and causes have the same misses."""
    made = misses(told)

    assert made.summary["misses"] == sum(each.miss for each in met)
    assert sum(row["share"] for row in made.tables["causes"]) == pytest.approx(1, abs=1e-4)
    assert sum(row["share"] for row in made.tables["remedies"]) == pytest.approx(1, abs=1e-4)
    assert sum(row["misses"] for row in made.tables["hours"]) == made.summary["misses"]
    assert {row["remedy"] for row in made.tables["causes"]} <= {str(each) for each in Remedy}


def test_refused_requests_are_misses_of_their_own(told: Judged) -> None:
    """Whoever counted them has them among the causes; a lake alone says that it has none."""
    counted = misses(told, refused={"quota": 7, "outage": 3})

    causes = {row["cause"]: row["misses"] for row in counted.tables["causes"]}
    assert (causes["quota"], causes["outage"]) == (7, 3)
    assert counted.summary["misses"] == misses(told).summary["misses"] + 10
    assert any(word.startswith("outage and quota") for word in misses(told).cannot_say)
    assert not any(word.startswith("outage and quota") for word in counted.cannot_say)


def test_the_hit_rate_is_that_of_the_cache(met: list[Met], told: Judged) -> None:
    """Of pulls and of bytes, within a point, logged or told by durations."""
    truth = 1 - sum(each.miss for each in met) / len(met)
    sizes = sum(each.ask.bytes for each in met)
    from_cache = sum(each.ask.bytes for each in met if not each.miss)
    by_durations = hit_rate(judged(identified(frame(met, seconds=True))))

    assert hit_rate(told).summary["hit_rate"] == pytest.approx(truth, abs=1e-6)
    assert hit_rate(told).summary["byte_hit_rate"] == pytest.approx(from_cache / sizes, abs=1e-6)
    assert by_durations.summary["hit_rate"] == pytest.approx(truth, abs=0.01)
    assert (hit_rate(told).sure, by_durations.sure) == ("high", "medium")


@pytest.mark.parametrize(
    ("rate", "word"), [(0.6, "pays"), (0.59, "in between"), (0.2, "in between"), (0.19, "waste")]
)
def test_thresholds_judge_a_hit_rate(rate: float, word: str) -> None:
    """From 60 % on a cache pays, below 20 % it is waste."""
    assert word in judgement(rate)


def test_latency_takes_a_pull_apart(met: list[Met], told: Judged) -> None:
    """Cold and warm quantiles, and the round trips and the bandwidth that the simulation had."""
    made = latency(told)
    cold = sorted(each.seconds for each in met if each.miss)

    assert made.summary["cold_pulls"] == len(cold)
    assert made.summary["cold_p50"] == pytest.approx(cold[len(cold) // 2], rel=0.02)
    assert made.summary["warm_p50"] < made.summary["cold_p50"] / 3
    assert made.summary["bytes_per_second"] == pytest.approx(10e6, rel=0.3)


def test_few_images_carry_the_pulls() -> None:
    """The fewest images that make 80 %, counted by hand."""
    totals = pl.DataFrame({"named": [1, 2, 3, 4], "pulls": [70, 10, 10, 10]})

    assert (fewest(totals), fewest(totals, 0.7), fewest(totals.clear())) == (2, 1, 0)


def test_concentration_names_the_top(met: list[Met]) -> None:
    """All pulls are in the hours, the top is in order, and business hours have an answer of their own."""
    made = concentration(identified(frame(met)).lazy(), "Europe/Berlin")

    pulls = [row["pulls"] for row in made.tables["top"]]
    assert pulls == sorted(pulls, reverse=True)
    assert sum(row["pulls"] for row in made.tables["hours"]) == made.summary["pulls"] == len(met)
    assert 0 < made.summary["images_for_80_percent_of_business_hours"] <= made.summary["images"]


def _poor(met: list[Met]) -> Judged:
    poor = frame(met).with_columns(bytes=pl.lit(None, pl.Int64), blobs=pl.lit(None, pl.Int32))
    return judged(
        identified(poor.filter(pl.col("timestamp") < pl.col("timestamp").min() + timedelta(hours=20)))
    )


def test_reports_say_what_a_poor_log_cannot_tell(met: list[Met]) -> None:
    """One day, no hits, no durations, no bytes: each is named, and nothing is invented."""
    poor = _poor(met)
    said = " ".join((*misses(poor).cannot_say, *hit_rate(poor).cannot_say, *latency(poor).cannot_say))

    for word in ("less than two days", "evictions", "bytes: none", "durations"):
        assert word in said
    assert hit_rate(poor).summary["byte_hit_rate"] is None
    assert hit_rate(poor).summary["highest_hit_rate"] == 1
    assert latency(poor).summary == {"timed": 0}


def test_nothing_is_said_of_nothing() -> None:
    """Only checks, or no pull at all: empty reports that say so."""
    checks = identified(frame(through(mornings(1)), kind="check"))

    for made in (misses(judged(checks)), hit_rate(judged(checks)), concentration(checks.lazy())):
        assert any(word.startswith("nothing") for word in made.cannot_say)
        assert made.document()


def test_change_is_against_the_period_before() -> None:
    """Numbers of the summary minus those of the report beside it; words and unknowns have no change."""
    now, before = (Report("x", {"pulls": pulls, "rate": None, "word": "a"}) for pulls in (12, 10))

    assert now.beside(before).change == {"pulls": 2}
    assert now.change is None
