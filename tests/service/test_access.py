"""Who may ask for what: scopes, sites, wrong tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from starlette.testclient import TestClient

from prewarm.lake import Lake
from prewarm.service.access import Failures
from prewarm.service.app import create_app
from prewarm.settings import load
from tests.past import NOW, lake_with
from tests.service.conftest import A, B, opened

URL = "http://prewarm.example.com"


def token(text: str, *scopes: str, **more: object) -> dict[str, object]:
    return {"sha256": hashlib.sha256(text.encode()).hexdigest(), "scopes": scopes, **more}


TOKENS = {
    "reader": token("read-secret", "read"),
    "runner": token("run-secret", "run", "read"),
    "berliner": token("berlin-secret", "read", "run", sites=["berlin"]),
}


@pytest.fixture(scope="module")
def two_sites(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The same demand at two sites."""
    folder = tmp_path_factory.mktemp("two")
    lake = lake_with(folder, A, B, site="berlin")
    lake.append("pulls", lake.read("pulls").drop("date", "batch").with_columns(site=pl.lit("boise")))
    return lake


@pytest.fixture
def service(two_sites: Lake, tmp_path: Path) -> Iterator[TestClient]:
    caches = {
        name: {"driver": "layout", "path": str(tmp_path / name), "site": name} for name in ("berlin", "boise")
    }
    settings = load(lake=two_sites.root, service={"tokens": TOKENS}, caches=caches)
    with opened(create_app(settings, lambda: NOW), URL) as client:
        yield client


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


@pytest.mark.parametrize(
    ("method", "path", "secret", "status"),
    [
        ("GET", "/v1/sites", "read-secret", 200),
        ("GET", "/v1/sites", "wrong", 401),
        ("GET", "/v1/runs", "read-secret", 200),
        ("POST", "/v1/pause", "read-secret", 403),
        ("POST", "/v1/runs", "read-secret", 403),
        ("POST", "/v1/resume", "run-secret", 200),
        ("POST", "/v1/resume", "berlin-secret", 403),
    ],
)
def test_a_token_opens_what_its_scopes_name(
    service: TestClient, method: str, path: str, secret: str, status: int
) -> None:
    """Nothing that changes anything is open to a reader."""
    assert service.request(method, path, headers=bearer(secret)).status_code == status


def test_a_token_of_one_site_sees_that_site_alone(service: TestClient) -> None:
    """Whatever others were told before, and whatever it asks for."""
    berlin, everything = bearer("berlin-secret"), bearer("read-secret")
    for query in ("", "?site=boise", "?site=berlin&site=boise"):
        assert service.get(f"/v1/rankings{query}", headers=everything).status_code == 200
        assert service.get(f"/v1/rankings{query}", headers=berlin).status_code == 403

    own = service.get("/v1/rankings?site=berlin", headers=berlin)
    listed = service.get("/v1/sites", headers=everything).json()["sites"]
    listed_there = service.get("/v1/sites", headers=berlin).json()["sites"]
    again = service.get("/v1/sites", headers=everything).json()["sites"]

    assert own.status_code == 200
    assert [site["site"] for site in listed] == [site["site"] for site in again] == ["berlin", "boise"]
    assert [site["site"] for site in listed_there] == ["berlin"]
    assert service.get("/metrics", headers=berlin).status_code == 403


def test_a_token_of_one_site_warms_its_cache_alone(service: TestClient) -> None:
    """The cache of another site is refused before anything is asked of it."""
    refused = service.post("/v1/plans", json={"cache": "boise"}, headers=bearer("berlin-secret"))

    assert refused.status_code == 403
    assert "this token is for berlin" in refused.json()["detail"]


def test_who_guesses_tokens_has_to_wait(two_sites: Lake) -> None:
    """After twenty wrong ones a minute nothing is answered to that address, a right one included."""
    settings = load(lake=two_sites.root, service={"tokens": TOKENS})
    with opened(create_app(settings, lambda: NOW), URL) as client:
        codes = [client.get("/v1/sites", headers=bearer(f"guess-{n}")).status_code for n in range(21)]
        late = client.get("/v1/sites", headers=bearer("read-secret"))

    assert codes == [401] * 20 + [429]
    assert late.status_code == 429
    assert 0 < int(late.headers["retry-after"]) <= 60


def test_failures_are_forgotten_after_a_minute() -> None:
    """Each address on its own, and none for ever."""
    now = [0.0]
    failures = Failures(most=2, clock=lambda: now[0])
    for moment in (0.0, 10.0):
        now[0] = moment
        failures.add("10.0.0.1")

    assert failures.wait("10.0.0.1") == 50.0
    assert failures.wait("10.0.0.2") == 0.0
    now[0] = 60.0
    assert failures.wait("10.0.0.1") == 0.0


def test_no_memory_is_spent_on_addresses_without_end() -> None:
    """A scanner with many addresses makes the oldest forgotten."""
    failures = Failures(most=1, clock=lambda: 0.0)
    for number in range(5000):
        failures.add(str(number))

    assert failures.wait("0") == 0.0
    assert failures.wait("4999") == 60.0


def test_the_description_can_be_turned_off(two_sites: Lake) -> None:
    """`service.docs = false` serves neither the page nor the document."""
    settings = load(lake=two_sites.root, service={"docs": False})
    with opened(create_app(settings, lambda: NOW)) as client:
        assert client.get("/docs").status_code == 404
        assert client.get("/openapi.json").status_code == 404
        assert client.get("/").status_code == 200
