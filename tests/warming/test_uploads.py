"""Blobs go up in requests of one size, and go on at the very byte where one broke."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from prewarm.errors import Unavailable
from prewarm.warming.credentials import Credentials
from prewarm.warming.images import Descriptor
from prewarm.warming.registry import Registries, Timing
from prewarm.warming.uploads import Uploads
from tests.fakes import Fault, sha256
from tests.replica_double import FakeReplica

CONTENT = bytes(range(256)) * 4  # 1024 bytes
BLOB = Descriptor("application/octet-stream", sha256(CONTENT), len(CONTENT))


async def no_sleep(seconds: float) -> None:
    """Retries come at once."""


@asynccontextmanager
async def uploads(target: FakeReplica, chunk: int) -> AsyncIterator[Uploads]:
    listed = [replace(target.endpoint, actions="pull,push")]
    async with Registries(listed, Credentials(), timing=Timing(sleep=no_sleep)) as registries:
        yield Uploads(registries.of(target.host), chunk)


async def chunks(size: int) -> AsyncIterator[bytes]:
    """The content as a source sends it."""
    for start in range(0, len(CONTENT), size):
        yield CONTENT[start : start + size]


@pytest.mark.parametrize("size", [1, 100, 256, 700, 5000])
@pytest.mark.parametrize("chunk", [100, 256, 1023, 1024])
async def test_however_a_blob_comes_it_goes_up_in_pieces_of_one_size(size: int, chunk: int) -> None:
    """The last one is what is left; a blob that fits into one request is one."""
    async with FakeReplica() as target, uploads(target, chunk) as up:
        await up.blob("acme/api", BLOB, chunks(size))
    sent = [int(each.headers["Content-Length"]) for each in target.asked("PATCH", "uploads")]
    assert target.blobs[BLOB.digest] == CONTENT
    assert set(sent[:-1]) <= {chunk}
    assert sum(sent) == (0 if chunk == len(CONTENT) else len(CONTENT))


@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize("arrived", [0, 1, 99, 100, 255, 256])
async def test_an_upload_goes_on_at_the_byte_where_it_broke(arrived: int, before: int) -> None:
    """In the first request and in a later one."""
    async with FakeReplica() as target, uploads(target, 256) as up:
        target.swallows = [None] * before + [arrived]
        await up.blob("acme/api", BLOB, chunks(100))
    assert target.blobs[BLOB.digest] == CONTENT


async def test_a_registry_that_forgets_an_upload_is_said_to() -> None:
    """The caller begins anew; nothing is stored."""
    async with FakeReplica(forgets=1) as target, uploads(target, 256) as up:
        target.fault("PATCH", "uploads", Fault(), Fault(status=503))
        with pytest.raises(Unavailable, match="lost the upload"):
            await up.blob("acme/api", BLOB, chunks(100))
    assert not target.blobs
