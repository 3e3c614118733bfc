"""Kill -9 at random moments: the lake ends as if nothing had happened, nothing is half warm.

`make e2e` takes a short slice of each loop; `make soak` takes twenty rounds.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e import images
from tests.e2e.commands import Prewarm, with_history
from tests.e2e.proxies import Fault, Proxy
from tests.e2e.rounds import ROUNDS, tell
from tests.e2e.servers import Distribution, skopeo
from tests.logs_of_a_day import access_log

SEED = 20


def killed_after(running: subprocess.Popen[bytes], seconds: float) -> bool:
    """Kill -9 after that long; False when the process had ended by itself before."""
    try:
        running.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        running.kill()
        running.wait()
        return True


def seconds_of(prewarm: Prewarm, verb: str, *arguments: str | Path) -> float:
    """How long a verb takes that is left alone."""
    began = time.monotonic()
    prewarm.ok(verb, *arguments)
    return time.monotonic() - began


@pytest.mark.parametrize("rotated", [False, True], ids=["growing", "rotated"])
def test_an_ingest_killed_at_any_moment_reads_every_line_once(folder: Path, rotated: bool) -> None:
    """Killed again and again while its log grows or is renamed, the lake is what an undisturbed one is."""
    text = access_log(days=120).splitlines(keepends=True)
    logs, whole = folder / "logs", folder / "whole.log"
    logs.mkdir()
    whole.write_text("".join(text))
    calm, disturbed = Prewarm(folder / "calm"), Prewarm(folder / "disturbed")
    usual = seconds_of(calm, "ingest", whole)

    kills = 0
    parts = [
        text[len(text) * n // (ROUNDS + 1) : len(text) * (n + 1) // (ROUNDS + 1)] for n in range(ROUNDS + 1)
    ]
    for number, part in enumerate(parts):
        with (logs / "x.log").open("a") as log:
            log.writelines(part)
        if number < ROUNDS:
            # From before the first commit, which no machine can miss, to about the last.
            kills += killed_after(disturbed.start("ingest", logs), 0.2 + usual * number / ROUNDS)
            if rotated:
                (logs / "x.log").rename(logs / f"x.log.{ROUNDS - number}")
    disturbed.ok("ingest", logs)

    assert_hit(kills)
    assert disturbed.ok("pulls") == calm.ok("pulls")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_following_stops_at_a_signal_with_everything_committed(folder: Path, number: signal.Signals) -> None:
    """In the middle of a long pause it ends at once, with success, and nothing is left to read."""
    log = folder / "x.log"
    log.write_text(access_log(days=2))
    prewarm = Prewarm(folder / "p")
    command = prewarm.command("ingest", log, "--follow", "--interval", "3600")
    with subprocess.Popen(
        command, cwd=prewarm.folder, env=prewarm.environment(), stdout=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout is not None
        first = json.loads(following.stdout.readline())
        following.send_signal(number)
        assert following.wait(60) == 0
    again = prewarm.ok("ingest", log)
    assert first["pulls"] > 0
    assert (again["lines"], again["pulls"]) == (0, 0)


def test_a_run_killed_at_any_moment_is_finished_by_the_next(
    origin: Distribution, folder: Path, stack: ExitStack
) -> None:
    """Whatever the index of the folder names can be read back whole, after every kill and at the end."""
    chance = random.Random(SEED)
    names = [f"docker.io/acme/app{number}:1" for number in range(4)]
    for number in range(4):
        images.push_image(origin.url, f"acme/app{number}", "1", [120_000 * (number + 1), 50_000])
    proxy = stack.enter_context(Proxy(origin.address))
    # A second for the first image, nearly five for the last, however fast the machine: kills meet them all.
    proxy.faults = [Fault("GET .*/blobs/", times=None, bytes_per_second=100_000)]
    layout = folder / "oci"
    settings = (
        f'[registries."docker.io"]\nurl = "{proxy.url}"\n'
        f'[caches.edge]\ndriver = "layout"\npath = "{layout}"\n'
    )
    prewarm = with_history(folder / "p", settings, *names)

    kills = 0
    for _ in range(ROUNDS):
        kills += killed_after(prewarm.start("run", "--cache", "edge", "--top", "4"), chance.uniform(0.3, 3.0))
        for name in names_in(layout):
            skopeo("copy", f"oci:{layout}:{name}", f"dir:{folder / 'copy'}")
    done = prewarm("run", "--cache", "edge", "--top", "4")

    assert_hit(kills)
    assert set(done.states()) == set(names)
    assert set(done.states().values()) <= {"warmed", "already"}
    assert names_in(layout) == set(names)


def assert_hit(kills: int) -> None:
    """A loop whose kills all came too late proves nothing; `make soak` shows how many hit."""
    tell(f"{kills} of {ROUNDS} rounds ended by a kill")
    assert kills


def names_in(layout: Path) -> set[str]:
    """The references that an image layout's index names."""
    index = layout / "index.json"
    if not index.exists():
        return set()
    manifests = json.loads(index.read_text())["manifests"]
    return {entry["annotations"]["org.opencontainers.image.ref.name"] for entry in manifests}
