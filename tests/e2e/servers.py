"""Real servers on loopback: started on free ports, awaited until they listen, stopped by their own pid.

Each is a context manager that leaves nothing running. A program that is not installed raises
`Missing`, so that a caller can tell "not here" from "broken here".
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import docker

LOOPBACK = "127.0.0.1"
START_WITHIN = 60.0
"""Seconds that a server may take to listen; generous, since the machine may be busy."""
STOP_WITHIN = 20.0


class Missing(Exception):
    """A program or a privilege that this machine does not have; `name` is what PREWARM_REQUIRE calls it."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class NotReady(Exception):
    """Something did not come true in time; the message carries the last words of its log."""


def program(name: str) -> str:
    """The path of an installed program; raises Missing."""
    path = shutil.which(name)
    if path is None:
        raise Missing(name, f"{name} is not installed")
    return path


def need_root(what: str) -> None:
    """Raise Missing unless this process is root."""
    if os.geteuid() != 0:
        raise Missing("root", f"{what} needs root")


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def wait_until(true: Callable[[], bool], what: str, within: float = START_WITHIN) -> None:
    """Ask until `true()`; raises NotReady after `within` seconds."""
    deadline = time.monotonic() + within
    while not true():
        if time.monotonic() > deadline:
            raise NotReady(f"{what}: not within {within:g} s")
        time.sleep(0.02)


def listening(port: int, address: str = LOOPBACK) -> bool:
    """Whether something accepts connections; leaves no line in an access log."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0


class Process:
    """One server process in a session of its own, with its two output streams in files."""

    def __init__(self, command: Sequence[str], stdout: Path, stderr: Path) -> None:
        with stdout.open("ab") as out, stderr.open("ab") as err:
            self._popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )
        self._stderr = stderr

    @property
    def pid(self) -> int:
        return self._popen.pid

    def wait_ready(self, ready: Callable[[], bool]) -> None:
        """Return once `ready()`; a process that ended instead raises NotReady with what it said."""

        def ready_or_dead() -> bool:
            if self._popen.poll() is not None:
                raise NotReady(f"{self._popen.args!r} ended:\n{self._last_words()}")
            return ready()

        try:
            wait_until(ready_or_dead, f"{self._popen.args!r}")
        except NotReady:
            self.kill()
            raise

    def stop(self) -> None:
        """Ask it to end, and insist when it does not."""
        if self._popen.poll() is None:
            self._popen.terminate()
        try:
            self._popen.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it and its children at once (SIGKILL)."""
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait(STOP_WITHIN)

    def _last_words(self) -> str:
        return self._stderr.read_text(errors="replace")[-2000:]


