"""Reports and advice over REST: what the verbs print, beside what is refused."""

from __future__ import annotations

import csv
import io

import pytest
from starlette.testclient import TestClient

from prewarm.insight.reports import NAMES
from prewarm.lake import Lake
from prewarm.pipeline.insight.advise import advise
from prewarm.pipeline.insight.reports import Scope, report
from tests.past import NOW
from tests.service.conftest import A


@pytest.mark.parametrize("name", NAMES)
def test_a_report_is_that_of_the_verb(service: TestClient, lake: str, name: str) -> None:
    """The same figures and tables, by name."""
    answer = service.get(f"/v1/reports/{name}?site=default")

    wanted = report(Lake.open(lake), name, Scope("default")).document()
    assert answer.status_code == 200
    assert answer.json().keys() == wanted.keys()
    assert {
        key: value for key, value in answer.json().items() if key in ("pulls", "misses", "images", "runs")
    } == {key: value for key, value in wanted.items() if key in ("pulls", "misses", "images", "runs")}


def test_the_reports_are_listed(service: TestClient) -> None:
    """Those that the verb knows."""
    assert service.get("/v1/reports").json() == {"reports": list(NAMES)}


def test_a_report_of_a_period_has_its_change(service: TestClient) -> None:
    """Against the period of the same length before."""
    document = service.get(
        "/v1/reports/concentration",
        params={"since": "2026-11-17T08:30:00Z", "until": NOW.isoformat(), "image": A},
    ).json()

    assert document["before"]["pulls"] > 0
    assert document["change"]["pulls"] == document["pulls"] - document["before"]["pulls"]


def test_advice_is_that_of_the_verb(service: TestClient, lake: str) -> None:
    """As JSON and as CSV."""
    rows = advise(Lake.open(lake)).repositories

    answer = service.get("/v1/advice")
    table = list(csv.DictReader(io.StringIO(service.get("/v1/advice?format=csv").text)))

    assert [row["strategy"] for row in answer.json()["repositories"]] == [row["strategy"] for row in rows]
    assert [row["repository"] for row in table] == [row["repository"] for row in rows]


@pytest.mark.parametrize(
    ("path", "status"),
    [("reports/mises", 422), ("reports/misses?site=nowhere", 404), ("advice?site=nowhere", 404)],
)
def test_what_is_not_there_is_a_problem(service: TestClient, path: str, status: int) -> None:
    """Unknown reports and sites are refused with a problem document."""
    answer = service.get(f"/v1/{path}")

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
