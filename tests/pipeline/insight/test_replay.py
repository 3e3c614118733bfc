"""The verb `replay`, over a real lake whose right answers can be worked out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from prewarm.demand.calendars import Site
from prewarm.errors import NotEnoughHistory, SettingsError, UnknownName
from prewarm.insight.verdict import Answer
from prewarm.lake import Lake
from prewarm.pipeline.demand.histories import DEMAND, read_outcomes, read_pulls
from prewarm.pipeline.insight.hindsight import Hindsight, moments
from prewarm.pipeline.insight.replay import replay
from prewarm.pipeline.insight.whatif import POLICIES, WhatIf
from prewarm.tables import PUSHES
from tests.demand.samples import after, pull, table

SITES = {"default": Site("default")}
SEVEN = (time(7),)
RIVALS = ("fixed", "longer-ttl", "last-7d")


def daily(days: int = 14, hour: float = 8, tag: str = "daily", **columns: Any) -> list[dict[str, Any]]:
    """One pull of `tag` a day, at this hour."""
    given = {"bytes": 100, "digest": f"sha256:{tag}", **columns}
    return [pull(after(day, hour), tag, **given) for day in range(days)]


def ticks(days: int = 14) -> list[dict[str, Any]]:
    """A pull every hour, so that the log goes on; of one image, which is always held."""
    return [
        pull(after(day, hour, 59), "tick", bytes=1, digest="sha256:tick")
        for day in range(days)
        for hour in range(24)
    ]


def lake(folder: Path, *rows: dict[str, Any]) -> Lake:
    """A lake of these pulls."""
    made = Lake.open(folder / "lake")
    made.append("pulls", table(*rows))
    return made


def figures(made: Lake, *names: str, **asked: Any) -> dict[str, Any]:
    """The figures by policy."""
    wanted: Sequence[str] = names or POLICIES
    return replay(made, SITES, WhatIf(policies=wanted, **asked)).policies


def test_a_daily_image_that_lapses_in_between_is_warmed_in_time(tmp_path: Path) -> None:
    """Kept for 20 hours, the daily pull always misses; a list warms it at seven, a longer expiry keeps it."""
    told = figures(
        lake(tmp_path, *daily(), *ticks()),
        *("fixed", "weekly", "auto", "longer-ttl", "oracle"),
        **{"ttl": timedelta(hours=20), "at": SEVEN, "since": after(7), "max_bytes": 1000},
    )
    assert told["none"]["misses"]["TTL lapsed"] == 7 + 8  # the tick lapses every 20 hours
    for name in ("fixed", "weekly", "auto", "oracle"):
        assert told[name]["hit_ratio"] > told["none"]["hit_ratio"]
        assert told[name]["misses"].get("TTL lapsed", 0) <= 8
    assert told["longer-ttl"]["misses"]["TTL lapsed"] == 2 + 2  # kept for 80 hours


def test_the_warm_mirror_is_always_shown_and_every_gain_is_over_it(tmp_path: Path) -> None:
    """Whatever is asked for, `none` comes first and gains nothing over itself."""
    told = figures(lake(tmp_path, *daily(), *ticks()), "fixed")
    assert list(told) == ["none", "fixed"]
    assert told["none"]["gain"] == 0
    assert told["none"]["warmed_bytes"] == 0
    assert told["none"]["precision"] is None


def test_the_keys_that_scripts_rely_on(tmp_path: Path) -> None:
    """As the command line promises them."""
    made = lake(tmp_path, *daily(), *ticks())
    document = replay(made, SITES, WhatIf(capacity=150, pareto=True, at=SEVEN)).document()
    wanted = {"hit_ratio", "byte_hit_ratio", "p50", "p95", "p99", "warmed_bytes", "wasted_bytes"}
    wanted |= {"upstream_bytes", "upstream_pulls", "over_quota", "gain", "precision", "misses"}
    assert set(document["policies"]) == set(POLICIES) - {"replicate-on-push"}
    assert all(wanted <= set(told) for told in document["policies"].values())
    assert "webhooks" in document["skipped"]["replicate-on-push"]
    waiting = {name: told["waiting"] for name, told in document["policies"].items()}
    possible = document["verdicts"]["default"]["possible"]
    assert possible >= max(waiting["none"] - waiting[name] for name in ("fixed", "weekly", "auto")) - 0.01
    assert {point["policy"] for point in document["pareto"]} == {
        *("none", "fixed", "weekly", "last-7d", "auto", "oracle")
    }


def test_a_warm_cache_needs_no_forecast(tmp_path: Path) -> None:
    """One image every hour, kept for ever: nothing to gain, and the verdict says so."""
    result = replay(lake(tmp_path, *ticks()), SITES, WhatIf(ttl=None, policies=RIVALS))
    (verdict,) = result.document()["verdicts"].values()
    assert verdict["answer"] == Answer.NO
    assert result.policies["none"]["hit_ratio"] == 1


def test_a_longer_expiry_comes_before_a_forecast(tmp_path: Path) -> None:
    """Large images, once a week, kept for six days: four times the expiry does what a forecast would."""
    rows = [row for tag in "abc" for row in daily(28, tag=tag, bytes=10**9)[::7]]
    asked = WhatIf(ttl=timedelta(days=6), since=after(13), at=SEVEN, max_bytes=10**10, policies=RIVALS)
    result = replay(lake(tmp_path, *rows, *ticks(28)), SITES, asked)
    (verdict,) = result.document()["verdicts"].values()
    assert verdict["answer"] == Answer.FIX_FIRST


def test_replication_on_push_has_a_new_build_before_its_first_pull(tmp_path: Path) -> None:
    """Every day another tag, pushed an hour before: no list can know it, the push does."""
    rows = [
        pull(after(day, 12), f"build-{day}", bytes=100, digest=f"sha256:build-{day}") for day in range(14)
    ]
    made = lake(tmp_path, *rows, *ticks())
    pushed = [
        {
            **{"timestamp": after(day, 11), "site": None, "registry": "docker.io"},
            **{"repository": "library/app", "tag": f"build-{day}", "digest": f"sha256:build-{day}"},
        }
        for day in range(14)
    ]
    made.append("pushes", pl.DataFrame(pushed, schema=dict(PUSHES)))
    told = figures(made, "replicate-on-push", "weekly", since=after(7), ttl=None, max_bytes=1000)
    assert told["none"]["misses"] == {"fresh push": 7}
    assert told["weekly"]["misses"] == {"fresh push": 7}
    assert told["replicate-on-push"]["misses"] == {}
    assert told["replicate-on-push"]["precision"] == 1


def test_nodes_have_caches_of_their_own(tmp_path: Path) -> None:
    """A new node a day pulls what all others have: cold, unless the mirror is asked."""
    rows = [row | {"client": f"node-{day}"} for day, row in enumerate(daily())]
    made = lake(tmp_path, *rows, *ticks())
    assert figures(made, "none", since=after(7), ttl=None)["none"]["misses"] == {}
    cold = figures(made, "none", since=after(7), ttl=None, scope="client")
    assert cold["none"]["misses"] == {"cold node or runner": 7}


def test_nothing_after_the_end_changes_an_answer(tmp_path: Path) -> None:
    """With a week more in the lake, the same span has the same answer."""
    asked = WhatIf(since=after(7), until=after(14), ttl=timedelta(hours=20), at=SEVEN)
    late = daily(21, tag="new", hour=9)[14:]
    then = replay(lake(tmp_path / "then", *daily(14), *ticks(14)), SITES, asked)
    now = replay(lake(tmp_path / "now", *daily(21), *ticks(21), *late), SITES, asked)
    assert then.policies == now.policies


@pytest.mark.parametrize("model", ["auto", "profile", "last-7d", "yesterday"])
def test_no_ranking_knows_what_comes_after_it(tmp_path: Path, model: str) -> None:
    """A week later another image rules; what a run before that ranked is the same, to the place."""
    rows = [*daily(14), *daily(14, hour=9, tag="other"), *ticks(14)]
    later = [row for minute in range(20) for row in daily(21, hour=9 + minute / 60, tag="hype")[14:]]
    windows = [(after(10, 6), after(10, 12)), (after(14), after(14, 6))]

    def ranked(made: Lake) -> Any:
        return hindsight(made).rankings([model], windows, {}, "pulls", 10)

    then, now = lake(tmp_path / "then", *rows), lake(tmp_path / "now", *rows, *later)
    assert ranked(then) == ranked(now)
    assert [len(images) for _, images in ranked(then)[model]] == [3, 3]


def test_before_the_first_hour_no_model_says_anything(tmp_path: Path) -> None:
    """An empty list, and no error."""
    told = hindsight(lake(tmp_path, *daily(2))).rankings(["auto"], [(after(0), after(0, 6))], {})
    assert told == {"auto": [(after(0), [])]}


def hindsight(made: Lake) -> Hindsight:
    """All of a lake's past."""
    pulls = read_pulls(made, "default", after(-1), after(60)).sort("timestamp", maintain_order=True)
    return Hindsight(SITES["default"], pulls, read_outcomes(made, after(-1), after(60), DEMAND), DEMAND)


