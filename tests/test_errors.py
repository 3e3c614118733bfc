"""What errors repeat of others' words holds no secret."""

from __future__ import annotations

import pytest

from prewarm.errors import hide_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("to https://bob:pw@x.io/v2/", "to https://…@x.io/v2/"),
        ("'bob:pw@x.io' is no host", "'…@x.io' is no host"),
        ("GET /b?X-Amz-Signature=ab12&part=2 HTTP", "GET /b?X-Amz-Signature=…&part=2 HTTP"),
        ("/token?access_token=ab.c", "/token?access_token=…"),
        ('{"Authorization": "Basic Ym9iOnB3"}', '{"Authorization": "Basic …"}'),
        ("authorization: ab12", "authorization: …"),
    ],
)
def test_logins_signatures_and_tokens_are_hidden(text: str, shown: str) -> None:
    """In URLs, queries and headers, whoever wrote them."""
    assert hide_secrets(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "docker.io/acme/api:2.1@sha256:aa cannot be warmed",
        "ssh://prewarm@node-1 does not answer",
        "registry 127.0.0.1:5000: no connection",
        "2026-11-24T10:00:00Z GET /v2/acme/api/manifests/2.1?ns=docker.io 200",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    """Digests, users, ports and times are what an error is about."""
    assert hide_secrets(text) == text
