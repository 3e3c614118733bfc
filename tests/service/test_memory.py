"""What is remembered is what would have been answered, for those who may ask."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from prewarm.service.app import create_app
from prewarm.service.memory import LARGEST
from prewarm.settings import load
from tests.past import NOW, lake_with
from tests.service.conftest import A, B, opened

PATH = "/v1/rankings?limit=2"


@pytest.mark.parametrize("packed", ["gzip", "identity"])
@pytest.mark.parametrize("path", [PATH, "/v1/forecasts?format=csv", "/v1/sites"])
def test_the_second_answer_is_the_first(service: TestClient, path: str, packed: str) -> None:
    """Body and headers, compressed or not."""
    first, second = (service.get(path, headers={"Accept-Encoding": packed}) for _ in range(2))

    assert (second.status_code, second.content, second.headers) == (200, first.content, first.headers)
    assert len(service.app.state.board.read().replies) == 1  # type: ignore[attr-defined]


def test_a_remembered_answer_is_counted_as_any_other(service: TestClient) -> None:
    """Metrics know its route."""
    for _ in range(3):
        service.get(PATH)

    assert 'prewarm_http_requests_total{route="/v1/rankings",status="200"} 3' in service.get("/metrics").text


def test_it_is_not_for_those_who_may_not_ask(lake: str) -> None:
    """That somebody asked with a token opens nothing for the next one."""
    tokens = {"grafana": {"sha256": hashlib.sha256(b"reader").hexdigest()}}
    with opened(create_app(load(lake=lake, service={"tokens": tokens}), lambda: NOW)) as client:
        allowed = client.get(PATH, headers={"Authorization": "Bearer reader"})
        wrong = client.get(PATH, headers={"Authorization": "Bearer other"})
        none = client.get(PATH, headers={"If-None-Match": allowed.headers["etag"]})

    assert (allowed.status_code, wrong.status_code, none.status_code) == (200, 401, 401)


def test_it_passes_with_the_minute_and_with_the_lake(tmp_path: Path) -> None:
    """The coming hour is another a minute later; new pulls are another ranking."""
    now = [NOW]

    def clock() -> datetime:
        return now[0]

    lake_with(tmp_path, A)
    app = create_app(load(lake=str(tmp_path / "lake")), clock)
    with opened(app) as client:
        first = client.get(PATH).json()
        now[0] += timedelta(minutes=1)
        later = client.get(PATH).json()
        lake_with(tmp_path, B)
        app.state.board.look(now[0])
        grown = client.get(PATH).json()

    assert (first["at"], later["at"]) == ("2026-11-24T08:31:00Z", "2026-11-24T08:32:00Z")
    assert (later["total"], grown["total"]) == (1, 2)


def test_long_answers_are_not_remembered(service: TestClient) -> None:
    """Whoever asks for long ones fills no memory."""
    path = "/v1/forecasts?hours=192&limit=1000&level=80&level=95"
    told = service.get(path, headers={"Accept-Encoding": "identity"})

    assert len(told.content) > LARGEST
    assert not service.app.state.board.read().replies  # type: ignore[attr-defined]


def test_refusals_are_not_remembered(service: TestClient) -> None:
    """They are made where they belong, each time."""
    service.get("/v1/rankings?limt=5")
    service.get("/v1/rhythm?site=nowhere")

    assert not service.app.state.board.read().replies  # type: ignore[attr-defined]
