"""The synthetic workload and the sample made from it."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from prewarm.demo import samples, workload
from prewarm.demo.contents import digest_of, every
from prewarm.demo.lines import lines


@pytest.fixture(scope="module")
def busy() -> workload.Workload:
    """The whole busy workload; it takes a second to make."""
    return workload.busy()


def shipped(name: str) -> str:
    return gzip.decompress((samples.workload() / name).read_bytes()).decode()


@pytest.mark.parametrize("site", ["boise", "berlin", "mumbai"])
def test_the_generator_reproduces_the_shipped_logs(busy: workload.Workload, site: str) -> None:
    """Six weeks, byte for byte."""
    made = "\n".join(lines(busy.at(site))) + "\n"
    assert (
        hashlib.sha256(made.encode()).digest() == hashlib.sha256(shipped(f"{site}.log.gz").encode()).digest()
    )


def test_the_generator_reproduces_the_quiet_sample() -> None:
    """The second sample likewise."""
    made = "\n".join(lines(workload.quiet().pulls)) + "\n"
    assert made == shipped("quiet/lisbon.log.gz")


def test_shipped_truth_and_catalogue_are_those_of_the_generator(busy: workload.Workload) -> None:
    """What the files promise is what was generated."""
    assert json.loads((samples.workload() / "truth.json").read_text()) == json.loads(
        json.dumps(workload.truth(busy))
    )
    assert json.loads(shipped("catalogue.json.gz")) == json.loads(
        json.dumps(workload.listing(busy.catalogue))
    )


def test_files_are_equal_bytes_on_every_run(tmp_path: Path) -> None:
    """No time, no name and no order of a set gets into them."""
    first, second = workload.write(tmp_path / "a"), workload.write(tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_shorter_period_is_a_prefix_and_another_seed_is_not() -> None:
    """Three days are the first three of five; what happens does not depend on the future."""
    three, five, other = workload.busy(days=3), workload.busy(days=5), workload.busy(seed=1, days=3)
    before = [pull for pull in five.pulls if pull.time < three.end]
    assert list(three.pulls) == before
    assert list(other.pulls) != before


def test_the_logs_are_small_and_say_that_they_are_synthetic() -> None:
    """Under a megabyte and a half together, and labelled."""
    files = [path for path in samples.workload().rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_500_000
    assert "synthetic" in (samples.workload() / "README.md").read_text()
    assert json.loads((samples.workload() / "truth.json").read_text())["synthetic"] is True


def test_every_digest_is_the_digest_of_its_content(busy: workload.Workload) -> None:
    """Layers, configs, manifests and indexes name each other truly."""
    for _, _, version in list(every(busy.catalogue))[::25]:
        manifest = json.loads(version.manifest.body)
        assert json.loads(version.index.body)["manifests"][0]["digest"] == version.manifest.digest
        assert manifest["config"]["digest"] == digest_of(version.config.body)
        assert [layer["digest"] for layer in manifest["layers"]] == [
            digest_of(one.content()) for one in version.layers
        ]


def test_offices_wake_by_their_own_clocks(busy: workload.Workload) -> None:
    """In each office the busiest hour of people at desks is seven or eight o'clock local time."""
    for office in busy.offices:
        zone = ZoneInfo(office.timezone)
        hours = Counter(
            pull.time.astimezone(zone).hour
            for pull in busy.at(office.name)
            if pull.kind == "layers" and pull.agent == "docker" and pull.tag == "main"
        )
        assert hours.most_common(1)[0][0] in (7, 8)


def test_weekends_and_holidays_are_quiet(busy: workload.Workload) -> None:
    """A closed Wednesday looks like a Sunday, not like the Wednesday before."""

    def layers_on(day: str) -> int:
        return sum(pull.kind == "layers" for pull in boise if str(pull.time.astimezone(zone).date()) == day)

    boise, zone = busy.at("boise"), ZoneInfo("America/Boise")
    assert layers_on("2026-11-11") < layers_on("2026-11-04") / 3
    assert layers_on("2026-11-08") < layers_on("2026-11-04") / 3


def test_a_tag_gives_way_to_its_successor(busy: workload.Workload) -> None:
    """nginx 1.25 in the first week, 1.26 in the last, at every site."""
    for office in busy.offices:
        nginx = [
            pull
            for pull in busy.at(office.name)
            if pull.repository == "library/nginx" and pull.kind == "layers"
        ]
        first = {pull.tag for pull in nginx if pull.time < busy.start + timedelta(days=7)}
        last = {pull.tag for pull in nginx if pull.time > busy.end - timedelta(days=7)}
        assert (first, last) == ({"1.25"}, {"1.26"})


def test_build_tags_are_short_lived(busy: workload.Workload) -> None:
    """Nobody pulls a build's tag a day after its first pull."""
    seen: dict[str, datetime] = {}
    for pull in busy.pulls:
        if pull.tag.startswith("build-"):
            assert pull.time - seen.setdefault(pull.image, pull.time) < timedelta(days=1)
    assert len(seen) > 300


def test_lines_are_written_as_requests_end_and_stamped_as_they_start(busy: workload.Workload) -> None:
    """As in a real log, stamps are nearly but not quite in order."""
    stamps = [
        datetime.strptime(line.split("[", 1)[1].split("]", 1)[0], "%d/%b/%Y:%H:%M:%S %z")
        for line in lines(busy.at("boise"))
    ]
    steps = [after - before for before, after in pairwise(stamps)]
    assert timedelta(seconds=-20) < min(steps) < timedelta()
    assert sum(step < timedelta() for step in steps) < len(steps) / 10
