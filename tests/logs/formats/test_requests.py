"""A request's URI tells registry, repository, reference and object."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewarm.logs.formats import requests
from prewarm.references import is_digest

HEX = "a" * 64
SHA = f"sha256:{HEX}"


def target(uri: str, host: str | None = None) -> tuple[str | None, ...]:
    """registry, repository, reference, object of one URI."""
    frame = pl.DataFrame({"uri": [uri], "host": [host]}, schema={"uri": pl.String, "host": pl.String})
    return (
        requests.locate(frame, pl.col("host")).select("registry", "repository", "reference", "object").row(0)
    )


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("/v2/", (None, None, "base")),
        ("/v2", (None, None, "base")),
        ("/v2/_catalog?n=100", (None, None, "other")),
        ("/v2/library/nginx/manifests/1.25", ("library/nginx", "1.25", "manifest")),
        (f"/v2/nginx/manifests/{SHA}", ("nginx", SHA, "manifest")),
        (f"/v2/nginx/manifests/sha512:{'b' * 128}", ("nginx", f"sha512:{'b' * 128}", "manifest")),
        (f"/v2/a/b/c/blobs/{SHA}", ("a/b/c", SHA, "blob")),
        ("/v2/a/blobs/uploads/", ("a", None, "upload")),
        ("/v2/a/blobs/uploads/0190-uuid?_state=x%3D", ("a", None, "upload")),
        (f"/v2/a/blobs/uploads/?mount={SHA}&from=b", ("a", None, "upload")),
        ("/v2/a/tags/list?n=5", ("a", None, "tags")),
        (f"/v2/a/referrers/{SHA}?artifactType=x", ("a", SHA, "referrers")),
    ],
)
def test_endpoints_of_the_specification(uri: str, expected: tuple[str | None, ...]) -> None:
    """Every endpoint has its object."""
    assert target(uri)[1:] == expected


@pytest.mark.parametrize(
    ("uri", "repository", "reference"),
    [
        (f"/v2/a/manifests/blobs/{SHA}", "a/manifests", SHA),
        ("/v2/a/blobs/uploads/manifests/1", "a/blobs/uploads", "1"),
        ("/v2/tags/list/manifests/manifests", "tags/list", "manifests"),
        ("/v2/v2/v2/manifests/v2", "v2/v2", "v2"),
    ],
)
def test_paths_are_read_from_the_right(uri: str, repository: str, reference: str) -> None:
    """A repository may itself be called like an endpoint."""
    assert target(uri)[1:3] == (repository, reference)


@pytest.mark.parametrize(
    "prefix",
    [
        "/repository/docker-proxy",
        "/nexus/repository/docker",
        "/api/docker/remote",
        "/artifactory/api/docker/x",
    ],
)
def test_product_prefixes_are_stripped(prefix: str) -> None:
    """Nexus and Artifactory serve the API under a path of their own."""
    assert target(f"{prefix}/v2/acme/api/manifests/2.1")[1:] == ("acme/api", "2.1", "manifest")


def test_names_are_percent_decoded_once() -> None:
    """Encoded colons and slashes are those of the name; a doubly encoded one is no name."""
    assert target(f"/v2/library%2Fnginx/manifests/sha256%3A{HEX}")[1:3] == ("library/nginx", SHA)
    assert target("/v2/library%252Fnginx/manifests/1")[3] == "other"


def test_ns_names_the_registry_before_any_host() -> None:
    """containerd tells a mirror whose image it wants."""
    assert target("/v2/a/manifests/1?x=y&ns=ghcr.io", "mirror:5000")[0] == "ghcr.io"
    assert target("/v2/a/manifests/1?ns=127.0.0.1%3A5000", "mirror:5000")[0] == "127.0.0.1:5000"
    assert target("/v2/a/manifests/1?dns=ghcr.io", "Mirror:5000")[0] == "mirror:5000"


@pytest.mark.parametrize("ns", ["", "a/b", "a%00b", "..%2F..", "a b"])
def test_an_ns_that_is_no_host_is_ignored(ns: str) -> None:
    """What a client sends as ns becomes part of an image's name only if it can be a host."""
    assert target(f"/v2/a/manifests/1?ns={ns}", "mirror:5000")[0] == "mirror:5000"


def test_an_absolute_uri_names_its_host_without_credentials() -> None:
    """Proxies log the whole URL; a user and password in it go no further."""
    assert target("http://user:secret@Registry.example:5000/v2/a/manifests/1") == (
        "registry.example:5000",
        "a",
        "1",
        "manifest",
    )


def test_a_storage_path_is_a_blob_without_a_repository() -> None:
    """Object stores behind a registry log where the blob lies."""
    assert target(f"/bucket/docker/registry/v2/blobs/sha256/aa/{HEX}/data")[1:] == (None, SHA, "blob")


@pytest.mark.parametrize(
    "uri",
    [
        "/",
        "/metrics",
        "/v1/_ping",
        "/v22/a/manifests/1",
        "/service/token?scope=repository%3Aa%3Apull",
        "*",
        "",
    ],
)
def test_other_paths_are_outside_the_api(uri: str) -> None:
    """Token services, health checks and pages are no registry requests."""
    assert target(uri)[3] is None


@pytest.mark.parametrize(
    "uri",
    [
        "/v2/UPPER/manifests/1",
        "/v2/../etc/manifests/passwd",
        "/v2/a/manifests/",
        "/v2/a/manifests/.hidden",
        "/v2/a/manifests/%1b[31m",
        f"/v2/a/manifests/{'x' * 129}",
        f"/v2/{'a' * 256}/manifests/1",
        "/v2/a/manifests/sha256:abc",
        "/v2/a/blobs/latest",
    ],
)
def test_what_cannot_be_a_name_never_becomes_one(uri: str) -> None:
    """It is still a request under /v2/."""
    assert target(uri)[1:] == (None, None, "other")


@given(
    st.text(max_size=60),
    st.sampled_from(["", "/v2/a/manifests/", "/v2/a/blobs/sha256:", "http://h/v2/", "?ns="]),
)
def test_any_text_is_resolved_without_an_error(text: str, prefix: str) -> None:
    """Hostile URIs resolve to something or nothing, and digests that come out are digests."""
    _, _, reference, kind = target((prefix + text).encode(errors="replace").decode())
    assert kind in {"manifest", "blob", "upload", "tags", "referrers", "base", "other", None}
    assert reference is None or ":" not in reference or is_digest(reference)
