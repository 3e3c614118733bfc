"""A Kubernetes API server: how it is found, who we are there, and the few requests that a cache needs.

The cluster is that of a kubeconfig file, else of the pod that we run in. Logins are tokens, client
certificates or an exec plugin (`client.authentication.k8s.io`), as kubectl takes them; none of them appears
in a message.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import ssl
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from prewarm.errors import CacheError, SettingsError
from prewarm.warming.caches.json_api import Answer, JsonApi, Refused, Who

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PLUGIN_SECONDS = 30.0
MAX_FILE = 4 << 20  # bytes of a kubeconfig


@dataclass(frozen=True, slots=True)
class Access:
    """A cluster and who we are there."""

    server: str
    namespace: str = "default"
    trust: ssl.SSLContext | None = field(default=None, repr=False)  # None: plain http
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None  # read anew for each request: it is rotated

    def headers(self) -> dict[str, str]:
        """What proves who we are, where that is a token."""
        token = self.token_file.read_text().strip() if self.token_file else self.token
        return {"Authorization": f"Bearer {token}"} if token else {}


def find(
    kubeconfig: Path | None, context: str | None, environment: Mapping[str, str] | None = None
) -> Access:
    """The cluster that these settings mean: the file, $KUBECONFIG, ~/.kube/config, or the pod's own.

    Raises SettingsError when there is none, or when it cannot be used.
    """
    known = os.environ if environment is None else environment
    named = kubeconfig or (Path(known["KUBECONFIG"]) if known.get("KUBECONFIG") else None)
    usual = Path(known.get("HOME", "~")).expanduser() / ".kube" / "config"
    if named is not None or usual.exists():
        return of_file(named.expanduser() if named else usual, context)
    if known.get("KUBERNETES_SERVICE_HOST"):
        return of_pod(known)
    raise SettingsError(
        "no cluster: kubeconfig names a file, such as ~/.kube/config, or prewarm runs in a pod"
    )


def of_pod(environment: Mapping[str, str], folder: Path = SERVICE_ACCOUNT) -> Access:
    """The cluster of the pod that we run in, by its service account."""
    host, port = environment["KUBERNETES_SERVICE_HOST"], environment.get("KUBERNETES_SERVICE_PORT", "443")
    try:
        namespace = (folder / "namespace").read_text().strip()
        trust = _trust((folder / "ca.crt").read_text())
    except OSError as missing:
        raise SettingsError(f"{missing.filename} cannot be read; does the pod mount its token?") from None
    shown = f"[{host}]" if ":" in host else host
    return Access(f"https://{shown}:{port}", namespace, trust, token_file=folder / "token")


def of_file(path: Path, context: str | None = None) -> Access:
    """The cluster and user of a kubeconfig file's context; its current one when none is named."""
    document = _document(path)
    name = context or document.get("current-context") or ""
    chosen = _entry(document, "contexts", "context", name, path)
    cluster = _entry(document, "clusters", "cluster", str(chosen.get("cluster")), path)
    user = _entry(document, "users", "user", str(chosen.get("user")), path)
    server = str(cluster.get("server") or "").rstrip("/")
    if cluster.get("insecure-skip-tls-verify"):
        raise SettingsError(
            f"{path}: insecure-skip-tls-verify is not followed; give its certificate-authority"
        )
    if not server.startswith(("https://", "http://")):
        raise SettingsError(
            f"{path}: cluster {chosen.get('cluster')!r} has no server, such as https://10.0.0.1:6443"
        )
    found = _user(user, path)
    trust = None
    if server.startswith("https://"):
        trust = _trust(_content(cluster, "certificate-authority", path))
        _identify(trust, found, path)
    token_file = found.get("tokenFile")
    return Access(
        server,
        str(chosen.get("namespace") or "default"),
        trust,
        found.get("token"),
        path.parent / token_file if token_file else None,
    )


def _document(path: Path) -> dict[str, Any]:
    import yaml

    try:
        with path.open("rb") as file:
            document = yaml.safe_load(file.read(MAX_FILE))
    except OSError as refused:
        raise SettingsError(f"kubeconfig {path} cannot be read: {refused.strerror}") from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise SettingsError(f"kubeconfig {path} is no YAML") from None
    if not isinstance(document, dict):
        raise SettingsError(f"kubeconfig {path} is no kubeconfig; `kubectl config view` shows one")
    return document


