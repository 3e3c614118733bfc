"""Events that a service takes a second, each acknowledged once it is on disk.

    python -m benchmarks.deliveries [--seconds 10] [--connections 16] [--events 10]

A service in a process of its own, notifications of Distribution over loopback, and beside it what the disk
does alone: appends of the same bytes, each with its fdatasync.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from prewarm.lake import Lake
from tests.e2e.notifications import envelope
from tests.e2e.servers import LOOPBACK, free_port


async def send(
    url: str, seconds: float, connections: int, events: int, name: str = ""
) -> tuple[int, list[float]]:
    """Events acknowledged, and the seconds of each request."""
    counter, took = itertools.count(), []
    end = time.monotonic() + seconds
    async with aiohttp.ClientSession() as session:

        async def one() -> int:
            done = 0
            while time.monotonic() < end:
                data = envelope([next(counter) for _ in range(events)], name)
                began = time.monotonic()
                async with session.post(
                    url, data=data, headers={"Content-Type": "application/json"}
                ) as answer:
                    assert answer.status == 202, await answer.text()
                took.append(time.monotonic() - began)
                done += events
            return done

        return sum(await asyncio.gather(*(one() for _ in range(connections)))), took


def disk(folder: Path, size: int, seconds: float) -> float:
    """Synchronised appends of so many bytes a second."""
    end, done, data = time.monotonic() + seconds, 0, b"x" * size
    with (folder / "peer").open("wb", buffering=0) as file:
        while time.monotonic() < end:
            file.write(data)
            os.fdatasync(file.fileno())
            done += 1
    return done / seconds


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=float, default=10)
    options.add_argument("--connections", type=int, default=16)
    options.add_argument("--events", type=int, default=10)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "prewarm.toml").write_text('[sources.mirror]\nregistry = "docker.io"\n')
        port = free_port()
        command = [sys.executable, "-m", "prewarm", "serve", "--json", "--port", str(port)]
        command += ["--lake", str(folder / "lake"), "--config", str(folder / "prewarm.toml")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as service:
            try:
                assert service.stdout is not None
                service.stdout.readline()
                url = f"http://{LOOPBACK}:{port}/v1/ingest/mirror"
                asyncio.run(send(url, 1, 1, 1, "warm-up"))
                count, took = asyncio.run(send(url, asked.seconds, asked.connections, asked.events))
                while Lake.open(folder / "lake").read("pulls").height < count:
                    time.sleep(0.5)
            finally:
                service.terminate()
        cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.sort()
        print(
            f"{count / asked.seconds:,.0f} events/s acknowledged, {len(took) / asked.seconds:,.0f} requests/s"
        )
        print(f"p50 {took[len(took) // 2] * 1e3:.1f} ms, p99 {took[int(len(took) * 0.99)] * 1e3:.1f} ms")
        print(f"{count / (cpu.ru_utime + cpu.ru_stime):,.0f} events per CPU second, the lake included")
        appends = disk(folder, len(envelope([1] * asked.events)), 2)
        print(f"the disk alone: {appends:,.0f} synchronised appends/s")


if __name__ == "__main__":
    main()
