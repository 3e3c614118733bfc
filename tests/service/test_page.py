"""The pages and what surrounds every answer: nothing from elsewhere, nothing for elsewhere."""

from __future__ import annotations

import hashlib
import re

import pytest
from starlette.testclient import TestClient

from prewarm.service.app import create_app
from prewarm.settings import load
from tests.past import NOW
from tests.service.conftest import opened


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_needs_no_other_host(service: TestClient, path: str) -> None:
    """Every address in it is relative and answered by the service itself."""
    page = service.get(path)

    found = re.findall(r'(?:src|href)="([^"#][^"]*)"', page.text)
    assert page.headers["content-type"].startswith("text/html")
    assert found
    for address in found:
        if not address.startswith("data:"):
            assert service.get(f"/{address.removeprefix('.')}").status_code == 200, address


@pytest.mark.parametrize("name", ["page.css", "page.js", "docs.js"])
def test_style_and_script_name_no_address(service: TestClient, name: str) -> None:
    """Offline they work as well."""
    assert not re.search(r"https?:|[\"'`(]//", service.get(f"/static/{name}").text)


def test_a_page_may_run_nothing_but_its_own(service: TestClient) -> None:
    """No inline script or style, so the policy that forbids them costs nothing."""
    page = service.get("/")

    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", page.text)
    assert page.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["nothing.js", "..%2f__init__.py", "%2e%2e/app.py"])
def test_only_what_is_listed_is_served(service: TestClient, name: str) -> None:
    """No way leads to other files."""
    assert service.get(f"/static/{name}").status_code == 404


def test_every_route_has_an_example(service: TestClient) -> None:
    """The interface is described by itself, and names what it refuses."""
    document = service.get("/openapi.json").json()

    paths = {path: verbs for path, verbs in document["paths"].items() if path.startswith("/v1/")}
    routes = [(verb, route) for verbs in paths.values() for verb, route in verbs.items()]
    assert len(routes) >= 12
    for verb, route in routes:
        good = next(told for status, told in route["responses"].items() if status.startswith("2"))
        (content,) = [kind for name, kind in good["content"].items() if name != "text/csv"]
        assert content["example"]
        assert route["description"]
        if verb == "get" and "application/json" in good["content"]:
            assert {"304", "404", "409", "422", "503"} <= route["responses"].keys()
    assert "503" in document["paths"]["/readyz"]["get"]["responses"]


def test_metrics_are_what_prometheus_reads(service: TestClient) -> None:
    """Every sample has a type and a help, and labels are few."""
    service.get("/v1/rankings")
    service.get("/wp-login.php")
    service.get("/v1/no/such/thing")

    text = service.get("/metrics").text

    families = re.findall(r"^# TYPE (\w+) (?:gauge|counter)$", text, re.MULTILINE)
    samples = re.findall(r"^(\w+)(?:\{[^}]*\})? [0-9.e+-]+$", text, re.MULTILINE)
    assert set(samples) <= set(families)
    assert len(families) == len(re.findall(r"^# HELP \w+ .+\.$", text, re.MULTILINE))
    assert len(text.splitlines()) == len(samples) + 2 * len(families)
    assert 'prewarm_http_requests_total{route="/v1/rankings",status="200"} 1' in text
    assert 'prewarm_http_requests_total{route="other",status="404"} 2' in text
    assert 'prewarm_ingest_lag_seconds{site="default"} 3600' in text


def test_an_address_that_merely_resolves_to_this_machine_is_not_answered(lake: str) -> None:
    """Without tokens a web page elsewhere must not read through somebody's browser."""
    app = create_app(load(lake=lake), lambda: NOW)
    names = ["localhost", "127.0.0.1:8080", "[::1]:8080", "evil.example", "evil.example:8080"]
    with opened(app) as client:
        answers = [client.get("/v1/sites", headers={"Host": name}).status_code for name in names]

    assert answers == [200, 200, 200, 403, 403]


def test_with_tokens_any_name_may_be_used(lake: str) -> None:
    """Who has a token is no web page; the page itself is open, its numbers are not."""
    tokens = {"grafana": {"sha256": hashlib.sha256(b"reader").hexdigest()}}
    app = create_app(load(lake=lake, service={"tokens": tokens}), lambda: NOW)
    with opened(app, "http://prewarm.example") as client:
        assert client.get("/").status_code == 200
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers={"Authorization": "Bearer reader"}).status_code == 200
