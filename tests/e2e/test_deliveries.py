"""Webhooks into a service that runs: from a real registry, and through kills."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path
from urllib.request import Request, urlopen

import polars as pl

from prewarm.lake import Lake
from tests.e2e import images, notifications
from tests.e2e.rounds import ROUNDS, tell
from tests.e2e.servers import LOOPBACK, Distribution, Process, free_port, listening, skopeo, wait_until

SEED = 31
SENDERS = 4
SETTINGS = """
[sources.mirror]
site = "boise"
registry = "docker.io"

[service]
refresh = "1s"
"""


@contextmanager
def serving(folder: Path, port: int, more: str = "") -> Iterator[Process]:
    """`prewarm serve` on that port; it is stopped, unless it was killed."""
    config = folder / "prewarm.toml"
    config.write_text(SETTINGS + more)
    command = [sys.executable, "-m", "prewarm", "serve", "--lake", str(folder / "lake"), "--port", str(port)]
    process = Process([*command, "--config", str(config)], folder / "serve.out", folder / "serve.log")
    process.wait_ready(lambda: listening(port))
    try:
        yield process
    finally:
        process.stop()


def told(folder: Path) -> Counter[str]:
    """How often the lake has each native id."""
    kept = Lake.open(folder / "lake").read("pulls", pl.col("kind") != "check", columns=["keys"])
    return Counter(key for keys in kept["keys"] for key in keys)


def test_a_registry_tells_us_what_it_served(folder: Path) -> None:
    """Its notifications, with a token and in its own time, become the pulls that its clients made."""
    port = free_port()
    token = f"\n[service.tokens.registry]\nsha256 = '{sha256(b'hook').hexdigest()}'\nscopes = ['ingest']\n"
    endpoint = {
        "url": f"http://{LOOPBACK}:{port}/v1/ingest/mirror",
        "headers": {"Authorization": ["Bearer hook"]},
        "timeout": "5s",
        "threshold": 3,
        "backoff": "1s",
    }
    with serving(folder, port, token), Distribution(folder / "registry", notify=endpoint) as registry:
        for name in ("api", "web"):
            images.push_image(registry.url, f"acme/{name}", "1.0")
            skopeo("copy", "-q", "--src-tls-verify=false", f"docker://{registry.address}/acme/{name}:1.0",
                   f"dir:{folder / name}")  # fmt: skip

        def pulled() -> set[tuple[str, str, str]]:
            kept = Lake.open(folder / "lake").read("pulls", pl.col("kind") == "layers")
            return set(kept.select("site", "repository", "tag").iter_rows())

        wait_until(
            lambda: pulled() == {("boise", "acme/api", "1.0"), ("boise", "acme/web", "1.0")},
            "both pulls in the lake",
        )
        wait_until(lambda: Lake.open(folder / "lake").read("pushes").height >= 2, "both pushes in the lake")


@dataclass
class Senders:
    """Registries that notify without end, and send again what was not acknowledged."""

    port: int
    acknowledged: set[str] = field(default_factory=set)
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(10**9)))
    _threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begin to send."""
        self._threads = [threading.Thread(target=self._send_on, daemon=True) for _ in range(SENDERS)]
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """End, once everything that was begun is acknowledged."""
        self._ended.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "what was sent is never acknowledged"

    def _send_on(self) -> None:
        while not self._ended.is_set():
            with self._lock:
                numbers = [next(self._numbers) for _ in range(5)]
            wait_until(partial(self._sent, numbers), f"a receipt for {numbers}", 300)
            with self._lock:
                self.acknowledged.update(f"q{number}" for number in numbers)

    def _sent(self, numbers: list[int]) -> bool:
        url = f"http://{LOOPBACK}:{self.port}/v1/ingest/mirror"
        request = Request(url, notifications.envelope(numbers), method="POST")
        request.add_header("Content-Type", "application/vnd.docker.distribution.events.v1+json")
        try:
            with urlopen(request, timeout=30) as answer:
                return bool(answer.status == 202)
        except (OSError, HTTPException):
            return False


def test_every_acknowledged_event_is_in_the_lake_once(folder: Path) -> None:
    """Killed at random moments under load, the service loses and doubles nothing."""
    draw, port = random.Random(SEED), free_port()
    senders = Senders(port)
    senders.start()
    for _ in range(ROUNDS):
        with serving(folder, port) as service:
            time.sleep(draw.uniform(0.3, 4.0))
            service.kill()
    with serving(folder, port):
        senders.finish()
        wait_until(lambda: told(folder).keys() >= senders.acknowledged, "all of them in the lake", 300)

    found = told(folder)
    assert {key: times for key, times in found.items() if times > 1} == {}
    assert found.keys() == senders.acknowledged
    tell(f"{ROUNDS} kills; {len(found)} events acknowledged, each in the lake once")
