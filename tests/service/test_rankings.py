"""The service as dashboards use it: rankings, paging, health, refusals, tokens."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from prewarm.errors import SettingsError
from prewarm.lake import Lake
from prewarm.logs.files import Source
from prewarm.pipeline.logs.ingest import ingest
from prewarm.service import serve
from prewarm.service.access import is_loopback
from prewarm.service.app import create_app
from prewarm.settings import load
from tests.logs_of_a_day import access_log, pull
from tests.service.conftest import opened

EIGHT = "2026-11-16T08:00:00Z"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("service")
    (folder / "access.log").write_text(access_log())
    ingest(Lake.open(folder / "lake"), [Source(paths=(str(folder / "access.log"),))])
    return str(folder / "lake")


@pytest.fixture
def client(lake: str) -> Iterator[TestClient]:
    with opened(create_app(load(lake=lake))) as client:
        yield client


def test_a_ranking_needs_no_token_site_or_time(client: TestClient) -> None:
    """On loopback the plain question is answered, from now."""
    answer = client.get("/v1/rankings?limit=50")

    assert answer.status_code == 200
    assert {
        "at",
        "hours",
        "site",
        "model",
        "objective",
        "ranking",
        "total",
        "limit",
        "offset",
    } <= answer.json().keys()


def test_a_ranking_is_that_of_the_command_line(client: TestClient) -> None:
    """Best first, with the same keys as `rank --json`."""
    document = client.get("/v1/rankings", params={"at": EIGHT}).json()

    assert [row["image"] for row in document["ranking"]] == [
        "docker.io/acme/web:1.0",
        "docker.io/acme/api:2.1",
    ]
    assert document["ranking"][0].keys() == {
        "rank",
        "image",
        "mean",
        "probability",
        "bytes",
        "score",
        "p_stale",
    }
    assert document["at"] == EIGHT


def test_pages_are_cut_from_one_ranking(client: TestClient) -> None:
    """limit and offset move over the whole; total says how long it is."""
    page = client.get("/v1/rankings", params={"at": EIGHT, "limit": 1, "offset": 1}).json()

    assert page["total"] == 2
    assert [row["rank"] for row in page["ranking"]] == [2]


def test_a_day_has_every_hour(client: TestClient) -> None:
    """`day` gives the 24 hours of the site's day, each with its top."""
    answers = client.get("/v1/rankings", params={"day": "2026-11-16", "limit": 1}).json()["answers"]

    assert len(answers) == 24
    assert answers[8]["ranking"][0]["image"] == "docker.io/acme/web:1.0"


@pytest.mark.parametrize(
    "question",
    ["at=0001-01-01T00:00:00Z", "at=9999-12-31T23:59:00Z", "at=9999-12-31T23:59:00-05:00", "day=0001-01-01"],
)
def test_a_time_out_of_reach_is_the_askers_mistake(client: TestClient, question: str) -> None:
    """The first and the last time there are, are refused in words, not failed at."""
    answer = client.get(f"/v1/rankings?{question}")

    assert 400 <= answer.status_code < 500
    assert answer.json()["detail"]


def test_new_pulls_change_the_answer(tmp_path: Path) -> None:
    """What is kept belongs to a state of the lake, so that an ingest shows at once."""
    (tmp_path / "access.log").write_text(access_log(days=8))
    lake = Lake.open(tmp_path / "lake")
    source = Source(paths=(str(tmp_path / "access.log"),))
    ingest(lake, [source])
    with opened(create_app(load(lake=lake.root))) as client:
        before = client.get("/v1/rankings", params={"at": EIGHT}).json()
        (tmp_path / "access.log").write_text(access_log())
        ingest(lake, [source])
        after = client.get("/v1/rankings", params={"at": EIGHT}).json()

    assert before["cutoffs"] != after["cutoffs"]


def test_what_was_logged_a_moment_ago_is_ranked(tmp_path: Path) -> None:
    """The first minutes of a new mirror answer the plain question."""
    lines = pull(datetime.now(UTC) - timedelta(seconds=3), "acme/api", "2.1", "10.0.0.1")
    (tmp_path / "access.log").write_text("\n".join(lines) + "\n")
    lake = Lake.open(tmp_path / "lake")
    ingest(lake, [Source(paths=(str(tmp_path / "access.log"),))])
    with opened(create_app(load(lake=lake.root))) as client:
        answer = client.get("/v1/rankings")

    assert answer.status_code == 200
    assert [row["image"] for row in answer.json()["ranking"]] == ["docker.io/acme/api:2.1"]


def test_health_tells_a_process_from_a_service(client: TestClient, tmp_path: Path) -> None:
    """Alive is not ready: an empty lake can rank nothing."""
    with opened(create_app(load(lake=str(tmp_path / "empty")))) as empty:
        assert empty.get("/livez").status_code == 200
        assert empty.get("/readyz").status_code == 503
        assert empty.get("/v1/rankings").status_code == 409
    assert client.get("/readyz").status_code == 200


def test_tokens_guard_the_ranking(lake: str) -> None:
    """With tokens set, reading needs one that has the scope; health does not."""
    tokens = {
        "grafana": {"sha256": hashlib.sha256(b"reader").hexdigest()},
        "agent": {"sha256": hashlib.sha256(b"writer").hexdigest(), "scopes": ["ingest"]},
    }
    with opened(create_app(load(lake=lake, service={"tokens": tokens}))) as client:
        statuses = {
            token: client.get("/v1/rankings", headers={"Authorization": f"Bearer {token}"}).status_code
            for token in ("reader", "writer", "wrong")
        }
        assert statuses == {"reader": 200, "writer": 403, "wrong": 401}
        assert client.get("/v1/rankings").status_code == 401
        assert client.get("/livez").status_code == 200


def test_only_loopback_is_open_without_tokens(lake: str) -> None:
    """Any other bind refuses to start and says how to make a token."""
    with pytest.raises(SettingsError, match="sha256sum"):
        serve(load(lake=lake, service={"host": "0.0.0.0"}))


def test_an_address_that_is_taken_is_refused(lake: str) -> None:
    """One line with what was expected, before anything is loaded."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            SettingsError, match=rf"127\.0\.0\.1:{port} cannot be bound: Address already in use"
        ):
            serve(load(lake=lake, service={"port": port}))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("x.io", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    """Addresses that only this machine can reach."""
    assert is_loopback(host) is loopback
