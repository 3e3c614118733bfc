"""The images of the workload and when their tags move.

Written from what public registries and build systems are known to do: official images share base
layers and are all rebuilt within hours of a new base; `latest` and `nightly` move by themselves; a build
system pushes an immutable tag per build and moves `main` with every merge; releases replace each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from prewarm.demo.chance import Dice
from prewarm.demo.contents import Catalogue, Layer, Version, layer, version
from prewarm.demo.sites import Office, working

DAY = timedelta(days=1)

# Megabytes of the layers that images are built on, and the days on which a new base came out.
BASES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "debian": ((29.1,), (11.3, 32.6)),
    "buildpack": ((29.1, 24.0, 64.1, 211.3), (11.3, 32.6)),
    "ubuntu": ((30.4,), (8.2, 27.9)),
    "alpine": ((3.6,), (19.4,)),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """A public image: its base, its own layers in MB, its birth and how often its tag moves by itself."""

    repository: str
    tag: str
    base: str
    layers: tuple[float, ...]
    born: float = -1.0  # day of the workload on which the tag appeared
    moves: float | None = None  # days between moves of a floating tag; None: only with its base


RECIPES = (
    Recipe("library/nginx", "1.25", "debian", (41.4, 0.1, 0.1)),
    Recipe("library/nginx", "1.26", "debian", (42.0, 0.1, 0.1), born=16.4),
    Recipe("library/postgres", "16", "debian", (4.5, 8.1, 112.0)),
    Recipe("library/redis", "7", "debian", (1.0, 16.1)),
    Recipe("library/mysql", "8.4", "ubuntu", (50.2, 118.0)),
    Recipe("library/rabbitmq", "3.13-management", "ubuntu", (47.1, 17.7)),
    Recipe("library/node", "20", "buildpack", (48.2, 2.3)),
    Recipe("library/node", "22", "buildpack", (52.0, 2.3)),
    Recipe("library/python", "3.12", "buildpack", (24.9, 2.6)),
    Recipe("library/python", "3.12-slim", "debian", (3.5, 13.7)),
    Recipe("library/golang", "1.22", "buildpack", (92.3, 69.4)),
    Recipe("library/golang", "1.23", "buildpack", (92.5, 74.1), born=22.6),
    Recipe("library/maven", "3.9-eclipse-temurin-21", "ubuntu", (22.9, 157.6, 9.2)),
    Recipe("library/eclipse-temurin", "21", "ubuntu", (22.9, 157.6)),
    Recipe("library/alpine", "3.20", "alpine", ()),
    Recipe("library/docker", "27-dind", "alpine", (7.9, 63.8)),
    Recipe("library/elasticsearch", "8.15.2", "ubuntu", (84.0, 512.5)),
    Recipe("hashicorp/terraform", "1.9", "alpine", (1.0, 27.4)),
    Recipe("grafana/grafana", "11.2.0", "alpine", (9.8, 112.6)),
    Recipe("prom/prometheus", "v2.54.1", "alpine", (53.0, 48.9)),
    Recipe("prom/node-exporter", "v1.8.2", "alpine", (11.0,)),
    Recipe("fluent/fluent-bit", "3.1", "debian", (24.6, 11.2)),
    Recipe("minio/minio", "latest", "alpine", (58.7,), moves=6.0),
    Recipe("localstack/localstack", "latest", "buildpack", (188.0, 96.0), moves=3.5),
    Recipe("aquasec/trivy", "latest", "alpine", (42.3,), moves=7.0),
    Recipe("selenium/standalone-chrome", "latest", "ubuntu", (96.1, 412.0), moves=8.0),
    Recipe("jupyter/scipy-notebook", "latest", "ubuntu", (145.0, 630.4), moves=7.0),
    Recipe("apache/spark", "3.5.3", "ubuntu", (157.6, 391.0)),
    Recipe("selenium/standalone-firefox", "latest", "ubuntu", (96.1, 388.0), moves=8.0),
    Recipe("grafana/k6", "0.54.0", "alpine", (31.0,)),
    Recipe("library/sonarqube", "10.7-community", "ubuntu", (22.9, 157.6, 420.0)),
    Recipe("apache/kafka", "3.8.0", "alpine", (98.0, 112.0)),
    Recipe("apache/superset", "4.0.2", "buildpack", (310.0,)),
)


@dataclass(frozen=True, slots=True)
class Service:
    """A product of the company: built at its home site, deployed and developed against everywhere."""

    name: str
    home: str
    base: str
    runtime: float  # MB of its dependencies, changed by about one build in eight
    code: float  # MB of its own code, new in every build
    builder: str  # the image its builds run in, repository:tag
    born: float = -1.0


SERVICES = (
    Service("acme/web", "boise", "alpine", 46.0, 11.2, "library/node:20"),
    Service("acme/api", "boise", "debian", 88.0, 14.6, "library/golang:1.22"),
    Service("acme/payments", "berlin", "ubuntu", 172.0, 21.3, "library/maven:3.9-eclipse-temurin-21"),
    Service("acme/mobile-bff", "berlin", "debian", 96.0, 9.8, "library/node:22"),
    Service("acme/etl", "mumbai", "buildpack", 264.0, 6.4, "library/python:3.12"),
    Service("acme/qa-suite", "mumbai", "ubuntu", 318.0, 7.9, "library/python:3.12"),
    Service("acme/search", "berlin", "ubuntu", 140.0, 12.1, "library/golang:1.22", born=24.0),
)


@dataclass(frozen=True, slots=True)
class Build:
    """One build of a service: when its image was pushed, and whether it became `main`."""

    service: Service
    number: int
    started: datetime
    pushed: datetime
    merged: bool

    @property
    def tag(self) -> str:
        return f"build-{self.number}"


def builds(seed: int, offices: tuple[Office, ...], start: datetime, days: int) -> list[Build]:
    """Every build of every service, oldest first. Before `start` there was one build of each old service."""
    homes = {office.name: office for office in offices}
    found = [
        build for service in SERVICES for build in _builds(seed, service, homes[service.home], start, days)
    ]
    return sorted(found, key=lambda build: (build.pushed, build.service.name))


def catalogue(seed: int, made: list[Build], start: datetime, days: int) -> Catalogue:
    """Every tag that existed and what it pointed to, up to `start + days`."""
    tags: dict[tuple[str, str], list[Version]] = {}
    for recipe in RECIPES:
        versions = _public(seed, recipe, start, days)
        if versions:
            tags[recipe.repository, recipe.tag] = versions
    for service in SERVICES:
        tags.update(_product(seed, service, [build for build in made if build.service is service], start))
    return {name: tuple(versions) for name, versions in tags.items()}


def _builds(seed: int, service: Service, home: Office, start: datetime, days: int) -> list[Build]:
    birth = start + service.born * DAY
    found = [Build(service, 1, birth - timedelta(hours=1), birth, merged=True)]
    for day in home.days(start, days):
        dice = Dice(seed, "builds", service.name, day)
        pace = 4.0 if working(home, day) else 0.25
        starts = sorted(home.clock(day, dice.uniform(9.0, 18.5)) for _ in range(dice.count(pace)))
        for started in starts:
            minutes, merged = dice.uniform(5, 12), dice.happens(0.45)
            if birth < started:
                pushed = (started + timedelta(minutes=minutes)).replace(microsecond=0)
                found.append(Build(service, len(found) + 1, started, pushed, merged))
    return [build for build in found if build.started < start + days * DAY]


def _public(seed: int, recipe: Recipe, start: datetime, days: int) -> list[Version]:
    name = f"{recipe.repository}:{recipe.tag}"
    dice = Dice(seed, "public", name)
    rebuilt = [day + dice.uniform(0.1, 1.5) for day in BASES[recipe.base][1]]
    moved = _moves(dice, recipe, days)
    changes = sorted({recipe.born, *rebuilt, *moved})
    versions = []
    for day in changes:
        if recipe.born <= day < days:
            since = (start + day * DAY).replace(microsecond=0)
            own = tuple(
                layer(f"{seed}/{name}/{number}/{day:.3f}", megabytes)
                for number, megabytes in enumerate(recipe.layers)
            )
            versions.append(version(name, since, _base(seed, recipe.base, day) + own))
    return versions


def _moves(dice: Dice, recipe: Recipe, days: int) -> list[float]:
    """The days on which a floating tag moved by itself."""
    if recipe.moves is None:
        return []
    moved = [dice.uniform(0.0, recipe.moves)]
    while moved[-1] < days:
        moved.append(moved[-1] + dice.uniform(0.7, 1.3) * recipe.moves)
    return moved


def _base(seed: int, base: str, day: float) -> tuple[Layer, ...]:
    """The newest layers of `base` on this day. Debian's own layer is the first of the buildpack's."""
    sizes, revisions = BASES[base]
    revision = sum(revised <= day for revised in revisions)
    names = ["debian" if base == "buildpack" and number == 0 else base for number in range(len(sizes))]
    return tuple(
        layer(f"{seed}/{name}/{number}/{revision}", size)
        for number, (name, size) in enumerate(zip(names, sizes, strict=True))
    )


def _product(
    seed: int, service: Service, made: list[Build], start: datetime
) -> dict[tuple[str, str], list[Version]]:
    """The tags of one service: one per build, `main` per merge, `nightly`, and fortnightly releases."""
    tags: dict[tuple[str, str], list[Version]] = {}
    dice, runtime = Dice(seed, "runtime", service.name), 0
    latest: Version | None = None
    for build in made:
        runtime += dice.happens(0.12)
        day = (build.pushed - start) / DAY
        layers = (
            *_base(seed, service.base, max(day, 0.0)),
            layer(f"{seed}/{service.name}/runtime/{runtime}", service.runtime),
            layer(f"{seed}/{service.name}/code/{build.number}", service.code),
        )
        one = version(f"{service.name}:{build.tag}", build.pushed, layers)
        tags[service.name, build.tag] = [one]
        if build.merged:
            tags.setdefault((service.name, "main"), []).append(one)
            _release(tags, service, latest or one, build.pushed, start)
            _nightly(tags, service, latest, build.pushed)
            latest = one
    if latest:
        _nightly(tags, service, latest, latest.since + DAY)
    return tags


def _nightly(
    tags: dict[tuple[str, str], list[Version]], service: Service, latest: Version | None, until: datetime
) -> None:
    """`nightly` moves at 00:30 UTC to the newest merge, when there was one."""
    if latest is None:
        return
    midnight = datetime.combine(latest.since.date() + DAY, datetime.min.time(), UTC)
    moved = midnight + timedelta(minutes=30)
    if moved <= until:
        tags.setdefault((service.name, "nightly"), []).append(_since(latest, moved))


def _release(
    tags: dict[tuple[str, str], list[Version]],
    service: Service,
    content: Version,
    now: datetime,
    start: datetime,
) -> None:
    """A release is cut every second week, from the first merge that comes after its hour."""
    for number in range(max(0, int((now - start) / (14 * DAY))) + 1):
        cut = start + timedelta(days=14 * number, hours=-6)
        if now >= cut and (service.name, release(number)) not in tags and (number == 0 or service.born < 0):
            tags[service.name, release(number)] = [_since(content, max(now, cut))]


def release(number: int) -> str:
    """The tag of the `number`th release."""
    return f"2.{14 + number}"


def _since(one: Version, since: datetime) -> Version:
    return Version(since, one.digest, one.index, one.manifest, one.config, one.layers)
