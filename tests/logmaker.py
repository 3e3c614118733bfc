"""A seeded access log of many clients, as a gorilla-style registry log would have it."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

BEGIN = datetime(2026, 11, 23, 7, tzinfo=UTC)
AGENT = "docker/20.10.24 go/go1.19.8 os/linux arch/amd64"


def line(time: datetime, client: str, request: str, status: int = 200, size: int = 1000) -> bytes:
    stamp = time.strftime("%d/%b/%Y:%H:%M:%S +0000")
    return f'{client} - - [{stamp}] "{request} HTTP/1.1" {status} {size} "" "{AGENT}"\n'.encode()


def pull(time: datetime, client: str, repository: str, tag: str, layers: int) -> list[tuple[datetime, bytes]]:
    """A cold pull by docker: HEAD tag, GET index, GET manifest, GET blobs, a few seconds apart."""
    name = f"/v2/{repository}"
    asked = [(f"HEAD {name}/manifests/{tag}", 500), (f"GET {name}/manifests/{digest(repository, tag)}", 500)]
    asked += [(f"GET {name}/blobs/{digest(repository, tag, n)}", 70_000 + n) for n in range(layers)]
    return [
        (time + timedelta(seconds=5 * n), line(time + timedelta(seconds=5 * n), client, request, size=size))
        for n, (request, size) in enumerate(asked)
    ]


def digest(*parts: object) -> str:
    return f"sha256:{random.Random(repr(parts)).getrandbits(256):064x}"


def log(seed: int, pulls: int = 120, hours: float = 3) -> bytes:
    """`pulls` pulls at random times, with checks, pushes, noise and a poller that never pauses.

    No client asks one repository twice in a second: stamps of one second do not order such requests.
    """
    chance = random.Random(seed)
    lines: list[tuple[datetime, bytes]] = []
    taken: set[tuple[str, str, datetime]] = set()
    for _ in range(pulls):
        time = BEGIN + timedelta(seconds=chance.randrange(int(hours * 3600)))
        client, repository = f"10.0.0.{chance.randrange(6)}", f"acme/app{chance.randrange(4)}"
        event = _event(chance, time, client, repository, f"1.{chance.randrange(3)}")
        seconds = {(client, repository, second) for second, _ in event}
        if not seconds & taken:
            lines += event
            taken |= seconds
    for second in range(0, int(hours * 3600), 45):
        time = BEGIN + timedelta(seconds=second)
        lines.append((time, line(time, "10.9.9.9", "HEAD /v2/acme/polled/manifests/latest")))
    return b"".join(text for _, text in sorted(lines, key=lambda pair: pair[0]))


def _event(
    chance: random.Random, time: datetime, client: str, repository: str, tag: str
) -> list[tuple[datetime, bytes]]:
    name = f"/v2/{repository}/manifests"
    match chance.randrange(8):
        case 0:
            return [(time, line(time, client, f"HEAD {name}/{tag}"))]
        case 1:
            return [(time, line(time, client, f"PUT {name}/{tag}", 201))]
        case 2:
            return [(time, b"a line of noise\n")]
        case 3:
            return [(time, line(time, client, f"GET {name}/{digest(repository, tag)}"))]
        case _:
            return pull(time, client, repository, tag, chance.randrange(1, 12))
