"""Every way a request can fail has its error and its words."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import client_exceptions

from prewarm.errors import NotFound, RateLimited, RegistryError, Unauthorized, Unavailable
from prewarm.warming import failures

UNUSED = {"UploadAbortedError"}  # nothing is uploaded
EXCEPTIONS = [
    kind
    for name, kind in vars(client_exceptions).items()
    if isinstance(kind, type)
    and issubclass(kind, aiohttp.ClientError)
    and name not in {"ClientError", *UNUSED}
]


@pytest.mark.parametrize("kind", EXCEPTIONS, ids=lambda kind: kind.__name__)
def test_every_exception_of_aiohttp_has_its_words(kind: type[aiohttp.ClientError]) -> None:
    """A new release that adds one fails here, not in a night's run."""
    nearest = next(ancestor for ancestor in kind.__mro__ if ancestor in failures.WIRE)

    assert nearest is not aiohttp.ClientError


def test_exceptions_of_ours_pass_unchanged() -> None:
    """Only what the wire raises is translated."""
    with pytest.raises(ValueError, match="ours"), failures.translated("r"):
        raise ValueError("ours")


def test_a_translated_exception_names_the_registry_and_keeps_its_cause() -> None:
    """One line for people, the chain for logs."""
    with (
        pytest.raises(Unavailable, match=r"registry ghcr\.io: it broke off") as refusal,
        failures.translated("ghcr.io"),
    ):
        raise aiohttp.ClientPayloadError("raw")

    assert isinstance(refusal.value.__cause__, aiohttp.ClientPayloadError)


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, RegistryError, False),
        (401, Unauthorized, False),
        (403, Unauthorized, False),
        (404, NotFound, False),
        (408, Unavailable, True),
        (418, RegistryError, False),
        (429, RateLimited, True),
        (500, Unavailable, True),
        (503, Unavailable, True),
    ],
)
def test_a_status_decides_the_error(status: int, kind: type[RegistryError], retryable: bool) -> None:
    """And whether to try again."""
    error = failures.of_status("ghcr.io", "manifest a:1", status, b"")

    assert type(error) is kind
    assert error.retryable is retryable
    assert (error.status, error.code) == (status, None)
    assert f"ghcr.io: manifest a:1: {status}" in str(error)


def test_the_registrys_own_code_and_words_are_kept() -> None:
    """distribution-spec, "Error Codes"."""
    body = b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest\\u001b[31m unknown"}]}'

    error = failures.of_status("ghcr.io", "manifest a:1", 404, body)

    assert error.code == "MANIFEST_UNKNOWN"
    assert '("manifest [31m unknown")' in str(error)


@pytest.mark.parametrize(
    "body", [b"", b"oops", b"[]", b"{}", b'{"errors": []}', b'{"errors": [7]}', b'{"errors": [{"code": 7}]}']
)
def test_a_body_that_is_no_error_document_gives_no_code(body: bytes) -> None:
    """Proxies and portals answer anything."""
    assert failures.of_status("ghcr.io", "x", 500, body).code is None


def test_a_web_page_says_that_it_is_one() -> None:
    """The url of the registry is wrong, or a portal stands in between."""
    assert "a web page" in str(failures.of_status("ghcr.io", "x", 404, b"\n <!DOCTYPE html><p>"))
