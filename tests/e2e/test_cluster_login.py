"""A cluster is asked over TLS, with a client certificate as kubectl has it, by the verb itself."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.commands import Prewarm
from tests.e2e.servers import program, run
from tests.kube_double import KubeDouble


def certificates(folder: Path) -> None:
    """An authority, and what it signed: a server for 127.0.0.1, and a client."""
    openssl = program("openssl")
    key = ("-newkey", "rsa:2048", "-nodes", "-days", "1")
    ca = ("-keyout", str(folder / "ca.key"), "-out", str(folder / "ca.crt"))
    run([openssl, "req", "-x509", *key, "-subj", "/CN=test", *ca])
    for name, extension in (
        ("server", "subjectAltName=IP:127.0.0.1"),
        ("client", "extendedKeyUsage=clientAuth"),
    ):
        signed = ("-CA", str(folder / "ca.crt"), "-CAkey", str(folder / "ca.key"))
        files = ("-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.crt"))
        run([openssl, "req", "-x509", *key, *signed, "-subj", f"/CN={name}", "-addext", extension, *files])


@contextmanager
def served(cluster: KubeDouble) -> Iterator[None]:
    """The double in a thread of its own, so that another process can ask it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(cluster.__aenter__(), loop).result(10)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(cluster.__aexit__(None, None, None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def test_a_client_certificate_opens_the_cluster(folder: Path) -> None:
    """With it `caches check` is fine; without it, or with another authority, it says so in one line."""
    certificates(folder)
    trust = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "ca.crt"))
    trust.load_cert_chain(folder / "server.crt", folder / "server.key")
    trust.verify_mode = ssl.CERT_REQUIRED
    cluster = KubeDouble(tls=trust)

    def data(name: str) -> str:
        return base64.b64encode((folder / name).read_bytes()).decode()

    with served(cluster):
        document = cluster.kubeconfig()
        document["clusters"][0]["cluster"]["certificate-authority-data"] = data("ca.crt")
        document["users"][0]["user"] = {
            "client-certificate-data": data("client.crt"),
            "client-key": str(folder / "client.key"),
        }
        (folder / "kubeconfig").write_text(json.dumps(document))
        settings = f'[caches.nodes]\ndriver = "kubernetes"\nkubeconfig = "{folder}/kubeconfig"\n'
        prewarm = Prewarm(folder / "p", settings)
        known = prewarm("caches", "check", "nodes").json["caches"]["nodes"]
        document["users"][0]["user"] = {"token": "x"}
        (folder / "kubeconfig").write_text(json.dumps(document))
        unknown = prewarm("caches", "check", "nodes").json["caches"]["nodes"]

    found = {finding["subject"]: finding for finding in known}
    assert found["reachable"]["ok"]
    assert found["nodes"]["message"] == "2 nodes are ready"
    assert not unknown[0]["ok"]
    assert "no Kubernetes API answers at https://127.0.0.1" in unknown[0]["message"]
