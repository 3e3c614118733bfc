"""What the stamps of a site's log tell of its clock, for the word on sites without a time zone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prewarm.demand.calendars import Site
from prewarm.lake import Lake


def name_of(site: str) -> str:
    """Under this name: the minutes by which the stamps of the site's newest log are ahead of UTC."""
    return f"site-{site}-utc-offset"


def warnings(lake: Lake, found: Iterable[str], sites: Mapping[str, Site], default: Site | None) -> list[str]:
    """A word on those sites of `found` that live by UTC only because nobody said otherwise."""
    if default is not None and default.timezone != "UTC":
        return []
    names = sorted(set(found) - set(sites))
    return [
        f"site {name!r} has no time zone, so its hours are UTC's{_told(lake, name)}; set "
        f'PREWARM_TIMEZONE=Europe/Berlin, or timezone = "Europe/Berlin" under [sites.{name}]'
        for name in names
    ]


def _told(lake: Lake, site: str) -> str:
    minutes = lake.progress("pulls", name_of(site))
    return "" if minutes is None else f" (its log writes {shown(minutes)})"


def shown(minutes: int) -> str:
    """`+02:00`, as stamps write it."""
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
