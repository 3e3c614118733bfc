"""Warming an image over loopback, beside `skopeo copy`.

    python -m benchmarks.warm [--layers 5] [--megabytes 60] [--rounds 5] [--others 0]

The origin is a real CNCF Distribution. Each round runs every contender once, in turn, so that a busy
moment of the machine meets them all; the least CPU and wall time of the rounds are kept. Compared are:

* `prewarm run`: the whole process, from its start to its end, into an OCI layout; `--others` images that
  are pulled less stand beside the warmed one in the lake that `--cache` ranks;
* `warming`: of that, resolving the image and having it stored, without start-up and planning;
* `reading`: resolving it and reading every blob, verified and discarded, as a mirror is warmed by GET;
* `skopeo copy` to `oci:` and to `dir:`: the whole process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prewarm.references import Reference
from prewarm.warming.caches import Surroundings
from prewarm.warming.caches.layout import DRIVER
from prewarm.warming.credentials import Credentials
from prewarm.warming.registry import Endpoint, Registries

REPOSITORY, TAG = "bench/image", "1"
PAUSE = 17  # hours between two pulls of another image


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds (user and system), wall seconds, and the largest resident set in bytes."""

    cpu: float
    wall: float
    memory: int

    def best(self, other: Cost) -> Cost:
        return Cost(min(self.cpu, other.cpu), min(self.wall, other.wall), max(self.memory, other.memory))


def process(command: Sequence[str | Path], folder: Path) -> tuple[Cost, bytes]:
    """Run to the end: its cost as the kernel accounts it, and its output."""
    # As installed: modules are compiled once, whatever this shell says of it.
    compiled = {
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir(), "bench-pyc")),
    }
    start = time.perf_counter()
    child = subprocess.Popen(
        command, cwd=folder, env=os.environ | compiled, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert child.stdout is not None
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stdout.close()
    if child.returncode:
        raise SystemExit(
            f"{command[0]} ended with {child.returncode}: {output[-500:].decode(errors='replace')}"
        )
    wall = time.perf_counter() - start
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024), output


async def measured(work: Callable[[], Awaitable[object]]) -> Cost:
    """The cost of `work` inside this process."""
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    await work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(cpu, time.perf_counter() - start, after.ru_maxrss * 1024)


async def part(kind: str, endpoint: Endpoint, folder: Path) -> Cost:
    """One of our own parts: `warming` into a layout, or `reading`."""
    reference = Reference.of(endpoint.registry, REPOSITORY, TAG)
    async with Registries([endpoint], Credentials()) as registries:
        registry = registries.of(endpoint.registry)

        async def read() -> None:
            image = await registry.resolve(REPOSITORY, TAG)
            for blob in image.blobs:
                async with aclosing(registry.blob(REPOSITORY, blob)) as chunks:
                    async for _ in chunks:
                        pass

        async def warm() -> None:
            settings = DRIVER.config(path=folder / "layout")
            async with DRIVER.open(settings, Surroundings("layout", registries)) as cache:
                await cache.warm(await cache.resolve(reference))

        return await measured(read if kind == "reading" else warm)


def prepared(folder: Path, endpoint: Endpoint, others: int) -> Path:
    """A lake whose ranking is the image, and a plan that warms it; returns the plan."""
    (folder / "prewarm.toml").write_text(
        f'[registries."{endpoint.registry}"]\nurl = "{endpoint.url}"\n'
        f'[caches.layout]\ndriver = "layout"\npath = "{folder / "layout"}"\n'
    )
    now = datetime.now(UTC).replace(minute=5, second=0, microsecond=0)
    image = f"{endpoint.registry}/{REPOSITORY}:{TAG}"
    hours = [now - timedelta(hours=ago) for ago in range(24 * 15, 0, -1)]
    rows = [f"{at.isoformat()},{image}\n" for at in hours]
    for number in range(others):
        name = f"{endpoint.registry}/bench/other-{number}:1"
        rows += [f"{at.isoformat()},{name}\n" for at in hours[number % PAUSE :: PAUSE]]
    (folder / "pulls.csv").write_text("timestamp,image\n" + "".join(rows))
    prewarm = [sys.executable, "-m", "prewarm"]
    process([*prewarm, "ingest", "pulls.csv", "--format", "events"], folder)
    _, document = process([*prewarm, "plan", "--cache", "layout", "--top", "1", "--json"], folder)
    (folder / "plan.json").write_bytes(document)
    return folder / "plan.json"


