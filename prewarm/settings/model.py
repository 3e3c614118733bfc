"""All sections together, and the plain dataclasses that lower rooms take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from prewarm.errors import SettingsError, UnknownName
from prewarm.settings.sections import (
    CacheSection,
    CostSection,
    DemandSection,
    Host,
    Networks,
    PrivacySection,
    RegistrySection,
    ScheduleSection,
    ServiceSection,
    SiteSection,
    SourceSection,
    Zone,
)

if TYPE_CHECKING:
    from prewarm.demand.calendars import Site
    from prewarm.logs.files import Source
    from prewarm.pipeline.demand.histories import Counting
    from prewarm.pipeline.insight.reports import Terms
    from prewarm.pipeline.warming.caches import CacheSpec
    from prewarm.pipeline.warming.plan import Demand
    from prewarm.pipeline.warming.schedules import Timetable, When
    from prewarm.warming.registry import Endpoint

T = TypeVar("T")


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix="PREWARM_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    lake: str = Field("./lake", description="folder or URL of the lake")
    timezone: Zone | None = Field(None, description="zone of sites, and of stamps, that have none")
    clients: dict[str, Networks] = Field({}, description="groups that reports tell apart: name to networks")
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
        from prewarm.pipeline.demand.histories import Counting

        tools = TOOLS if self.demand.ignore_tools else ()
        return Counting(self.demand.kinds, (*self.demand.ignore, *tools), self.demand.session_gap)

    def demand_of_sites(self) -> Demand:
        """How plans read demand from the lake: the sites' clocks, and what counts."""
        from prewarm.pipeline.warming.plan import Demand

        return Demand(self.declared_sites(), self.default_site(), self.counting())

    def terms(self, site: str | None = None) -> Terms:
        """What reports need: clock, what is set aside, how long caches keep, prices."""
        from prewarm.pipeline.insight.reports import Terms

        kept = {cache.site or "default": cache.ttl for cache in self.caches.values() if cache.ttl is not None}
        return Terms(
            self.zone(site),
            kept,
            self.counting().ignore,
            self.costs.egress_per_gb,
            self.costs.docker_hub_quota,
            self.clients,
            {name: self.zone(name) for name in self.declared_sites()},
        )

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

    def secrets(self) -> dict[str, bytes]:
        """What deliveries are signed with, by source; sources without a secret are not there."""
        found = {name: section.signing(name) for name, section in self.sources.items()}
        return {name: secret for name, secret in found.items() if secret is not None}

    def logs(self) -> list[str]:
        """The sources that have files to read; others are delivered to the service."""
        return sorted(name for name, section in self.sources.items() if section.path)

    def cache_spec(self, name: str) -> CacheSpec:
        """How the cache of that name is opened and what it may be given."""
        from prewarm.pipeline.warming.caches import CacheSpec
        from prewarm.warming.rules import Rules
        from prewarm.warming.upkeep import Patience

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
            patience=Patience(section.unused),
        )

    def when(self, name: str) -> tuple[When, Site]:
        """When the schedule of that name warms, and on whose clock."""
        from prewarm.pipeline.warming.schedules import When
        from prewarm.warming.planning import Budget

        section = self.schedule(name)
        if section.verb != "run" or section.covers is None:
            raise SettingsError(
                f'schedules.{name}: it says not which hours it serves; covers = "07:30-11:00"'
            )
        budget = Budget(section.top, section.max_bytes)
        when = When(
            name, section.days, section.covers, budget, section.ready_by, section.objective, section.holdout
        )
        site = self.declared_sites().get(self.cache(section.cache).site or "", self.default_site())
        return when, site

    def timetable(self, name: str) -> Timetable:
        """When the schedule of that name begins, and what."""
        from prewarm.pipeline.warming.schedules import Timetable, lead_for

        section = self.schedule(name)
        cache = self.cache(section.cache)
        site = self.declared_sites().get(cache.site or "", self.default_site())
        warms = section.mode == "warm"
        if section.cron is not None:
            return Timetable(
                name, section.verb, section.cache, site, cron=section.cron, warms=warms, over=section.over
            )
        when, site = self.when(name)
        limits = [each for each in (section.max_bytes, cache.max_bytes) if each is not None]
        lead = lead_for(min(limits, default=None), cache.bandwidth)
        return Timetable(name, section.verb, section.cache, site, when, lead, warms=warms)

    def serving(self, host: str | None = None, port: int | None = None) -> Settings:
        """These settings, with the address that the service binds where one is given."""
        given = {key: value for key, value in {"host": host, "port": port}.items() if value is not None}
        return self.model_copy(update={"service": self.service.model_copy(update=given)})

    def endpoints(self) -> list[Endpoint]:
        """The registries that may be contacted."""
        from prewarm.warming.registry import Endpoint

        return [
            Endpoint(
                name,
                section.url,
                section.max_concurrency,
                section.ca_file,
                section.timeout.total_seconds(),
                reserve=section.reserve,
            )
            for name, section in self.registries.items()
        ]


def _named(noun: str, name: str, table: Mapping[str, T]) -> T:
    if name not in table:
        raise UnknownName(noun, name, table)
    return table[name]