def _entry(document: Mapping[str, Any], table: str, key: str, name: str, path: Path) -> dict[str, Any]:
    """The entry of that name in one of the file's lists."""
    rows = [row for row in document.get(table) or () if isinstance(row, dict)]
    for row in rows:
        if row.get("name") == name and isinstance(row.get(key), dict):
            return dict(row[key])
    known = ", ".join(sorted(str(row.get("name")) for row in rows)) or "none"
    raise SettingsError(f"kubeconfig {path} has no {key} called {name!r}; it has: {known}")


def _user(user: dict[str, Any], path: Path) -> dict[str, Any]:
    """The user's entry, with what an exec plugin gives."""
    plugin = user.get("exec")
    if not isinstance(plugin, dict):
        return user
    command = str(plugin.get("command"))
    kind = {"apiVersion": plugin.get("apiVersion"), "kind": "ExecCredential", "spec": {"interactive": False}}
    given = {str(each.get("name")): str(each.get("value")) for each in plugin.get("env") or ()}
    try:
        done = subprocess.run(
            [command, *(str(each) for each in plugin.get("args") or ())],
            env={**os.environ, **given, "KUBERNETES_EXEC_INFO": json.dumps(kind)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PLUGIN_SECONDS,
            check=True,
        )
        status = json.loads(done.stdout)["status"]
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError):
        raise SettingsError(
            f"{path}: its login program {command} gave no login; try `kubectl get nodes`"
        ) from None
    pairs = (
        ("token", "token"),
        ("client-certificate", "clientCertificateData"),
        ("client-key", "clientKeyData"),
    )
    return {ours: status[theirs] for ours, theirs in pairs if status.get(theirs)} | {"inline": True}


def _content(entry: Mapping[str, Any], key: str, path: Path) -> str | None:
    """What `KEY-data` holds, or the file that KEY names; None where there is neither."""
    encoded, file = entry.get(f"{key}-data"), entry.get(key)
    try:
        if encoded:
            return base64.b64decode(str(encoded), validate=True).decode()
        if file and entry.get("inline"):
            return str(file)
        return (path.parent / str(file)).read_text() if file else None
    except (binascii.Error, UnicodeDecodeError):
        raise SettingsError(f"{path}: {key}-data is no PEM in base64") from None
    except OSError as refused:
        raise SettingsError(f"{path}: {key} {file} cannot be read: {refused.strerror}") from None


def _trust(authority: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cadata=authority)
    except ssl.SSLError:
        raise SettingsError("the cluster's certificate authority is no PEM certificate") from None


def _identify(trust: ssl.SSLContext, user: Mapping[str, Any], path: Path) -> None:
    """Give the context our client certificate, by way of a file that only we can read."""
    certificate, key = _content(user, "client-certificate", path), _content(user, "client-key", path)
    if not certificate or not key:
        return
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(f"{certificate}\n{key}\n")
        file.flush()
        try:
            trust.load_cert_chain(file.name)
        except (OSError, ssl.SSLError):
            raise SettingsError(
                f"{path}: client-certificate and client-key are no pair of PEM files"
            ) from None


class Api:
    """Requests to one API server; an async context manager. Every refusal is a CacheError."""

    def __init__(self, access: Access, timeout: float) -> None:
        self.server, self.namespace = access.server, access.namespace
        who = Who("Kubernetes API", "try `kubectl auth whoami`")
        self._api = JsonApi(access.server, who, access.headers, access.trust or True, timeout)

    async def __aenter__(self) -> Self:
        await self._api.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._api.__aexit__()

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        """An object, or a list of them."""
        return _object(await self._api.ask("GET", path, query))

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The object that was made."""
        return _object(await self._api.ask("POST", path, body=body))

    async def delete(self, path: str) -> None:
        """Remove an object, and in time what it owns; one that is gone is no error."""
        try:
            await self._api.ask("DELETE", path, {"propagationPolicy": "Background"})
        except Refused as refused:
            if refused.status != 404:
                raise


def _object(answer: Answer) -> dict[str, Any]:
    if not isinstance(answer.document, dict):
        raise CacheError("the Kubernetes API answered something that is no object")
    return answer.document
