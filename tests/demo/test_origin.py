"""The in-process origin."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta

import pytest

from prewarm.demo import workload
from prewarm.demo.contents import INDEX, digest_of
from prewarm.demo.origin import Origin, serving

LOAD = workload.quiet(days=1)


@pytest.fixture
def origin() -> Iterator[Origin]:
    """A running origin of the quiet workload."""
    with serving(LOAD.catalogue, LOAD.end) as running:
        yield running


def fetch(url: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10) as answer:
        return answer.status, dict(answer.headers), answer.read()


def test_an_image_can_be_pulled_and_every_digest_is_true(origin: Origin) -> None:
    """Tag, index, manifest, config and layers, each hashed."""
    version = LOAD.catalogue["library/redis", "7.4.1"][0]
    root = f"{origin.url}/v2/library/redis"
    _, headers, index = fetch(f"{root}/manifests/7.4.1")
    assert headers["Content-Type"] == INDEX
    assert headers["Docker-Content-Digest"] == digest_of(index) == version.digest
    child = json.loads(index)["manifests"][0]["digest"]
    _, _, manifest = fetch(f"{root}/manifests/{child}")
    assert digest_of(manifest) == child
    parts = json.loads(manifest)
    for blob in (parts["config"], *parts["layers"]):
        _, _, body = fetch(f"{root}/blobs/{blob['digest']}")
        assert (digest_of(body), len(body)) == (blob["digest"], blob["size"])
    assert origin.served.blobs == 1 + len(parts["layers"])


def test_head_tells_the_digest_and_sends_nothing(origin: Origin) -> None:
    """Resolving a tag costs no bytes."""
    status, headers, body = fetch(f"{origin.url}/v2/library/alpine/manifests/3.20.3", "HEAD")
    assert (status, body) == (200, b"")
    assert headers["Docker-Content-Digest"] == LOAD.catalogue["library/alpine", "3.20.3"][0].digest
    assert origin.served.bytes == 0


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("library/alpine/manifests/9", "MANIFEST_UNKNOWN"),
        ("library/alpine/blobs/sha256:" + "0" * 64, "BLOB_UNKNOWN"),
    ],
)
def test_what_does_not_exist_is_404_in_the_words_of_the_spec(origin: Origin, path: str, code: str) -> None:
    """Clients read the error code."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetch(f"{origin.url}/v2/{path}")
    with refused.value as answer:
        assert answer.status == 404
        assert json.loads(answer.read())["errors"][0]["code"] == code


def test_tags_are_served_as_they_were_at_a_time() -> None:
    """A moved tag answers with the version of that moment."""
    load = workload.busy(days=3)
    versions = load.catalogue["acme/web", "main"]
    assert len(versions) > 1
    for version in (versions[0], versions[-1]):
        with serving(load.catalogue, version.since + timedelta(seconds=1)) as running:
            _, headers, _ = fetch(f"{running.url}/v2/acme/web/manifests/main", "HEAD")
        assert headers["Docker-Content-Digest"] == version.digest
