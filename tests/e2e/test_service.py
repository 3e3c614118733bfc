"""The service as a process: over TLS, and stopped while a run goes on."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from prewarm.client import Client
from prewarm.errors import ServiceError
from prewarm.lake import Lake
from tests.e2e.images import push_image
from tests.e2e.servers import LOOPBACK, Distribution, Process, free_port, listening, program, run, wait_until
from tests.past import lake_with


@contextmanager
def serving(folder: Path, *flags: str) -> Iterator[tuple[Process, int]]:
    """`prewarm serve` on a free port; it is stopped, unless it has ended."""
    port = free_port()
    command = [sys.executable, "-m", "prewarm", "serve", "--lake", str(folder / "lake"), "--port", str(port)]
    process = Process([*command, *flags], folder / "serve.out", folder / "serve.log")
    process.wait_ready(lambda: listening(port))
    try:
        yield process, port
    finally:
        process.stop()


def test_it_speaks_tls(folder: Path) -> None:
    """With a certificate of one's own; who does not know its authority is not answered."""
    certificate, key = folder / "tls.crt", folder / "tls.key"
    run(
        [program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
         "-subj", "/CN=127.0.0.1", "-addext", f"subjectAltName=IP:{LOOPBACK}",
         "-keyout", str(key), "-out", str(certificate)]
    )  # fmt: skip
    lake_with(folder, "docker.io/acme/a:1", now=datetime.now(UTC))
    flags = [f"service.tls_certificate={certificate}", f"service.tls_key={key}"]
    with serving(folder, "--set", flags[0], "--set", flags[1]) as (_, port):
        url = f"https://{LOOPBACK}:{port}"
        told = Client(url, ca_file=str(certificate)).plans()
        with pytest.raises(ServiceError, match="certificate"):
            Client(url).plans()

    assert told["total"] == 0


def test_a_run_ends_in_order_when_the_service_is_stopped(folder: Path) -> None:
    """SIGTERM: within seconds, with an outcome for each image in the lake, and whoever watches is let go."""
    with Distribution(folder / "registry") as registry:
        image = f"{registry.address}/acme/api:1.0"
        push_image(registry.url, "acme/api", "1.0")
        lake = lake_with(folder, image, now=datetime.now(UTC))
        (folder / "prewarm.toml").write_text(
            f'[registries."{registry.address}"]\nurl = "{registry.url}"\n'
            f'[caches.edge]\ndriver = "layout"\npath = "{folder}/oci"\n'
        )
        with serving(folder, "--config", str(folder / "prewarm.toml")) as (process, port):
            client = Client(f"http://{LOOPBACK}:{port}")
            plan = client.plan("edge", top=1)["id"]
            os.kill(registry.pid, signal.SIGSTOP)
            run_id = client.run(plan=plan)["id"]
            wait_until(lambda: client.run_of(run_id)["running"] == [image], "the image on its way")
            events = client.events(run_id)
            assert next(events).name == "plan"
            os.kill(process.pid, signal.SIGTERM)
            names = [event.name for event in events]
            process.stop()
            os.kill(registry.pid, signal.SIGCONT)

    assert names[-1] == "end"
    outcomes = Lake.open(lake.root).read("outcomes").rows(named=True)
    assert [(row["run"], row["image"], row["state"]) for row in outcomes] == [(run_id, image, "cancelled")]
