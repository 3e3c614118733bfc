"""What a replay costs per policy, beside libCacheSim: `python -m benchmarks.replay`.

    python -m benchmarks.replay [--pulls 10000000]
    python -m benchmarks.replay --pulls 1000000 --peer /path/to/venv/bin/python   # a venv with libcachesim

Two seeded traces of 20,000 images, pulled by Zipf's law over six weeks: `layers`, where an image shares four
layers of one of 200 bases and has two of its own (seven objects a pull), on a disk of a fifth of their bytes
and kept for a week; and `plain`, images of one byte on a disk of 1000, which libCacheSim can replay as well.
Each run is a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from datetime import timedelta

import numpy as np

from prewarm.insight.mirrors import EvictionName, Mirror
from prewarm.insight.replay import replay
from prewarm.insight.traces import Content, Trace

IMAGES, BASES = 20_000, 200
SPAN = 42 * 86_400_000_000  # microseconds
EVICTIONS: tuple[EvictionName, ...] = ("lru", "lfu", "belady")

PEER = """
import json, resource, sys, time
import libcachesim
import numpy as np
ids = np.load(sys.argv[1]).tolist()
never = 2**63 - 1
coming, last = [never] * len(ids), {}
for row in range(len(ids) - 1, -1, -1):
    coming[row] = last.get(ids[row], never)
    last[ids[row]] = row
begin = time.process_time()
cache, hits, request = getattr(libcachesim, sys.argv[2])(1000), 0, libcachesim.Request()
request.obj_size = 1
for row, name in enumerate(ids):
    request.obj_id, request.clock_time, request.next_access_vtime = name, row, coming[row]
    hits += cache.get(request)
print(json.dumps({"hit_ratio": hits / len(ids), "cpu": time.process_time() - begin}))
"""


def pulled(pulls: int, skew: float) -> np.ndarray:
    """Images by Zipf's law."""
    weight = 1 / np.arange(1, IMAGES + 1) ** skew
    return np.random.default_rng(0).choice(IMAGES, pulls, p=weight / weight.sum()).astype(np.int32)


def traced(images: np.ndarray, contents: tuple[Content, ...]) -> Trace:
    """Pulls of these images, at even distances."""
    times = np.linspace(0, SPAN, len(images)).astype(np.int64)
    names = tuple(f"docker.io/team/app-{number}:1" for number in range(IMAGES))
    return Trace(times, images, images, names, contents)


def layers(pulls: int) -> Trace:
    """Seven objects a pull."""
    rng = np.random.default_rng(1)
    bases = [
        tuple((f"base-{base}-{layer}", int(rng.integers(1e6, 5e7))) for layer in range(4))
        for base in range(BASES)
    ]
    contents = tuple(
        Content(
            f"sha256:{number}",
            (
                *bases[rng.integers(BASES)],
                (f"own-{number}", int(rng.integers(1e4, 1e8))),
                (f"config-{number}", 2000),
            ),
        )
        for number in range(IMAGES)
    )
    return traced(pulled(pulls, 1.0), contents)


def plain(pulls: int) -> Trace:
    """Two objects a pull: the image's one blob, and its manifest, which weighs nothing."""
    contents = tuple(Content(f"sha256:{number}", ((f"blob-{number}", 1),)) for number in range(IMAGES))
    return traced(pulled(pulls, 0.8), contents)


def measure(name: str, eviction: EvictionName, pulls: int) -> None:
    """One replay: CPU seconds without the making of the trace, hit ratio, peak memory."""
    trace = layers(pulls) if name == "layers" else plain(pulls)
    total = sum(dict(blob for content in trace.contents for blob in content.blobs).values())
    mirror = (
        Mirror(1000, None, eviction) if name == "plain" else Mirror(total // 5, timedelta(days=7), eviction)
    )
    begin = time.process_time()
    result = replay(trace, mirror)
    cpu = time.process_time() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    told = {"hit_ratio": result.hit_ratio, "cpu": cpu, "peak_mib": peak}
    print(json.dumps(told))


def run(*command: str) -> dict[str, float]:
    """The JSON that a process printed."""
    told: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return told


def compare(python: str, pulls: int) -> None:
    """Hit ratios on the plain trace, ours and libCacheSim's."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        np.save(f"{folder}/ids.npy", pulled(pulls, 0.8))
        for eviction, theirs in zip(EVICTIONS, ("LRU", "LFU", "Belady"), strict=True):
            ours = run(
                sys.executable, "-m", "benchmarks.replay", "--one", "plain", eviction, f"--pulls={pulls}"
            )
            peer = run(python, "-c", PEER, f"{folder}/ids.npy", theirs)
            gap = abs(ours["hit_ratio"] - peer["hit_ratio"])
            print(
                f"{eviction:8}{ours['hit_ratio']:>10.6f}{peer['hit_ratio']:>10.6f} apart {gap:.6f}   "
                f"CPU {ours['cpu']:.1f} s, libCacheSim through Python {peer['cpu']:.1f} s"
            )


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pulls", type=int, default=10_000_000)
    parser.add_argument("--peer", metavar="PYTHON", help="of a virtual environment with libcachesim")
    parser.add_argument("--one", nargs=2, metavar=("TRACE", "EVICTION"), help="measure in this process")
    chosen = parser.parse_args()
    if chosen.one:
        measure(*chosen.one, chosen.pulls)
    elif chosen.peer:
        compare(chosen.peer, chosen.pulls)
    else:
        for name in ("plain", "layers"):
            for eviction in EVICTIONS:
                one = run(
                    sys.executable,
                    "-m",
                    "benchmarks.replay",
                    "--one",
                    name,
                    eviction,
                    f"--pulls={chosen.pulls}",
                )
                print(
                    f"{name:8}{eviction:8}{one['cpu']:>8.1f} CPU s{one['peak_mib']:>8.0f} MiB"
                    f"{one['hit_ratio']:>8.1%} hits",
                    flush=True,
                )


if __name__ == "__main__":
    main()
