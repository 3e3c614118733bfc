"""Logins are found as docker finds them, and never shown."""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from prewarm.errors import SettingsError
from prewarm.warming.credentials import HUB, Credentials, Login, run_helper

SECRET = "s3cret:with:colons"


def auth(username: str = "ann", password: str = SECRET) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


class Keychain:
    """A credential helper that remembers what it was asked."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str]] = []

    async def __call__(self, name: str, server: str) -> bytes | None:
        self.asked.append((name, server))
        return self.answer


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], str]:
    """Makes `docker-credential-<name>` programs that are found by an absolute path through PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def make(script: str, name: str = "fake") -> str:
        path = folder / f"docker-credential-{name}"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(folder)

    return make


@pytest.mark.parametrize("key", ["ghcr.io", "https://ghcr.io", "https://ghcr.io/v1/", "ghcr.io/"])
async def test_a_login_is_found_under_any_spelling_of_its_host(key: str) -> None:
    """`docker login` has written several forms over the years."""
    login = await Credentials({"auths": {key: auth()}}).of("ghcr.io")

    assert login == Login("ann", SECRET)


@pytest.mark.parametrize("key", [HUB, "index.docker.io", "docker.io", "registry-1.docker.io"])
async def test_docker_hub_has_several_names(key: str) -> None:
    """All of them are docker.io."""
    assert await Credentials({"auths": {key: auth()}}).of("docker.io") == Login("ann", SECRET)


async def test_a_login_under_the_address_serves_a_registry_of_another_name() -> None:
    """Its own name wins; a helper is asked once for one host."""
    found = Credentials({"auths": {"hub.corp": auth("ann"), "10.0.0.7:5000": auth("bob")}})
    names = [("hub.corp", "10.0.0.7:5000"), ("docker.io", "10.0.0.7:5000"), ("docker.io", "10.0.0.8")]
    logins = [await found.of(*each) for each in names]
    assert [login and login.username for login in logins] == ["ann", "bob", None]

    chain = Keychain(None)
    await Credentials({"credsStore": "chain"}, helper=chain).of("docker.io", "registry-1.docker.io")
    assert chain.asked == [("chain", HUB)]


async def test_a_registry_without_a_login_is_anonymous() -> None:
    """None, not an error."""
    assert await Credentials({"auths": {"ghcr.io": auth()}}).of("quay.io") is None


async def test_a_login_for_one_path_is_not_used_for_the_whole_host() -> None:
    """podman stores logins per namespace."""
    assert await Credentials({"auths": {"quay.io/acme": auth()}}).of("quay.io") is None


async def test_an_identity_token_replaces_the_password() -> None:
    """Written by `docker login` where the registry gives one."""
    config = {"auths": {"acme.azurecr.io": auth("00000000", "") | {"identitytoken": "refresh-me"}}}

    login = await Credentials(config).of("acme.azurecr.io")

    assert login is not None
    assert login.identity_token == "refresh-me"


async def test_a_helper_of_the_registry_wins_over_the_store() -> None:
    """`credHelpers` names one registry, `credsStore` all."""
    helper = Keychain(b'{"Username": "AWS", "Secret": "s"}')
    config = {"credHelpers": {"1.dkr.ecr.eu-west-1.amazonaws.com": "ecr-login"}, "credsStore": "desktop"}
    credentials = Credentials(config, helper=helper)

    await credentials.of("1.dkr.ecr.eu-west-1.amazonaws.com")
    await credentials.of("docker.io")

    assert helper.asked == [("ecr-login", "1.dkr.ecr.eu-west-1.amazonaws.com"), ("desktop", HUB)]


async def test_a_helper_may_hold_an_identity_token() -> None:
    """Its user name is `<token>` then."""
    helper = Keychain(b'{"Username": "<token>", "Secret": "refresh-me"}')

    login = await Credentials({"credsStore": "x"}, helper=helper).of("ghcr.io")

    assert login == Login(identity_token="refresh-me")


async def test_a_helper_that_knows_nothing_leaves_the_file() -> None:
    """The file's own entry is the second place to look."""
    credentials = Credentials({"credsStore": "x", "auths": {"ghcr.io": auth()}}, helper=Keychain(None))

    assert await credentials.of("ghcr.io") == Login("ann", SECRET)


