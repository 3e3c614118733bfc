"""Whatever is asked, the answer is one of those that the interface names."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from shutil import copytree

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from prewarm.service.app import create_app
from prewarm.settings import load
from tests.past import NOW
from tests.service.conftest import BASE

NOUNS = (
    "rankings", "forecasts", "demand", "rhythm", "images", "sites", "plans", "runs", "schedules", "pause",
    "plans/p1", "runs/r1", "runs/r1/events", "reports/growth", "reports/none",
)  # fmt: skip
COMMANDS = (
    "plans", "runs", "runs/r1/cancel", "pause", "resume", "schedules/none/pause", "schedules/none/resume",
    "ingest/hooks", "ingest/none",
)  # fmt: skip
KEYS = ("cache", "plan", "schedule", "top", "at", "hours", "max_bytes", "why", "events", "specversion", "id")
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=9), inner)
    ),
    max_leaves=8,
)
VALUES = {
    "site": st.sampled_from(["default", "", "nowhere"]) | st.text(max_size=30),
    "image": st.sampled_from(["acme/a:1", "docker.io/acme/b:1", "acme/a", "a@sha256:0", "A::"])
    | st.text(max_size=30),
    "at": st.datetimes().map(lambda at: at.isoformat() + "Z") | st.text(max_size=30),
    "since": st.datetimes().map(lambda at: at.isoformat() + "Z"),
    "until": st.datetimes().map(lambda at: at.isoformat() + "+14:00"),
    "day": st.dates().map(str),
    "hours": st.integers(-1, 1000).map(str),
    "limit": st.integers(-1, 2001).map(str),
    "offset": st.integers(-1, 10**19).map(str),
    "level": st.integers(-1, 101).map(str),
    "objective": st.sampled_from(["pulls", "any-pull", "bytes", "fame"]),
    "model": st.sampled_from(["auto", "seasonal-naive", "oracle"]),
    "format": st.sampled_from(["json", "csv", "xml"]),
    "contains": st.text(max_size=30),
    "strange": st.text(max_size=3),
}
QUESTIONS = st.lists(st.sampled_from(sorted(VALUES)), max_size=4).flatmap(
    lambda names: st.tuples(*(st.tuples(st.just(name), VALUES[name]) for name in names))
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(noun=st.sampled_from(NOUNS), question=QUESTIONS)
def test_no_question_is_too_strange(lake: str, noun: str, question: tuple[tuple[str, str], ...]) -> None:
    """Never a 5xx; a refusal is a problem document with a detail."""
    client = _client(lake)
    answer = client.get(f"/v1/{noun}", params=list(question))

    assert answer.status_code in {200, 404, 409, 422}
    if answer.status_code != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(command=st.sampled_from(COMMANDS), body=JSON)
def test_no_command_is_too_strange(lake: str, command: str, body: object) -> None:
    """Never a 5xx; a refusal is a problem document with a detail."""
    answer = _client(lake).post(f"/v1/{command}", json=body)

    assert answer.status_code in {200, 202, 404, 422}
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]


@cache
def _client(lake: str) -> TestClient:
    """One service for all questions; what is delivered and paused stays out of the lake of the others."""
    kept = Path(lake).parent / "anything"
    copytree(lake, kept / "lake")
    settings = load(lake=str(kept / "lake"), sources={"hooks": {}}, service={"inbox": str(kept / "inbox")})
    app = create_app(settings, lambda: NOW)
    app.state.board.look(NOW)
    return TestClient(app, BASE, raise_server_exceptions=False)
