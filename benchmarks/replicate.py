"""Copying a tree of images that share layers from one registry to another, beside `skopeo sync`.

    python -m benchmarks.replicate [--images 200] [--repositories 20]

Both registries are real CNCF Distributions on loopback, the target empty at first. An image has a base of
5 MB and one of 2 MB, which many repositories share, and two layers of its own of 100 kB. Compared are whole
processes, from start to end: `prewarm run --plan`, the same again when everything is there, `skopeo sync`.
Beside their cost stands what they read of the source: blobs, and how many of them more than once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.warm import Cost, process
from tests.e2e.servers import Distribution

BASES = 4


@dataclass(frozen=True, slots=True)
class Copy:
    """What one contender cost, and how it read the source."""

    cost: Cost
    reads: int  # blobs that were read of the source
    again: int  # of those, reads of a blob that had been read before


def names(images: int, repositories: int) -> list[tuple[str, str]]:
    """(repository, tag) of every image."""
    return [(f"acme/app{number % repositories}", str(number // repositories)) for number in range(images)]


def push(url: str, images: int, repositories: int) -> None:
    """Push the tree from a process of its own: a child starts with the largest memory of its parent."""
    code = f"from benchmarks.replicate import push_all; push_all({url!r}, {images}, {repositories})"
    subprocess.run([sys.executable, "-c", code], check=True)


def push_all(url: str, images: int, repositories: int) -> None:
    """Push every image; those of one base share its layers, whatever their repository."""
    from tests.e2e.images import CONFIG, LAYER, MANIFEST, digest_of, push_blob, push_manifest
    from tests.e2e.images import _layer as make

    bases = [[make(5_000_000, f"big {base}"), make(2_000_000, f"small {base}")] for base in range(BASES)]
    for number, (repository, tag) in enumerate(names(images, repositories)):
        layers = [*bases[number % BASES], *(make(100_000, f"{repository}:{tag}/{n}") for n in range(2))]
        rootfs = {"type": "layers", "diff_ids": [digest_of(each) for each in layers]}
        config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs}).encode()
        blobs = [(CONFIG, config), *((LAYER, each) for each in layers)]
        entries = [{"mediaType": kind, "digest": digest_of(blob), "size": len(blob)} for kind, blob in blobs]
        for _, blob in blobs:
            push_blob(url, repository, blob)
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": entries[0], "layers": entries[1:]}
        push_manifest(url, repository, tag, MANIFEST, json.dumps(document).encode())


def planned(folder: Path, source: Distribution, target: Distribution, images: list[tuple[str, str]]) -> Path:
    """A lake whose ranking is every image, and a plan that warms them; returns the plan."""
    (folder / "prewarm.toml").write_text(
        f'[registries."{source.address}"]\nurl = "{source.url}"\nmax_concurrency = 8\n'
        f'[caches.region]\ndriver = "replica"\nurl = "{target.url}"\nmax_concurrency = 8\n'
    )
    now = datetime.now(UTC).replace(minute=5, second=0, microsecond=0)
    rows = [
        f"{(now - timedelta(hours=ago)).isoformat()},{source.address}/{repository}:{tag}\n"
        for ago in range(1, 72, 3)
        for repository, tag in images
    ]
    (folder / "pulls.csv").write_text("timestamp,image\n" + "".join(rows))
    prewarm = [sys.executable, "-m", "prewarm"]
    process([*prewarm, "ingest", "pulls.csv", "--format", "events"], folder)
    top = ["--top", str(len(images)), "--hours", "24"]
    _, document = process([*prewarm, "plan", "--cache", "region", *top, "--json"], folder)
    (folder / "plan.json").write_bytes(document)
    return folder / "plan.json"


def listed(folder: Path, source: Distribution, images: list[tuple[str, str]]) -> Path:
    """The same images as skopeo's list of what to copy."""
    tags: dict[str, list[str]] = {}
    for repository, tag in images:
        tags.setdefault(repository, []).append(tag)
    document = {source.address: {"tls-verify": False, "images": tags}}
    (folder / "sync.yml").write_text(json.dumps(document))  # which is YAML
    return folder / "sync.yml"


def copied(command: Sequence[str | Path], folder: Path, source: Distribution) -> Copy:
    """Run a contender to its end and count what it read."""
    source.restart_with_clean_logs()
    cost, _ = process(command, folder)
    source.stop()
    counts = Counter(source.blob_gets())
    source.start()
    return Copy(cost, counts.total(), counts.total() - len(counts))


def compare(images: int, repositories: int) -> dict[str, Copy]:
    """Each contender once, into an empty registry."""
    every = names(images, repositories)
    with tempfile.TemporaryDirectory() as name, Distribution(Path(name) / "source") as source:
        push(source.url, images, repositories)
        folder = Path(name) / "work"
        folder.mkdir()
        with Distribution(Path(name) / "ours") as target:
            run = [sys.executable, "-m", "prewarm", "run", "--json", "--plan"]
            plan = planned(folder, source, target, every)
            found = {"prewarm run --plan": copied([*run, plan], folder, source)}
            found["the same again"] = copied([*run, plan], folder, source)
        with Distribution(Path(name) / "theirs") as target:
            where = ["--src", "yaml", "--dest", "docker", "--dest-tls-verify=false"]
            command = ["skopeo", "sync", *where, listed(folder, source, every), target.address]
            found["skopeo sync"] = copied(command, folder, source)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--repositories", type=int, default=20)
    asked = parser.parse_args()
    print(f"{asked.images} images in {asked.repositories} repositories over {BASES} bases")
    print(f"{'':22}{'CPU s':>8}{'wall s':>8}{'MB':>6}{'blobs read':>12}{'again':>8}")
    for label, each in compare(asked.images, asked.repositories).items():
        cost = f"{each.cost.cpu:>8.2f}{each.cost.wall:>8.2f}{each.cost.memory / 1e6:>6.0f}"
        print(f"{label:22}{cost}{each.reads:>12}{each.again:>8}")


if __name__ == "__main__":
    main()
