"""Every setting: its default, its PREWARM_ variable, its help.

Precedence: a flag, then a `PREWARM_` variable, then `prewarm.toml`, then the default. A nested key's
variable joins its path with two underscores: `PREWARM_DEMAND__SESSION_GAP=90s`. Unknown keys in the
file are refused with the nearest known one; unknown `PREWARM_` variables are ignored.

This is the only room that knows the configuration; it builds the plain dataclasses that lower rooms take.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from prewarm import plugins
from prewarm.errors import InvalidReference, SettingsError, UnknownName, nearest
from prewarm.quantities import parse_bytes, parse_duration
from prewarm.references import Reference

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from prewarm.demand.calendars import Site
    from prewarm.logs.files import Source
    from prewarm.pipeline.caches import CacheSpec
    from prewarm.pipeline.histories import Counting
    from prewarm.pipeline.schedules import When
    from prewarm.warming.caches import Driver
    from prewarm.warming.registry import Endpoint

T = TypeVar("T")

KEY_LENGTH = 16
"""Bytes that a key of pseudonyms has at least."""

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


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Bytes = Annotated[int, BeforeValidator(parse_bytes)]
Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Zone = Annotated[str, AfterValidator(parse_zone)]
Host = Annotated[str, AfterValidator(parse_registry)]
Strings = Annotated[tuple[str, ...], BeforeValidator(_several)]
Clock = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Objective = Literal["pulls", "any-pull", "bytes"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SiteSection(_Section):
    """A cache and the clients behind it."""

    timezone: Zone | None = Field(None, description="IANA time zone; without it PREWARM_TIMEZONE, else UTC")
    holidays: str | None = Field(None, description="country or country-subdivision: US-ID, DE-BE, IN")


class SourceSection(_Section):
    """Where accesses come from: log files."""

    path: Strings = Field(description="files, folders or globs")
    site: str = Field("default", description="the site whose clients this log shows")
    registry: Host | None = Field(None, description="the upstream that unprefixed names belong to")
    rewrite: dict[str, str] = Field({}, description="name prefixes to registries; the longest wins")
    format: str = Field("auto", description="see `prewarm formats`")
    timezone: Zone | None = Field(None, description="zone of stamps that carry none")
    keys: dict[LogField, str] = Field(
        {}, description='keys of an own nginx-json, e.g. {uri = "req/path"}; with format = "nginx-json"'
    )


class RegistrySection(_Section):
    """A registry that may be contacted."""

    url: str = Field(description="https://registry-1.docker.io; http:// means plain HTTP")
    max_concurrency: int = Field(4, ge=1, le=256, description="requests at once")
    reserve: float = Field(0.3, ge=0, le=1, description="share of the pull quota kept for people")
    ca_file: Path | None = Field(None, description="PEM file of an own certificate authority")


class CacheSection(BaseModel):
    """Where warm images land; each driver adds keys of its own (`prewarm caches`)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    driver: str = Field(description="one of `prewarm caches`: mirror, replica, docker, containerd, layout")
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
    cron: str | None = Field(None, description="for maintenance (not available yet)")
    verb: Literal["run", "refresh", "prune"] = Field(
        "run", description="refresh and prune are not available yet"
    )


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

    egress_per_gb: float = Field(0.0, ge=0, description="for reports (not available yet)")


class PrivacySection(_Section):
    """With a key, clients and users are kept under pseudonyms (HMAC-SHA256); another key, other names."""

    key: SecretStr | None = Field(
        None, description="the key itself, at least 16 characters; best as PREWARM_PRIVACY__KEY"
    )
    key_file: Path | None = Field(None, description="a file that holds the key")

    def secret(self) -> bytes | None:
        """The key; SettingsError when it cannot be read or is too short, which does not show it."""
        if self.key is not None and self.key_file is not None:
            raise SettingsError("privacy: key and key_file are both set; keep one of them")
        found = self.key.get_secret_value().encode() if self.key is not None else None
        if self.key_file is not None:
            try:
                found = self.key_file.read_bytes().strip()
            except OSError as error:
                raise SettingsError(
                    f"privacy.key_file: {self.key_file} cannot be read: {error.strerror}; "
                    "make one: openssl rand -hex 32 > clients.key"
                ) from error
        if found is not None and len(found) < KEY_LENGTH:
            raise SettingsError(
                f"privacy: the key has less than {KEY_LENGTH} bytes; make one: openssl rand -hex 32"
            )
        return found


