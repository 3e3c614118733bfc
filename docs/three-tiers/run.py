"""The three-tier story on real registries: `python docs/three-tiers/run.py [--hours 120] [--json]`.

    private   primary ── far ──▶ local registry, replicated every four hours      (driver replica)
    public    hub ────── far ──▶ pull-through cache, its top ten warmed at six    (driver mirror)

Four `docker-registry` servers on loopback; what is far goes through a forwarder that delays, counts, and
can be cut. The pulls of one synthetic office are made in their order, as fast as the servers answer, by
three set-ups: without tiers, with replication and a pull-through cache, and with pre-warming too.
`README.md` has what came out.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import URLError

from prewarm.demo import samples, workload
from prewarm.demo.contents import INDEX, MANIFEST, Version
from prewarm.demo.workload import Workload

OFFICE, PRIVATE = "boise", "registry.acme.example"
EVERY, WARM_AT = (
    timedelta(hours=4),
    6,
)  # UTC hours between replications; hour of the day, on the office's clock
OUTAGE = (15, 17)  # hours of the last day, UTC: the office's first two, in which what is far is cut
TOP = 10


class Far:
    """A forwarder to a server on loopback: it delays every request, counts answers, and can be cut."""

    def __init__(self, target: int, delay: float) -> None:
        self.target, self.delay, self.bytes, self.cut = target, delay, 0, False
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._pair, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self._loop.run_forever()
        server.close()

    async def _pair(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.cut:
            return writer.close()
        there = await asyncio.open_connection("127.0.0.1", self.target)
        await asyncio.gather(self._pipe(reader, there[1], True), self._pipe(there[0], writer, False))
        return None

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asking: bool) -> None:
        try:
            while data := await reader.read(1 << 16):
                if self.cut:
                    break
                if asking:
                    await asyncio.sleep(self.delay)
                else:
                    self.bytes += len(data)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass  # the other side went away; so does this one
        finally:
            writer.close()


@contextmanager
def registry(folder: Path, upstream: str | None = None) -> Iterator[int]:
    """A `docker-registry` on a free port; with `upstream` it pulls through."""
    folder.mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "loopback"},
        "log": {"level": "warn"},
    } | ({"proxy": {"remoteurl": upstream}} if upstream else {})
    (folder / "config.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            ["docker-registry", "serve", str(folder / "config.json")], stdout=log, stderr=log
        )
    try:
        _await(port)
        yield port
    finally:
        server.terminate()
        server.wait()


def _await(port: int) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"docker-registry does not listen on {port}")


def asked(method: str, url: str, body: bytes | None = None, kind: str = "") -> bytes:
    """The body of an answer; raises URLError or OSError for refusals and dead lines."""
    headers = {"Accept": f"{INDEX}, {MANIFEST}, */*"} | ({"Content-Type": kind} if kind else {})
    request = urllib.request.Request(url, body, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return bytes(answer.read())


def push(port: int, repository: str, tag: str, version: Version) -> None:
    """Upload one version (distribution-spec, "Push"): blobs in one request each, then the manifests."""
    root = f"http://127.0.0.1:{port}/v2/{repository}"
    blobs = [
        (version.config.digest, version.config.body),
        *((each.digest, each.content()) for each in version.layers),
    ]
    for digest, body in blobs:
        try:
            asked("HEAD", f"{root}/blobs/{digest}")
        except URLError:
            request = urllib.request.Request(f"{root}/blobs/uploads/", b"", method="POST")
            with urllib.request.urlopen(request, timeout=30) as answer:
                place = answer.headers["Location"]
            asked(
                "PUT",
                f"{place}{'&' if '?' in place else '?'}digest={digest}",
                body,
                "application/octet-stream",
            )
    for document, reference in ((version.manifest, version.manifest.digest), (version.index, tag)):
        asked("PUT", f"{root}/manifests/{reference}", document.body, document.media_type)


def pull(port: int, repository: str, reference: str, version: Version) -> None:
    """What a new node asks for: the index by tag, the manifest, config and every layer."""
    root = f"http://127.0.0.1:{port}/v2/{repository}"
    asked("GET", f"{root}/manifests/{reference}")
    asked("GET", f"{root}/manifests/{version.manifest.digest}")
    for digest in (version.config.digest, *(layer.digest for layer in version.layers)):
        asked("GET", f"{root}/blobs/{digest}")


@dataclass
class Told:
    """What the clients of one set-up met."""

    seconds: list[float] = field(default_factory=list)
    failures: int = 0
    in_outage: int = 0

    def document(self, far: Iterable[Far]) -> dict[str, float | int]:
        cuts = statistics.quantiles(self.seconds, n=20, method="inclusive")
        return {
            "pulls": len(self.seconds) + self.failures,
            "p50_ms": round(1000 * statistics.median(self.seconds), 1),
            "p95_ms": round(1000 * cuts[18], 1),
            "upstream_bytes": sum(each.bytes for each in far),
            "pulls_in_outage": self.in_outage,
            "failures": self.failures,
        }


@dataclass(frozen=True)
class Story:
    """The office's days: what is pushed and pulled when."""

    load: Workload
    hours: int

    @property
    def begin(self) -> datetime:
        return self.load.end - timedelta(hours=self.hours)

    @property
    def outage(self) -> tuple[datetime, datetime]:
        last = self.load.end - timedelta(days=1)
        return last.replace(hour=OUTAGE[0]), last.replace(hour=OUTAGE[1])

    def pulls(self) -> list[tuple[datetime, str, str, Version]]:
        """(time, repository, tag, version) of every pull by tag of the office that exists."""
        found = []
        for each in self.load.at(OFFICE):
            if each.time >= self.begin and (version := self.load.version(each.image, each.time)):
                repository, _, tag = each.image.removeprefix("docker.io/").rpartition(":")
                found.append((each.time, repository, tag, version))
        return found

    def pushes(self) -> list[tuple[datetime, str, str, Version]]:
        """Every version that a pull obtains, when it was pushed; older ones, at the beginning."""
        wanted = {(repository, tag, version.digest): version for _, repository, tag, version in self.pulls()}
        rows = [
            (max(version.since, self.begin), repository, tag, version)
            for (repository, tag, _), version in wanted.items()
        ]
        return sorted(rows, key=lambda row: (row[0], row[3].since))