def test_a_span_without_the_time_of_a_run_has_no_windows() -> None:
    """A log of a few hours of the afternoon is replayed as it was."""
    afternoon = datetime(2026, 11, 24, 13, tzinfo=UTC)

    found = moments(
        Site("x"), afternoon, afternoon + timedelta(hours=2), [timedelta(hours=7)], frozenset(range(7))
    )

    assert found == []


def test_runs_start_by_the_sites_clock_and_end_with_the_next_one() -> None:
    """Seven in Boise is 13:00 UTC in summer, 14:00 in winter; over a weekend a run serves a day."""
    boise = Site("boise", "America/Boise")
    friday = datetime(2026, 10, 30, 6, tzinfo=UTC)
    found = moments(boise, friday, friday + timedelta(days=5), [timedelta(hours=7)], frozenset(range(5)))
    assert [start for start, _ in found] == [
        datetime(2026, 10, 30, 13, tzinfo=UTC),
        datetime(2026, 11, 2, 14, tzinfo=UTC),
        datetime(2026, 11, 3, 14, tzinfo=UTC),
    ]
    assert found[0][1] == datetime(2026, 10, 31, 13, tzinfo=UTC)
    assert found[-1][1] == friday + timedelta(days=5)


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        (WhatIf(capacity=0), SettingsError, "capacity 0 cannot be used; .* such as 200GB"),
        (WhatIf(top=0), SettingsError, "top 0 cannot be used"),
        (WhatIf(ttl=timedelta(0)), SettingsError, "ttl 0 keeps nothing; .* none for no expiry"),
        (WhatIf(since=after(3), until=after(3)), SettingsError, "is not after since"),
        (WhatIf(policies=["weakly"]), UnknownName, "no policy called 'weakly'; did you mean 'weekly'"),
        (WhatIf(scope="sites"), UnknownName, "no scope called 'sites'; did you mean 'site'"),
        (WhatIf(objective="pull"), UnknownName, "did you mean 'pulls'"),
        (WhatIf(site="boisee"), UnknownName, "no site called 'boisee'"),
        (WhatIf(at=()), SettingsError, "no run was asked for"),
        (WhatIf(since=after(400)), NotEnoughHistory, "its log goes from 2026-02-02T08:00Z to"),
        (WhatIf(since=after(-9), policies=["fixed"]), NotEnoughHistory, "some before and some after"),
    ],
)
def test_what_cannot_be_replayed_is_refused(
    tmp_path: Path, asked: WhatIf, error: type[Exception], words: str
) -> None:
    """In one line that says what was expected."""
    with pytest.raises(error, match=words):
        replay(lake(tmp_path, *daily()), SITES, asked)


