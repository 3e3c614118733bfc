"""What runs brought: nothing is credited twice, both arms are measured alike, and waste is named."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from prewarm.insight.causes import Judged, judged
from prewarm.insight.reports.growth import growth
from prewarm.insight.reports.holdout import holdout
from prewarm.insight.reports.savings import savings
from prewarm.insight.reports.trials import followed, trials
from prewarm.insight.reports.warmed import warmed
from prewarm.tables import OUTCOMES, TIME
from tests.traffic import MONDAY, Ask, frame, identified, mornings, through

HOUR = timedelta(hours=1)
NO_PLANS = pl.DataFrame(schema={"plan": pl.String, "start": TIME, "end": TIME})


def _outcome(
    image: str, state: str = "warmed", size: int = 10**8, run: str = "r", day: int = 0, **more: Any
) -> dict[str, Any]:
    at = MONDAY + timedelta(days=day, hours=6)
    times = {} if state == "withheld" else {"started_at": at, "finished_at": at + timedelta(minutes=10)}
    row = {
        "run": run,
        "plan": run,
        "cache": "c",
        "site": "office",
        "image": f"docker.io/{image}",
        "state": state,
    }
    return row | {"bytes": 0 if state == "withheld" else size} | times | more


def _outcomes(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=dict(OUTCOMES))


def _judged(asks: list[Ask], held: set[str] | None = None) -> Judged:
    """Pulls of which those of images in `held` hit, as the mirror logged them."""
    pulls = frame(through(asks), cache=True)
    if held is not None:
        name = pl.col("repository") + ":" + pl.col("tag")
        hit = name.is_in(list(held))
        pulls = pulls.with_columns(cache=pl.when(hit).then(pl.lit("hit")).otherwise(pl.lit("miss")))
    return judged(identified(pulls))


def _morning(image: str, clients: int = 10, day: int = 0) -> list[Ask]:
    return [
        Ask(MONDAY + timedelta(days=day, hours=8, minutes=n), f"c{n}", image, 0, 10**8)
        for n in range(clients)
    ]


def test_ten_pullers_of_one_warmed_image_save_one_fetch() -> None:
    """The first of them would have fetched it for the nine others."""
    told = _judged(_morning("acme/a:1"), {"acme/a:1"})
    made = savings(told, followed(trials(_outcomes(_outcome("acme/a:1")), NO_PLANS), told.frame), 0.09, 100)

    assert made.summary["upstream_fetches_moved"] == 1
    assert made.summary["seconds_saved"] == pytest.approx(3 * 0.08 + 1e8 / 12.5e6)
    assert made.tables["images"] == [
        {"image": "docker.io/acme/a:1", "fetches": 1, "pulls": 10, "bytes": 10**8, "seconds_saved": 8.24}
    ]


@pytest.mark.parametrize(
    "outcome",
    [
        _outcome("acme/a:1", "already", 0),
        _outcome("acme/a:1", "warmed", 0),
        _outcome("acme/a:1", "failed", 0),
        _outcome("acme/a:1", "withheld"),
        _outcome("acme/other:1"),
    ],
)
def test_what_was_there_anyway_saves_nothing(outcome: dict[str, Any]) -> None:
    """A day on which everything was held already has no seconds saved; so have failures and misses."""
    told = _judged(_morning("acme/a:1"), {"acme/a:1"})
    made = savings(told, followed(trials(_outcomes(outcome), NO_PLANS), told.frame), 0.09, 100)

    assert made.summary["seconds_saved"] == 0
    assert made.summary["upstream_fetches_moved"] == 0


def test_an_image_that_missed_all_the_same_saved_nothing() -> None:
    """Warmed, and gone or moved before anybody came."""
    told = _judged(_morning("acme/a:1"), set())
    made = savings(told, followed(trials(_outcomes(_outcome("acme/a:1")), NO_PLANS), told.frame), 0.0, 100)

    assert made.summary["seconds_saved"] == 0


def test_two_runs_for_one_morning_are_credited_once() -> None:
    """Where windows overlap, the pull that came first is one pull."""
    told = _judged(_morning("acme/a:1"), {"acme/a:1"})
    later = {"started_at": MONDAY + 7 * HOUR, "finished_at": MONDAY + 7 * HOUR}
    outcomes = _outcomes(_outcome("acme/a:1"), _outcome("acme/a:1", run="s", **later))

    assert (
        savings(told, followed(trials(outcomes, NO_PLANS), told.frame), 0, 100).summary[
            "upstream_fetches_moved"
        ]
        == 1
    )


def test_savings_agree_with_the_simulated_truth() -> None:
    """Seconds that warm mornings did not wait, against the same mornings cold: within a tenth."""
    asks = mornings(12, images=8)
    cold = through(asks)
    truth = sum(
        each.seconds - (6 * 0.01 + each.ask.bytes / 100e6)
        for each in cold
        if each.miss and each.ask.version > 0
    )
    nights = [
        _outcome(f"acme/app{image}:main", size=200_000_000 + 10_000_000 * image, run=f"r{day}", day=day)
        for day in sorted({(ask.at - MONDAY).days for ask in asks})[1:]
        for image in range(8)
    ]
    # What was measured on earlier, cold mornings tells what a fetch costs; the warm ones have no misses.
    warm = frame(cold, cache=True, seconds=True)
    before = pl.col("timestamp") < MONDAY + timedelta(days=1)
    speed = frame(through(mornings(12, images=8, seed=9)), cache=True, seconds=True).filter(
        pl.col("cache") == "miss"
    )
    speed = speed.with_columns(
        pl.col("timestamp") - timedelta(days=30), repository="old/" + pl.col("repository")
    )
    lived = warm.with_columns(cache=pl.when(before).then("cache").otherwise(pl.lit("hit")))
    told = judged(identified(pl.concat([speed, lived])))

    made = savings(told, followed(trials(_outcomes(*nights), NO_PLANS), told.frame), 0, 100)

    assert made.summary["seconds_saved"] == pytest.approx(truth, rel=0.1)


def test_the_quota_of_docker_hub_is_counted_in_its_windows() -> None:
    """How often it would have run out for all pulls, and for those that the cache passed on."""
    asks = [ask for n in range(30) for ask in _morning(f"acme/a{n}:1", clients=4)]
    made = savings(_judged(asks), followed(trials(_outcomes(), NO_PLANS), _judged(asks).frame), 0.0, 100)

    assert made.summary["quota_windows_spent_without_cache"] == 1
    assert made.summary["quota_windows_spent_with_cache"] == 0
    assert made.tables["docker_hub"][0]["pulls"] == 120
    assert any(word.startswith("money") for word in made.cannot_say)


def test_a_run_says_what_was_used_and_what_was_waste() -> None:
    """Precision and wasted bytes, by run and together."""
    told = _judged(_morning("acme/a:1"))
    outcomes = _outcomes(
        _outcome("acme/a:1"), _outcome("acme/b:1", size=3 * 10**8), _outcome("acme/c:1", "already", 0)
    )
    made = warmed(followed(trials(outcomes, NO_PLANS), told.frame), told)

    assert made.summary["precision"] == 0.5
    assert made.summary["wasted_bytes"] == 3 * 10**8
    assert made.summary["waste_rate"] == 0.75
    assert made.tables["runs_in_order"][0]["already"] == 1


def test_a_plan_tells_the_hours_that_count() -> None:
    """A pull after the window is no use of what was warmed, nor one at another site."""
    asks = [*_morning("acme/a:1"), Ask(MONDAY + 13 * HOUR, "late", "acme/b:1", 0, 10**8)]
    told = _judged(asks)
    windows = pl.DataFrame(
        {"plan": ["r"], "start": [MONDAY + 7 * HOUR], "end": [MONDAY + 11 * HOUR]}, schema=NO_PLANS.schema
    )
    outcomes = _outcomes(
        *(_outcome(f"acme/{name}:1") for name in "ab"), _outcome("acme/a:1", run="r", site="elsewhere")
    )
    found = followed(trials(outcomes, windows), told.frame)

    assert found["pulls"].to_list() == [10, 0, 0]


def _experiment(days: int, warm: float, cold: float) -> tuple[pl.DataFrame, Judged]:
    """Nights on which a tenth of twenty images is withheld; first pulls miss at these rates."""
    dice = random.Random(4)
    outcomes, asks, held = [], [], set()
    for day in range(days):
        for n in range(20):
            image, out = f"acme/i{day}-{n}:1", n % 5 == 0
            outcomes.append(_outcome(image, "withheld" if out else "warmed", run=f"r{day}", day=day))
            asks += _morning(image, 3, day)
            if dice.random() >= (cold if out else warm):
                held.add(image)
    told = _judged(asks, held)
    return followed(trials(_outcomes(*outcomes), NO_PLANS), told.frame), told


def test_an_experiment_finds_what_warming_does() -> None:
    """Withheld images miss more, with an interval that leaves out 0 and holds the truth."""
    made = holdout(*_experiment(20, 0.05, 0.6))

    assert made.summary["clear"]
    assert made.summary["lo"] <= 0.55 <= made.summary["hi"]
    assert made.summary["days_until_clear"] == 0
    assert [row["images"] for row in made.tables["arms"]] == [320, 80]


def test_an_experiment_that_is_too_young_says_how_long_it_takes() -> None:
    """Two days of a small difference: not clear, and a number of days that is."""
    young = holdout(*_experiment(2, 0.3, 0.4))

    assert not young.summary["clear"]
    assert young.summary["days_until_clear"] > 0


def test_no_difference_is_not_found() -> None:
    """Where warming changes nothing the interval holds 0."""
    made = holdout(*_experiment(20, 0.3, 0.3))

    assert made.summary["lo"] <= 0 <= made.summary["hi"]


def test_without_a_holdout_nothing_is_claimed() -> None:
    """The report says what to set."""
    told = _judged(_morning("acme/a:1"))
    made = holdout(followed(trials(_outcomes(_outcome("acme/a:1")), NO_PLANS), told.frame), told)

    assert "misses_removed_per_image" not in made.summary
    assert any("holdout" in word for word in made.cannot_say)


def test_growth_counts_versions_moves_and_shared_layers() -> None:
    """A layer that two images have is counted once."""
    pulls = identified(frame(through(mornings(3, images=2))))
    versions = pulls.unique(["image", "digest"]).select("image", "digest")
    layers = [{"digest": "sha256:base", "bytes": 70}, {"digest": "sha256:own", "bytes": 30}]
    catalogue = versions.head(2).with_columns(
        layers=pl.Series([layers, [layers[0], {"digest": "sha256:other", "bytes": 30}]])
    )
    made = growth(pulls.lazy(), catalogue)

    assert (made.summary["images"], made.summary["versions"]) == (2, 6)
    assert made.summary["moved_tags_per_day"] == 2
    assert (made.summary["catalogued_bytes"], made.summary["unique_bytes"]) == (200, 130)
    assert made.summary["shared_share"] == 0.35