def lived(story: Story, folder: Path, tiers: int, delay: float, lake: Path) -> dict[str, float | int]:
    """One set-up: 1 without tiers, 2 with a replica and a pull-through cache, 3 with pre-warming too."""
    with ExitStack() as stack:
        primary, hub = (stack.enter_context(registry(folder / name)) for name in ("primary", "hub"))
        far = [Far(primary, delay), Far(hub, delay)]
        for each in far:
            stack.callback(each.close)
        local = stack.enter_context(registry(folder / "local"))
        proxy = stack.enter_context(registry(folder / "proxy", f"http://127.0.0.1:{far[1].port}"))
        tools, told = Tools(folder, lake, far, local, proxy), Told()
        for at, _, kind, row in sorted(_events(story, tiers), key=lambda event: event[:2]):
            _line(far, story.outage[0] <= at < story.outage[1])
            if kind == "push":
                push(primary if private(row[1]) else hub, *row[1:])
            elif kind == "replicate":
                tools.replicate(at, row)
            elif kind == "warm":
                tools.warm(at)
            else:
                _pulled(told, row, far, tools if tiers > 1 else None)
        return told.document(far)


def private(repository: str) -> bool:
    return repository.startswith("acme/")


def _line(far: list[Far], cut: bool) -> None:
    for each in far:
        each.cut = cut


