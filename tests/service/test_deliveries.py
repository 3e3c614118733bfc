"""Deliveries over HTTP: acknowledged when they are safe, refused in words."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
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

SECRET = b"0123456789abcdef"
PACKED = {"Content-Encoding": "gzip"}
GZIPPED = gzip.compress(b"{}", mtime=0)  # a time in it would give a test another name in each process
GZIPPED_SPACES = gzip.compress(b" " * (LARGEST + 1), mtime=0)


@contextmanager
def service_over(
    folder: Path, sources: Mapping[str, Any] | None = None, **service: Any
) -> Iterator[TestClient]:
    known = sources or {"hooks": {"site": "boise", "registry": "docker.io"}, "other": {}}
    settings = load(lake=str(folder / "lake"), sources=known, service={"refresh": "1s"} | service)
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


def signed(body: bytes, secret: bytes) -> dict[str, str]:
    """The header that a sender puts on a body."""
    return {"X-Hub-Signature-256": f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"}


@pytest.mark.parametrize("pack", [lambda body: (body, {}), lambda body: (gzip.compress(body), PACKED)])
def test_a_signature_is_as_good_as_a_token(
    tmp_path: Path, pack: Callable[[bytes], tuple[bytes, dict[str, str]]]
) -> None:
    """Of the body as it travels; that of another body, secret or source is worth nothing."""
    body, headers = pack(json.dumps({"events": [EVENT]}).encode())
    tokens = {"reader": {"sha256": hashlib.sha256(b"reader").hexdigest()}}
    sources = {"hooks": {"secret": SECRET.decode()}, "other": {}}
    with service_over(tmp_path, sources, tokens=tokens) as service:
        codes = [
            service.post(f"/v1/ingest/{source}", content=body, headers=headers | given).status_code
            for source, given in (
                ("hooks", signed(body, SECRET)),
                ("hooks", signed(body + b" ", SECRET)),
                ("hooks", signed(body, b"another secret!!")),
                ("hooks", {"X-Hub-Signature-256": "sha1=x"}),
                ("hooks", {"X-Hub-Signature-256": "sha256="}),
                ("hooks", {}),
                ("other", signed(body, SECRET)),
            )
        ]

    assert codes == [202, 401, 401, 401, 401, 401, 401]


def test_a_signature_speaks_for_its_sources_site_alone(tmp_path: Path) -> None:
    """Who has the secret of one source is not thereby anybody at other sites."""
    told = {}
    with service_over(tmp_path, {"hooks": {"secret": SECRET.decode(), "site": "boise"}}) as service:
        for site in ("boise", "berlin"):
            body = json.dumps({"timestamp": "2026-11-24T08:00:00Z", "image": "a:1", "site": site}).encode()
            given = {"Content-Type": "application/x-ndjson", **signed(body, SECRET)}
            told[site] = service.post("/v1/ingest/hooks", content=body, headers=given).status_code
    assert told == {"boise": 202, "berlin": 403}


def test_without_tokens_a_secret_is_still_wanted(tmp_path: Path) -> None:
    """Whoever is on this machine; other sources stay open to it."""
    sources = {"hooks": {"secret": SECRET.decode()}, "other": {}}
    body = json.dumps({"events": [EVENT]}).encode()
    with service_over(tmp_path, sources) as service:
        refused = service.post("/v1/ingest/hooks", content=body)
        taken = service.post("/v1/ingest/hooks", content=body, headers=signed(body, SECRET))
        other = service.post("/v1/ingest/other", content=body)

    assert (refused.status_code, taken.status_code, other.status_code) == (401, 202, 202)
    assert "X-Hub-Signature-256: sha256=HEX" in refused.json()["detail"]


def test_who_guesses_signatures_has_to_wait(tmp_path: Path) -> None:
    """As with tokens."""
    tokens = {"reader": {"sha256": hashlib.sha256(b"reader").hexdigest()}}
    with service_over(tmp_path, {"hooks": {"secret": SECRET.decode()}}, tokens=tokens) as service:
        codes = [
            service.post("/v1/ingest/hooks", content=b"{}", headers=signed(b"", SECRET)).status_code
            for _ in range(21)
        ]

    assert codes == [401] * 20 + [429]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-ndjson", b'{"timestamp": "2026-11-24T08:00:00Z", "image": "a:1", "site": "SITE"}'),
        ("application/json", b'[{"log": "x"}, {"image": "a:1", "site": "SITE"}]'),
        ("text/plain", b"timestamp,image,site\n2026-11-24T08:00:00Z,a:1,SITE\n"),
    ],
)
def test_a_token_of_one_site_tells_of_no_other(tmp_path: Path, kind: str, body: bytes) -> None:
    """Whatever its source is of: records that name a site have to name one of the token's."""
    known = {"sha256": hashlib.sha256(b"sender").hexdigest(), "scopes": ["ingest"], "sites": ["boise"]}
    with service_over(tmp_path, {"hooks": {"site": "boise"}}, tokens={"sender": known}) as service:
        told = {
            site: service.post(
                "/v1/ingest/hooks",
                content=body.replace(b"SITE", site.encode()),
                headers={"Authorization": "Bearer sender", "Content-Type": kind},
            )
            for site in ("boise", "berlin")
        }

    assert (told["boise"].status_code, told["berlin"].status_code) == (202, 403)
    assert "not for site 'berlin'" in told["berlin"].json()["detail"]


def test_a_field_longer_than_csv_allows_is_taken(tmp_path: Path) -> None:
    """A sender that tries again on 5xx would do so for ever; what is read later is held to its sites."""
    known = {"sha256": hashlib.sha256(b"sender").hexdigest(), "scopes": ["ingest"], "sites": ["boise"]}
    body = b"timestamp,image,site\n2026-11-24T08:00:00Z," + b"a" * 140_000 + b",boise\n"
    with service_over(tmp_path, {"hooks": {"site": "boise"}}, tokens={"sender": known}) as service:
        told = service.post(
            "/v1/ingest/hooks",
            content=body,
            headers={"Authorization": "Bearer sender", "Content-Type": "text/plain"},
        )
    assert told.status_code == 202


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
