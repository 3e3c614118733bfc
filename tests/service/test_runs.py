"""Plans and runs over REST: made, begun, watched, cancelled; the kill switch."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from prewarm.lake import Lake
from prewarm.pipeline.warming.caches import state_folder
from prewarm.pipeline.warming.switch import paused
from prewarm.service.app import create_app
from prewarm.settings import load
from prewarm.warming.executor import lock
from tests.fakes import FakeRegistry, Fault
from tests.past import NOW, lake_with
from tests.service.conftest import BASE, opened

WEB, API = "docker.io/library/web:1", "docker.io/acme/api:2.1"


@dataclass
class Hub:
    """A registry on a loop of its own, so that the service may ask it from any thread."""

    url: str = ""
    registry: FakeRegistry = field(default_factory=FakeRegistry)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """`hub`, which serves until the end."""

    def call(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, hub.loop).result(60)

    thread = threading.Thread(target=hub.loop.run_forever)
    thread.start()
    try:
        call(hub.registry.__aenter__())
        hub.registry.push_image("library/web", "1", layers=[b"base" * 500, b"w" * 1000])
        hub.registry.push_image("acme/api", "2.1", layers=[b"base" * 500, b"a" * 2000])
        hub.url = hub.registry.endpoint.url
        yield hub
        call(hub.registry.__aexit__(None, None, None))
    finally:
        hub.loop.call_soon_threadsafe(hub.loop.stop)
        thread.join()
        hub.loop.close()


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Docker Hub, which has both images."""
    with serving(Hub()) as hub:
        yield hub


@contextmanager
def service_over(folder: Path, hub: Hub, **service: Any) -> Iterator[TestClient]:
    """A service over two weeks of demand, one cache and one listed registry."""
    lake = lake_with(folder, WEB, API) if not (folder / "lake").exists() else Lake.open(folder / "lake")
    settings = load(
        lake=lake.root,
        registries={"docker.io": {"url": hub.url}},
        caches={
            "edge": {"driver": "layout", "path": str(folder / "oci"), "site": "default"},
            "every": {"driver": "layout", "path": str(folder / "every")},
        },
        service=service,
    )
    with opened(create_app(settings, lambda: NOW)) as client:
        yield client


@pytest.fixture
def service(tmp_path: Path, hub: Hub) -> Iterator[TestClient]:
    with service_over(tmp_path, hub) as client:
        yield client


def events_of(service: TestClient, run: str, **headers: str) -> list[tuple[str, dict[str, Any]]]:
    """Every event of a run, once it is over."""
    with service.stream("GET", f"{run}/events", headers=headers) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = list(stream.iter_lines())
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    told = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    return list(zip(names, told, strict=True))


def test_a_plan_is_made_and_kept(service: TestClient) -> None:
    """`Location` has it, the list names it, nothing was transferred."""
    made = service.post("/v1/plans", json={"cache": "edge", "top": 5})

    kept = service.get(made.headers["location"]).json()
    listed = service.get("/v1/plans?cache=edge").json()
    assert made.status_code == 201
    assert [warm["image"] for warm in kept["warms"]] == [WEB, API]
    assert kept["id"] == made.json()["id"]
    assert (listed["total"], listed["plans"][0]["id"]) == (1, kept["id"])
    assert service.get("/v1/plans?cache=every").json()["plans"] == []
    assert service.get("/v1/runs").json()["runs"] == []


def test_one_plan_is_made_at_a_time(service: TestClient) -> None:
    """Who comes meanwhile is told to come back, and is served then."""
    with service.app.state.planning:  # type: ignore[attr-defined]
        meanwhile = service.post("/v1/plans", json={"cache": "edge"})

    assert (meanwhile.status_code, meanwhile.headers["retry-after"]) == (429, "5")
    assert service.post("/v1/plans", json={"cache": "edge"}).status_code == 201
    assert service.post("/v1/plans", json={"cache": "edge", "model": "oracle"}).status_code == 404
    assert service.post("/v1/plans", json={"cache": "edge"}).status_code == 201


