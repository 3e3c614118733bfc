"""Every setting: its default, its PREWARM_ variable, its help.

Precedence: a flag, then a `PREWARM_` variable, then `prewarm.toml`, then the default. A nested key's
variable joins its path with two underscores: `PREWARM_DEMAND__SESSION_GAP=90s`. Unknown keys in the
file are refused with the nearest known one; unknown `PREWARM_` variables are ignored.

This is the only room that knows the configuration; it builds the plain dataclasses that lower rooms take.
"""

from prewarm.settings.loading import load
from prewarm.settings.model import Settings
from prewarm.settings.sections import (
    Bytes,
    CacheSection,
    CostSection,
    DemandSection,
    Objective,
    PrivacySection,
    RegistrySection,
    ScheduleSection,
    Scope,
    ServiceSection,
    SiteSection,
    SourceSection,
    TokenSection,
    parse_registry,
)

__all__ = [
    "Bytes",
    "CacheSection",
    "CostSection",
    "DemandSection",
    "Objective",
    "PrivacySection",
    "RegistrySection",
    "ScheduleSection",
    "Scope",
    "ServiceSection",
    "Settings",
    "SiteSection",
    "SourceSection",
    "TokenSection",
    "load",
    "parse_registry",
]
