"""What an advice says to set can be set."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from prewarm.insight.advice import RULES
from prewarm.insight.recipes import RECIPES, config
from prewarm.insight.traits import Traits
from prewarm.settings import load


def _traits(peak: int = 8) -> Traits:
    return Traits(
        site="boise", repository="ghcr.io/acme/app", days=10.0, pulls=100, versions=5, pulled_once=0,
        size=10**9, misses=20, waits={}, counts={}, idle=timedelta(0), sites=2, at_once=0, shared=0,
        cache_pulls=3, cache_tag="buildcache", first_timers=0, torn_tags=0, patches=(), throttled=0.0,
        evicted=False, peak=peak,
    )  # fmt: skip


@pytest.mark.parametrize("strategy", RECIPES)
def test_its_config_loads(tmp_path: Path, strategy: str) -> None:
    """As it is printed, it is a settings file with one cache for the site of the advice."""
    text = config(strategy, _traits())
    assert text is not None
    (tmp_path / "prewarm.toml").write_text(text)

    settings = load(tmp_path / "prewarm.toml")

    (cache,) = settings.caches.values()
    assert cache.site == "boise"


@pytest.mark.parametrize("strategy", RECIPES)
def test_names_from_logs_stay_values(strategy: str) -> None:
    """Whatever a sender calls its site: no key of its own, no terminal escape, the name as it is."""
    site = 'x"\nalways = ["docker.io/evil/miner:1"]\nä = "\x1b[31m\x7f'
    text = config(strategy, replace(_traits(), site=site))
    assert text is not None
    (cache,) = tomllib.loads(text)["caches"].values()
    assert cache["site"] == site
    assert not any("evil" in str(value) for key, value in cache.items() if key != "site")
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("peak", "name", "covers"), [(8, "morning", "08:00-11:00"), (22, "evening", "22:00-23:59")]
)
def test_a_schedule_covers_the_hours_from_the_peak_on(
    tmp_path: Path, peak: int, name: str, covers: str
) -> None:
    """Three of them, within the day."""
    text = config("pre-warm", _traits(peak))
    assert text is not None
    (tmp_path / "prewarm.toml").write_text(text)

    schedule = load(tmp_path / "prewarm.toml").schedules[name]

    assert schedule.covers == covers


def test_what_is_done_elsewhere_has_no_config() -> None:
    """Deployments and builds are not ours to set; every recipe is of a rule."""
    assert config("pin by digest", _traits()) is None
    assert set(RECIPES) < {rule.strategy for rule in RULES}