def test_a_run_goes_on_in_the_background_and_tells(service: TestClient) -> None:
    """202 at once, then each image as it is warmed, and the end."""
    begun = service.post("/v1/runs", json={"cache": "edge", "top": 5})
    where = begun.headers["location"]

    events = events_of(service, where)

    assert begun.status_code == 202
    assert where == f"/v1/runs/{begun.json()['id']}"
    assert events[0][0] == "plan"
    assert events[-1][0] == "end"
    assert {about["image"]: about["state"] for name, about in events if name == "outcome"} == {
        WEB: "warmed",
        API: "warmed",
    }
    done = service.get(where).json()
    assert (done["state"], done["totals"]["warmed"]) == ("done", 2)
    assert [outcome["image"] for outcome in done["outcomes"]] == [WEB, API]


def test_a_watcher_that_lost_its_connection_resumes(service: TestClient) -> None:
    """`Last-Event-ID` names what was heard; only what came after is told."""
    where = service.post("/v1/runs", json={"cache": "edge"}).headers["location"]
    heard = events_of(service, where)

    again = events_of(service, where, **{"Last-Event-ID": "2"})

    assert again == heard[2:]


def test_a_plan_is_executed_by_its_id(service: TestClient) -> None:
    """Exactly that plan, once more: nothing is left to transfer."""
    plan = service.post("/v1/plans", json={"cache": "edge", "top": 1}).json()["id"]

    where = service.post("/v1/runs", json={"plan": plan}).headers["location"]
    events_of(service, where)
    second = service.post("/v1/runs", json={"plan": plan}).headers["location"]
    events_of(service, second)

    assert service.get(where).json()["plan"] == plan
    assert service.get(second).json()["totals"]["already"] == 1


def test_runs_outlive_the_service(tmp_path: Path, hub: Hub) -> None:
    """Another service tells of them from the lake."""
    with service_over(tmp_path, hub) as service:
        where = service.post("/v1/runs", json={"cache": "edge"}).headers["location"]
        events_of(service, where)

    with service_over(tmp_path, hub) as service:
        listed = service.get("/v1/runs").json()
        told = service.get(where).json()

    assert [run["id"] for run in listed["runs"]] == [told["id"]]
    assert (told["state"], told["totals"]["warmed"]) == ("done", 2)
    assert {outcome["state"] for outcome in told["outcomes"]} == {"warmed"}


def test_a_run_is_cancelled(service: TestClient, hub: Hub) -> None:
    """It ends in order, and says that somebody wanted that."""
    hub.registry.fault("GET", "/blobs/", Fault(hang=True), forever=True)
    where = service.post("/v1/runs", json={"cache": "edge"}).headers["location"]

    cancelled = service.post(f"{where}/cancel")
    events = events_of(service, where)

    assert cancelled.status_code == 202
    assert events[-1][0] == "end"
    assert service.get(where).json()["state"] == "cancelled"
    assert service.post("/v1/runs/r1/cancel").status_code == 404


def test_one_run_per_cache(tmp_path: Path, service: TestClient) -> None:
    """A cache that another process warms is refused at once, with the reason."""
    with lock(state_folder(Lake.open(tmp_path / "lake")) / "locks", "edge", NOW):
        refused = service.post("/v1/runs", json={"cache": "edge"})

    assert refused.status_code == 409
    assert refused.json()["type"] == "CacheBusy"


def test_the_kill_switch_outlives_restarts(tmp_path: Path, hub: Hub) -> None:
    """Nothing warms until somebody resumes, whatever process asks."""
    with service_over(tmp_path, hub) as service:
        told = service.post("/v1/pause", json={"why": "the uplink is full"}).json()
    with service_over(tmp_path, hub) as service:
        refused = service.post("/v1/runs", json={"cache": "edge"})
        planned = service.post("/v1/plans", json={"cache": "edge"})
        resumed = service.post("/v1/resume").json()
        events = events_of(service, service.post("/v1/runs", json={"cache": "edge"}).headers["location"])

    assert told["paused"]
    assert (refused.status_code, refused.json()["type"]) == (409, "Paused")
    assert "the uplink is full" in refused.json()["detail"]
    assert planned.status_code == 201
    assert not resumed["paused"]
    assert events[-1][1]["state"] == "done"


