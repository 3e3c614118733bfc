"""Logins from docker's `config.json` and its credential helpers.

What is read: `auths` (base64 of user:password, or an identity token), `credHelpers` (a program per
registry) and `credsStore` (a program for all), as `docker login` writes them. Secrets stay inside: no
repr, no message and no log shows them.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import re
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from prewarm.errors import SettingsError

HUB = "https://index.docker.io/v1/"  # the name that Docker Hub's login is stored under
HELPER_SECONDS = 20.0  # a helper that waits for a person's click must not stop a nightly run
MAX_CONFIG = 4 << 20  # bytes
TOKEN_USER = "<token>"  # a helper's user name when the secret is an identity token

_HUB_HOSTS = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

Helper = Callable[[str, str], Awaitable[bytes | None]]


@dataclass(frozen=True, slots=True)
class Login:
    """A user's secret for one registry; `identity_token` replaces the password where there is one."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str | None = field(default=None, repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header, basic scheme (RFC 7617)."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode()


async def run_helper(
    name: str, server: str, path: str | None = None, seconds: float = HELPER_SECONDS
) -> bytes | None:
    """What `docker-credential-NAME get` prints for `server`; None when it knows no login.

    `path` is where programs are looked for (default: `$PATH`). Raises SettingsError when the program is
    missing, hangs for `seconds` or fails.
    """
    program = f"docker-credential-{name}"
    if not _HELPER_NAME.fullmatch(name):
        raise SettingsError(
            f"docker's config.json names the credential helper {name[:40]!r}; expected a word"
        )
    found = shutil.which(program, path=path)
    if found is None:
        advice = "install it, or remove it from docker's config.json"
        raise SettingsError(f"the credential helper {program} cannot be run; {advice}")
    try:
        async with asyncio.timeout(seconds):
            status, output = await _talk(found, server)
    except TimeoutError:
        raise SettingsError(f"{program} gave no login within {seconds:.0f} seconds") from None
    except OSError as error:
        raise SettingsError(f"the credential helper {program} cannot be run: {error.strerror}") from error
    if status == 0:
        return output
    if b"not found" in output:  # "credentials not found in native keychain"
        return None
    raise SettingsError(f"{program} failed for {server} with exit status {status}")


async def _talk(program: str, server: str) -> tuple[int | None, bytes]:
    """Exit status and output of `program get`; it does not outlive the caller."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        program, "get", stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        output, _ = await process.communicate(server.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, output


class Credentials:
    """Where logins come from: `await credentials.of("docker.io")` is a Login, or None for anonymous."""

    def __init__(self, config: Mapping[str, Any] | None = None, *, helper: Helper = run_helper) -> None:
        """`config` is the document of a `config.json`; without one, everything is anonymous."""
        config = config or {}
        self._auths = _by_host(_table(config, "auths"))
        self._helpers = _by_host(_table(config, "credHelpers"))
        self._store = config.get("credsStore") or None
        self._helper = helper

    @classmethod
    def from_docker(cls, folder: Path | None = None) -> Self:
        """Read `config.json` in `folder`, `$DOCKER_CONFIG` or `~/.docker`; anonymous when there is none."""
        folder = folder or Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
        path = folder / "config.json"
        try:
            with path.open("rb") as file:
                document = json.loads(file.read(MAX_CONFIG))
        except (FileNotFoundError, NotADirectoryError):
            return cls()
        except (OSError, ValueError) as error:
            raise SettingsError(f"{path} cannot be read as JSON; `docker login` writes it anew") from error
        if not isinstance(document, dict):
            raise SettingsError(f"{path} should be a JSON object, such as {{}}")
        return cls(document)

    async def of(self, *names: str) -> Login | None:
        """The login under the first of a registry's names that has one.

        A registry is known by the host in references and by the one that it is reached at. Asks a credential
        helper where the config names one.
        """
        hosts: set[str] = set()
        for name in names:
            if _host(name) not in hosts and (login := await self._of(name)):
                return login
            hosts.add(_host(name))
        return None

    async def _of(self, registry: str) -> Login | None:
        host = _host(registry)
        name = self._helpers.get(host) or self._store
        if name:
            server = HUB if host == "docker.io" else registry
            output = await self._helper(str(name), server)
            if output is not None:
                return _from_helper(output, str(name))
        entry = self._auths.get(host)
        return _from_entry(entry, registry) if entry else None

    def __repr__(self) -> str:
        return f"<Credentials of {len(self._auths) + len(self._helpers)} registries>"


def _table(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = config.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SettingsError(f"`{name}` in docker's config.json should be an object")
    return value


def _by_host(table: Mapping[str, Any]) -> dict[str, Any]:
    """Keys as hosts; those that name a path (podman's per-repository logins) are not for the whole host."""
    plain = {key: value for key, value in table.items() if not _path(key)}
    return {_host(key): value for key, value in plain.items()}


def _path(key: str) -> str:
    path = key.partition("://")[2] or key
    return path.partition("/")[2].strip("/").removeprefix("v1").removeprefix("v2")


def _host(key: str) -> str:
    """`https://index.docker.io/v1/` -> docker.io; `https://ghcr.io` -> ghcr.io."""
    host = (key.partition("://")[2] or key).partition("/")[0].lower()
    return "docker.io" if host in _HUB_HOSTS else host


def _from_helper(output: bytes, name: str) -> Login:
    try:
        answer = json.loads(output)
        username, secret = answer["Username"], answer["Secret"]
    except (ValueError, KeyError, TypeError):  # the output holds the secret: neither shown nor chained
        raise SettingsError(f"docker-credential-{name} answered without Username and Secret") from None
    if username == TOKEN_USER:
        return Login(identity_token=str(secret))
    return Login(str(username), str(secret))


def _from_entry(entry: object, registry: str) -> Login | None:
    """A login from `auths`; an entry without a secret (left by a credential store) is none."""
    fields = entry if isinstance(entry, dict) else {}
    username, password = str(fields.get("username") or ""), str(fields.get("password") or "")
    if fields.get("auth"):
        username, password = _decode(str(fields["auth"]), registry)
    token = str(fields.get("identitytoken") or "") or None
    return Login(username, password, token) if token or username else None


def _decode(auth: str, registry: str) -> tuple[str, str]:
    try:
        pair = base64.b64decode(auth, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        pair = ""
    username, colon, password = pair.partition(":")
    if not colon:
        advice = f"`docker login {registry}` writes it anew"
        raise SettingsError(f"the login for {registry} in docker's config.json cannot be read; {advice}")
    return username, password.rstrip("\0")
