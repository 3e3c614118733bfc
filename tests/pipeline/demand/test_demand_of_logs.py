"""From log to ranking: what is demand, and what only looks like it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from prewarm.demand.calendars import Site
from prewarm.demand.selection import demand_pulls
from prewarm.lake import Lake
from prewarm.logs.files import Source
from prewarm.pipeline.demand.forecast import RankResult, rank
from prewarm.pipeline.logs.ingest import ingest
from prewarm.tables import OUTCOMES

MONDAY = datetime(2026, 2, 2, tzinfo=UTC)
SITES = {"default": Site()}
LAYER = "sha256:" + "a" * 64


def line(at: datetime, client: str, what: str, agent: str, status: str = "200 1500") -> str:
    """One combined access line."""
    method, _, path = what.partition(" ")
    return (
        f'{client} - - [{at:%d/%b/%Y:%H:%M:%S +0000}] "{method} /v2/{path} HTTP/1.1" {status} "-" "{agent}"\n'
    )


def pulled(
    at: datetime, client: str, repository: str, tag: str, agent: str = "docker/24.0 go/1"
) -> list[str]:
    """What docker sends for an image that it does not have."""
    return [
        line(at, client, f"GET {repository}/manifests/{tag}", agent),
        line(at, client, f"GET {repository}/blobs/{LAYER}", agent, "200 5000000"),
    ]


def office(days: int = 21) -> list[tuple[datetime, list[str]]]:
    """Ten people who pull one of six images each morning, some oftener than others."""
    return [
        (at, pulled(at, f"10.0.0.{person}", f"team/app{min(person, 5)}", "1"))
        for day in range(days)
        for person in range(10)
        for at in [MONDAY + timedelta(days=day, hours=8, minutes=5 * person)]
    ]


def read(folder: Path, *logs: Iterable[tuple[datetime, list[str]]]) -> Lake:
    """A lake that read these logs, as one file in the order of time."""
    requests = sorted((each for log in logs for each in log), key=lambda each: each[0])
    path = folder / "access.log"
    path.write_text("".join(text for _, lines in requests for text in lines))
    lake = Lake.open(folder / "lake")
    ingest(lake, [Source(paths=(str(path),))])
    return lake


def ranked(lake: Lake, day: int = 21) -> RankResult:
    return rank(lake, SITES, [MONDAY + timedelta(days=day, hours=8)], top=1000)


def images(result: RankResult) -> list[tuple[str, float]]:
    return [(each.image, round(each.mean, 9)) for each in result.ranking]


def test_a_poller_brings_nothing_new_into_the_ranking(tmp_path: Path) -> None:
    """500 tags that an agent of no list HEADs every five minutes are checks, and told as such."""
    polls = [
        (
            at,
            [
                line(at, "10.7.7.7", f"HEAD team/poll{tag % 25}/manifests/{tag}", "watcher/3")
                for tag in range(500)
            ],
        )
        for minute in range(0, 12 * 60, 5)
        for at in [MONDAY + timedelta(days=20, hours=6, minutes=minute)]
    ]
    result = ranked(read(tmp_path, office(), polls))
    assert {each.image for each in result.ranking} == {f"docker.io/team/app{n}:1" for n in range(6)}
    assert result.set_aside["check"] >= 500


def test_a_client_that_crawls_everything_changes_no_ranking(tmp_path: Path) -> None:
    """Its pulls are listed, and set aside as a crawl."""
    names = [(f"team/app{n}", "1") for n in range(6)] + [(f"archive/old{n}", str(n)) for n in range(120)]
    crawls = [
        (at, pulled(at, "10.8.8.8", *name, agent="mirrorbot/1"))
        for day in (3, 10, 17)
        for number, name in enumerate(names)
        for at in [MONDAY + timedelta(days=day, hours=7, minutes=50, seconds=10 * number)]
    ]
    (tmp_path / "quiet").mkdir()
    lake = read(tmp_path, office(), crawls)
    result = ranked(lake)
    assert images(result) == images(ranked(read(tmp_path / "quiet", office())))
    assert result.set_aside == {"crawl": 3 * len(names)}
    assert lake.read("pulls").height == 210 + 3 * len(names)


def test_many_cold_clients_behind_one_address_all_count(tmp_path: Path) -> None:
    """200 within five minutes, their requests mixed up, are 200 pulls, and demand."""
    began = MONDAY + timedelta(days=1, hours=8)
    log = []
    for client in range(200):
        manifest, layer = pulled(began, "192.0.2.1", "team/app", "1")
        at = began + timedelta(seconds=1.5 * client)
        log.append((at, [manifest.replace("08:00:00", f"{at:%H:%M:%S}")]))
        later = at + timedelta(seconds=1 + client % 7)
        log.append((later, [layer.replace("08:00:00", f"{later:%H:%M:%S}")]))
    pulls = read(tmp_path, log).read("pulls")
    assert abs(pulls.height - 200) <= 10
    assert demand_pulls(pulls)[0].height == pulls.height


def event(at: datetime, pod: int, image: str, what: str) -> str:
    """One Kubernetes event of a node."""
    messages = {
        "pulled": f'Successfully pulled image "{image}" in 2.1s (2.1s including waiting).',
        "present": f'Container image "{image}" already present on machine',
    }
    stamp = f"{at:%Y-%m-%dT%H:%M:%SZ}"
    return json.dumps(
        {
            "kind": "Event",
            "apiVersion": "v1",
            "metadata": {"name": f"pod{pod}.x", "namespace": "shop", "uid": f"{pod:08d}-{at:%m%d}"},
            "involvedObject": {"kind": "Pod", "name": f"pod{pod}", "namespace": "shop"},
            "reason": "Pulled",
            "message": messages[what],
            "source": {"component": "kubelet", "host": f"node{pod % 3}"},
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
            "type": "Normal",
        }
    )


def test_a_warmed_image_that_nodes_use_daily_stays_ranked(tmp_path: Path) -> None:
    """Four weeks in which every use finds the image there do not erase what the warming is good for."""
    image = "docker.io/team/shop:1"
    lines = [
        event(at, day, image, "pulled" if day < 14 else "present")
        for day in range(42)
        for at in [MONDAY + timedelta(days=day, hours=8, minutes=20)]
    ]
    lines += [
        event(MONDAY + timedelta(days=day, hours=8), 100 + day, "docker.io/team/other:1", "pulled")
        for day in range(0, 42, 7)
    ]
    (tmp_path / "events.ndjson").write_text(
        "\n".join(sorted(lines, key=lambda each: json.loads(each)["firstTimestamp"]))
    )
    lake = Lake.open(tmp_path / "lake")
    ingest(lake, [Source(paths=(str(tmp_path / "events.ndjson"),))])
    unwarmed = ranked(lake, 42)
    assert unwarmed.set_aside == {"use": 27}
    warm = [
        {
            "image": image,
            "driver": "kubernetes",
            "state": "already" if day > 13 else "warmed",
            "started_at": at,
            "finished_at": at + timedelta(seconds=30),
        }
        for day in range(13, 42, 7)
        for at in [MONDAY + timedelta(days=day, hours=22)]
    ]
    rows = [{name: row.get(name) for name in OUTCOMES} for row in warm]
    lake.append("outcomes", pl.DataFrame(rows, schema=dict(OUTCOMES)))
    first = ranked(lake, 42)
    assert first.ranking[0].image == image
    assert first.ranking[0].mean > 0.5
    assert first.set_aside == {}