async def test_an_entry_emptied_by_a_store_is_no_login() -> None:
    """docker leaves `{}` in the file when the secret moved to a keychain."""
    credentials = Credentials({"credsStore": "x", "auths": {"ghcr.io": {}}}, helper=Keychain(None))

    assert await credentials.of("ghcr.io") is None


async def test_the_file_of_a_folder_is_read(tmp_path: Path) -> None:
    """`config.json`, as docker has it."""
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"ghcr.io": auth()}}))

    assert await Credentials.from_docker(tmp_path).of("ghcr.io") == Login("ann", SECRET)


async def test_no_file_is_anonymous(tmp_path: Path) -> None:
    """Public images need no login."""
    assert await Credentials.from_docker(tmp_path / "nowhere").of("ghcr.io") is None


async def test_helpers_are_run_as_docker_runs_them(program: Callable[[str], str]) -> None:
    """`docker-credential-NAME get`, the server on stdin."""
    path = program('read server; echo "{\\"Username\\": \\"$1\\", \\"Secret\\": \\"$server\\"}"')

    output = await run_helper("fake", "ghcr.io", path)

    assert json.loads(output or b"") == {"Username": "get", "Secret": "ghcr.io"}


async def test_a_helper_without_a_login_says_so(program: Callable[[str], str]) -> None:
    """Exit 1 and this sentence are the helpers' convention."""
    path = program("echo credentials not found in native keychain; exit 1")

    assert await run_helper("fake", "ghcr.io", path) is None


# --- errors


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": []}', '{"credHelpers": "x"}'])
def test_a_file_that_is_no_config_is_refused(tmp_path: Path, text: str) -> None:
    """One line that names config.json."""
    (tmp_path / "config.json").write_text(text)

    with pytest.raises(SettingsError, match=r"config\.json"):
        Credentials.from_docker(tmp_path)


@pytest.mark.parametrize("value", ["not base64!", base64.b64encode(b"nocolon").decode()])
async def test_a_login_that_cannot_be_read_is_refused_without_showing_it(value: str) -> None:
    """The message names the registry and the way out, not the value."""
    with pytest.raises(SettingsError, match=r"docker login ghcr\.io") as refusal:
        await Credentials({"auths": {"ghcr.io": {"auth": value}}}).of("ghcr.io")

    assert value not in str(refusal.value)


@pytest.mark.parametrize("answer", [b"", b"{}", b"[]", b'{"Username": "ann"}', b"s3cret"])
async def test_a_helper_that_babbles_is_refused_without_its_words(answer: bytes) -> None:
    """What it said may be the secret."""
    credentials = Credentials({"credsStore": "odd"}, helper=Keychain(answer))

    with pytest.raises(SettingsError, match="docker-credential-odd answered without") as refusal:
        await credentials.of("ghcr.io")

    assert "s3cret" not in str(refusal.value)
    assert refusal.value.__suppress_context__


async def test_a_helper_that_is_not_installed_is_named() -> None:
    """A config.json copied from a laptop often names one."""
    with pytest.raises(SettingsError, match="credential-nowhere cannot be run; install it"):
        await run_helper("nowhere", "ghcr.io", os.devnull)


async def test_a_helper_that_fails_is_named_with_its_status(program: Callable[[str], str]) -> None:
    """Its output is not shown."""
    path = program("echo s3cret; exit 3")

    with pytest.raises(SettingsError, match="exit status 3") as refusal:
        await run_helper("fake", "ghcr.io", path)

    assert "s3cret" not in str(refusal.value)


async def test_a_helper_that_waits_for_a_person_is_stopped(program: Callable[[str], str]) -> None:
    """A nightly run has nobody to click."""
    path = program("exec sleep 600")

    with pytest.raises(SettingsError, match="no login within 0 seconds"):
        await run_helper("fake", "ghcr.io", path, seconds=0.05)


@pytest.mark.parametrize("name", ["../../bin/sh", "a b", ""])
async def test_a_helper_is_a_word_not_a_path(name: str) -> None:
    """A config file cannot name any program on the machine."""
    with pytest.raises(SettingsError, match="expected a word"):
        await run_helper(name, "ghcr.io")


def test_secrets_have_no_repr() -> None:
    """Neither a login nor the credentials show what they hold."""
    credentials = Credentials({"auths": {"ghcr.io": auth()}})

    shown = f"{Login('ann', SECRET, 'refresh-me')!r} {credentials!r}"

    assert SECRET not in shown
    assert "refresh-me" not in shown
    assert auth()["auth"] not in shown