class TokenSection(_Section):
    """A bearer token of the service, kept as a hash."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(
        description="of the token, in hexadecimal"
    )
    scopes: tuple[Literal["read", "ingest", "run"], ...] = Field(("read",), description="read, ingest, run")


class ServiceSection(_Section):
    """The REST service."""

    host: str = Field("127.0.0.1", description="address to bind")
    port: int = Field(8080, ge=0, le=65535, description="port to bind; 0 takes a free one")
    refresh: Duration = Field(
        timedelta(seconds=5), ge=timedelta(seconds=1), description="pause between looks at the lake"
    )
    tokens: dict[str, TokenSection] = Field({}, description="needed for any bind but loopback")


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix="PREWARM_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    lake: str = Field("./lake", description="folder or URL of the lake")
    timezone: Zone | None = Field(None, description="zone of sites, and of stamps, that have none")
    sites: dict[str, SiteSection] = {}
    sources: dict[str, SourceSection] = {}
    registries: dict[Host, RegistrySection] = {}
    caches: dict[str, CacheSection] = {}
    schedules: dict[str, ScheduleSection] = {}
    demand: DemandSection = DemandSection()
    privacy: PrivacySection = PrivacySection()
    costs: CostSection = CostSection()
    service: ServiceSection = ServiceSection()

    def cache(self, name: str) -> CacheSection:
        """The cache of that name; UnknownName lists the known ones."""
        return _named("cache", name, self.caches)

    def schedule(self, name: str) -> ScheduleSection:
        """The schedule of that name; UnknownName lists the known ones."""
        return _named("schedule", name, self.schedules)

    def default_site(self) -> Site:
        """What sites have that nobody declared: PREWARM_TIMEZONE, else UTC."""
        from prewarm.demand.calendars import Site

        return Site(timezone=self.timezone or "UTC")

    def declared_sites(self) -> dict[str, Site]:
        """Sites whose clock somebody chose; the others follow `default_site`, with a warning."""
        from prewarm.demand.calendars import Site

        return {
            name: Site(name, section.timezone or self.timezone or "UTC", section.holidays)
            for name, section in self.sites.items()
            if section.timezone or self.timezone or section.holidays
        }

    def zone(self, site: str | None) -> str:
        """The time zone on whose clock a time without one is read; of no site, the only declared one's."""
        sites = self.declared_sites()
        if site is None and len(sites) == 1:
            (site,) = sites
        return sites.get(site or "", self.default_site()).timezone

    def counting(self) -> Counting:
        """What counts as demand."""
        from prewarm.demand.selection import TOOLS
        from prewarm.pipeline.histories import Counting

        tools = TOOLS if self.demand.ignore_tools else ()
        return Counting(self.demand.kinds, (*self.demand.ignore, *tools), self.demand.session_gap)

    def source(self, name: str | None, paths: tuple[str, ...] = ()) -> Source:
        """The source of that name; `paths` replace its own, and then a new name is a new source."""
        from prewarm.logs.files import Source

        section = self.sources.get(name or "")
        if section is None and paths:
            return Source(
                name or "default", paths, timezone=self.timezone or "UTC", client_key=self.privacy.secret()
            )
        section = section or _named("source", name or "", self.sources)
        return Source(
            name or "",
            paths or section.path,
            section.site,
            section.registry,
            section.rewrite,
            section.format,
            section.timezone or self.zone(section.site),
            {str(field): key for field, key in section.keys.items()},
            self.privacy.secret(),
        )

    def cache_spec(self, name: str) -> CacheSpec:
        """How the cache of that name is opened and what it may be given."""
        from prewarm.pipeline.caches import CacheSpec
        from prewarm.warming.planning import Rules

        section = self.cache(name)
        return CacheSpec(
            name,
            section.driver,
            section.own,
            section.site,
            section.upstream,
            section.rewrite,
            section.ttl,
            Rules(section.always, section.never, section.allow, section.min_clients),
            section.max_bytes,
            section.bandwidth,
        )

    def when(self, name: str) -> tuple[When, Site]:
        """When the schedule of that name warms, and on whose clock."""
        from prewarm.pipeline.schedules import When
        from prewarm.warming.planning import Budget

        section = self.schedule(name)
        if section.verb != "run" or section.covers is None:
            raise SettingsError(
                f"schedules.{name}: only a schedule with covers (07:30-11:00) can be run so far"
            )
        budget = Budget(section.top, section.max_bytes)
        when = When(
            name, section.days, section.covers, budget, section.ready_by, section.objective, section.holdout
        )
        site = self.declared_sites().get(self.cache(section.cache).site or "", self.default_site())
        return when, site

    def serving(self, host: str | None = None, port: int | None = None) -> Settings:
        """These settings, with the address that the service binds where one is given."""
        given = {key: value for key, value in {"host": host, "port": port}.items() if value is not None}
        return self.model_copy(update={"service": self.service.model_copy(update=given)})

    def endpoints(self) -> list[Endpoint]:
        """The registries that may be contacted."""
        from prewarm.warming.registry import Endpoint

        return [
            Endpoint(name, section.url, section.max_concurrency, section.ca_file, reserve=section.reserve)
            for name, section in self.registries.items()
        ]


