"""Ingest to committed rows, beside its peers in one run: GoAccess and a compiled `re` loop.

    python benchmarks/ingest.py [--lines 1000000] [--peers] [--keep FOLDER]

Prints lines a second of wall time and of CPU time, peak memory, and how long it takes to find that
nothing is new. Modules are compiled before, as in an installation. The log is made here (seeded): docker
clients pulling through a mirror for a day per million lines, as combined access lines.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

BEGIN = datetime(2026, 10, 1, tzinfo=UTC)
LINES_A_DAY = 1_000_000
AGENT = "docker/20.10.24+dfsg1 go/go1.19.8 git-commit/5d6db84 kernel/6.1.0 os/linux arch/amd64"
PATTERN = (
    r'^(\S+) \S+ (\S+) \[([^\]]+)\] "(\S+) (?:/v2/(.+)/(manifests|blobs)/([^ ?]+)|\S+)[^"]*" '
    r'(\d+) (\S+) "[^"]*" "([^"]*)"'
)


def pulls(chance: random.Random) -> Iterator[list[str]]:
    """Request lines of one client's pull, without their stamps."""
    images = [(f"team{n % 40}/app{n}", f"1.{n % 7}") for n in range(2000)]
    weights = [1 / (n + 1) for n in range(len(images))]
    digests = {image: [f"sha256:{chance.getrandbits(256):064x}" for _ in range(10)] for image in images}
    while True:
        for image in chance.choices(images, weights, k=1000):
            client = f"10.{chance.randrange(4)}.{chance.randrange(16)}.{chance.randrange(250)}"
            head = _line(client, f"HEAD /v2/{image[0]}/manifests/{image[1]}", 1234)
            rest = []
            if chance.random() < 0.6:
                for n, digest in enumerate(digests[image]):
                    kind, size = ("manifests", 1234) if n < 2 else ("blobs", 100_000 * n)
                    rest.append(_line(client, f"GET /v2/{image[0]}/{kind}/{digest}", size))
            yield [head, *rest]


def _line(client: str, request: str, size: int) -> str:
    """An access line whose stamp is still to be filled in."""
    return f'{client} - - [%s] "{request} HTTP/1.1" 200 {size} "" "{AGENT}"\n'


def make(path: Path, count: int) -> None:
    """Write `count` lines of interleaved pulls."""
    source = pulls(random.Random(1))
    step = timedelta(days=1) / LINES_A_DAY
    active: list[list[str]] = [next(source) for _ in range(30)]
    with path.open("w") as out:
        for n in range(count):
            slot = n * 7919 % len(active)
            if not active[slot]:
                active[slot] = next(source)
            out.write(active[slot].pop(0) % (BEGIN + n * step).strftime("%d/%b/%Y:%H:%M:%S +0000"))


def measured(command: list[str], **options: object) -> tuple[float, float, float, str]:
    """Wall seconds, CPU seconds, peak MiB of the largest process, stdout."""
    script = (
        "import json, resource, subprocess, sys, time; t = time.perf_counter(); "
        "p = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, check=True); "
        "u = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(json.dumps([time.perf_counter() - t, u.ru_utime + u.ru_stime, u.ru_maxrss / 1024])); "
        "sys.stdout.flush(); sys.stdout.buffer.write(p.stdout)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command], check=True, capture_output=True, text=True
    )
    first, _, out = done.stdout.partition("\n")
    wall, cpu, peak = json.loads(first)
    return wall, cpu, peak, out


def re_loop(path: str) -> None:
    """The peer that everybody writes first."""
    import re

    match, found = re.compile(PATTERN).match, 0
    with Path(path).open() as lines:
        for line in lines:
            found += match(line) is not None
    print(found)


def show(name: str, count: int, wall: float, cpu: float, peak: float) -> None:
    print(
        f"{name:<28}{count / wall:>14,.0f}{count / cpu:>14,.0f}{wall:>9.2f}{cpu:>9.2f}{peak:>9.0f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--peers", action="store_true", help="run GoAccess and the re loop too")
    parser.add_argument("--keep", type=Path, help="make the log here and keep it")
    parser.add_argument("--re-loop", metavar="FILE", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.re_loop:
        return re_loop(chosen.re_loop)
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.keep or Path(scratch)
        log, lake = folder / f"combined-{chosen.lines}.log", Path(scratch) / "lake"
        if not log.exists():
            make(log, chosen.lines)
        print(f"{chosen.lines:,} lines, {log.stat().st_size / 1e6:,.0f} MB, {os.cpu_count()} cores")
        print(f"{'':<28}{'lines/s':>14}{'lines/CPU-s':>14}{'wall s':>9}{'CPU s':>9}{'MiB':>9}")
        run(log, lake, chosen.lines, chosen.peers)
    return None


def run(log: Path, lake: Path, count: int, peers: bool) -> None:
    if peers:
        *figures, _ = measured([sys.executable, __file__, "--re-loop", str(log)])
        show("python re loop", count, *figures)
        if goaccess := shutil.which("goaccess"):
            options = ["--log-format=COMBINED", "--no-progress", "--output=/dev/null", "--process-and-exit"]
            *figures, _ = measured([goaccess, str(log), *options])
            show("goaccess", count, *figures)
    compileall.compile_dir(Path(__file__).parents[1] / "prewarm", quiet=2)
    command = [sys.executable, "-m", "prewarm", "ingest", str(log), "--lake", str(lake), "--json"]
    *figures, out = measured(command)
    show("prewarm ingest", count, *figures)
    began = time.perf_counter()
    *figures, again = measured(command)
    show("prewarm ingest, again", count, *figures)
    first, second = json.loads(out), json.loads(again)
    print(f"{first['pulls']:,} pulls; again: {second['pulls']} in {time.perf_counter() - began:.2f} s")


if __name__ == "__main__":
    main()
