"""Registry products by their answer to GET /v2/."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from prewarm.warming.products import recognise

API = {"Docker-Distribution-Api-Version": "registry/2.0"}
BEARER = 'Bearer realm="https://harbor.example.com/service/token",service="harbor-registry"'
GITLAB = 'Bearer realm="https://gitlab.example.com/jwt/auth",service="dependency_proxy"'


@pytest.mark.parametrize(
    ("host", "headers", "name", "prefixed"),
    [
        ("mirror.example.com:5000", API, "Distribution, or one that answers as it does", False),
        ("harbor.example.com", API | {"Www-Authenticate": BEARER}, "Harbor", True),
        ("gitlab.example.com", API | {"WWW-Authenticate": GITLAB}, "GitLab's dependency proxy", True),
        (
            "art.example.com",
            API | {"X-JFrog-Version": "Artifactory/7.77.5 77705900"},
            "Artifactory 7.77.5",
            False,
        ),
        ("art.example.com", {"X-Artifactory-Id": "9a1b", "Server": "nginx"}, "Artifactory", False),
        ("nexus.example.com:8082", {"Server": "Nexus/3.68.1-02 (OSS)"}, "Nexus 3.68.1-02", False),
        ("123456789012.dkr.ecr.us-east-2.amazonaws.com", API, "Amazon ECR", True),
    ],
)
def test_a_product_is_recognised(host: str, headers: dict[str, str], name: str, prefixed: bool) -> None:
    """By its own headers, or by the service of its challenge."""
    found = recognise(host, CIMultiDict(headers))
    assert found is not None
    assert (found.name, found.prefixed) == (name, prefixed)


def test_what_tells_nothing_is_not_guessed() -> None:
    """A registry behind a proxy that hides its headers."""
    assert recognise("registry.example.com", CIMultiDict({"Server": "nginx"})) is None