def test_one_pull_is_no_history(tmp_path: Path) -> None:
    """There is nothing before it to fill a cache with."""
    with pytest.raises(NotEnoughHistory, match="has 1 pulls that are demand"):
        replay(lake(tmp_path, *daily(1)), SITES, WhatIf())


def test_without_sizes_bytes_are_not_told_and_disks_are_refused(tmp_path: Path) -> None:
    """Pulls still hit and miss; a capacity would be a guess."""
    made = lake(tmp_path, *daily(bytes=None, digest=None))
    result = replay(made, SITES, WhatIf(policies=["fixed"]))
    assert result.policies["none"]["byte_hit_ratio"] is None
    assert result.policies["none"]["hit_ratio"] > 0
    assert any("no size is known" in warning for warning in result.warnings)
    with pytest.raises(SettingsError, match="knows no sizes, so --capacity cannot be used"):
        replay(made, SITES, WhatIf(capacity=10**9))


def test_hourly_counts_are_said_to_have_no_order(tmp_path: Path) -> None:
    """Docker Hub's report has whole hours only."""
    result = replay(lake(tmp_path, *daily()), SITES, WhatIf(policies=["fixed"]))
    assert any("the order within an hour is not known" in warning for warning in result.warnings)


def test_each_site_has_a_mirror_of_its_own_and_a_young_one_is_left_out(tmp_path: Path) -> None:
    """What one site pulled warms nothing at another; a site of one pull is named and passed over."""
    rows = [*daily(), *daily(site="east"), *daily(1, site="new")]
    result = replay(lake(tmp_path, *rows), {}, WhatIf(policies=["fixed"], ttl=None))
    assert [site.site for site in result.sites] == ["default", "east"]
    assert any("'new'" in warning for warning in result.warnings)
    assert result.policies["none"]["pulls"] == 14


def test_equal_budgets_bind_every_policy(tmp_path: Path) -> None:
    """With 150 bytes a run, none of them warms two images of 100."""
    rows = [*daily(tag="a"), *daily(tag="b", hour=9)]
    told = figures(
        lake(tmp_path, *rows), "fixed", "auto", "oracle",
        ttl=timedelta(hours=20), at=SEVEN, since=after(7), max_bytes=150,
    )  # fmt: skip
    for name in ("fixed", "auto", "oracle"):
        assert told[name]["warmed_bytes"] <= 7 * 150
        assert told[name]["misses"]["TTL lapsed"] == 7


def test_a_log_of_checks_alone_has_nothing_to_replay(tmp_path: Path) -> None:
    """Pollers fetch nothing; the error says how few pulls are demand."""
    with pytest.raises(NotEnoughHistory, match="has 0 pulls that are demand"):
        replay(lake(tmp_path, *daily(kind="check")), SITES, WhatIf(policies=["fixed", "auto"]))
