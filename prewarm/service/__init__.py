"""The REST service: app factory, routes by noun, problem details, who may ask."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from prewarm import telemetry
from prewarm.errors import SettingsError

if TYPE_CHECKING:
    from types import FrameType

    from prewarm.settings import ServiceSection, Settings

PATIENCE = 10  # seconds that requests in flight have when the service is asked to stop
WAITING = 2048  # connections that the kernel holds before they are accepted


def serve(settings: Settings, on_bound: Callable[[str], None] = lambda url: None) -> None:
    """Serve until interrupted; `on_bound` is told the address.

    Raises SettingsError for an address that cannot be bound, or that others could reach without tokens.
    """
    from prewarm.service.access import is_loopback

    service = settings.service
    if not is_loopback(service.host) and not service.tokens:
        raise SettingsError(
            f"service.host {service.host!r} is reachable from elsewhere and needs a token: "
            '[service.tokens.NAME] sha256 = "…", scopes = ["read"] (printf %s TOKEN | sha256sum)'
        )
    if (service.tls_certificate is None) != (service.tls_key is None):
        raise SettingsError("service: tls_certificate and tls_key belong together; set both, or neither")
    for file in filter(None, (service.tls_certificate, service.tls_key)):
        if not os.access(file, os.R_OK):
            raise SettingsError(f"service: {file} cannot be read; expected a PEM file")
    with _bound(service) as listener:
        on_bound(_url(listener, "https" if service.tls_certificate else "http"))
        _run(settings, listener)


def _run(settings: Settings, listener: socket.socket) -> None:
    import uvicorn

    from prewarm.service.app import create_app

    telemetry.set_up(others=["uvicorn"])
    service, app = settings.service, create_app(settings)

    class Server(uvicorn.Server):
        """Runs that go on, and whoever watches them, are told to end before connections are waited for."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            app.state.runs.stop()
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        app,
        log_config=None,  # it would write access lines to stdout, which is for data
        server_header=False,
        timeout_graceful_shutdown=PATIENCE,
        ssl_certfile=service.tls_certificate,
        ssl_keyfile=service.tls_key,
    )
    Server(config).run(sockets=[listener])


def _bound(service: ServiceSection) -> socket.socket:
    """A socket that listens at the service's address."""
    host = service.host.strip("[]")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, service.port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=WAITING)
    except OSError as refused:
        why = (refused.strerror or str(refused)).partition(" (")[0]
        raise SettingsError(
            f"service: {host}:{service.port} cannot be bound: {why}; "
            "expected an address of this machine and a free port, such as --host 127.0.0.1 --port 0"
        ) from None


def _url(listener: socket.socket, scheme: str) -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
