"""The synthetic workload: six weeks of three offices, as logs and as truth.

`python -m prewarm.demo.workload FOLDER` writes the sample that is shipped in `data/samples/workload`.
Equal seeds give equal bytes; a shorter period gives a prefix of the longer one.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prewarm.demo.clients import Pull, pulls
from prewarm.demo.contents import SCALE, Catalogue, Version, at
from prewarm.demo.habits import Day, Wish
from prewarm.demo.images import builds, catalogue
from prewarm.demo.lines import lines
from prewarm.demo.quiet import OFFICE as QUIET
from prewarm.demo.quiet import pinned, wishes
from prewarm.demo.sites import OFFICES, Office

SEED = 20261117
START = datetime(2026, 10, 6, tzinfo=UTC)
DAYS = 42


@dataclass(frozen=True, slots=True)
class Workload:
    """Everything that happened, and everything that could have been pulled."""

    seed: int
    start: datetime
    end: datetime
    offices: tuple[Office, ...]
    catalogue: Catalogue
    pulls: tuple[Pull, ...]  # in order of time, checks and missed ones among them

    def at(self, site: str) -> list[Pull]:
        """The pulls of one site."""
        return [pull for pull in self.pulls if pull.site == site]

    def version(self, image: str, time: datetime) -> Version | None:
        """What a canonical reference of this workload pointed to at `time`."""
        repository, _, tag = image.removeprefix("docker.io/").rpartition(":")
        return at(self.catalogue.get((repository, tag), ()), time)


def busy(seed: int = SEED, start: datetime = START, days: int = DAYS) -> Workload:
    """Three offices that wake up at different hours and change what they run."""
    made = builds(seed, OFFICES, start, days)
    known = catalogue(seed, made, start, days)
    asked = {
        office: [
            wish for day in office.days(start, days) for wish in Day(seed, office, day, made, known).wishes()
        ]
        for office in OFFICES
    }
    return _happen(seed, start, days, asked, known)


def quiet(seed: int = SEED, start: datetime = START, days: int = DAYS) -> Workload:
    """One small office that builds on a few pinned images: nothing here is ever cold for long."""
    known = pinned(seed, start)
    return _happen(seed, start, days, {QUIET: list(wishes(seed, start, days))}, known)


def write(folder: Path) -> list[Path]:
    """Write both samples, their truth and their catalogue to `folder`; returns the files."""
    written = []
    for name, load in (("", busy()), ("quiet", quiet())):
        target = folder / name
        target.mkdir(parents=True, exist_ok=True)
        for office in load.offices:
            text = "\n".join(lines(load.at(office.name))) + "\n"
            written.append(_gzip(target / f"{office.name}.log.gz", text))
        written.append(_gzip(target / "catalogue.json.gz", json.dumps(listing(load.catalogue))))
        path = target / "truth.json"
        path.write_text(json.dumps(truth(load), sort_keys=True) + "\n")
        written.append(path)
    return written


def truth(load: Workload) -> dict[str, object]:
    """How often each image was really pulled, by site and kind: what an ingest must find."""
    counts: dict[str, dict[str, Counter[str]]] = {}
    for pull in load.pulls:
        counts.setdefault(pull.site, {}).setdefault(pull.image, Counter())[pull.kind] += 1
    return {"synthetic": True, "seed": load.seed, "pulls": counts}


def listing(known: Catalogue) -> dict[str, object]:
    """The catalogue as plain data; sizes as logged."""
    images = [
        {"image": f"docker.io/{repository}:{tag}", "versions": [_plain(one) for one in versions]}
        for (repository, tag), versions in known.items()
    ]
    return {"synthetic": True, "served_bytes": f"1/{SCALE} of the layers' bytes", "images": images}


def _happen(
    seed: int, start: datetime, days: int, asked: dict[Office, list[Wish]], known: Catalogue
) -> Workload:
    end = start + timedelta(days=days)
    happened: list[Pull] = []
    for office, all_wishes in asked.items():
        within = [wish for wish in all_wishes if start <= wish.time < end]
        within.sort(key=lambda wish: (wish.time, wish.client, wish.repository))
        happened.extend(pulls(office.name, within, known))
    happened.sort(key=lambda pull: (pull.time, pull.site, pull.client))
    return Workload(seed, start, end, tuple(asked), known, tuple(happened))


def _plain(one: Version) -> dict[str, object]:
    return {
        "since": one.since.isoformat(),
        "digest": one.digest,
        "blobs": [list(blob) for blob in one.blobs],
    }


def _gzip(path: Path, text: str) -> Path:
    """Compress without a name or a time inside, so that equal text gives equal files."""
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
        packed.write(text.encode())
    return path


if __name__ == "__main__":
    write(Path(sys.argv[1]))
