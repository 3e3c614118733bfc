"""Who asks for what, when: the habits of one office.

Nothing here knows of forecasts. People come in around eight and start what they work on, some on desktops
that are fresh every morning; builds run on fresh runners within minutes of a commit; nightly and weekly
jobs keep their minute; nodes are switched on for the day; a bot looks for new tags and pulls nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from prewarm.demo.chance import Dice
from prewarm.demo.contents import Catalogue, at
from prewarm.demo.images import RECIPES, SERVICES, Build, release
from prewarm.demo.sites import Office, Team, working


@dataclass(frozen=True, slots=True)
class Wish:
    """Somebody at an office asks for an image. `store` names what is already on that machine: a fresh
    machine has a store of its own."""

    time: datetime
    client: str
    store: str
    agent: str  # docker | containerd | skopeo | bot
    repository: str
    tag: str


class Day:
    """One date at one office, with what is needed to decide what is asked for."""

    def __init__(self, seed: int, office: Office, day: date, made: list[Build], known: Catalogue) -> None:
        self.office = office
        self.date = day
        self.working = working(office, day)
        self._seed, self._made, self._known = seed, made, known

    def wishes(self) -> Iterator[Wish]:
        """Everything that is asked for on this date, in no order."""
        habits = (self._desks, self._nodes, self._builds, self._nightly, self._weekly, self._bot)
        yield from (wish for habit in habits for wish in habit() if self._exists(wish))
        yield from self._typo()

    def _dice(self, *name: object) -> Dice:
        return Dice(self._seed, self.office.name, self.date, *name)

    def _desks(self) -> Iterator[Wish]:
        for number, team in enumerate(self.office.teams):
            for person in range(team.people):
                dice = self._dice("desk", number, person)
                if dice.happens(_attendance(self.working, self.date)):
                    yield from self._at_work(dice, team, number, person)

    def _at_work(self, dice: Dice, team: Team, number: int, person: int) -> Iterator[Wish]:
        """A person arrives and starts the stack; some fetch the newest again after lunch."""
        client = f"{self.office.network}.{number + 1}.{person + 10}"
        virtual = person < team.virtual * team.people
        store = f"{client}/{self.date}" if virtual else client
        arrival = dice.bell(8.2, 0.35) if self.working else dice.uniform(10.0, 20.0)
        starts = [arrival] + ([dice.uniform(13.0, 15.5)] if dice.happens(0.3) else [])
        for hour in starts:
            for position, name in enumerate(team.stack):
                if dice.happens(0.93):
                    later = timedelta(seconds=position * 4 + dice.uniform(0, 3))
                    yield self._wish(hour, later, client, store, "docker", name)

    def _nodes(self) -> Iterator[Wish]:
        """Nodes are switched on before the working day; once, many more come at nine."""
        dice = self._dice("nodes")
        starts = [dice.uniform(7.3, 7.9) for _ in range(self.office.nodes)] if self.working else []
        if self.date == self.office.scale_out:
            starts += [dice.uniform(9.0, 9.3) for _ in range(18)]
        for number, hour in enumerate(starts):
            client = f"{self.office.network}.40.{number + 10}"
            for position, name in enumerate(self.office.cluster):
                later = timedelta(seconds=position * 2 + dice.uniform(0, 2))
                yield self._wish(hour, later, client, f"{client}/{self.date}", "containerd", name)

    def _builds(self) -> Iterator[Wish]:
        """A build pulls its builder; the test after it, and a staging deployment, pull what was pushed."""
        for build in self._made:
            if build.service.home != self.office.name or not self._on_this_date(build.started):
                continue
            dice = self._dice("build", build.service.name, build.number)
            yield self._run(dice, build.started, self._builder(build))
            tested = build.pushed + timedelta(seconds=dice.uniform(20, 90))
            yield self._run(dice, tested, f"{build.service.name}:{build.tag}")
            if dice.happens(0.5):
                yield self._run(dice, tested, "library/postgres:16")
            if build.merged:
                yield from self._staging(build)

    def _staging(self, build: Build) -> Iterator[Wish]:
        """Two long-lived staging nodes take every merge within minutes."""
        dice = self._dice("staging", build.service.name, build.number)
        for node in range(2):
            client = f"{self.office.network}.30.{node + 10}"
            time = build.pushed + timedelta(seconds=dice.uniform(100, 220))
            yield Wish(time, client, client, "containerd", build.service.name, build.tag)

    def _nightly(self) -> Iterator[Wish]:
        """At one in the morning every service of this office is tested against its newest build."""
        one = self.office.clock(self.date, 1.0)
        for number, service in enumerate(SERVICES):
            if service.home == self.office.name:
                dice = self._dice("nightly", service.name)
                start = one + timedelta(seconds=number * 5 + dice.uniform(0, 4))
                needed = (f"{service.name}:nightly", service.builder, "aquasec/trivy:latest")
                for position, name in enumerate(needed):
                    yield self._run(dice, start + timedelta(seconds=30 * position), name)

    def _weekly(self) -> Iterator[Wish]:
        """Jobs of one weekday, holiday or not, and a copy of the releases on Sunday night."""
        for number, job in enumerate(self.office.weekly):
            if job.weekday == self.date.weekday():
                dice = self._dice("weekly", number)
                start = self.office.clock(self.date, job.hour)
                for _ in range(job.runners):
                    for name in job.images:
                        yield self._run(dice, start + timedelta(seconds=dice.uniform(0, 240)), name)
        if self.date.weekday() == 6:
            yield from self._copies()

    def _copies(self) -> Iterator[Wish]:
        client = f"{self.office.network}.50.10"
        store = f"{client}/{self.date}"
        for number, service in enumerate(SERVICES):
            later = timedelta(minutes=3 * number)
            yield self._wish(3.0, later, client, store, "skopeo", f"{service.name}:release")

    def _bot(self) -> Iterator[Wish]:
        """Every eight hours a bot asks for the digests of the public tags that it watches, half of them."""
        client = f"{self.office.network}.50.20"
        for third in range(3):
            start = self.office.clock(self.date, 8.0 * third + 0.1)
            for number, recipe in enumerate(RECIPES[::2]):
                time = start + timedelta(seconds=number)
                yield Wish(time, client, client, "bot", recipe.repository, recipe.tag)

    def _typo(self) -> Iterator[Wish]:
        """About once in two weeks somebody asks for a tag that was never pushed."""
        dice = self._dice("typo")
        if dice.happens(0.08):
            client = f"{self.office.network}.1.{10 + int(dice.uniform(0, 4))}"
            yield self._wish(dice.uniform(9, 17), timedelta(), client, client, "docker", "library/nginx:1.52")

    def _run(self, dice: Dice, time: datetime, name: str) -> Wish:
        """A job pulls an image on a runner that starts empty."""
        client = f"{self.office.network}.{20 + int(dice.uniform(0, 3))}.{int(dice.uniform(2, 250))}"
        return self._wish_at(time, client, f"{client}/{time}", "docker", name)

    def _wish(self, hour: float, later: timedelta, client: str, store: str, agent: str, name: str) -> Wish:
        return self._wish_at(self.office.clock(self.date, hour) + later, client, store, agent, name)

    def _wish_at(self, time: datetime, client: str, store: str, agent: str, name: str) -> Wish:
        repository, tag = self._current(name, time)
        return Wish(time, client, store, agent, repository, tag)

    def _builder(self, build: Build) -> str:
        """The image that builds run in; golang moves to its next version three days after it came out."""
        newer = self._out("library/golang", "1.23", build.started, 3)
        builder = build.service.builder
        return "library/golang:1.23" if newer and builder == "library/golang:1.22" else builder

    def _current(self, name: str, time: datetime) -> tuple[str, str]:
        """What a name in a compose file or chart stands for on this date."""
        if name == "nginx":
            adopted = self._out("library/nginx", "1.26", time, self.office.patience)
            return "library/nginx", "1.26" if adopted else "1.25"
        repository, _, tag = name.partition(":")
        if tag == "release":
            return repository, self._release(repository, time)
        return repository, tag

    def _release(self, repository: str, time: datetime) -> str:
        """The newest release that has been out for a day."""
        out = [number for number in range(5) if self._out(repository, release(number), time, 1)]
        return release(max(out, default=0))

    def _out(self, repository: str, tag: str, time: datetime, days: int) -> bool:
        """Whether this tag has existed for so many days."""
        return at(self._known.get((repository, tag), ()), time - timedelta(days=days)) is not None

    def _exists(self, wish: Wish) -> bool:
        """Nobody works with what is not there yet."""
        return at(self._known.get((wish.repository, wish.tag), ()), wish.time) is not None

    def _on_this_date(self, time: datetime) -> bool:
        start = self.office.clock(self.date, 0.0)
        return start <= time < self.office.clock(self.date + timedelta(days=1), 0.0)


def _attendance(at_work: bool, day: date) -> float:
    """The chance that a person shows up: fewer on Fridays, hardly anyone at weekends."""
    if not at_work:
        return 0.03
    return 0.75 if day.weekday() == 4 else 0.88
