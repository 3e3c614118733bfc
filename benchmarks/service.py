"""`GET /v1/rankings` beside a bare FastAPI hello on the same server settings.

    python -m benchmarks.service [--images 5000] [--seconds 5] [--connections 16]

One lake of three sites, uvicorn in a process of its own, keep-alive connections that ask as fast as they are
answered. The asker shares the machine with the server and costs both the same; ratios are what to quote.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from prewarm.lake import Lake

SITES = ("boise", "berlin", "mumbai")
HOURS = 24 * 7 * 6

HELLO = """
from fastapi import FastAPI
import sys, uvicorn
app = FastAPI()
@app.get("/")
async def hello():
    return {"hello": "world"}
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
"""
SERVE = """
import sys, uvicorn
from prewarm.service.app import create_app
from prewarm.settings import load
uvicorn.run(create_app(load(lake=sys.argv[2])), port=int(sys.argv[1]), log_level="warning")
"""


@dataclass(frozen=True, slots=True)
class Load:
    """Requests a second, and the 99th percentile of their seconds."""

    rate: float
    p99: float


def fill(lake: Lake, images: int, now: datetime) -> None:
    """Six weeks of pulls at three sites, popularity by Zipf."""
    dice = np.random.default_rng(7)
    count = images * 40
    rank = np.minimum(dice.zipf(1.3, count) - 1, images - 1)
    rank[:images] = np.arange(images)
    hours = dice.integers(1, HOURS, count)
    lake.append(
        "pulls",
        pl.DataFrame(
            {
                "timestamp": [now - timedelta(hours=int(h)) for h in hours],
                "site": [SITES[i] for i in dice.integers(0, len(SITES), count)],
                "registry": "docker.io",
                "repository": [f"acme/app-{r % 500}" for r in rank],
                "tag": [f"v{r // 500}" for r in rank],
                "client": [f"10.0.0.{c}" for c in dice.integers(1, 255, count)],
                "kind": "layers",
                "status": "ok",
                "source": "bench",
                "bytes": 50_000_000,
                "provisional": False,
            }
        ),
    )


def started(program: str, port: int, *arguments: str) -> subprocess.Popen[bytes]:
    """The program, once it accepts connections."""
    process = subprocess.Popen([sys.executable, "-c", program, str(port), *arguments])
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.05)


async def load(port: int, path: str, headers: str, seconds: float, connections: int) -> Load:
    """Ask over so many connections for so long."""
    question = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}\r\n".encode()
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (began := time.perf_counter()) < end:
            writer.write(question)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            size = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            if head[9:12] != b"304":
                await reader.readexactly(int(size))
            assert head[9:12] in (b"200", b"304"), head
            took.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(ask() for _ in range(connections)))
    return Load(len(took) / seconds, float(np.quantile(took, 0.99)))


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--port", type=int, default=18600)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake.open(Path(folder, "lake"))
        fill(lake, given.images, datetime.now(UTC))
        _measure(given, lake)


def _measure(given: argparse.Namespace, lake: Lake) -> None:
    began = time.perf_counter()
    ours = started(SERVE, given.port, lake.root)
    while json.loads(_read(given.port, "/readyz") or "{}").get("status") != "ok":
        time.sleep(0.05)
    print(f"cold start to ready: {time.perf_counter() - began:.1f} s")
    plain = started(HELLO, given.port + 1)
    try:
        _compare(given)
        resident = Path(f"/proc/{ours.pid}/status").read_text().partition("VmRSS:")[2].split()[0]
        print(f"resident: {int(resident) / 1000:.0f} MB")
    finally:
        for process in (ours, plain):
            process.terminate()
            process.wait()


def _compare(given: argparse.Namespace) -> None:
    path = "/v1/rankings?limit=50"
    with urllib.request.urlopen(f"http://127.0.0.1:{given.port}{path}") as answer:
        tag = answer.headers["ETag"]
    contenders = {
        "hello": (given.port + 1, "/", ""),
        "rankings, limit 50": (given.port, path, ""),
        "the same, gzip": (given.port, path, "Accept-Encoding: gzip\r\n"),
        "the same, If-None-Match": (given.port, path, f"If-None-Match: {tag}\r\n"),
    }
    hello = 0.0
    for name, (port, target, headers) in contenders.items():
        found = asyncio.run(load(port, target, headers, given.seconds, given.connections))
        hello = hello or found.rate
        print(
            f"{name:26} {found.rate:8,.0f}/s  {found.rate / hello:5.2f} x hello  "
            f"p99 {1000 * found.p99:6.1f} ms"
        )


def _read(port: int, path: str) -> bytes:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
            body: bytes = answer.read()
            return body
    except OSError:
        return b""


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    main()
