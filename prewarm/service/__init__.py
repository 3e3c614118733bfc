"""The REST service: app factory, routes by noun, problem details, who may ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prewarm.errors import SettingsError

if TYPE_CHECKING:
    from prewarm.settings import Settings

PATIENCE = 10  # seconds that requests in flight have when the service is asked to stop


def serve(settings: Settings) -> None:
    """Serve until interrupted. A bind other than loopback needs tokens; SettingsError says how."""
    import uvicorn

    from prewarm.service.access import is_loopback
    from prewarm.service.app import create_app

    service = settings.service
    if not is_loopback(service.host) and not service.tokens:
        raise SettingsError(
            f"service.host {service.host!r} is reachable from elsewhere and needs a token: "
            '[service.tokens.NAME] sha256 = "…", scopes = ["read"] (printf %s TOKEN | sha256sum)'
        )
    uvicorn.run(
        create_app(settings),
        host=service.host,
        port=service.port,
        log_level="info",
        server_header=False,
        timeout_graceful_shutdown=PATIENCE,
    )