def load(config: Path | None = None, **flags: object) -> Settings:
    """Settings from flags, variables, the file and defaults; flags that are None were not given.

    `config` must exist when it is named; the default `./prewarm.toml` may be missing.
    Raises SettingsError: one line with the file, the key and what was expected.
    """
    path = config or Path("prewarm.toml")
    table = _read(path) if config or path.exists() else {}
    given = {key: value for key, value in flags.items() if value is not None}

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: object, **__: object
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (
                InitSettingsSource(settings_cls, init_kwargs=given),
                _KnownVariables(settings_cls),
                InitSettingsSource(settings_cls, init_kwargs=table),
            )

    try:
        settings = Loaded()
    except ValidationError as refused:
        raise SettingsError(f"{path.name}: {_explain(refused)}") from None
    for name, section in settings.caches.items():
        _check_driver(path, name, section)
    return settings


class _KnownVariables(EnvSettingsSource):
    """PREWARM_ variables, without those that name no setting."""

    def __call__(self) -> dict[str, Any]:
        return _known(Settings, super().__call__())


def _known(model: type[BaseModel], data: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in data.items() if key in model.model_fields}
    for key, value in kept.items():
        inner = model.model_fields[key].annotation
        if isinstance(value, dict) and isinstance(inner, type) and issubclass(inner, BaseModel):
            kept[key] = _known(inner, value)
    return kept


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(
            f"{path}: no such file; --config names a TOML file such as ./prewarm.toml"
        ) from None
    except (OSError, UnicodeDecodeError) as refused:
        raise SettingsError(f"{path}: cannot be read: {refused}") from None
    except tomllib.TOMLDecodeError as refused:
        raise SettingsError(f"{path}: is no TOML: {refused}") from None


def _explain(refused: ValidationError) -> str:
    """The first problem in words: the key, what was wrong, the nearest known key."""
    problem = _worst(refused)
    path = [str(part) for part in problem["loc"] if part != "[key]"]
    key = ".".join(path)
    if problem["type"] == "extra_forbidden":
        if path[0] == "registries" and not nearest(path[-1], RegistrySection.model_fields):
            return f'unknown key {key!r}; a host with dots needs quotes: [registries."docker.io"]'
        return _unknown_key(key, _keys_beside(problem["loc"]))
    return f"{key}: {problem['msg'].removeprefix('Value error, ')}"


def _worst(refused: ValidationError) -> ErrorDetails:
    """The first problem; a misspelt key goes before the missing one that it stands for."""
    problems = refused.errors(include_url=False, include_context=False)
    return next((each for each in problems if each["type"] == "extra_forbidden"), problems[0])


def _unknown_key(key: str, known: Iterable[str]) -> str:
    near = nearest(key.rpartition(".")[2], known)
    hint = f"; did you mean {near!r}?" if near else ";"
    return f"unknown key {key!r}{hint} known: {', '.join(sorted(known))}"


def _keys_beside(path: tuple[int | str, ...]) -> set[str]:
    """Keys that may stand where the last part of `path` stands."""
    model: type[BaseModel] = Settings
    for part in path[:-1]:
        if part in model.model_fields:
            model = _model_of(model.model_fields[str(part)].annotation) or model
    return set(model.model_fields)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The section model of `Section` or `dict[str, Section]`."""
    inner = get_args(annotation)[-1] if get_args(annotation) else annotation
    return inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None


def _check_driver(path: Path, name: str, section: CacheSection) -> None:
    """A driver validates its own keys, so that a third party's are refused like ours."""
    try:
        driver: Driver = plugins.load(plugins.CACHES, section.driver)
    except UnknownName as unknown:
        raise SettingsError(f"{path.name}: caches.{name}.driver: {unknown}") from None
    try:
        driver.config.model_validate(section.own)
    except ValidationError as refused:
        problem = _worst(refused)
        key = ".".join(["caches", name, *(str(part) for part in problem["loc"])])
        if problem["type"] == "extra_forbidden":
            known = set(CacheSection.model_fields) | set(driver.config.model_fields)
            raise SettingsError(f"{path.name}: {_unknown_key(key, known)}") from None
        raise SettingsError(
            f"{path.name}: {key}: {problem['msg'].removeprefix('Value error, ')} (driver {section.driver})"
        ) from None


def _named(noun: str, name: str, table: Mapping[str, T]) -> T:
    if name not in table:
        raise UnknownName(noun, name, table)
    return table[name]
