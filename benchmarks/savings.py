"""What warming would have saved at the demo's offices: `python -m benchmarks.savings [--pareto]`.

The shipped synthetic logs are read as they are, once as all that is known, and once with what a registry
could have told beside them: when tags were pushed (webhooks) and what images consist of (manifests). The
mirrors are those of the demo: 20 GB, kept for a week. Runs start at six on the office's clock.
"""

from __future__ import annotations

import sys
from datetime import time
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from prewarm.demand.calendars import Site
from prewarm.demo import samples, workload
from prewarm.demo.contents import every
from prewarm.demo.workload import Workload
from prewarm.lake import Lake
from prewarm.logs.files import Source
from prewarm.pipeline.insight.replay import replay
from prewarm.pipeline.insight.whatif import POLICIES, ReplayResult, WhatIf
from prewarm.pipeline.logs.ingest import ingest
from prewarm.tables import IMAGES, PUSHES

COLUMNS = ("hits", "wait s/day", "GB warmed", "used", "GB upstream")


def read(folder: Path, load: Workload, *, told: bool) -> Lake:
    """The lake of the shipped logs; `told`: with pushes and layers."""
    lake = Lake.open(folder)
    logs = [samples.workload() / f"{office.name}.log.gz" for office in load.offices]
    ingest(lake, [Source(log.name, (str(log),), log.name.partition(".")[0], "docker.io") for log in logs])
    if told:
        pushes, images = [], []
        for repository, tag, version in every(load.catalogue):
            name = {"registry": "docker.io", "repository": repository, "tag": tag, "digest": version.digest}
            pushes.append({**name, "timestamp": version.since})
            images.append({**name, "layers": _layers(version.blobs), "checked_at": load.end})
        lake.append("pushes", _table(pushes, dict(PUSHES)))
        lake.append("images", _table(images, dict(IMAGES)))
    return lake


def _layers(blobs: tuple[tuple[str, int], ...]) -> list[dict[str, object]]:
    return [{"digest": digest, "bytes": size} for digest, size in blobs]


def _table(rows: list[dict[str, object]], schema: dict[str, object]) -> pl.DataFrame:
    full = [{name: row.get(name) for name in schema} for row in rows]
    return pl.DataFrame(full, schema=schema)  # type: ignore[arg-type]


def show(title: str, result: ReplayResult) -> None:
    """A row for each policy."""
    print(f"\n{title}: {result.policies['none']['pulls']:,} pulls")
    print(f"{'':20}" + "".join(f"{column:>13}" for column in COLUMNS))
    for name, told in result.policies.items():
        used = "–" if told["precision"] is None else f"{told['precision']:.0%}"
        row = (
            f"{told['hit_ratio']:.1%}",
            f"{told['waiting']:.1f}",
            f"{told['warmed_bytes'] / 1e9:.1f}",
            used,
            f"{told['upstream_bytes'] / 1e9:.1f}",
        )
        print(f"{name:20}" + "".join(f"{cell:>13}" for cell in row))
    for site in result.sites:
        if site.verdict is not None:
            print(f"  {site.site}: {site.verdict.answer.words} ({site.verdict.reason})")


def main() -> None:
    """Both lakes."""
    load = workload.busy()
    sites = {office.name: Site(office.name, office.timezone, office.holidays) for office in load.offices}
    asked = WhatIf(capacity=20_000_000_000, at=(time(6),), policies=POLICIES, pareto="--pareto" in sys.argv)
    for told in (False, True):
        with TemporaryDirectory() as folder:
            result = replay(read(Path(folder) / "lake", load, told=told), sites, asked)
        show("with pushes and layers" if told else "logs alone", result)
        for point in result.curve:
            print(f"  {point['policy']:20}{point['warmed_bytes'] / 1e9:>8.1f} GB{point['waiting']:>8.1f} s")


if __name__ == "__main__":
    main()
