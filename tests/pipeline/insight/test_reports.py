"""Reports from a lake: what they count, what they set aside, and the period before."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from prewarm.errors import NotEnoughHistory, UnknownName
from prewarm.lake import Lake
from prewarm.pipeline.insight.reports import MAKERS, Scope, Terms, report
from prewarm.pipeline.warming.documents import to_text
from prewarm.warming.planning import Budget, Plan
from tests.traffic import MONDAY, frame, mornings, steady, through

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Two weeks of one office whose mirror logged hits and misses."""
    made = Lake.open(tmp_path_factory.mktemp("reports") / "lake")
    made.append("pulls", frame(through([*steady(14), *mornings(14)]), cache=True, seconds=True))
    return made


@pytest.mark.parametrize("name", list(MAKERS))
def test_every_report_is_one_document(lake: Lake, name: str) -> None:
    """Its name, its scope, its figures, how sure it is and what it cannot say."""
    document = report(lake, name, Scope(site="office")).document()

    assert document["report"] == name
    assert document["site"] == "office"
    assert {"cannot_say", "evidence", "sure", "change"} <= document.keys()


def test_a_period_is_beside_the_one_before(lake: Lake) -> None:
    """`since` gives a period of the same length before it, judged with all that came before."""
    since = MONDAY + 7 * DAY
    made = report(lake, "hit-rate", Scope(since=since, until=since + 7 * DAY))
    first = report(lake, "hit-rate", Scope(until=since))

    assert made.before == first.summary
    assert made.change is not None
    assert made.change["hits"] == made.summary["hits"] - first.summary["hits"]


def test_without_a_period_before_nothing_is_compared(lake: Lake) -> None:
    """The whole lake, or a period that begins with it, has nothing to stand beside."""
    assert report(lake, "misses").before is None
    assert report(lake, "misses", Scope(since=MONDAY)).before is None


def test_a_period_that_no_calendar_has_before_it_is_compared_with_nothing(lake: Lake) -> None:
    """Two thousand years back there is no period of the same length before."""
    told = report(lake, "growth", Scope(since=MONDAY.replace(year=1013))).document()

    assert told["before"] is None


def test_one_image_is_judged_alone(lake: Lake) -> None:
    """All tags of a repository where no tag is named."""
    made = report(lake, "misses", Scope(image="acme/app1"))

    assert {row["image"] for row in made.tables["images"]} == {"docker.io/acme/app1:main"}


def test_tools_and_our_own_pulls_are_set_aside(lake: Lake, tmp_path: Path) -> None:
    """Scanners, and what prewarm fetched itself, are nobody's hits."""
    mixed = Lake.open(tmp_path / "lake")
    pulls = frame(through(steady(3)), cache=True)
    agents = ["docker/27", "trivy/0.50", "prewarm/0.1"]
    mixed.append("pulls", pl.concat(pulls.with_columns(agent=pl.lit(agent)) for agent in agents))

    assert report(mixed, "hit-rate").summary["pulls"] == len(pulls)
    assert report(mixed, "hit-rate", terms=Terms(ignore=())).summary["pulls"] == 2 * len(pulls)


def test_what_is_not_there_is_refused(lake: Lake, tmp_path: Path) -> None:
    """Unknown reports and sites teach; a lake without pulls says so."""
    with pytest.raises(UnknownName, match="report"):
        report(lake, "mises")
    with pytest.raises(UnknownName, match="office"):
        report(lake, "misses", Scope(site="ofice"))
    with pytest.raises(NotEnoughHistory):
        report(Lake.open(tmp_path / "empty"), "misses")


def test_a_plan_in_the_lake_tells_its_hours(lake: Lake, tmp_path: Path) -> None:
    """What a run warmed is looked for in the window of its plan."""
    made = Lake.open(tmp_path / "lake")
    made.append("pulls", lake.read("pulls").drop("date", "file", "batch"))
    at = MONDAY + 8 * DAY
    plan = Plan(
        "p", "c", "office", at, (at + timedelta(hours=7), at + timedelta(hours=11)), Budget(), "auto", "pulls"
    )
    made.append("plans", pl.DataFrame({"id": ["p"], "cache": ["c"], "document": [to_text(plan)]}))
    shared = {"run": "r", "plan": "p", "cache": "c", "site": "office", "state": "warmed", "bytes": 5}
    times = {"started_at": at, "finished_at": at + timedelta(minutes=1)}
    images = ["docker.io/acme/app1:main", "docker.io/library/never:1"]
    made.append("outcomes", pl.DataFrame([shared | times | {"image": image} for image in images]))

    (run,) = report(made, "warmed").tables["runs_in_order"]

    assert (run["warmed"], run["used"], run["pulls"]) == (2, 1, 12)
    assert report(made, "warmed", Scope(since=at + DAY)).summary["runs"] == 0
    assert report(made, "savings", Scope(image="acme/app1")).summary["warmed_bytes"] == 5


COUNTED = {"misses": "pulls", "hit-rate": "pulls", "concentration": "pulls", "latency": "timed"}
"""What these reports call the pulls that they are of; the others are of runs."""


@pytest.mark.parametrize("name", list(MAKERS))
def test_every_report_is_of_one_group_of_clients(lake: Lake, name: str) -> None:
    """The people of the mornings alone; what others filled is a hit for them all the same."""
    made = report(lake, name, Scope(group="people"), Terms(groups={"people": ["10.0.0.0/24"]}))

    assert made.document()["group"] == "people"
    if name in COUNTED:
        assert made.summary[COUNTED[name]] == len(mornings(14))


def test_groups_add_up_to_all_pulls(lake: Lake) -> None:
    """Subnets where nobody named a group; a group that is not there is refused by those that are."""
    made = report(lake, "hit-rate")

    assert {row["group"] for row in made.tables["groups"]} == {"10.0.0.0/24", "10.0.1.0/24"}
    assert sum(row["pulls"] for row in made.tables["groups"]) == made.summary["pulls"]
    with pytest.raises(UnknownName, match=r"10\.0\.1\.0/24"):
        report(lake, "hit-rate", Scope(group="nobody"))


def test_rows_have_their_change_against_the_period_before(lake: Lake) -> None:
    """Of the figure that their table is about; None for what the period before did not have."""
    since = MONDAY + 7 * DAY
    scope = Scope(since=since, until=since + 7 * DAY)
    made, first = report(lake, "misses", scope), report(lake, "misses", Scope(until=since))

    moved = {row["cause"]: row for row in made.tables["causes"]}["tag moved"]
    before = {row["cause"]: row for row in first.tables["causes"]}["tag moved"]
    assert moved["change"] == moved["misses"] - before["misses"]
    assert all("change" in row for row in made.tables["groups"])
    assert all("change" not in row for row in first.tables["causes"])
