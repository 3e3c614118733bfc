"""The REST service: app factory, routes by noun, problem details, who may ask."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from prewarm.errors import SettingsError

if TYPE_CHECKING:
    from prewarm.settings import Settings


def serve(settings: Settings) -> None:
    """Serve until interrupted. A bind other than loopback needs tokens; SettingsError says how."""
    if not is_loopback(settings.service.host) and not settings.service.tokens:
        raise SettingsError(
            f"service.host {settings.service.host!r} is reachable from elsewhere and needs a token: "
            '[service.tokens.NAME] sha256 = "…", scopes = ["read"] (printf %s TOKEN | sha256sum)'
        )
    import uvicorn

    from prewarm.service.app import create_app

    uvicorn.run(
        create_app(settings), host=settings.service.host, port=settings.service.port, log_level="info"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
