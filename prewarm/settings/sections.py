"""The sections of the configuration: what each key may hold, its default, its help."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from prewarm.errors import InvalidReference, SettingsError, nearest
from prewarm.quantities import parse_bytes, parse_duration
from prewarm.references import Reference

KEY_LENGTH = 16
"""Bytes that a secret has at least."""

LogField = Literal[
    "timestamp",
    "client",
    "forwarded",
    "user",
    "agent",
    "host",
    "request",
    "method",
    "uri",
    "status",
    "bytes",
    "seconds",
    "milliseconds",
    "key",
    "cache",
    "digest",
    "media_type",
]


def parse_zone(value: str) -> str:
    """An IANA time zone, by its name."""
    try:
        return ZoneInfo(value).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = nearest(value, available_timezones())
        hint = f"; did you mean {near!r}?" if near else "; example: America/Boise"
        raise ValueError(f"{value!r} is no time zone{hint}") from None


def parse_registry(value: str) -> str:
    """A registry's host, with its port where it has one."""
    try:
        return Reference.of(value, "x/y").registry
    except InvalidReference:
        raise ValueError(f"{value!a} is no registry host; examples: docker.io, 127.0.0.1:5000") from None


def parse_network(value: str) -> str:
    """A network in CIDR notation, as it is written in full."""
    try:
        return str(ip_network(value, strict=False))
    except ValueError:
        raise ValueError(f"{value!r} is no network; examples: 10.1.2.0/24, fd00::/64") from None


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Bytes = Annotated[int, BeforeValidator(parse_bytes)]
Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Zone = Annotated[str, AfterValidator(parse_zone)]
Host = Annotated[str, AfterValidator(parse_registry)]
Strings = Annotated[tuple[str, ...], BeforeValidator(_several)]
Networks = Annotated[tuple[Annotated[str, AfterValidator(parse_network)], ...], BeforeValidator(_several)]
Clock = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Scope = Literal["read", "ingest", "run"]
Objective = Literal["pulls", "any-pull", "bytes"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _secret(section: str, key: str, given: SecretStr | None, file: Path | None) -> bytes | None:
    """The secret as it was given, or what its file holds. No refusal shows it."""
    if given is not None and file is not None:
        raise SettingsError(f"{section}: {key} and {key}_file are both set; keep one of them")
    found = given.get_secret_value().encode() if given is not None else None
    if file is not None:
        try:
            found = file.read_bytes().strip()
        except OSError as error:
            raise SettingsError(
                f"{section}.{key}_file: {file} cannot be read: {error.strerror}; "
                f"make one: openssl rand -hex 32 > {file.name}"
            ) from error
    if found is not None and len(found) < KEY_LENGTH:
        raise SettingsError(
            f"{section}: the {key} has less than {KEY_LENGTH} bytes; make one: openssl rand -hex 32"
        )
    return found


class SiteSection(_Section):
    """A cache and the clients behind it."""

    timezone: Zone | None = Field(None, description="IANA time zone; without it PREWARM_TIMEZONE, else UTC")
    holidays: str | None = Field(None, description="country or country-subdivision: US-ID, DE-BE, IN")


class SourceSection(_Section):
    """Where accesses come from: log files."""

    path: Strings = Field((), description="files, folders or globs; none: what is delivered to the service")
    site: str = Field("default", description="the site whose clients this log shows")
    registry: Host | None = Field(None, description="the upstream that unprefixed names belong to")
    rewrite: dict[str, str] = Field({}, description="name prefixes to registries; the longest wins")
    format: str = Field("auto", description="see `prewarm formats`")
    timezone: Zone | None = Field(None, description="zone of stamps that carry none")
    keys: dict[LogField, str] = Field(
        {}, description='keys of an own nginx-json, e.g. {uri = "req/path"}; with format = "nginx-json"'
    )
    secret: SecretStr | None = Field(
        None, description="of X-Hub-Signature-256 on deliveries; best as PREWARM_SOURCES__NAME__SECRET"
    )
    secret_file: Path | None = Field(None, description="a file that holds the secret")

    def signing(self, name: str) -> bytes | None:
        """What deliveries are signed with; SettingsError when it cannot be read or is too short."""
        return _secret(f"sources.{name}", "secret", self.secret, self.secret_file)


class RegistrySection(_Section):
    """A registry that may be contacted."""

    url: str = Field(description="https://registry-1.docker.io; http:// means plain HTTP")
    max_concurrency: int = Field(4, ge=1, le=256, description="requests at once")
    reserve: float = Field(0.3, ge=0, le=1, description="share of the pull quota kept for people")
    ca_file: Path | None = Field(None, description="PEM file of an own certificate authority")
    timeout: Duration = Field(
        timedelta(seconds=30), gt=timedelta(0), description="silence after which a request is given up"
    )


class CacheSection(BaseModel):
    """Where warm images land; each driver adds keys of its own (`prewarm caches`)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    driver: str = Field(
        description="one of `prewarm caches`: mirror, replica, docker, containerd, kubernetes, harbor, layout"
    )
    site: str | None = Field(None, description="the site whose demand this cache serves; none: all together")
    upstream: Host | None = Field(None, description="where it fetches from; none: the image's own registry")
    rewrite: dict[str, str] = Field({}, description="registries to name prefixes on this cache")
    ttl: Duration | None = Field(None, description="how long a fill is kept")
    max_bytes: Bytes | None = Field(None, description="most bytes that one plan may add")
    bandwidth: Bytes | None = Field(None, gt=0, description="most bytes a second that warming may use")
    always: Strings = Field((), description="images that every plan begins with")
    never: Strings = Field((), description="globs that no plan may contain")
    allow: Strings = Field((), description="globs that a plan may contain; none: anything")
    min_clients: int = Field(1, ge=1, description="distinct clients before an image may be warmed")
    unused: Duration = Field(
        timedelta(days=30),
        ge=timedelta(days=1),
        description="without a use before `prune` may evict an image",
    )

    @property
    def own(self) -> dict[str, Any]:
        """The driver's own keys, as written."""
        return dict(self.model_extra or {})


class ScheduleSection(_Section):
    """When a cache is warmed or maintained."""

    cache: str = Field(description="the cache to warm")
    days: str = Field("mon-sun", description="mon-fri, sat,sun")
    ready_by: Clock | None = Field(None, description="when all must be there, on the site's clock")
    covers: Annotated[str, Field(pattern=r"^\d\d:\d\d-\d\d:\d\d$")] | None = Field(
        None, description="07:30-11:00"
    )
    top: int | None = Field(None, ge=1, description="images at most")
    max_bytes: Bytes | None = Field(None, description="bytes at most")
    objective: Objective = Field("any-pull", description="pulls, any-pull or bytes")
    holdout: float = Field(
        0.0, ge=0, lt=1, description="random share of a plan to withhold, to measure gains"
    )
    cron: Annotated[str, Field(pattern=r"^\S+( +\S+){4}$")] | None = Field(
        None, description="when `refresh` and `prune` are due, on the site's clock: */15 * * * *"
    )
    verb: Literal["run", "refresh", "prune"] = Field("run", description="run, refresh or prune")
    mode: Literal["warm", "forecast-only"] = Field(
        "warm", description="forecast-only plans and reports, and never pulls: right for a first week"
    )
    over: Duration = Field(timedelta(0), description="time that `refresh` spreads its questions over")


class DemandSection(_Section):
    """What counts as demand."""

    session_gap: Duration = Field(timedelta(seconds=60), description="silence that ends a session")
    kinds: Strings = Field(("manifest", "layers"), description="kinds of pull that count")
    ignore: Strings = Field((), description="globs on user agents that never count, beside the known tools")
    ignore_tools: bool = Field(
        True, description="known scanners, replication agents, health checks and update watchers never count"
    )


class CostSection(_Section):
    """Prices that reports use."""

    egress_per_gb: float = Field(0.0, ge=0, description="price of 10^9 bytes from upstream")
    docker_hub_quota: int = Field(
        100, ge=1, description="pulls in six hours that docker.io grants: 100 anonymous, 200 logged in"
    )


class PrivacySection(_Section):
    """With a key, clients and users are kept under pseudonyms (HMAC-SHA256); another key, other names."""

    key: SecretStr | None = Field(
        None, description="the key itself, at least 16 characters; best as PREWARM_PRIVACY__KEY"
    )
    key_file: Path | None = Field(None, description="a file that holds the key")

    def secret(self) -> bytes | None:
        """The key; SettingsError when it cannot be read or is too short, which does not show it."""
        return _secret("privacy", "key", self.key, self.key_file)


class TokenSection(_Section):
    """A bearer token of the service, kept as a hash."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(
        description="of the token, in hexadecimal"
    )
    scopes: tuple[Scope, ...] = Field(("read",), description="read, ingest, run")
    sites: Strings = Field((), description="sites that it is for; none: all")
    sources: Strings = Field((), description="sources that it may send for; none: all")


class ServiceSection(_Section):
    """The REST service."""

    host: str = Field("127.0.0.1", description="address to bind")
    port: int = Field(8080, ge=0, le=65535, description="port to bind; 0 takes a free one")
    refresh: Duration = Field(
        timedelta(seconds=5), ge=timedelta(seconds=1), description="pause between looks at the lake"
    )
    tokens: dict[str, TokenSection] = Field({}, description="needed for any bind but loopback")
    tls_certificate: Path | None = Field(None, description="PEM file of the certificate chain; serves HTTPS")
    tls_key: Path | None = Field(None, description="PEM file of the certificate's private key")
    follow: bool = Field(True, description="whether the logs of all sources are followed")
    inbox: Path | None = Field(
        None,
        description="folder where deliveries wait for the lake; needed for a lake at a URL [in the lake]",
    )
    inbox_limit: Bytes = Field(256 << 20, gt=0, description="bytes that may wait; more are refused with 429")
    schedules: bool = Field(True, description="whether schedules are run by the service")
    docs: bool = Field(True, description="whether /docs and /openapi.json are served")
