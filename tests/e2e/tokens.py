"""A token server for Distribution's token auth: short-lived, signed by a key made for the test.

The tokens are JSON Web Tokens as distribution's "Token Authentication Implementation" wants them
(docs/spec/auth/jwt.md): RS256, with the certificate in `x5c`.
"""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.e2e.servers import LOOPBACK, program, run

LEEWAY = 60
"""Seconds past its expiry that Distribution still takes a token (registry/auth/token/token.go)."""
SERVICE, ISSUER = "loopback", "test"


class TokenServer:
    """Gives `user`, who proves a password, pull tokens that a registry takes for `seconds`.

    It promises clients more time than that (`expires_in`), so that they meet the expiry as a 401.
    """

    def __init__(self, folder: Path, *, seconds: float, user: str, password: str) -> None:
        self._openssl = program("openssl")
        self._folder = folder
        self.seconds = seconds
        self.credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
        self.issued = 0
        self._make_key()
        self._server = ThreadingHTTPServer((LOOPBACK, 0), _handler(self))
        self._server.daemon_threads = True
        self.address = f"{LOOPBACK}:{self._server.server_address[1]}"
        self.url = f"http://{self.address}"

    @property
    def registry_auth(self) -> dict[str, Any]:
        """The `auth` section of a Distribution that trusts this server."""
        return {
            "token": {
                "realm": f"{self.url}/token",
                "service": SERVICE,
                "issuer": ISSUER,
                "rootcertbundle": str(self._folder / "cert.pem"),
            }
        }

    def _make_key(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        certificate = ("-subj", "/CN=test", "-days", "1", "-out", str(self._folder / "cert.pem"))
        key = ("-newkey", "rsa:2048", "-nodes", "-keyout", str(self._folder / "key.pem"))
        run([self._openssl, "req", "-x509", *key, *certificate])
        pem = (self._folder / "cert.pem").read_text().splitlines()
        self._certificate = "".join(line for line in pem if not line.startswith("-----"))

    def token(self, scopes: list[str]) -> str:
        """A signed token for `repository:NAME:ACTIONS` scopes, expired but for the leeway and `seconds`."""
        now = time.time()
        access = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        self.issued += 1
        claims = {
            "iss": ISSUER,
            "sub": "tester",
            "aud": SERVICE,
            "exp": int(now - LEEWAY + self.seconds),
            "nbf": int(now - 600),
            "iat": int(now - 600),
            "jti": str(self.issued),
            "access": access,
        }
        header = {"typ": "JWT", "alg": "RS256", "x5c": [self._certificate]}
        signed = f"{_part(json.dumps(header).encode())}.{_part(json.dumps(claims).encode())}"
        return f"{signed}.{_part(self._signature(signed.encode()))}"

    def _signature(self, content: bytes) -> bytes:
        command = [self._openssl, "dgst", "-sha256", "-sign", str(self._folder / "key.pem")]
        return subprocess.run(command, input=content, capture_output=True, check=True).stdout

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(server: TokenServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:  # a client that was killed
                self.close_connection = True

        def do_GET(self) -> None:
            if self.headers.get("Authorization") != f"Basic {server.credentials}":
                self._reply(401, {"errors": [{"code": "UNAUTHORIZED"}]})
                return
            scopes = parse_qs(urlsplit(self.path).query).get("scope", [])
            words = [scope for value in scopes for scope in value.split()]
            self._reply(200, {"token": server.token(words), "expires_in": 300})

        def _reply(self, status: int, answer: dict[str, Any]) -> None:
            body = json.dumps(answer).encode()
            self.send_response_only(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def _part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
