"""No route passes over a parameter that it does not know."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from prewarm.service.app import create_app
from prewarm.settings import load

ROUTES = sorted(
    (method.upper(), path)
    for path, operations in create_app(load()).openapi()["paths"].items()
    if path.startswith("/v1/") and "/ingest/" not in path
    for method in operations
)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_an_unknown_parameter_is_named(service: TestClient, method: str, path: str) -> None:
    """Deliveries are left out: what a sender writes behind its address is its own affair."""
    body = {"cache": "office"} if method == "POST" else None
    named = path.format(name="causes" if "figures" in path else "misses", id="x", image="acme/a:1")
    answer = service.request(method, named, params={"dryrun": "1"}, json=body)
    assert answer.status_code == 422
    assert "dryrun" in answer.json()["detail"]


def test_there_are_routes() -> None:
    """Reads and commands."""
    assert {method for method, _ in ROUTES} == {"GET", "POST"}
