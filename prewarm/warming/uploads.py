"""Writing to a registry: mounts, blobs in chunks that resume, manifests (distribution-spec v1.1, "Push").

Nothing that is sent can be seen before it is whole: a blob exists once the registry has accepted its
digest, an image once its tag is put.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from yarl import URL

from prewarm.errors import DigestMismatch, PrewarmError, RegistryError, Unavailable
from prewarm.warming.images import Descriptor, Manifest
from prewarm.warming.registry import Registry

CHUNK = 8 << 20  # bytes of one request, held in memory; stores on S3 want at least 5 MiB
MAX_CHUNK = 64 << 20  # bytes; a registry that wants more at once is refused

_RECEIVED = re.compile(r"(?:bytes=)?0-(?P<last>\d{1,18})")


@dataclass(frozen=True, slots=True)
class _Session:
    """An upload that was begun: where it goes on, and the bytes that each request should have."""

    location: URL
    chunk: int


class Uploads:
    """What is written to one registry; its endpoint asks for tokens with `pull,push`."""

    def __init__(self, registry: Registry, chunk: int = CHUNK) -> None:
        """`chunk` is how many bytes of a blob go into one request."""
        self._registry = registry
        self._chunk = chunk

    async def mounted(self, repository: str, blob: Descriptor, source: str) -> bool:
        """Let the registry take the blob from its repository `source`; False where it did not.

        A registry that cannot, or may not for us, wants to be sent the blob instead: that is no error.
        """

        async def once() -> bool:
            url = self._uploads(repository).with_query({"mount": blob.digest, "from": source})
            about = f"mount of {blob.digest}"
            async with self._registry.exchange("POST", repository, url, about, source=source) as response:
                if response.status == 201:
                    return True
                location = response.headers.get("Location", "")
            await self._abandon(repository, self._registry.located(location))
            return False

        try:
            return await self._registry.patiently(once)
        except RegistryError as refused:
            if refused.retryable:
                raise
            return False

    async def blob(self, repository: str, blob: Descriptor, chunks: AsyncIterable[bytes]) -> None:
        """Send the content of `blob`; on return the registry has it under its digest.

        `chunks` must raise where its end is not what the digest says: then nothing is stored. A request that
        breaks goes on where the registry says it broke; Unavailable when it has forgotten the upload: begin
        anew then.
        """
        session = await self._begin(repository, blob)
        try:
            if blob.size <= session.chunk:
                await self._finish(repository, session, blob, [chunk async for chunk in chunks])
            else:
                await self._send(repository, session, blob, chunks)
        except PrewarmError:
            await self._abandon(repository, session.location)
            raise

    async def manifest(self, repository: str, reference: str, manifest: Manifest) -> str | None:
        """Put a manifest under a tag or its digest.

        Returns the digest of the subject that the registry now lists it under, None where it keeps no such
        lists or there is no subject.
        """
        about = f"push of manifest {repository}{'@' if ':' in reference else ':'}{reference}"
        path, digest = f"/v2/{repository}/manifests/{reference}", manifest.descriptor.digest

        async def once() -> str | None:
            headers = {"Content-Type": manifest.descriptor.media_type}
            async with self._registry.exchange(
                "PUT", repository, path, about, headers=headers, body=[manifest.body]
            ) as response:
                named = response.headers.get("Docker-Content-Digest", digest)
                if named != digest:
                    raise DigestMismatch(f"{about}: the registry stored {named}, not the digest {digest}")
                return response.headers.get("OCI-Subject")

        return await self._registry.patiently(once)

    async def _begin(self, repository: str, blob: Descriptor) -> _Session:
        async def once() -> _Session:
            about = f"upload of {blob.digest} to {repository}"
            async with self._registry.exchange(
                "POST", repository, self._uploads(repository), about
            ) as response:
                location = self._registry.located(response.headers.get("Location", ""))
                least = response.headers.get("OCI-Chunk-Min-Length", "0")
            wanted = int(least) if least.isascii() and least.isdigit() else 0
            if wanted > MAX_CHUNK:
                raise RegistryError(f"{about}: it wants {wanted} bytes at once; at most {MAX_CHUNK} are sent")
            return _Session(location, max(self._chunk, wanted))

        return await self._registry.patiently(once)

    async def _send(
        self, repository: str, session: _Session, blob: Descriptor, chunks: AsyncIterable[bytes]
    ) -> None:
        start, location = 0, session.location
        async for piece in _pieces(chunks, session.chunk):
            location = await self._append(repository, location, blob, start, piece)
            start += _length(piece)
        await self._finish(repository, _Session(location, session.chunk), blob, [])

    async def _append(
        self, repository: str, location: URL, blob: Descriptor, start: int, piece: list[bytes]
    ) -> URL:
        """Where the upload goes on once the bytes of `piece`, which begin at `start`, have arrived."""
        attempt, end = 0, start + _length(piece)
        while True:
            attempt += 1
            try:
                return await self._patch(repository, location, blob, start, piece)
            except RegistryError as refused:
                await self._registry.pause(refused, attempt)
            if not start:  # no answer tells one byte from none ("0-0"), and nothing is lost yet
                location = (await self._begin(repository, blob)).location
                continue
            location, received = await self._received(repository, location, blob)
            if not start <= received <= end:
                raise self._lost(blob)
            start, piece = received, _without(piece, received - start)
            if not piece:
                return location

    async def _patch(
        self, repository: str, location: URL, blob: Descriptor, start: int, piece: list[bytes]
    ) -> URL:
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{start}-{start + _length(piece) - 1}",
        }
        about = f"upload of {blob.digest} to {repository}"
        async with self._registry.exchange(
            "PATCH", repository, location, about, headers=headers, body=piece, small=False
        ) as response:
            return self._registry.located(response.headers.get("Location", str(location)))

    async def _received(self, repository: str, location: URL, blob: Descriptor) -> tuple[URL, int]:
        """Where the upload goes on, and the bytes that the registry has of it."""
        try:
            async with self._registry.exchange("GET", repository, location) as response:
                match = _RECEIVED.fullmatch(response.headers.get("Range", ""))
                if match is None:
                    raise self._lost(blob)
                onward = self._registry.located(response.headers.get("Location", str(location)))
                return onward, int(match["last"]) + 1
        except RegistryError:
            raise self._lost(blob) from None

    async def _finish(self, repository: str, session: _Session, blob: Descriptor, body: list[bytes]) -> None:
        async def once() -> None:
            url = session.location.update_query({"digest": blob.digest})
            headers = {"Content-Type": "application/octet-stream"}
            about = f"upload of {blob.digest} to {repository}"
            async with self._registry.exchange(
                "PUT", repository, url, about, headers=headers, body=body, small=False
            ):
                pass

        await self._registry.patiently(once)

    async def _abandon(self, repository: str, location: URL) -> None:
        """Tell the registry that an upload is over; one that does not listen forgets it by itself."""
        with suppress(PrewarmError):
            async with self._registry.exchange("DELETE", repository, location):
                pass

    def _uploads(self, repository: str) -> URL:
        return self._registry.address(f"/v2/{repository}/blobs/uploads/")

    def _lost(self, blob: Descriptor) -> Unavailable:
        return Unavailable(f"registry {self._registry.endpoint.registry} lost the upload of {blob.digest}")


async def _pieces(chunks: AsyncIterable[bytes], size: int) -> AsyncIterator[list[bytes]]:
    """The same bytes in pieces of exactly `size`, the last one what is left; chunks are not joined."""
    held: list[bytes] = []
    room = size
    async for chunk in chunks:
        while len(chunk) >= room:
            yield [*held, chunk[:room]]
            held, chunk, room = [], chunk[room:], size
        if chunk:
            held.append(chunk)
            room -= len(chunk)
    if held:
        yield held


def _length(piece: list[bytes]) -> int:
    return sum(map(len, piece))


def _without(piece: list[bytes], count: int) -> list[bytes]:
    """What is left of a piece after its first `count` bytes."""
    left = []
    for chunk in piece:
        if count < len(chunk):
            left.append(chunk[count:])
        count = max(0, count - len(chunk))
    return left
