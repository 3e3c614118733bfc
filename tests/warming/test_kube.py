"""How a cluster is found, and who we are there."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import certifi
import pytest

from prewarm.errors import CacheError, SettingsError
from prewarm.warming.caches.kube import Api, find, of_file, of_pod
from tests.kube_double import TOKEN, KubeDouble

AUTHORITY = Path(certifi.where()).read_text()
SERVER = "https://10.0.0.1:6443"


def kubeconfig(folder: Path, user: dict[str, Any], **cluster: Any) -> Path:
    """A file with one context; `cluster` replaces the keys of its cluster."""
    document = {
        "current-context": "work",
        "contexts": [{"name": "work", "context": {"cluster": "c", "user": "u", "namespace": "warm"}}],
        "clusters": [{"name": "c", "cluster": {"server": SERVER} | cluster}],
        "users": [{"name": "u", "user": user}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(document))
    return path


def test_a_kubeconfig_names_server_namespace_and_token(tmp_path: Path) -> None:
    """YAML as kubectl writes it; the token is in no repr."""
    path = tmp_path / "config"
    path.write_text(
        "current-context: work\n"
        "contexts: [{name: work, context: {cluster: c, user: u, namespace: warm}}]\n"
        f"clusters: [{{name: c, cluster: {{server: '{SERVER}/'}}}}]\n"
        "users: [{name: u, user: {token: s3cret}}]\n"
    )
    access = of_file(path)
    assert (access.server, access.namespace) == (SERVER, "warm")
    assert access.headers() == {"Authorization": "Bearer s3cret"}
    assert "s3cret" not in repr(access)


def test_an_authority_may_be_a_file_or_inline(tmp_path: Path) -> None:
    """Relative to the kubeconfig, as kubectl reads it."""
    (tmp_path / "ca.crt").write_text(AUTHORITY)
    inline = base64.b64encode(AUTHORITY.encode()).decode()
    for key, value in (("certificate-authority", "ca.crt"), ("certificate-authority-data", inline)):
        trust = of_file(kubeconfig(tmp_path, {}, **{key: value})).trust
        assert trust is not None
        assert trust.get_ca_certs()


def test_a_token_file_is_read_anew(tmp_path: Path) -> None:
    """The kubelet rotates it."""
    access = of_file(kubeconfig(tmp_path, {"tokenFile": "token"}))
    for token in ("one", "two"):
        (tmp_path / "token").write_text(f"{token}\n")
        assert access.headers() == {"Authorization": f"Bearer {token}"}


def test_a_login_program_gives_the_token(tmp_path: Path) -> None:
    """As EKS, GKE and AKS have it: an ExecCredential on stdout."""
    program = tmp_path / "login"
    program.write_text(
        """#!/bin/sh\nprintf '{"kind": "ExecCredential", "status": {"token": "%s-%s"}}' "$1" "$WHO"\n"""
    )
    program.chmod(0o755)
    user = {"exec": {"command": str(program), "args": ["for"], "env": [{"name": "WHO", "value": "ann"}]}}
    assert of_file(kubeconfig(tmp_path, user)).headers() == {"Authorization": "Bearer for-ann"}


def test_a_pod_is_its_own_account(tmp_path: Path) -> None:
    """Where no kubeconfig is."""
    for name, content in (("token", "t"), ("ca.crt", AUTHORITY), ("namespace", "warm")):
        (tmp_path / name).write_text(content)
    access = of_pod({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}, tmp_path)
    assert (access.server, access.namespace) == ("https://[fd00::1]:443", "warm")
    assert access.headers() == {"Authorization": "Bearer t"}


@pytest.mark.parametrize(
    ("user", "cluster", "words"),
    [
        pytest.param({}, {"insecure-skip-tls-verify": True}, "is not followed", id="no verification"),
        pytest.param({}, {"server": "10.0.0.1"}, "has no server, such as https", id="no server"),
        pytest.param({}, {"certificate-authority": "gone"}, "gone cannot be read", id="no authority"),
        pytest.param({}, {"certificate-authority-data": "%"}, "no PEM in base64", id="no base64"),
        pytest.param({}, {"certificate-authority-data": "eA=="}, "no PEM certificate", id="no PEM"),
        pytest.param({"exec": {"command": "/no/such"}}, {}, "gave no login", id="no program"),
        pytest.param(
            {"client-certificate-data": "eA==", "client-key-data": "eA=="}, {}, "no pair of PEM", id="no pair"
        ),
    ],
)
def test_what_cannot_be_used_is_refused(
    tmp_path: Path, user: dict[str, Any], cluster: dict[str, Any], words: str
) -> None:
    """In one line with the file's name."""
    with pytest.raises(SettingsError, match=words):
        of_file(kubeconfig(tmp_path, user, **cluster))


def test_a_context_that_is_not_there_lists_the_others(tmp_path: Path) -> None:
    """As does a cluster or a user."""
    with pytest.raises(SettingsError, match="no context called 'home'; it has: work"):
        of_file(kubeconfig(tmp_path, {}), "home")


def test_no_cluster_at_all(tmp_path: Path) -> None:
    """Neither a file nor a pod."""
    with pytest.raises(SettingsError, match="no cluster: kubeconfig names a file"):
        find(None, None, {"HOME": str(tmp_path)})


def test_a_file_that_is_no_kubeconfig(tmp_path: Path) -> None:
    """YAML of something else, and no YAML."""
    for text, words in (("- a\n", "is no kubeconfig"), ("a: [", "is no YAML")):
        (tmp_path / "x").write_text(text)
        with pytest.raises(SettingsError, match=words):
            of_file(tmp_path / "x")


async def test_a_wrong_token_is_told_and_not_shown(tmp_path: Path) -> None:
    """401 is about the login."""
    async with KubeDouble() as cluster:
        access = of_file(kubeconfig(tmp_path, {"token": "wrong-token"}, server=cluster.url))
        async with Api(access, 5.0) as api:
            with pytest.raises(CacheError, match=r"refuses our login \(401\)") as refused:
                await api.get("/version")
    assert "wrong-token" not in str(refused.value)
    assert TOKEN not in str(refused.value)


async def test_a_server_that_is_down_is_named(tmp_path: Path) -> None:
    """By its address, in words."""
    access = of_file(kubeconfig(tmp_path, {"token": "t"}, server="http://127.0.0.1:1"))
    async with Api(access, 5.0) as api:
        with pytest.raises(CacheError, match=r"no Kubernetes API answers at http://127\.0\.0\.1:1: "):
            await api.get("/version")