def test_the_kill_switch_ends_a_run(service: TestClient, hub: Hub) -> None:
    """A run that goes on ends soon; what it had not warmed is cancelled."""
    hub.registry.fault("GET", "/blobs/", Fault(hang=True), forever=True)
    where = service.post("/v1/runs", json={"cache": "edge"}).headers["location"]
    service.post("/v1/pause")

    events = events_of(service, where)

    assert events[-1][1]["state"] in {"failed", "partly", "refused"}
    assert service.get("/v1/pause").json()["by"] == "localhost"


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/plans", {"cache": "edgy"}, 404, "did you mean 'edge'?"),
        ("/v1/plans", {}, 422, "cache: Field required"),
        ("/v1/plans", {"cache": "edge", "tops": 3}, 422, "did you mean 'top'?"),
        ("/v1/plans", {"cache": "edge", "max_bytes": "4 apples"}, 422, "max_bytes"),
        ("/v1/plans", {"cache": "edge", "at": "2026-11-30T08:00"}, 422, "at: "),
        ("/v1/plans", {"cache": "edge", "model": "oracle"}, 404, "no forecaster called 'oracle'"),
        ("/v1/runs", {}, 422, "one of plan, schedule or cache"),
        ("/v1/runs", {"cache": "edge", "plan": "p1"}, 422, "one of plan, schedule or cache"),
        ("/v1/runs", {"plan": "p1", "top": 3}, 422, "top goes with cache alone"),
        ("/v1/runs", {"plan": "../../etc/passwd"}, 404, "no plan called"),
        ("/v1/runs", {"schedule": "noon"}, 404, "no schedule called 'noon'"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(
    service: TestClient, path: str, body: dict[str, Any], status: int, words: str
) -> None:
    """The field, what was expected, an example; and nothing is begun."""
    refused = service.post(path, json=body)

    assert refused.status_code == status
    assert refused.headers["content-type"] == "application/problem+json"
    assert words in refused.json()["detail"]
    assert service.get("/v1/runs").json()["total"] == 0


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b'"edge"', b"", b"\xff"])
def test_a_body_that_is_no_object_is_refused(service: TestClient, body: bytes) -> None:
    """Broken, deep, of another type, missing: never more than a 4xx."""
    refused = service.post("/v1/runs", content=body, headers={"Content-Type": "application/json"})

    assert refused.status_code in {400, 422}
    assert refused.json()["detail"]


def test_a_long_body_is_refused(service: TestClient) -> None:
    """Whether or not it says how long it is."""
    long = b'{"cache": "' + b"e" * (2 << 20) + b'"}'

    assert service.post("/v1/runs", content=long).status_code == 413
    assert service.post("/v1/runs", content=iter([long])).status_code in {400, 413, 422}


def test_a_page_of_another_origin_changes_nothing(tmp_path: Path, service: TestClient) -> None:
    """A browser sends its Origin along; ours is let through."""
    strange = service.post("/v1/pause", headers={"Origin": "https://evil.example"})
    ours = service.post("/v1/pause", headers={"Origin": BASE})

    assert (strange.status_code, ours.status_code) == (403, 200)
    assert paused(Lake.open(tmp_path / "lake")) is not None


def test_every_change_leaves_an_audit_line(service: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    """Who did what to which cache."""
    with caplog.at_level(logging.INFO, "prewarm.audit"):
        where = service.post("/v1/runs", json={"cache": "edge"}).headers["location"]
        events_of(service, where)
        service.post("/v1/pause")
        service.post("/v1/resume")

    told = [(record.message, getattr(record, "who", None)) for record in caplog.records]
    assert ("run begun", "localhost") in told
    assert ("paused", "localhost") in told
    assert ("resumed", "localhost") in told
    assert any(message == "run ended" for message, _ in told)
