"""Faults drawn at random, round after round: nothing is called warm that is not, and the next run completes.

Each round moves every tag to new content, draws one to three faults and runs. What the run calls warm is
then looked up on the cache's own disk, byte by byte. A round is survived when every image has an outcome and
a run without faults completes what is left. `make e2e` takes a short slice; `make soak` takes twenty rounds.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e import images
from tests.e2e.commands import Done, with_history
from tests.e2e.images import Pushed
from tests.e2e.proxies import Fault, Proxy
from tests.e2e.rounds import ROUNDS, tell
from tests.e2e.servers import Distribution
from tests.e2e.tokens import TokenServer

SEED = 7
REGISTRY = "registry.test"
REPOSITORIES = ("acme/one", "acme/two", "acme/three")
LAYERS = (1_200_000, 700_000)
WITHIN = 180.0  # seconds that any run may take


@dataclass
class World:
    """A cache and what can be broken around it."""

    upstream: Distribution  # where images are pushed
    back: Proxy  # before the upstream
    front: Proxy  # before what prewarm talks to; the same as `back` where that is the upstream
    server: Distribution  # what stands behind `front`
    settings: str
    has: Callable[[str], bytes | None]  # a blob on the cache's disk, by digest
    tokens: TokenServer | None = None
    pushed: dict[str, Pushed] = field(default_factory=dict)  # by image

    def push(self, number: int) -> None:
        """Every tag gets new content."""
        for repository in REPOSITORIES:
            new = images.push_image(self.pushes_to, repository, "1", LAYERS, seed=f"{repository}/{number}")
            self.pushed[f"{REGISTRY}/{repository}:1"] = new

    @property
    def pushes_to(self) -> str:
        return self.open.url if self.open else self.upstream.url

    open: Distribution | None = None  # the upstream's storage without its login

    def repair(self) -> None:
        """Everything works again.

        Requests that hang are dropped: Distribution 2.8 waits for its upstream without end, and
        stores nothing under a digest that it is still waiting for.
        """
        for proxy in (self.back, self.front):
            proxy.faults = []
            proxy.let_go()
        if self.tokens:
            self.tokens.seconds = 300
        for server in (self.upstream, self.server):
            if not server.running:
                server.start()


@pytest.fixture
def layout(folder: Path, stack: ExitStack) -> World:
    """A folder, filled from a registry whose tokens can be short-lived."""
    tokens = stack.enter_context(
        TokenServer(folder / "tokens", seconds=300, user="tester", password="s3cret")
    )
    unguarded = stack.enter_context(Distribution(folder / "open"))
    guarded = Distribution(folder / "guarded", storage=unguarded.storage, auth=tokens.registry_auth)
    stack.enter_context(guarded)
    proxy = stack.enter_context(Proxy(guarded.address))
    path = folder / "oci"
    settings = (
        f'[registries."{REGISTRY}"]\nurl = "{proxy.url}"\ntimeout = "2s"\n'
        f'[registries."{tokens.address}"]\nurl = "{tokens.url}"\n'
        f'[caches.edge]\ndriver = "layout"\npath = "{path}"\n'
    )

    def has(digest: str) -> bytes | None:
        file = path / "blobs" / digest.replace(":", "/")
        return file.read_bytes() if file.exists() else None

    return World(guarded, proxy, proxy, guarded, settings, has, tokens, open=unguarded)


@pytest.fixture
def mirror(folder: Path, origin: Distribution, stack: ExitStack) -> World:
    """A pull-through mirror, with a proxy on either side of it."""
    back = stack.enter_context(Proxy(origin.address))
    server = stack.enter_context(Distribution(folder / "mirror", upstream=back.url))
    front = stack.enter_context(Proxy(server.address))
    settings = (
        f'[registries."{REGISTRY}"]\nurl = "{origin.url}"\n'
        f'[caches.edge]\ndriver = "mirror"\nurl = "{front.url}"\nupstream = "{REGISTRY}"\n'
        'timeout = "2s"\nfill_timeout = "4s"\n'
    )

    def has(digest: str) -> bytes | None:
        file = server.blob_file(digest)
        return file.read_bytes() if file.exists() else None

    return World(origin, back, front, server, settings, has)


def draw(world: World, chance: random.Random) -> tuple[str, Proxy, Fault]:
    """A fault's name, the proxy that does it, and the fault itself."""
    proxy = chance.choice([world.back, world.front])
    image = world.pushed[chance.choice(sorted(world.pushed))]
    digest = chance.choice(image.blobs[1:])
    blob = f"GET .*/blobs/{digest}"
    tag = f"{image.repository}/manifests/"
    somewhere = chance.choice([f"GET .*{tag}", blob, "GET .*/blobs/"])
    size, times = chance.randint(1000, 600_000), chance.choice([1, None])

    def server(which: Distribution) -> Fault:
        return Fault("GET .*/blobs/", then=which.kill, then_after=size, bytes_per_second=2_000_000)

    def short_tokens() -> Fault:
        assert world.tokens is not None
        world.tokens.seconds = 1
        return Fault("GET .*/blobs/", times=None, bytes_per_second=600_000)

    kinds: Mapping[str, Callable[[], Fault]] = {
        "wrong digest": lambda: Fault(blob, times=times, corrupt=True),
        "truncated": lambda: Fault(blob, times=times, cut_after=size),
        "404": lambda: Fault(somewhere, times=times, status=404),
        "429": lambda: Fault(
            somewhere, times=chance.choice([1, 2]), status=429, headers={"Retry-After": "1"}
        ),
        "429 for hours": lambda: Fault(blob, times=None, status=429, headers={"Retry-After": "3600"}),
        "500 then 200": lambda: Fault(somewhere, times=chance.choice([1, 2]), status=500),
        "hang": lambda: Fault(somewhere, hang=True),
        "trickle": lambda: Fault(blob, times=times, trickle=True),
        "redirect loop": lambda: Fault(
            blob,
            times=times,
            status=307,
            headers={"Location": f"{proxy.url}/v2/{image.repository}/blobs/{digest}"},
        ),
        "origin killed": lambda: server(world.upstream),
        **(
            {"token expired": short_tokens} if world.tokens else {"mirror down": lambda: server(world.server)}
        ),
    }
    kind = chance.choice(sorted(kinds))
    return kind, proxy, kinds[kind]()


