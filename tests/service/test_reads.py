"""What every read promises, and what each noun tells."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from starlette.testclient import TestClient

from prewarm.service.app import create_app
from prewarm.settings import load
from tests.past import NOW, lake_with
from tests.service.conftest import A, B, opened

READS = ["rankings", "forecasts", "demand", "rhythm", "images", "sites", "reports/misses", "advice"]


@pytest.mark.parametrize("noun", [*READS, "rankings?at=2026-11-23T08:00Z"])
def test_what_is_known_already_is_not_sent_again(service: TestClient, noun: str) -> None:
    """A read has an ETag; asked again with it, there is no body, whether held or computed."""
    first = service.get(f"/v1/{noun}")
    tag = first.headers["etag"]

    again = service.get(f"/v1/{noun}", headers={"If-None-Match": f'"other", {tag}'})
    other = service.get(f"/v1/{noun}", headers={"If-None-Match": '"other"'})

    assert first.status_code == 200
    assert "max-age" in first.headers["cache-control"]
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert other.status_code == 200


@pytest.mark.parametrize("noun", READS)
def test_an_unknown_parameter_is_refused_with_the_nearest_known_one(service: TestClient, noun: str) -> None:
    """A typo must not be answered as if nothing had been said."""
    answer = service.get(f"/v1/{noun}?formatt=csv")

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].startswith("formatt: unknown parameter; ")


@pytest.mark.parametrize("noun", ["rankings", "forecasts", "demand", "rhythm", "images"])
def test_rows_come_as_csv(service: TestClient, noun: str) -> None:
    """`format=csv` has the rows of the JSON answer, under their names."""
    answer = service.get(f"/v1/{noun}?format=csv")

    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert answer.headers["content-type"].startswith("text/csv")
    assert rows
    assert all(None not in row and None not in row.values() for row in rows)


def test_long_answers_travel_compressed(service: TestClient) -> None:
    """Who accepts gzip gets it, and caches are told that it matters."""
    answer = service.get("/v1/forecasts", headers={"Accept-Encoding": "gzip"})

    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.json()["rows"]


def test_a_forecast_has_hours_from_the_one_that_runs(service: TestClient) -> None:
    """Per image and hour a mean, a chance and an interval for each level."""
    told = service.get("/v1/forecasts", params={"image": "acme/a:1", "hours": 3, "level": [80, 95]}).json()

    assert told["total"] == len(told["rows"]) == 3 * 2
    assert [row["time"] for row in told["rows"][::2]] == [
        "2026-11-24T08:00:00Z",
        "2026-11-24T09:00:00Z",
        "2026-11-24T10:00:00Z",
    ]
    assert {row["image"] for row in told["rows"]} == {A}
    for narrow, wide in zip(told["rows"][::2], told["rows"][1::2], strict=True):
        assert wide["lo"] <= narrow["lo"] <= narrow["hi"] <= wide["hi"]
        assert 0 <= wide["probability"] <= 1


def test_pages_of_a_forecast_join(service: TestClient) -> None:
    """limit and offset cut anywhere; total counts rows of all images."""
    whole = service.get("/v1/forecasts?hours=5").json()
    pages = [service.get(f"/v1/forecasts?hours=5&limit=3&offset={at}").json()["rows"] for at in (0, 3, 6, 9)]

    assert whole["total"] == 2 * 5
    assert [row for page in pages for row in page] == whole["rows"]


def test_demand_is_counted_by_the_hour(service: TestClient) -> None:
    """Hours of `[since, until)`, one image or all together."""
    span = {"since": "2026-11-24T00:00Z", "until": "2026-11-24T08:00Z"}
    both, one = (service.get("/v1/demand", params={**span, **of}).json() for of in ({}, {"image": A}))

    assert len(both["rows"]) == both["total"] == 7  # the cutoff is 07:00
    assert both["rows"][0]["time"] == "2026-11-24T00:00:00Z"
    assert [row["pulls"] for row in both["rows"]] == [0, 0, 5, 0, 0, 0, 0]
    assert [row["pulls"] for row in one["rows"]] == [0, 0, 3, 0, 0, 0, 0]


def test_a_rhythm_is_a_week(service: TestClient) -> None:
    """Seven days of 24 hours, each the mean of its pulls."""
    told = service.get("/v1/rhythm").json()

    assert told["weekdays"][0] == "Mon"
    assert [len(day) for day in told["pulls_an_hour"]] == [24] * 7
    assert told["pulls_an_hour"][1][2] > told["pulls_an_hour"][1][3] == 0


def test_images_are_listed_most_pulled_first(service: TestClient) -> None:
    """With a part of a name, those that have it; total counts them all."""
    told = service.get("/v1/images").json()
    part = service.get("/v1/images?contains=acme/b&limit=5").json()

    assert [row["image"] for row in told["images"]] == [A, B]
    assert told["images"][0]["last"] == "2026-11-24T02:00:00Z"
    assert (part["total"], part["images"][0]["image"]) == (1, B)


def test_sites_tell_how_far_they_are_known(service: TestClient) -> None:
    """Cutoff, counts and the next peak within a day."""
    (site,) = service.get("/v1/sites").json()["sites"]

    assert (site["site"], site["timezone"], site["images"]) == ("default", "UTC", 2)
    assert site["pulls"] == site["demand"] + 5  # of the hour that is not over
    assert site["cutoff"] == "2026-11-24T07:00:00Z"
    assert "2026-11-24T08" <= site["peak"]["time"] < "2026-11-25T08"


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        pytest.param("forecasts?level=0", 422, "1 to 99", id="level of nothing"),
        pytest.param("forecasts?hours=193", 422, "hours", id="too far ahead"),
        pytest.param("forecasts?image=A::", 422, "no image reference", id="no reference"),
        pytest.param("forecasts?image=$(reboot)", 422, "no image reference", id="a shell in a name"),
        pytest.param("demand?image=acme/c:1", 404, "docker.io/acme/c:1", id="unknown image"),
        pytest.param("demand?since=2026-11-24T00:00:00", 422, "since", id="time without a zone"),
        pytest.param("rhythm?site=nowhere", 404, "known: default", id="unknown site"),
        pytest.param("images?format=xml", 422, "format", id="unknown format"),
        pytest.param("nothing", 404, "Not Found", id="unknown noun"),
        pytest.param("rankings?limt=5", 422, "limt", id="unknown parameter"),
        pytest.param("rankings?limit=0", 422, "limit", id="limit of nothing"),
        pytest.param("rankings?limit=1000000", 422, "limit", id="unbounded limit"),
        pytest.param("rankings?at=2026-11-16T08:00:00", 422, "at", id="ranking without a zone"),
        pytest.param("rankings?at=now", 422, "at", id="no time"),
        pytest.param("rankings?day=9999-12-31", 422, "day", id="last day"),
        pytest.param("rankings?day=2026-11-16&at=2026-11-16T08:00Z", 422, "day", id="day and time"),
        pytest.param("rankings?site=nowhere", 404, "known: default", id="ranking of an unknown site"),
        pytest.param("rankings?model=oracle", 404, "no forecaster called 'oracle'", id="unknown model"),
        pytest.param("rankings?objective=fame", 422, "objective", id="unknown objective"),
    ],
)
def test_refusals_are_problem_details(service: TestClient, query: str, status: int, words: str) -> None:
    """RFC 9457, with the field and what was expected."""
    answer = service.get(f"/v1/{query}")

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert words in answer.json()["detail"]


def test_a_defect_is_answered_counted_and_guarded(lake: str) -> None:
    """A problem document that tells nothing of the machine; the trace is the server's."""
    app = create_app(load(lake=lake), lambda: NOW)

    @app.get("/v1/broken")
    def broken() -> None:
        raise ZeroDivisionError("/etc/secret")

    with opened(app, raising=False) as client:
        answer = client.get("/v1/broken")
        metrics = client.get("/metrics").text

    assert (answer.status_code, answer.json()["type"]) == (500, "InternalError")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "secret" not in answer.text
    assert 'prewarm_http_requests_total{route="/v1/broken",status="500"} 1' in metrics


