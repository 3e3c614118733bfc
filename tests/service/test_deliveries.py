"""Deliveries over HTTP: acknowledged when they are safe, refused in words."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from prewarm.lake import Lake
from prewarm.service.app import create_app
from prewarm.service.deliveries import LARGEST
from prewarm.settings import load
from tests.e2e.servers import wait_until
from tests.past import NOW
from tests.service.conftest import BASE

EVENT = {
    "id": "e1",
    "timestamp": "2026-11-24T08:00:00Z",
    "action": "pull",
    "target": {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "repository": "acme/api",
        "url": "http://mirror:5000/v2/acme/api/manifests/2.1",
        "tag": "2.1",
    },
    "request": {
        "id": "q1",
        "addr": "10.0.0.7:1",
        "host": "mirror:5000",
        "method": "GET",
        "useragent": "docker/29",
    },
}

GZIPPED = gzip.compress(b"{}", mtime=0)  # a time in it would give a test another name in each process
GZIPPED_SPACES = gzip.compress(b" " * (LARGEST + 1), mtime=0)


@contextmanager
def service_over(folder: Path, **service: Any) -> Iterator[TestClient]:
    sources = {"hooks": {"site": "boise", "registry": "docker.io"}, "other": {}}
    settings = load(lake=str(folder / "lake"), sources=sources, service={"refresh": "1s"} | service)
    app = create_app(settings, lambda: NOW)
    with TestClient(app, BASE if not service.get("tokens") else "http://x.example") as client:
        yield client


@pytest.fixture
def service(tmp_path: Path) -> Iterator[TestClient]:
    with service_over(tmp_path) as client:
        yield client


def keys(folder: Path) -> list[str]:
    return sorted(key for row in Lake.open(folder / "lake").read("pulls")["keys"] for key in row)


def test_a_notification_is_a_pull_soon(tmp_path: Path, service: TestClient) -> None:
    """202 and a receipt; the feed reads it into the lake; sent again it is known."""
    first = service.post("/v1/ingest/hooks", json={"events": [EVENT]})
    again = service.post("/v1/ingest/hooks", json={"events": [EVENT]})

    assert (first.status_code, first.json()) == (202, {"accepted": 1, "duplicates": 0})
    assert again.json() == {"accepted": 0, "duplicates": 1}
    wait_until(lambda: keys(tmp_path) == ["q1"], "the pull in the lake")
    assert 'prewarm_deliveries_total{source="hooks",result="accepted"} 1' in service.get("/metrics").text


def test_what_was_acknowledged_is_read_by_the_next_service(tmp_path: Path) -> None:
    """It needs no new delivery for that."""
    with service_over(tmp_path, refresh="1h") as service:
        service.post("/v1/ingest/hooks", json={"events": [EVENT]})
    with service_over(tmp_path):
        wait_until(lambda: keys(tmp_path) == ["q1"], "the pull in the lake")


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_compressed_batches_are_taken(service: TestClient, pack: Callable[[bytes], bytes]) -> None:
    """As Vector and Fluent Bit send them."""
    encoding = "gzip" if pack is gzip.compress else "deflate"
    body = pack(b'{"log": "x"}\n{"log": "y"}\n')

    answer = service.post("/v1/ingest/hooks", content=body, headers={"Content-Encoding": encoding})

    assert (answer.status_code, answer.json()["accepted"]) == (202, 1)


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "words"),
    [
        ("hoks", b"{}", {}, 404, "did you mean 'hooks'?"),
        ("hooks", b"{", {}, 422, "is no JSON"),
        ("hooks", b"[" * 200_000, {}, 422, "nested too deeply"),
        ("hooks", b"x" * (LARGEST + 1), {}, 413, "send several"),
        ("hooks", GZIPPED_SPACES, {"Content-Encoding": "gzip"}, 413, "send several"),
        ("hooks", GZIPPED[:-4], {"Content-Encoding": "gzip"}, 422, "too early"),
        ("hooks", GZIPPED * 2, {"Content-Encoding": "gzip"}, 422, "too late"),
        ("hooks", b"{}", {"Content-Encoding": "gzip"}, 422, "not compressed"),
        ("hooks", b"{}", {"Content-Encoding": "br"}, 415, "expected gzip"),
        ("hooks", b"{}", {"Origin": "https://evil.example"}, 403, "another origin"),
    ],
)
def test_what_cannot_be_taken_is_refused_in_words(
    service: TestClient, path: str, body: bytes, headers: dict[str, str], status: int, words: str
) -> None:
    """Bounded before anything is made of it."""
    refused = service.post(
        f"/v1/ingest/{path}", content=body, headers={"Content-Type": "application/json"} | headers
    )

    assert refused.status_code == status
    assert words in refused.json()["detail"]


def test_back_pressure_is_told(tmp_path: Path) -> None:
    """429 with `Retry-After`; nothing is dropped in silence."""
    with service_over(tmp_path, inbox_limit=10) as service:
        refused = service.post("/v1/ingest/hooks", json={"events": [EVENT]})

    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert refused.json()["type"] == "Full"


def test_a_token_sends_for_its_sources_alone(tmp_path: Path) -> None:
    """And needs the scope."""
    tokens = {
        name: {"sha256": hashlib.sha256(name.encode()).hexdigest(), "scopes": [scope], "sources": ["hooks"]}
        for name, scope in (("sender", "ingest"), ("reader", "read"))
    }
    with service_over(tmp_path, tokens=tokens) as service:
        codes = {
            (name, source): service.post(
                f"/v1/ingest/{source}", content=b'{"log": "x"}', headers={"Authorization": f"Bearer {name}"}
            ).status_code
            for name in ("sender", "reader", "nobody")
            for source in ("hooks", "other")
        }

    assert codes == {
        ("sender", "hooks"): 202,
        ("sender", "other"): 403,
        ("reader", "hooks"): 403,
        ("reader", "other"): 403,
        ("nobody", "hooks"): 401,
        ("nobody", "other"): 401,
    }


def test_logs_of_sources_are_followed(tmp_path: Path) -> None:
    """What is written to them is in the lake soon, without any ingest beside."""
    log = tmp_path / "events.ndjson"
    log.write_text(
        json.dumps({"timestamp": "2026-11-24T08:00:00Z", "image": "acme/api:1", "key": "k1"}) + "\n"
    )
    settings = load(
        lake=str(tmp_path / "lake"), sources={"log": {"path": str(log)}}, service={"refresh": "1s"}
    )
    with TestClient(create_app(settings, lambda: NOW), BASE):
        wait_until(lambda: keys(tmp_path) == ["k1"], "the first line in the lake")
        with log.open("a") as file:
            file.write(
                json.dumps({"timestamp": "2026-11-24T08:01:00Z", "image": "acme/api:1", "key": "k2"}) + "\n"
            )
        wait_until(lambda: keys(tmp_path) == ["k1", "k2"], "the second line in the lake")
