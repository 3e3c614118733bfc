"""Clients pull through a mirror while its log is ingested and its cache warmed: each pull counts once.

`make e2e` takes a short slice; `make soak` takes twenty rounds.
"""

from __future__ import annotations

import hashlib
import http.client
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.e2e import images
from tests.e2e.commands import Prewarm, history
from tests.e2e.images import Pushed
from tests.e2e.rounds import ROUNDS, tell
from tests.e2e.servers import Distribution

CLIENTS = [f"127.0.1.{number}" for number in range(1, 25)]
IMAGES = 4  # new ones of each round; every client pulls each of them once
AGENT = "containerd/1.7.0"
ACCEPT = "application/vnd.oci.image.manifest.v1+json"

Pull = tuple[str, str, str]
"""client, repository, tag"""


def pull(mirror: Distribution, client: str, image: Pushed) -> Pull:
    """Do what containerd does: the tag by HEAD, the manifest and the blobs by digest; all of it verified."""
    connection = http.client.HTTPConnection(mirror.address, timeout=60, source_address=(client, 0))
    try:
        _ask(connection, "HEAD", f"/v2/{image.repository}/manifests/{image.tag}")
        manifest = _ask(connection, "GET", f"/v2/{image.repository}/manifests/{image.digest}")
        assert f"sha256:{hashlib.sha256(manifest).hexdigest()}" == image.digest
        document = json.loads(manifest)
        for blob in (document["config"], *document["layers"]):
            content = _ask(connection, "GET", f"/v2/{image.repository}/blobs/{blob['digest']}")
            assert f"sha256:{hashlib.sha256(content).hexdigest()}" == blob["digest"]
    finally:
        connection.close()
    return client, image.repository, image.tag


def _ask(connection: http.client.HTTPConnection, method: str, path: str) -> bytes:
    connection.request(method, path, headers={"User-Agent": AGENT, "Accept": ACCEPT})
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200, f"{method} {path}: {answer.status}"
    return content


def work(prewarm: Prewarm, mirror: Distribution) -> Counter[str]:
    """What a schedule does, once: read the log, rank, warm; the outcomes by state."""
    prewarm.ok("ingest", mirror.access_log, "--registry", "docker.io")
    prewarm.ok("rank", "--hours", "2")
    run: dict[str, Any] = prewarm.ok("run", "--cache", "office", "--top", "8")
    return Counter(outcome["state"] for outcome in run["outcomes"])


def test_every_pull_of_a_busy_mirror_counts_once(
    origin: Distribution, mirror: Distribution, folder: Path
) -> None:
    """While it is read, ranked and warmed; clients get what they want, our own warming is no demand."""
    pushed = [
        images.push_image(origin.url, f"acme/app{number}", "1", [90_000, 60_000])
        for number in range(IMAGES * ROUNDS)
    ]
    settings = (
        f'[registries."docker.io"]\nurl = "{origin.url}"\n'
        f'[caches.office]\ndriver = "mirror"\nurl = "{mirror.url}"\nupstream = "docker.io"\n'
    )
    prewarm = Prewarm(folder / "p", settings)
    events = folder / "events.csv"
    events.write_text(history(*(f"docker.io/{image.path}" for image in pushed[: 2 * IMAGES])))
    prewarm.ok("ingest", events, "--format", "events")
    states: Counter[str] = Counter()
    pulled: list[Pull] = []

    with ThreadPoolExecutor(len(CLIENTS)) as clients:
        for number in range(ROUNDS):
            fresh = pushed[IMAGES * number : IMAGES * (number + 1)]
            pulls = [clients.submit(pull, mirror, client, image) for image in fresh for client in CLIENTS]
            states += work(prewarm, mirror)
            pulled += [each.result() for each in pulls]
    mirror.stop()
    prewarm.ok("ingest", mirror.access_log, "--registry", "docker.io")

    rows = prewarm.ok("pulls", "--kind", "layers")["pulls"]
    counted = Counter(
        (row["client"], row["repository"], row["tag"]) for row in rows if row["client"] in CLIENTS
    )
    agents = {row["agent"] for row in prewarm.ok("pulls")["pulls"]}
    tell(
        f"{len(pulled)} pulls by {len(CLIENTS)} clients in {ROUNDS} rounds, each counted once; {dict(states)}"
    )
    assert counted == Counter(pulled)
    assert not any("prewarm" in (agent or "") for agent in agents)
    assert states["warmed"]
    assert not states["failed"]
