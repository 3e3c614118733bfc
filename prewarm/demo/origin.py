"""An OCI registry on loopback that serves the images of a workload.

Read-only: manifests and blobs by GET and HEAD (distribution-spec, "Pull"), each with the digest it has in
the logs. It runs in a thread of its own, so that the code which pulls from it may be anything.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from aiohttp import web

from prewarm.demo.contents import Catalogue, Document, Layer, Version, at, every


@dataclass(slots=True)
class Served:
    """What the origin was asked for."""

    requests: int = 0
    blobs: int = 0  # whole blobs
    bytes: int = 0  # of blobs


@dataclass(frozen=True, slots=True)
class Origin:
    """A running origin: its `http://127.0.0.1:PORT` and what it served so far."""

    url: str
    served: Served


@dataclass(slots=True)
class _Store:
    """Everything that can be asked for, by name."""

    tags: dict[tuple[str, str], Document] = field(default_factory=dict)
    documents: dict[str, Document] = field(default_factory=dict)  # by digest
    layers: dict[str, Layer] = field(default_factory=dict)  # by digest
    served: Served = field(default_factory=Served)

    def add(self, one: Version) -> None:
        for document in (one.index, one.manifest, one.config):
            self.documents[document.digest] = document
        self.layers.update({layer.digest: layer for layer in one.layers})


@contextmanager
def serving(catalogue: Catalogue, time: datetime) -> Iterator[Origin]:
    """Serve `catalogue` as it was at `time` on a free port of 127.0.0.1 until the block ends."""
    store = _store(catalogue, time)
    started: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    thread = threading.Thread(target=_run, args=(store, started), name="demo-origin", daemon=True)
    thread.start()
    port, loop, stop = started.result()
    try:
        yield Origin(f"http://127.0.0.1:{port}", store.served)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def _store(catalogue: Catalogue, time: datetime) -> _Store:
    store = _Store()
    for _, _, one in every(catalogue):
        store.add(one)
    for name, versions in catalogue.items():
        current = at(versions, time)
        if current is not None:
            store.tags[name] = current.index
    return store


def _run(store: _Store, started: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    try:
        asyncio.run(_serve(store, started))
    except OSError as error:
        if started.done():
            raise
        started.set_exception(error)


async def _serve(
    store: _Store, started: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]]
) -> None:
    app = web.Application()
    app.router.add_get("/v2/", _base)
    app.router.add_get("/v2/{name:.+}/manifests/{reference}", _manifest)
    app.router.add_get("/v2/{name:.+}/blobs/{digest}", _blob)
    app[_STORE] = store
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        stop = asyncio.Event()
        started.set_result((runner.addresses[0][1], asyncio.get_running_loop(), stop))
        await stop.wait()
    finally:
        await runner.cleanup()


_STORE: web.AppKey[_Store] = web.AppKey("store", _Store)


async def _base(request: web.Request) -> web.Response:
    request.app[_STORE].served.requests += 1
    return web.json_response({})


async def _manifest(request: web.Request) -> web.Response:
    store = request.app[_STORE]
    store.served.requests += 1
    name, reference = request.match_info["name"], request.match_info["reference"]
    document = store.documents.get(reference) or store.tags.get((name, reference))
    if document is None:
        return _refused("MANIFEST_UNKNOWN", f"no manifest {reference} in {name}")
    headers = {"Docker-Content-Digest": document.digest}
    return web.Response(body=document.body, content_type=document.media_type, headers=headers)


async def _blob(request: web.Request) -> web.Response:
    store = request.app[_STORE]
    store.served.requests += 1
    digest = request.match_info["digest"]
    body = _content(store, digest)
    if body is None:
        return _refused("BLOB_UNKNOWN", f"no blob {digest}")
    if request.method == "GET":
        store.served.blobs += 1
        store.served.bytes += len(body)
    headers = {"Docker-Content-Digest": digest}
    return web.Response(body=body, content_type="application/octet-stream", headers=headers)


def _content(store: _Store, digest: str) -> bytes | None:
    if digest in store.layers:
        return store.layers[digest].content()
    document = store.documents.get(digest)
    return document.body if document else None


def _refused(code: str, message: str) -> web.Response:
    """404 as the distribution-spec writes it ("Error Codes")."""
    body = json.dumps({"errors": [{"code": code, "message": message}]})
    return web.Response(status=404, text=body, content_type="application/json")
