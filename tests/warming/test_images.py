"""Manifests are understood, or refused in words."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewarm.errors import DigestMismatch, UnsupportedImage
from prewarm.references import Reference
from prewarm.warming import images
from prewarm.warming.images import Descriptor, Manifest, Platform

SHA = "sha256:" + "ab" * 32


def entry(content: str = "layer", size: object = 5, **more: Any) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"
    return {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size, **more}


def body(**changes: Any) -> bytes:
    """An OCI manifest with two layers; a change of None removes a key."""
    document = {
        "schemaVersion": 2,
        "mediaType": images.OCI_MANIFEST,
        "config": entry("config", 7, mediaType="application/vnd.oci.image.config.v1+json"),
        "layers": [entry("one"), entry("two")],
    } | changes
    return json.dumps({key: value for key, value in document.items() if value is not None}).encode()


def index(*platforms: str, kind: str = images.OCI_INDEX) -> bytes:
    entries = [entry(name, mediaType=images.OCI_MANIFEST, platform=_fields(name)) for name in platforms]
    return json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).encode()


def _fields(platform: str) -> dict[str, str]:
    return dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))


# --- parsing


@pytest.mark.parametrize("kind", [images.OCI_MANIFEST, images.DOCKER_MANIFEST])
def test_a_manifest_names_its_config_and_layers(kind: str) -> None:
    """OCI and Docker schema 2 manifests are one shape."""
    manifest = images.parse_manifest(body(mediaType=kind))

    assert manifest.descriptor.media_type == kind
    assert manifest.descriptor.digest == images.digest_of(manifest.body)
    assert [blob.size for blob in manifest.blobs] == [7, 5, 5]


@pytest.mark.parametrize("kind", [images.OCI_INDEX, images.DOCKER_LIST])
def test_an_index_names_manifests_by_platform(kind: str) -> None:
    """OCI indexes and Docker manifest lists are one shape."""
    manifest = images.parse_manifest(index("linux/amd64", "linux/arm/v7", kind=kind))

    assert [str(each.platform) for each in manifest.manifests] == ["linux/amd64", "linux/arm/v7"]
    assert manifest.blobs == ()


@pytest.mark.parametrize(
    ("document", "header", "expected"),
    [
        (body(mediaType=None), None, images.OCI_MANIFEST),
        (body(mediaType=None), images.DOCKER_MANIFEST + "; charset=utf-8", images.DOCKER_MANIFEST),
        (body(mediaType=None), "application/json", images.OCI_MANIFEST),
        (body(mediaType=images.DOCKER_MANIFEST), images.OCI_MANIFEST, images.DOCKER_MANIFEST),
        (b'{"schemaVersion": 2, "manifests": []}', None, images.OCI_INDEX),
    ],
)
def test_the_media_type_comes_from_document_then_header_then_shape(
    document: bytes, header: str | None, expected: str
) -> None:
    """OCI documents need not say what they are."""
    assert images.parse_manifest(document, header).descriptor.media_type == expected


def test_foreign_layers_are_left_out() -> None:
    """Layers that registries do not store are not fetched."""
    foreign = entry("windows", mediaType=images.FOREIGN[0] + "tar.gzip", urls=["http://10.0.0.1/x"])
    manifest = images.parse_manifest(body(layers=[entry("one"), foreign]))

    assert [blob.digest for blob in manifest.blobs] == [entry("config")["digest"], entry("one")["digest"]]


def test_a_buildkit_cache_reference_is_an_index_of_layers() -> None:
    """BuildKit exports its cache as an index whose entries are blobs."""
    entries = [entry("one"), entry("cache", mediaType=images.BUILDKIT_CACHE)]
    manifest = images.parse_manifest(json.dumps({"schemaVersion": 2, "manifests": entries}).encode())

    assert manifest.manifests == ()
    assert len(manifest.blobs) == 2


def test_ten_thousand_layers_are_read() -> None:
    """A large manifest is unusual, not wrong."""
    manifest = images.parse_manifest(body(layers=[entry(str(n)) for n in range(10_000)]))

    assert len(manifest.layers) == 10_000


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"", "not JSON"),
        (b"<html><body>Sign in", "not JSON but starts with '<html>"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "JSON object, not list"),
        (b"{}", "neither an index nor a manifest"),
        (b'{"schemaVersion": 1, "fsLayers": []}', "schema 1"),
        (body(manifests=[]), "both an index and a manifest"),
        (body(mediaType="application/vnd.oci.artifact.manifest.v1+json"), "artifact"),
        (body(mediaType=["x"]), "media type list"),
        (body(config=None), "`config` should be a JSON object, not None"),
        (body(layers={}), "`layers` of the manifest should be a list"),
        (body(layers=["x"]), "layers[0]"),
        (body(layers=[entry(size=-1)]), "`layers[0].size` is -1"),
        (body(layers=[entry(size=True)]), "size"),
        (body(layers=[entry(size="5")]), "size"),
        (body(layers=[entry(size=2**63)]), "size"),
        (body(layers=[entry(digest="md5:" + "ab" * 16)]), "no known algorithm; known: sha256"),
        (body(layers=[entry(digest="sha256:abc")]), "64 hexadecimal"),
        (body(layers=[entry(digest="sha256:" + "AB" * 32)]), "64 hexadecimal"),
        (body(layers=[entry(digest=7)]), "`layers[0].digest` is 7"),
        (body(layers=[entry(mediaType="")]), "mediaType"),
        (body(layers=[entry(urls="x")]), "urls"),
        (body(layers=[entry(annotations={"a": 1})]), "annotations"),
        (body(layers=[entry(platform="linux")]), "platform"),
        (body(layers=[entry(platform={"os": "linux"})]), "architecture"),
        (b" " * (images.MAX_MANIFEST + 1), "at most"),
    ],
)
def test_what_is_no_manifest_is_refused_in_words(document: bytes, words: str) -> None:
    """Each refusal names the field and what was expected, in one line."""
    with pytest.raises(UnsupportedImage) as refusal:
        images.parse_manifest(document)

    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers(), st.lists).map(lambda x: json.dumps(x).encode())
)
def test_any_bytes_give_a_manifest_or_a_refusal(document: bytes) -> None:
    """Hostile bytes raise nothing else."""
    with suppress(UnsupportedImage):
        assert isinstance(images.parse_manifest(document), Manifest)


@given(
    st.dictionaries(
        st.sampled_from(["mediaType", "digest", "size", "platform", "annotations", "urls"]),
        st.none()
        | st.integers()
        | st.text()
        | st.lists(st.text())
        | st.dictionaries(st.text(), st.integers()),
    )
)
def test_any_descriptor_gives_a_manifest_or_a_refusal(changes: dict[str, Any]) -> None:
    """Wrong types anywhere in a descriptor are refusals too."""
    with suppress(UnsupportedImage):
        assert isinstance(images.parse_manifest(body(layers=[entry() | changes])), Manifest)


# --- digests


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_content_with_its_digest_passes(algorithm: str) -> None:
    """sha256 and sha512 are verified."""
    images.verify(b"content", f"{algorithm}:{hashlib.new(algorithm, b'content').hexdigest()}")


def test_a_manifest_keeps_the_digest_it_was_asked_by() -> None:
    """A registry serves a manifest under its sha512 name as well."""
    document = body()
    digest = f"sha512:{hashlib.sha512(document).hexdigest()}"

    assert images.parse_manifest(document, digest=digest).descriptor.digest == digest


def test_other_content_is_a_mismatch_that_says_digest() -> None:
    """Both digests are in the message."""
    with pytest.raises(DigestMismatch, match=f"digest {SHA} was promised, the content is sha256:"):
        images.verify(b"other", SHA)


def test_a_manifest_with_another_digest_is_refused() -> None:
    """The digest is checked before the document is believed."""
    with pytest.raises(DigestMismatch):
        images.parse_manifest(body(), digest=SHA)


# --- blobs


def manifest_of(*blobs: Descriptor) -> Manifest:
    return Manifest(Descriptor(images.OCI_MANIFEST, SHA, 1), b"", layers=blobs)


def test_a_blob_that_two_platforms_share_is_listed_once() -> None:
    """The bytes of an image are those that must be fetched."""
    shared, own = Descriptor("t", SHA, 10), Descriptor("t", "sha256:" + "cd" * 32, 5)
    parts = [manifest_of(shared), manifest_of(shared, own)]

    image = images.assemble(Reference.parse("nginx"), parts[0], parts)

    assert image.blobs == (shared, own)
    assert image.bytes == 15


def test_an_image_without_an_index_is_its_own_manifest() -> None:
    """`manifests` is never empty."""
    root = manifest_of()

    assert images.assemble(Reference.parse("nginx"), root, []).manifests == (root,)


def test_two_sizes_for_one_blob_are_refused() -> None:
    """One of them lies."""
    with pytest.raises(UnsupportedImage, match="10 bytes and 11 bytes"):
        images.distinct_blobs([manifest_of(Descriptor("t", SHA, 10), Descriptor("t", SHA, 11))])


# --- platforms


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", Platform()),
        ("linux/arm64/v8", Platform("linux", "arm64", "v8")),
        (" Linux/ARM64 ", Platform("linux", "arm64")),
    ],
)
def test_platforms_are_parsed(text: str, platform: Platform) -> None:
    """os/architecture, and a variant."""
    assert images.parse_platform(text) == platform


@pytest.mark.parametrize("text", ["", "linux", "linux/", "linux/arm/v7/x", "lin ux/amd64", "../x"])
def test_other_texts_are_no_platforms(text: str) -> None:
    """The refusal shows an example."""
    with pytest.raises(UnsupportedImage, match="such as linux/arm64"):
        images.parse_platform(text)


def test_platforms_print_as_they_parse() -> None:
    """One canonical form."""
    assert str(images.parse_platform("linux/arm/v7")) == "linux/arm/v7"


@pytest.mark.parametrize(
    ("offered", "wanted", "chosen"),
    [
        (["linux/arm64", "linux/amd64"], [], ["linux/amd64"]),
        (["linux/amd64", "linux/arm64/v8"], ["linux/arm64"], ["linux/arm64/v8"]),
        (["linux/arm64"], ["linux/arm64/v8"], ["linux/arm64"]),
        (["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"], ["linux/arm/v6"], ["linux/arm/v6"]),
        (["linux/arm/v5", "linux/arm/v7"], ["linux/arm/v6"], ["linux/arm/v5"]),
        (["linux/arm/v5", "linux/arm/v7"], ["linux/arm"], ["linux/arm/v7"]),
        (["linux/amd64/v3", "linux/amd64"], ["linux/amd64"], ["linux/amd64"]),
        (["unknown/unknown", "linux/amd64"], ["linux/amd64"], ["linux/amd64"]),
        (["linux/amd64", "linux/arm64"], ["linux/arm64", "linux/amd64"], ["linux/arm64", "linux/amd64"]),
        (["linux/amd64"], ["linux/arm64", "linux/amd64"], ["linux/amd64"]),
    ],
)
def test_the_closest_platform_is_chosen(offered: list[str], wanted: list[str], chosen: list[str]) -> None:
    """Same variant first, else one that runs there; attestations never."""
    manifest = images.parse_manifest(index(*offered))

    found = images.choose(manifest, tuple(map(images.parse_platform, wanted)))

    assert [str(each.platform) for each in found] == chosen


def test_entries_without_platforms_are_all_taken() -> None:
    """An index of artifacts or of indexes names none."""
    entries = [entry("a", mediaType=images.OCI_INDEX), entry("b", mediaType=images.OCI_MANIFEST)]
    manifest = images.parse_manifest(json.dumps({"schemaVersion": 2, "manifests": entries}).encode())

    assert len(images.choose(manifest)) == 2


def test_attestations_are_no_platform_that_is_offered() -> None:
    """Neither chosen nor counted: what is left of this index is one manifest without a platform."""
    entries = [
        entry("provenance", mediaType=images.OCI_MANIFEST, platform=_fields("unknown/unknown")),
        entry("image", mediaType=images.OCI_MANIFEST),
    ]
    manifest = images.parse_manifest(json.dumps({"schemaVersion": 2, "manifests": entries}).encode())

    assert [each.digest for each in images.choose(manifest)] == [entries[1]["digest"]]


def test_a_platform_that_is_not_offered_is_refused_with_those_that_are() -> None:
    """The message is the list to choose from."""
    manifest = images.parse_manifest(index("linux/arm64", "windows/amd64"))

    with pytest.raises(
        UnsupportedImage, match="no image for linux/amd64; it is offered for linux/arm64, windows"
    ):
        images.choose(manifest)
