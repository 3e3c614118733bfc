"""containerd's own client, `ctr` (1.6 and later): how a node is reached with it, and what it answers.

A node is a socket of this machine, `/run/containerd/containerd.sock`, or `ssh://user@node[:port][/socket]`,
where `ctr` runs on the other side. Content goes in by its standard input, so that no login is ever needed on
the node or seen on a command line.
"""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from prewarm.errors import CacheError, UnsupportedImage
from prewarm.references import is_digest
from prewarm.warming.images import Platform, parse_platform

SOCKET = "/run/containerd/containerd.sock"
CONNECT_SECONDS = 10
MAX_SAID = 16 << 10  # bytes of what a failing command says that are kept

_SSH = re.compile(
    r"ssh://(?P<host>(?:[A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*)(?::(?P<port>\d{1,5}))?"
    r"(?P<socket>/\S+)?/?"
)


@dataclass(frozen=True, slots=True)
class Tools:
    """The programs and options that all nodes of a cache share."""

    ctr: str = "ctr"  # or `k3s ctr`, `sudo ctr`
    ssh: str = "ssh"
    namespace: str = "k8s.io"
    snapshotter: str | None = None  # None: containerd's default
    seconds: float = 300.0  # that a node may take to answer, or to unpack


@dataclass(frozen=True, slots=True)
class Row:
    """An image of a node: what its name leads to, and whether that is there."""

    digest: str
    complete: bool  # all of its content
    unpacked: bool  # in the snapshotter, ready to start


@dataclass(frozen=True, slots=True)
class Plugins:
    """What a containerd is made of."""

    platform: Platform
    snapshotters: frozenset[str]  # those that work


class Node:
    """One containerd."""

    def __init__(self, address: str, tools: Tools) -> None:
        """Raises ValueError when `address` is neither a socket nor an ssh URL."""
        self.address = address
        self._tools = tools
        self._host, self._port, self._socket = parse_address(address)

    async def version(self) -> str:
        """The version of its containerd."""
        said = await self._ask("version")
        versions = re.findall(r"^\s*Version:\s*(\S+)", said, re.MULTILINE)
        return str(versions[-1]) if versions else "of an unknown version"

    async def plugins(self) -> Plugins:
        """Its platform and its snapshotters."""
        return parse_plugins(await self._ask("plugins", "ls"))

    async def images(self, *names: str) -> dict[str, Row]:
        """Its images by name, checked; all, or those of `names`."""
        filters = [f'name=="{name}"' for name in names]
        return parse_images(await self._ask("images", "check", *self._snapshotter(), *filters))

    async def content(self) -> frozenset[str]:
        """The digests of everything that its namespace has whole."""
        return frozenset(line.strip() for line in (await self._ask("content", "ls", "-q")).splitlines())

    @asynccontextmanager
    async def importing(self, platform: Platform | None = None) -> AsyncIterator[Import]:
        """An import of an archive that is still to be written; it ends with the block."""
        chosen = ("--platform", str(platform)) if platform else ()
        words = self.command("images", "import", *self._snapshotter(), *chosen, "-")
        process = await self._start(words, asyncio.subprocess.DEVNULL)
        running = Import(self, process, self._tools.seconds)
        try:
            yield running
        finally:
            await running.close()

    def command(self, *arguments: str) -> list[str]:
        """The command line of one call."""
        tools, socket = self._tools, self._socket or SOCKET
        called = [*shlex.split(tools.ctr), f"--connect-timeout={CONNECT_SECONDS}s", "--address", socket]
        called += ["--namespace", tools.namespace, *arguments]
        if self._host is None:
            return called
        port = ["-p", self._port] if self._port else []
        options = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}"]
        return [*shlex.split(tools.ssh), *options, *port, self._host, shlex.join(called)]

    def said(self, words: str) -> CacheError:
        """The error that a failing command stands for."""
        line = " ".join(words.replace("ctr: ", "").split())[-500:] or "nothing"
        if "failed to dial" in line or "connection refused" in line or "Permission denied" in line:
            return CacheError(
                f"no containerd answers at {self.address}; is it running, and may we use its socket? ({line})"
            )
        return CacheError(f"containerd at {self.address} says: {line}")

    def _snapshotter(self) -> tuple[str, ...]:
        return ("--snapshotter", self._tools.snapshotter) if self._tools.snapshotter else ()

    async def _ask(self, *arguments: str) -> str:
        """What a command says; CacheError when it fails."""
        process = await self._start(self.command(*arguments), asyncio.subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(self._tools.seconds):
                answer, words = await process.communicate()
        except TimeoutError:
            seconds = f"{self._tools.seconds:g}"
            raise CacheError(
                f"containerd at {self.address} gave no answer within {seconds} seconds"
            ) from None
        finally:
            await _end(process)
        if process.returncode:
            raise self.said(words[-MAX_SAID:].decode("utf-8", "replace"))
        return answer.decode("utf-8", "replace")

    async def _start(self, words: list[str], stdout: int) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        try:
            return await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=stdout, stderr=pipe)
        except OSError as refused:
            advice = "it comes with containerd; the key `ctr` names it"
            if self._host:
                advice = "the key `ssh` names it"
            raise CacheError(f"{words[0]} cannot be run: {refused.strerror}; {advice}") from None


