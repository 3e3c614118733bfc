"""References: the grammar, the defaults, the one canonical form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewarm.errors import InvalidReference
from prewarm.references import Reference, is_digest, rewrite

SHA256 = "sha256:" + "a1" * 32
SHA512 = "sha512:" + "b2" * 64

COMPONENT = st.from_regex(r"\A[a-z0-9]{1,6}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}\Z")
LABEL = st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,4}[a-z0-9])?\Z")
HOSTS = st.one_of(
    st.builds(lambda a, b: f"{a}.{b}", LABEL, LABEL),
    st.just("localhost"),
    st.ip_addresses(v=6).map(lambda ip: f"[{ip}]"),
    st.ip_addresses(v=4).map(str),
)
REGISTRIES = st.builds(
    lambda host, port: f"{host}:{port}" if port else host, HOSTS, st.none() | st.integers(1, 65535)
)
REPOSITORIES = st.lists(COMPONENT, min_size=1, max_size=4).map("/".join)
TAGS = st.none() | st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}\Z")
DIGESTS = st.sampled_from([None, SHA256, SHA512])


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        pytest.param("nginx", "docker.io/library/nginx:latest", id="bare name"),
        pytest.param("nginx:1.25", "docker.io/library/nginx:1.25", id="tag"),
        pytest.param("acme/api:2.1", "docker.io/acme/api:2.1", id="hub namespace"),
        pytest.param("index.docker.io/nginx", "docker.io/library/nginx:latest", id="hub alias"),
        pytest.param("ghcr.io/acme/api:2.1", "ghcr.io/acme/api:2.1", id="other registry"),
        pytest.param("GHCR.io/acme/api", "ghcr.io/acme/api:latest", id="host is lower-cased"),
        pytest.param("localhost/x", "localhost/x:latest", id="localhost"),
        pytest.param("localhost:5000/x:1", "localhost:5000/x:1", id="port and tag"),
        pytest.param("127.0.0.1:5000/library/busy", "127.0.0.1:5000/library/busy:latest", id="IPv4"),
        pytest.param("[::1]:5000/x:1", "[::1]:5000/x:1", id="IPv6"),
        pytest.param("[2001:db8::1]/x", "[2001:db8::1]/x:latest", id="IPv6 without port"),
        pytest.param(f"nginx@{SHA256}", f"docker.io/library/nginx@{SHA256}", id="digest"),
        pytest.param(f"nginx@{SHA512}", f"docker.io/library/nginx@{SHA512}", id="sha512"),
        pytest.param(f"nginx:1@{SHA256}", f"docker.io/library/nginx:1@{SHA256}", id="tag and digest"),
        pytest.param("a.b/manifests/blobs/x", "a.b/manifests/blobs/x:latest", id="path named like the API"),
        pytest.param("x__y/z--w:_T", "docker.io/x__y/z--w:_T", id="separators"),
    ],
)
def test_parse_prints_the_canonical_form(text: str, canonical: str) -> None:
    """Every accepted spelling of an image prints one canonical form."""
    assert str(Reference.parse(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":1",
        "nginx:",
        "nginx@",
        "nginx@sha256:abc",
        "nginx@sha256:" + "a" * 65,
        "Nginx",
        "Acme/api",
        "ACME/api:1",
        "acme//api",
        "acme/-api",
        "acme/api_",
        "a___b",
        "nginx:-1",
        "nginx:" + "t" * 129,
        "x" * 256,
        "a" * 64,
        "host.io:99999/x",
        "host.io:/x",
        "[::1/x",
        "[1:2]/x",
        "-host.io/x",
        "nginx latest",
        "nginx\n",
        "nginx:1\x1b[31m",
        "https://ghcr.io/acme/api",
        "$(reboot)/x",
        "../etc/passwd",
    ],
)
def test_parse_refuses_what_is_no_reference(text: str) -> None:
    """A text outside the grammar is refused in one printable line with an example."""
    with pytest.raises(InvalidReference) as refusal:
        Reference.parse(text)

    message = str(refusal.value)
    assert message.isprintable()
    assert "example: ghcr.io/acme/api:2.1" in message


@given(REGISTRIES, REPOSITORIES, TAGS, DIGESTS)
def test_parse_undoes_print(registry: str, repository: str, tag: str | None, digest: str | None) -> None:
    """Printing and parsing again gives the same reference."""
    reference = Reference.of(registry, repository, tag, digest)

    assert Reference.parse(str(reference)) == reference


@given(st.text(max_size=60))
def test_parse_never_raises_anything_else(text: str) -> None:
    """Any text either parses to a stable canonical form or is an InvalidReference."""
    try:
        reference = Reference.parse(text)
    except InvalidReference:
        return

    assert str(Reference.parse(str(reference))) == str(reference)


@given(REPOSITORIES, TAGS)
def test_familiar_form_parses_back(repository: str, tag: str | None) -> None:
    """The short form that docker shows stands for the same image."""
    reference = Reference.of("docker.io", repository, tag)

    assert Reference.parse(reference.familiar) == reference


def test_rewrite_takes_the_longest_prefix() -> None:
    """Of two fitting prefixes the longer one is replaced."""
    table = {"proxy/": "docker.io/", "proxy/ghcr/": "ghcr.io/"}

    assert rewrite("proxy/ghcr/acme/api", table) == "ghcr.io/acme/api"
    assert rewrite("proxy/library/nginx", table) == "docker.io/library/nginx"
    assert rewrite("private/app", table) == "private/app"


def test_digest_length_belongs_to_its_algorithm() -> None:
    """A sha512 of 64 characters is no digest, an unknown algorithm needs at least 32."""
    assert is_digest(SHA512)
    assert not is_digest("sha512:" + "a" * 64)
    assert is_digest("multihash+base58:" + "a" * 40)
    assert not is_digest("sha256:" + "g" * 64)
