"""The client, against a service that listens on loopback."""

from __future__ import annotations

import hashlib
import inspect
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from prewarm.client import Client, Refused
from prewarm.errors import ServiceError
from prewarm.service.app import create_app
from prewarm.settings import load
from tests.past import NOW, lake_with

A, B = "docker.io/acme/a:1", "docker.io/acme/b:1"


@contextmanager
def listening(folder: Path, **service: Any) -> Iterator[str]:
    """A service over two weeks of demand; yields its address."""
    settings = load(
        lake=lake_with(folder, A, B).root,
        caches={"edge": {"driver": "layout", "path": str(folder / "oci")}},
        registries={"docker.io": {"url": "http://127.0.0.1:1"}},
        schedules={"fresh": {"cron": "0 3 * * *", "verb": "refresh", "cache": "edge"}},
        sources={"hooks": {}},
        service=service,
    )
    app = create_app(settings, lambda: NOW)
    app.state.board.look(NOW)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with listening(tmp_path_factory.mktemp("client")) as url:
        yield url


def test_reads_are_what_the_service_tells(url: str) -> None:
    """Every noun, with times, days and several levels."""
    client = Client(url)

    assert [row["image"] for row in client.rankings(limit=1)["ranking"]] == [A]
    assert len(client.rankings(day=date(2026, 11, 24))["answers"]) == 24
    assert client.rankings(at=datetime(2026, 11, 23, 8, tzinfo=UTC))["at"] == "2026-11-23T08:00:00Z"
    assert {row["level"] for row in client.forecasts(image=A, level=[80, 95])["rows"]} == {80, 95}
    assert client.demand(image=A, since=datetime(2026, 11, 20, tzinfo=UTC))["total"] > 0
    assert client.rhythm(site="default")["site"] == "default"
    assert client.images(contains="acme/b")["total"] == 1
    assert client.sites()["sites"][0]["site"] == "default"
    assert client.report("growth")["report"] == "growth"
    assert client.scorecard(origins=1)["best"]
    assert client.schedules()["schedules"][0]["name"] == "fresh"


def test_a_run_is_begun_and_watched(url: str) -> None:
    """Its registry does not answer, and each outcome says so; events end with the run."""
    client = Client(url)

    run = client.run(cache="edge", top=1)
    events = list(client.events(run["id"]))
    again = list(client.events(run["id"], after=events[0].number))

    assert events[-1].name == "end"
    assert again == events[1:]
    assert client.run_of(run["id"])["state"] == events[-1].data["state"] != "running"
    assert client.runs()["runs"][0]["id"] == run["id"]
    assert client.cancel(run["id"])["id"] == run["id"]


def test_control_and_delivery(url: str) -> None:
    """The switch, the schedules, records."""
    client = Client(url)

    assert client.pause("the uplink is full")["why"] == "the uplink is full"
    with pytest.raises(Refused, match="the uplink is full") as refused:
        client.run(cache="edge")
    assert (refused.value.status, refused.value.kind) == (409, "Paused")
    assert not client.resume()["paused"]
    assert client.pause_schedule("fresh")["paused"]
    assert not client.resume_schedule("fresh")["paused"]
    assert client.ingest("hooks", [{"log": "x"}], idempotency_key="k")["accepted"] == 1
    assert client.ingest("hooks", [{"log": "x"}], idempotency_key="k")["duplicates"] == 1


def test_refusals_are_the_services_own_words(url: str) -> None:
    """With status and kind."""
    with pytest.raises(Refused, match="did you mean 'edge'") as refused:
        Client(url).plan("edgy")
    assert (refused.value.status, refused.value.kind) == (404, "UnknownName")
    with pytest.raises(Refused, match="no plan called"):
        Client(url).plan_of("p 1?")


def test_what_is_being_computed_is_asked_for_again() -> None:
    """As often as is polite, as late as the service asks."""
    told = [b"HTTP/1.1 503 Busy\r\nRetry-After: 3\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"] * 2
    told += [b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\n{"best": "a"}']
    slept: list[float] = []
    with scripted(told) as url:
        assert Client(url, sleep=slept.append).scorecard() == {"best": "a"}
    assert slept == [3.0, 3.0]


def test_a_stream_that_is_refused_is_a_refusal() -> None:
    """It is not asked for again, whatever the service says of later."""
    told = [b"HTTP/1.1 503 Busy\r\nRetry-After: 3\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"]
    with scripted(told) as url, pytest.raises(Refused) as refused:
        list(Client(url, sleep=pytest.fail).events("r1"))
    assert refused.value.status == 503


@contextmanager
def scripted(answers: list[bytes]) -> Iterator[str]:
    """A server that gives these answers, one a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n<svg",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n90\r\n<svg",
    ],
)
def test_a_figure_that_broke_off_is_a_service_error(answer: bytes) -> None:
    """Half a picture is none."""
    with scripted([answer]) as url, pytest.raises(ServiceError):
        Client(url).figure("causes")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
def test_a_broken_answer_is_a_service_error(answer: bytes) -> None:
    """In one line; a redirect is followed by nobody, since the token is for this service alone."""
    with scripted([answer]) as url, pytest.raises(ServiceError) as broken:
        Client(url, token="s3cret").sites()
    assert "\n" not in str(broken.value)
    assert "s3cret" not in str(broken.value)


def test_nobody_there_is_told() -> None:
    """With what to look for."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(ServiceError, match="is `prewarm serve` running"):
        Client(url).sites()
    with pytest.raises(ServiceError, match="no address of a service"):
        Client("file:///etc/passwd")


def test_a_time_without_zone_is_refused(url: str) -> None:
    """Before anything is asked."""
    with pytest.raises(ServiceError, match="has no zone"):
        Client(url).rankings(at=datetime(2026, 11, 23, 8))  # noqa: DTZ001


def test_a_token_is_sent(tmp_path: Path) -> None:
    """To a service that wants one."""
    tokens = {"me": {"sha256": hashlib.sha256(b"s3cret").hexdigest(), "scopes": ["read"]}}
    with listening(tmp_path, tokens=tokens) as url:
        assert Client(url, "s3cret").sites()["total"] == 1
        with pytest.raises(Refused, match="bearer token is needed"):
            Client(url).sites()


def test_every_read_of_the_interface_has_a_method(url: str) -> None:
    """What the service takes in a query, a method takes as a keyword."""
    document = create_app(load()).openapi()["paths"]
    methods = {"/v1/reports/{name}": "report", "/v1/plans/{id}": "plan_of", "/v1/runs/{id}": "run_of",
               "/v1/runs/{id}/events": "events", "/v1/images/{image}": "image",
               "/v1/figures/{name}": "figure"}  # fmt: skip
    for path, verbs in document.items():
        if path.startswith("/v1/") and "get" in verbs and path != "/v1/pause":
            method = getattr(Client, methods.get(path, path.removeprefix("/v1/")))
            asked = {each["name"] for each in verbs["get"].get("parameters", []) if each["in"] == "query"}
            assert asked - {"format"} <= inspect.signature(method).parameters.keys(), path