def wrongly_warm(world: World, done: Done) -> Iterator[str]:
    """Images that a run calls warm, or already there, and whose bytes the cache's disk does not have."""
    for image, state in done.states().items():
        if state in ("warmed", "already"):
            wanted = world.pushed[image]
            named = next(each["digest"] for each in done.json["outcomes"] if each["image"] == image)
            if named != wanted.digest or not all(_whole(world, digest) for digest in wanted.blobs):
                yield image


def _whole(world: World, digest: str) -> bool:
    content = world.has(digest)
    return content is not None and f"sha256:{hashlib.sha256(content).hexdigest()}" == digest


@pytest.mark.parametrize("name", ["layout", "mirror"])
def test_faults_at_random_call_nothing_warm_that_is_not(
    name: str, request: pytest.FixtureRequest, folder: Path
) -> None:
    """Whatever is drawn: an outcome for each image, no false claim, and the next run completes."""
    world: World = request.getfixturevalue(name)
    chance = random.Random(f"{SEED}/{name}")
    world.push(0)
    prewarm = with_history(folder / "p", world.settings, *world.pushed)
    if world.tokens:
        logins = {"auths": {REGISTRY: {"auth": world.tokens.credentials}}}
        prewarm.docker_config.write_text(json.dumps(logins))
    drawn: Counter[str] = Counter()
    struck: Counter[str] = Counter()
    states: Counter[str] = Counter()
    wrong: list[tuple[int, str]] = []

    for number in range(1, ROUNDS + 1):
        world.push(number)
        faults = [draw(world, chance) for _ in range(chance.randint(1, 3))]
        for kind, proxy, fault in faults:
            proxy.faults.append(fault)
            drawn[kind] += 1
        done = prewarm("run", "--cache", "edge", "--top", "3", within=WITHIN)
        for kind, _, fault in faults:
            struck[kind] += bool(fault.struck)
        assert done.code in (0, 1, 3), done.stderr
        if done.json:
            states.update(done.states().values())
            wrong += [(number, image) for image in wrongly_warm(world, done)]
            assert set(done.states()) == set(world.pushed)
            assert (done.code == 3) == bool({"failed", "cancelled"} & set(done.states().values()))
        world.repair()
        healed = prewarm("run", "--cache", "edge", "--top", "3", within=WITHIN)
        assert healed.code == 0, f"round {number}, {faults}: {healed.json}\n{healed.stderr}"
        assert set(healed.states().values()) <= {"warmed", "already"}
        wrong += [(number, image) for image in wrongly_warm(world, healed)]

    tell(f"{name}: {ROUNDS} rounds, all survived; {len(wrong)} images wrongly called warm; {dict(states)}")
    tell(f"{name}: {sum(drawn.values())} faults drawn, {sum(struck.values())} met: {dict(struck)}")
    assert wrong == []
    assert sum(struck.values()) >= ROUNDS / 2