class Import:
    """An archive on its way into a node; what is written after a failure is dropped."""

    def __init__(self, node: Node, process: asyncio.subprocess.Process, seconds: float) -> None:
        self.node = node
        self._process = process
        self._seconds = seconds
        self._said = asyncio.ensure_future(_said(process))
        self.broken = False

    async def write(self, data: bytes) -> None:
        """Returns when the node is ready for more."""
        assert self._process.stdin is not None
        if self.broken:
            return
        try:
            async with asyncio.timeout(self._seconds):
                self._process.stdin.write(data)
                await self._process.stdin.drain()
        except (OSError, TimeoutError):
            self.broken = True

    async def finish(self) -> CacheError | None:
        """Wait until the node has taken and unpacked everything; what it says when it has not."""
        assert self._process.stdin is not None
        try:
            async with asyncio.timeout(self._seconds):
                self._process.stdin.close()
                status = await self._process.wait()
                words = await self._said
        except TimeoutError:
            return CacheError(f"containerd at {self.node.address}: not done within {self._seconds:g} seconds")
        return self.node.said(words) if status or self.broken else None

    async def close(self) -> None:
        """End it, finished or not: an archive that breaks off names no image."""
        await _end(self._process)
        self._said.cancel()
        await asyncio.gather(self._said, return_exceptions=True)


async def _end(process: asyncio.subprocess.Process) -> None:
    """No process outlives what it was started for."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if process.stdin is not None:
        process.stdin.close()


async def _said(process: asyncio.subprocess.Process) -> str:
    """The end of what a process writes to its standard error."""
    assert process.stderr is not None
    kept = b""
    while chunk := await process.stderr.read(4096):
        kept = (kept + chunk)[-MAX_SAID:]
    return kept.decode("utf-8", "replace")


def parse_address(address: str) -> tuple[str | None, str | None, str | None]:
    """`user@host`, port and socket of a node's address; ValueError when it is none.

    >>> parse_address("ssh://root@node-2:2222")
    ('root@node-2', '2222', None)
    """
    match = _SSH.fullmatch(address)
    if match is not None:
        return match["host"], match["port"], match["socket"]
    path = address.removeprefix("unix://")
    if not path.startswith("/"):
        raise ValueError(f"{address[:80]!r} is no node; examples: {SOCKET}, ssh://root@node-2")
    return None, None, path


def parse_images(table: str) -> dict[str, Row]:
    """The rows of `ctr images check`: name, type, digest, status, sizes, unpacked."""
    found = {}
    for fields in (line.split() for line in table.splitlines()):
        if len(fields) >= 5 and is_digest(fields[2]):
            found[fields[0]] = Row(fields[2], fields[3] == "complete", fields[-1] == "true")
    return found


def parse_plugins(table: str) -> Plugins:
    """The rows of `ctr plugins ls`: type, id, platforms, status; CacheError when none has a platform."""
    rows = [fields for fields in (line.split() for line in table.splitlines()) if len(fields) >= 4]
    snapshotters = [row[1] for row in rows if "snapshotter" in row[0] and row[-1] == "ok"]
    platform = _first_platform(row[2].partition(",")[0] for row in rows if row[-1] == "ok")
    if platform is None:
        raise CacheError("containerd does not tell its platform; set `platform`, such as linux/amd64")
    return Plugins(platform, frozenset(snapshotters))


def _first_platform(texts: Iterable[str]) -> Platform | None:
    for text in texts:
        if "/" in text:
            with suppress(UnsupportedImage):
                return parse_platform(text)
    return None