def contenders(folder: Path, endpoint: Endpoint, others: int) -> dict[str, Callable[[], Cost]]:
    """Each contender's name and how to run it once, into folders that are empty again."""
    plan = prepared(folder, endpoint, others)
    source = ["--src-tls-verify=false", f"docker://{endpoint.registry}/{REPOSITORY}:{TAG}"]
    us = [sys.executable, "-m", "prewarm", "run"]
    own = [sys.executable, "-m", "benchmarks.warm", "--url", endpoint.url, "--part"]

    def run(command: Sequence[str | Path]) -> Callable[[], Cost]:
        return lambda: process(command, folder)[0]

    def within(kind: str) -> Callable[[], Cost]:
        return lambda: Cost(**json.loads(process([*own, kind, "--folder", folder], Path.cwd())[1]))

    return {
        "prewarm run --cache": run([*us, "--cache", "layout", "--top", "1", "--json"]),
        "prewarm run --plan": run([*us, "--plan", plan, "--json"]),
        "warming": within("warming"),
        "reading": within("reading"),
        "skopeo copy to oci:": run(["skopeo", "copy", "-q", *source, "oci:copy:1"]),
        "skopeo copy to dir:": run(["skopeo", "copy", "-q", *source, "dir:copy"]),
    }


def push(url: str, layers: list[int]) -> None:
    """Push the image from a process of its own: a child starts with the largest memory of its parent."""
    code = f"from tests.e2e.images import push_image; push_image({url!r}, {REPOSITORY!r}, {TAG!r}, {layers})"
    subprocess.run([sys.executable, "-c", code], check=True)


def compare(layers: int, megabytes: int, rounds: int, others: int) -> dict[str, Cost]:
    """The best cost of every contender over the rounds."""
    from tests.e2e.servers import Distribution

    with tempfile.TemporaryDirectory() as name, Distribution(Path(name) / "origin") as origin:
        push(origin.url, [megabytes * 1_000_000] * layers)
        folder = Path(name) / "work"
        folder.mkdir()
        found: dict[str, Cost] = {}
        each = contenders(folder, Endpoint(origin.address, origin.url), others)
        for label, once in [*each.items()] * rounds:
            for left in ("layout", "copy"):
                shutil.rmtree(folder / left, ignore_errors=True)
            cost = once()
            found[label] = found.get(label, cost).best(cost)
        return found


def table(costs: dict[str, Cost]) -> str:
    """One line a contender, with its share of skopeo's cost for the same result."""
    peer = costs["skopeo copy to oci:"]
    lines = [f"{'':22}{'CPU s':>8}{'wall s':>8}{'MB':>6}{'CPU / skopeo':>14}{'wall / skopeo':>15}"]
    for label, cost in costs.items():
        shares = f"{cost.cpu / peer.cpu:>14.2f}{cost.wall / peer.wall:>15.2f}"
        lines.append(f"{label:22}{cost.cpu:>8.2f}{cost.wall:>8.2f}{cost.memory / 1e6:>6.0f}{shares}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=60, help="of each layer")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--others", type=int, default=0, help="images in the lake that are pulled less")
    parser.add_argument("--part", choices=["warming", "reading"], help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part:
        endpoint = Endpoint(asked.url.partition("://")[2], asked.url)
        cost = asyncio.run(part(asked.part, endpoint, asked.folder))
        print(json.dumps({"cpu": cost.cpu, "wall": cost.wall, "memory": cost.memory}))
    else:
        print(f"{asked.layers} layers of {asked.megabytes} MB over loopback, best of {asked.rounds}")
        print(table(compare(asked.layers, asked.megabytes, asked.rounds, asked.others)))


if __name__ == "__main__":
    main()
