"""Which pulls are demand."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from prewarm.demand.selection import demand_pulls
from prewarm.tables import OUTCOMES
from tests.demand.samples import after, pull, table


def outcome(start: datetime, seconds: float = 10, **columns: Any) -> dict[str, Any]:
    """One row of outcomes: the docker engine was told to pull app:1."""
    return {
        "driver": "docker",
        "image": "docker.io/library/app:1",
        "state": "warmed",
        "started_at": start,
        "finished_at": start + timedelta(seconds=seconds),
        **columns,
    }


def outcomes(*rows: dict[str, Any]) -> pl.DataFrame:
    """Rows as an outcomes table with every column."""
    return pl.DataFrame([{name: row.get(name) for name in OUTCOMES} for row in rows], schema=dict(OUTCOMES))


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"kind": "check"}, "check"),
        ({"kind": "local"}, "use"),
        ({"status": "missed"}, "missed"),
        ({"agent": "prewarm/0.1.0"}, "own agent"),
        ({"agent": "harbor-registry-client"}, "ignored agent"),
        ({"agent": "Aqua Trivy 0.50"}, "ignored agent"),
        ({"agent": "Skopeo/1.9"}, "ignored agent"),
        ({"tag": None}, "unnamed"),
        ({"repository": None}, "unnamed"),
    ],
)
def test_what_is_no_demand_is_set_aside_under_its_reason(columns: dict[str, Any], reason: str) -> None:
    """Each reason takes its own pulls, and only those."""
    pulls = table(pull(after()), pull(after(), **columns))
    kept, aside = demand_pulls(pulls, ignore=["harbor-registry-client", "*Trivy*", "skopeo"])
    assert kept.height == 1
    assert aside == {reason: 1}


def test_a_pull_of_unknown_kind_is_demand() -> None:
    """A source that cannot tell kinds still counts."""
    kept, aside = demand_pulls(table(pull(after(), kind=None), pull(after(), kind="manifest")))
    assert (kept.height, aside) == (2, {})


def test_the_image_is_the_tag_or_else_the_digest() -> None:
    """A pull by digest is demand of that digest; a source without a registry names docker.io."""
    digest = "sha256:" + "a" * 64
    kept, _ = demand_pulls(table(pull(after(), None, digest=digest), pull(after(), registry=None)))
    assert kept["image"].to_list() == [f"docker.io/library/app@{digest}", "docker.io/library/app:1"]


def test_kinds_are_a_choice() -> None:
    """Only layers: a manifest is set aside under its own name."""
    _, aside = demand_pulls(table(pull(after(), kind="manifest")), kinds=["layers"])
    assert aside == {"manifest": 1}


def test_fourteen_nights_of_warming_an_engine_are_no_demand() -> None:
    """What the engine pulled because we told it to leaves nothing, night after night."""
    starts = [after(night, 3) for night in range(14)]
    pulls = table(*(pull(start + timedelta(seconds=2)) for start in starts))
    kept, aside = demand_pulls(pulls, outcomes(*(outcome(start) for start in starts)))
    assert (kept.height, aside) == (0, {"warmed by us": 14})


def test_an_outcome_stands_for_one_pull_only() -> None:
    """A real client that pulls the same image in the same seconds still counts."""
    pulls = table(*(pull(after(seconds=second), client=f"10.0.0.{second}") for second in (1, 2, 3)))
    kept, aside = demand_pulls(pulls, outcomes(outcome(after())))
    assert (kept.height, aside) == (2, {"warmed by us": 1})


def test_a_clusters_outcome_stands_for_one_pull_of_each_node() -> None:
    """Three nodes were told to pull; what one of them pulls once more is somebody's."""
    rows = [pull(after(seconds=n), client=f"10.0.0.{n}", agent="containerd/1.7.0") for n in (1, 2, 3)]
    again = pull(after(seconds=9), client="10.0.0.3", agent="containerd/1.7.0")
    kept, aside = demand_pulls(table(*rows, again), outcomes(outcome(after(), driver="kubernetes")))
    assert (kept.height, aside) == (1, {"warmed by us": 3})


def test_a_pull_by_digest_is_matched_by_the_outcomes_digest() -> None:
    """The log may know only the digest of what we asked for by tag."""
    digest = "sha256:" + "b" * 64
    pulls = table(pull(after(seconds=1), None, digest=digest))
    _, aside = demand_pulls(pulls, outcomes(outcome(after(), digest=digest)))
    assert aside == {"warmed by us": 1}


@pytest.mark.parametrize("seconds", [-5, 0, 10, 70])
def test_a_pull_around_the_warming_is_ours(seconds: float) -> None:
    """From five seconds before the start (clocks differ) to a session's gap after the end."""
    _, aside = demand_pulls(table(pull(after(seconds=seconds))), outcomes(outcome(after())))
    assert aside == {"warmed by us": 1}


@pytest.mark.parametrize(
    ("made", "row"),
    [
        ({"timestamp": after(seconds=71), "until": after(seconds=71)}, {}),
        ({"timestamp": after(seconds=-6), "until": after(seconds=-6)}, {}),
        ({"tag": "2"}, {}),
        ({"agent": "containerd/1.6.20"}, {}),
        ({"site": "boise"}, {"site": "berlin"}),
        ({}, {"state": "withheld"}),
        ({}, {"state": "already"}),
        ({}, {"driver": "mirror"}),
        ({"agent": "containerd/1.6.20"}, {"driver": "containerd"}),
        ({}, {"started_at": None}),
        ({}, {"image": "not a reference!"}),
    ],
)
def test_a_pull_that_does_not_fit_is_demand(made: dict[str, Any], row: dict[str, Any]) -> None:
    """Another time, image, engine or site, or an outcome that pulled nothing: the pull is a client's."""
    pulls = table(pull(after()) | made)
    kept, aside = demand_pulls(pulls, outcomes(outcome(after()) | row))
    assert (kept.height, aside) == (1, {})


def test_an_image_that_was_already_there_accounts_for_its_manifest() -> None:
    """An engine that had it all asks for the manifest only."""
    pulls = table(pull(after(seconds=1), kind="manifest"))
    _, aside = demand_pulls(pulls, outcomes(outcome(after(), state="already")))
    assert aside == {"warmed by us": 1}


def test_no_pulls_and_no_outcomes_are_fine() -> None:
    """Empty tables give empty demand."""
    kept, aside = demand_pulls(table(), outcomes())
    assert (kept.height, aside) == (0, {})
    assert "image" in kept.columns