class Distribution:
    """CNCF Distribution (`docker-registry`): an origin, or with `upstream` a pull-through mirror.

    `access_log` holds its combined access lines (stdout), `app_log` its application log (stderr);
    with `interleaved=True` both are one file, as `docker logs` shows them. `storage` is its root
    folder: a new one is an empty registry. `stop()` lets requests finish, so that the logs are whole.
    """

    def __init__(
        self,
        folder: Path,
        *,
        upstream: str | None = None,
        storage: Path | None = None,
        formatter: str = "text",
        interleaved: bool = False,
        auth: dict[str, Any] | None = None,
        port: int | None = None,
        notify: dict[str, Any] | None = None,
        forgets: bool = False,
    ) -> None:
        """`notify` is an endpoint of its notifications: url, headers, timeout, threshold, backoff.

        A mirror drops what has expired only when it `forgets`.
        """
        self._forgets = forgets
        self._program = program("docker-registry")
        folder.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self.address = f"{LOOPBACK}:{self.port}"
        self.url = f"http://{self.address}"
        self.storage = storage or folder / "storage"
        self.access_log = folder / ("registry.log" if interleaved else "access.log")
        self.app_log = folder / ("registry.log" if interleaved else "app.log")
        self._config = folder / "config.json"
        self._config.write_text(
            json.dumps(self._settings(upstream, formatter, auth) | _notifications(notify))
        )
        self._process: Process | None = None

    def _settings(self, upstream: str | None, formatter: str, auth: dict[str, Any] | None) -> dict[str, Any]:
        storage: dict[str, Any] = {"filesystem": {"rootdirectory": str(self.storage)}}
        settings: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "info", "formatter": formatter},
            "storage": storage,
            "http": {"addr": self.address, "draintimeout": "15s", "secret": "loopback"},
        }
        if upstream:
            settings["proxy"] = {"remoteurl": upstream}
            storage["cache"] = {"blobdescriptor": "inmemory"}
        if self._forgets or not upstream:
            storage["delete"] = {"enabled": True}
        if auth:
            settings["auth"] = auth
        return settings

    def start(self) -> None:
        """Start it and wait until it listens; a mirror needs its upstream to be up."""
        self._process = Process([self._program, "serve", str(self._config)], self.access_log, self.app_log)
        self._process.wait_ready(lambda: listening(self.port))

    def stop(self) -> None:
        """Stop it after the requests it is serving; harmless when it is not running."""
        if self._process:
            self._process.stop()
        self._process = None

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started, and neither stopped nor killed since."""
        return self._process is not None

    def kill(self) -> None:
        """Stop it at once, in the middle of whatever it serves."""
        if self._process:
            self._process.kill()
        self._process = None

    def restart_with_clean_logs(self) -> None:
        """Finish what is under way, then start again on the same port and storage with empty logs."""
        self.stop()
        self.access_log.write_bytes(b"")
        self.app_log.write_bytes(b"")
        self.start()

    def blob_file(self, digest: str) -> Path:
        """Where a blob lies in the storage folder (distribution, registry/storage/paths.go)."""
        algorithm, _, hexadecimal = digest.partition(":")
        blobs = self.storage / "docker/registry/v2/blobs"
        return blobs / algorithm / hexadecimal[:2] / hexadecimal / "data"

    def blob_gets(self) -> list[str]:
        """The digests of every blob GET in the access log, in order, repeats included."""
        marker, digests = "/blobs/", []
        for line in self.access_log.read_text(errors="replace").splitlines():
            _, _, request = line.partition('"')
            if request.startswith("GET ") and marker in request:
                digests.append(request.split(marker, 1)[1].split()[0])
        return digests

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _notifications(endpoint: dict[str, Any] | None) -> dict[str, Any]:
    return {"notifications": {"endpoints": [{"name": "prewarm", **endpoint}]}} if endpoint else {}


@dataclass(frozen=True)
class Engine:
    """A Docker engine: its socket, and its SDK client."""

    url: str
    client: docker.DockerClient

    def images(self) -> set[str]:
        """Every name and tag that the engine has."""
        return {tag for image in self.client.images.list() for tag in image.tags}

    def remove_all(self) -> None:
        """Leave the engine without images."""
        for image in self.client.images.list():
            self.client.images.remove(image.id, force=True)


@contextmanager
def dockerd(folder: Path, *, mirror: str | None = None) -> Iterator[Engine]:
    """A Docker engine without a network of its own, whose docker.io pulls go to the `mirror` URL."""
    need_root("dockerd")
    command = [
        program("dockerd"),
        *("--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")),
        *("--pidfile", str(folder / "pid"), "-H", f"unix://{folder}/docker.sock"),
        *("--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"),
    ]
    if mirror:
        command += ["--registry-mirror", mirror]
    folder.mkdir(parents=True, exist_ok=True)
    process = Process(command, folder / "stdout.log", folder / "stderr.log")
    try:
        process.wait_ready(lambda: _answers(folder / "docker.sock"))
        with _engine(f"unix://{folder}/docker.sock") as engine:
            yield engine
    finally:
        process.stop()


@contextmanager
def _engine(url: str) -> Iterator[Engine]:
    import docker

    client = docker.DockerClient(base_url=url, timeout=120)
    try:
        wait_until(lambda: bool(client.ping()), f"an answer from {url}")
        yield Engine(url, client)
    finally:
        client.close()


@dataclass(frozen=True)
class Node:
    """A containerd node, driven by `ctr`."""

    socket: Path
    ctr: str = field(repr=False)

    def pull(self, image: str) -> None:
        """Pull over plain HTTP; raises CalledProcessError with what `ctr` said."""
        run(
            [
                self.ctr,
                "-a",
                str(self.socket),
                "images",
                "pull",
                "--plain-http",
                "--snapshotter",
                "native",
                image,
            ]
        )

    def remove(self, image: str) -> None:
        """Remove an image and, before this returns, its content."""
        run([self.ctr, "-a", str(self.socket), "images", "remove", "--sync", image])

    def images(self) -> set[str]:
        """The name of every image on the node."""
        listed = run([self.ctr, "-a", str(self.socket), "images", "list", "--quiet"])
        return set(listed.split())


@contextmanager
def containerd(folder: Path) -> Iterator[Node]:
    """A containerd without its CRI plugin."""
    need_root("containerd")
    server, ctr = program("containerd"), program("ctr")
    folder.mkdir(parents=True, exist_ok=True)
    address = folder / "c.sock"
    (folder / "config.toml").write_text(
        f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{address}"\n'
    )
    process = Process(
        [server, "-c", str(folder / "config.toml")], folder / "stdout.log", folder / "stderr.log"
    )
    try:
        process.wait_ready(lambda: _answers(address))
        yield Node(address, ctr)
    finally:
        process.stop()


def skopeo(*arguments: str) -> str:
    """Run skopeo; its standard output."""
    return run([program("skopeo"), *arguments])


def run(command: Sequence[str], within: float = 120) -> str:
    """Run a client to its end; its standard output. Raises AssertionError with what it said."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=within, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}\nexit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


@contextmanager
def tmpfs(folder: Path, megabytes: int) -> Iterator[Path]:
    """A disk of so many megabytes, mounted on `folder`."""
    need_root("mounting a tmpfs")
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Missing("tmpfs", f"mounting a tmpfs is refused here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        run(["umount", "--lazy", str(folder)])


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        return probe.connect_ex(str(path)) == 0