def test_what_is_one_site_s_own_wants_to_be_told_which(tmp_path: Path) -> None:
    """Rhythm, demand and forecasts of several sites are not mixed; a ranking is of all together."""
    lake_with(tmp_path, A, site="boise")
    lake = lake_with(tmp_path, A, site="berlin")
    with opened(create_app(load(lake=lake.root), lambda: NOW)) as client:
        refused = client.get("/v1/rhythm")
        told = client.get("/v1/rhythm?site=boise")
        ranked = client.get("/v1/rankings").json()

    assert refused.status_code == 422
    assert refused.json()["detail"].startswith("site: the lake has several (berlin, boise)")
    assert told.json()["site"] == "boise"
    assert list(ranked["cutoffs"]) == ["berlin", "boise"]


def test_the_coming_hours_are_not_computed_from_the_lake(service: TestClient, lake: str) -> None:
    """What is held answers for days; the same question a day earlier is asked of the lake."""
    workshop = service.app.state.workshop  # type: ignore[attr-defined]
    service.get("/v1/rankings", params={"at": (NOW + timedelta(days=6)).isoformat(), "hours": 24})
    assert workshop.made == 0

    for _ in range(2):
        service.get("/v1/rankings", params={"at": (NOW - timedelta(days=1)).isoformat()})
    assert workshop.made == 1


def test_a_size_that_becomes_known_changes_what_was_computed(tmp_path: Path) -> None:
    """A ranking of the past is kept for a state of the whole lake, not of its pulls alone."""
    lake = lake_with(tmp_path, A)
    question = {"at": (NOW - timedelta(days=1)).isoformat()}
    with opened(create_app(load(lake=lake.root), lambda: NOW)) as client:
        before = client.get("/v1/rankings", params=question).json()
        size = {"registry": "docker.io", "repository": "acme/a", "tag": "1", "bytes": 7, "checked_at": NOW}
        lake.append("images", pl.DataFrame([size]))
        after = client.get("/v1/rankings", params=question).json()

    assert [told["ranking"][0]["bytes"] for told in (before, after)] == [None, 7]