def _events(story: Story, tiers: int) -> Iterator[tuple[datetime, int, str, Any]]:
    """(time, order at one moment, what happens, with what)."""
    pushes = story.pushes()
    yield from ((row[0], 0, "push", row) for row in pushes)
    yield from ((row[0], 3, "pull", row) for row in story.pulls())
    begin = story.begin
    steps = int((story.load.end - begin) / EVERY)
    for step in range(steps if tiers > 1 else 0):
        at = begin + step * EVERY
        fresh = [row for row in pushes if private(row[1]) and at - EVERY < row[0] <= at]
        if fresh:
            yield at, 1, "replicate", tuple(fresh)
    office = next(each for each in story.load.offices if each.name == OFFICE)
    for day in office.days(begin, 1 + story.hours // 24) if tiers > 2 else ():
        at = office.clock(day, WARM_AT)
        if begin <= at < story.load.end:
            yield at, 2, "warm", ()


def _pulled(told: Told, row: tuple[datetime, str, str, Version], far: list[Far], tools: Tools | None) -> None:
    """One client pulls: from the near tier where there is one, else and on its refusal from far away."""
    _, repository, tag, version = row
    away = far[0].port if private(repository) else far[1].port
    ports = [away] if tools is None else [tools.local, away] if private(repository) else [tools.proxy]
    told.in_outage += far[0].cut
    begun = time.perf_counter()
    for port in ports:
        try:
            pull(port, repository, tag, version)
        except OSError:  # URLError and a line that was cut are
            continue
        told.seconds.append(time.perf_counter() - begun)
        return
    told.failures += 1


@dataclass
class Tools:
    """`prewarm` as its user has it: one file, and the verbs."""

    folder: Path
    lake: Path
    far: list[Far]
    local: int
    proxy: int

    def replicate(self, at: datetime, fresh: tuple[tuple[datetime, str, str, Version], ...]) -> None:
        """Copy what was pushed since the last time."""
        self._settings(tuple(f"{PRIVATE}/{repository}:{tag}" for _, repository, tag, _ in fresh))
        self._prewarm("run", "--cache", "local", "--at", at.isoformat(), "--top", "1")

    def warm(self, at: datetime) -> None:
        """The top ten of the coming morning, from what was known then."""
        self._settings(())
        self._prewarm("run", "--cache", "proxy", "--at", at.isoformat(), "--hours", "5", "--top", str(TOP))

    def _settings(self, replicated: tuple[str, ...]) -> None:
        names = json.dumps(list(dict.fromkeys(replicated)) or [f"{PRIVATE}/none:none"])
        (self.folder / "prewarm.toml").write_text(
            f"""
[sites.{OFFICE}]
timezone = "America/Boise"

[registries."{PRIVATE}"]
url = "http://127.0.0.1:{self.far[0].port}"

[registries."docker.io"]
url = "http://127.0.0.1:{self.far[1].port}"

[caches.local]
driver = "replica"
url    = "http://127.0.0.1:{self.local}"
site   = "{OFFICE}"
allow  = {names}
always = {names}

[caches.proxy]
driver   = "mirror"
url      = "http://127.0.0.1:{self.proxy}"
upstream = "docker.io"
site     = "{OFFICE}"
allow    = ["docker.io/*"]
"""
        )

    def _prewarm(self, verb: str, *arguments: str) -> None:
        prewarm(verb, *arguments, "--lake", str(self.lake), "--config", str(self.folder / "prewarm.toml"))


def prewarm(verb: str, *arguments: str) -> None:
    """One verb, to its end."""
    command = [sys.executable, "-m", "prewarm", verb, *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):  # 3: some images failed, as in the outage
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")


def ingested(folder: Path) -> Path:
    """A lake of the office's log: all six weeks; a plan knows what was logged before it."""
    log = folder / "access.log"
    log.write_bytes(gzip.decompress((samples.workload() / f"{OFFICE}.log.gz").read_bytes()))
    config = folder / "prewarm.toml"
    config.write_text(
        f'[sources.mirror]\npath = "{log}"\nsite = "{OFFICE}"\nregistry = "docker.io"\n'
        f'rewrite = {{"acme/" = "{PRIVATE}/acme/"}}\n'
    )
    prewarm("ingest", "--source", "mirror", "--lake", str(folder / "lake"), "--config", str(config))
    return folder / "lake"


SETUPS = {"without tiers": 1, "replica and pull-through cache": 2, "and the top ten warmed": 3}


def main() -> None:
    """All three set-ups, as a table or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hours", type=int, default=120, help="the last ones of the office's log")
    parser.add_argument("--delay", type=float, default=0.04, help="seconds that a far request waits")
    parser.add_argument("--json", action="store_true")
    asked_for = parser.parse_args()
    story = Story(workload.busy(), asked_for.hours)
    with tempfile.TemporaryDirectory(prefix="three-tiers-") as temporary:
        folder = Path(temporary)
        lake = ingested(folder)
        told = {
            name: lived(story, folder / str(tiers), tiers, asked_for.delay, lake)
            for name, tiers in SETUPS.items()
        }
    if asked_for.json:
        print(json.dumps(told))
        return
    columns = list(next(iter(told.values())))
    print(f"{'':32}" + "".join(f"{column:>17}" for column in columns))
    for name, row in told.items():
        print(f"{name:32}" + "".join(f"{row[column]:>17,}" for column in columns))


if __name__ == "__main__":
    main()
