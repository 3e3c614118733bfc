"""Logins from docker's `config.json` and its credential helpers.

Secrets stay inside: no repr, no message and no log shows them.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Login:
    """A user's secret for one registry; `identity_token` replaces the password where there is one."""

    username: str = field(repr=False)
    password: str = field(repr=False)
    identity_token: str | None = field(default=None, repr=False)


class Credentials:
    """Where logins come from: `await credentials.of("docker.io")` is a Login, or None for anonymous."""

    async def of(self, registry: str) -> Login | None:
        """The login for `registry`; asks a credential helper where the config names one."""
        raise NotImplementedError
