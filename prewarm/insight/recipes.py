"""What to put into `prewarm.toml` for a strategy: sections that load as they are, addresses aside."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta

from prewarm.insight.traits import Traits

HUB = "docker.io"


def config(strategy: str, traits: Traits) -> str | None:
    """The sections for one repository; None where nothing of prewarm is to be set."""
    write = RECIPES.get(strategy)
    return None if write is None else write(traits)


def _morning(traits: Traits) -> str:
    """A schedule for the three hours from the repository's peak on."""
    begin, end = traits.peak, min(traits.peak + 3, 24)
    until = "23:59" if end == 24 else f"{end:02}:00"
    return _mirror(traits) + (
        f'\n[schedules.{_word(traits)}]\ncache = "mirror"\ncovers = "{begin:02}:00-{until}"\ntop = 20\n'
    )


def _mirror(traits: Traits, *more: str) -> str:
    keys = ['driver = "mirror"', 'url = "http://127.0.0.1:5000"', f"site = {_text(traits.site)}", *more]
    return "[caches.mirror]\n" + "\n".join(keys) + "\n"


def _longer(traits: Traits) -> str:
    """The expiry whose gain was replayed; without a replay nobody knows one."""
    ttl = traits.longer
    return _mirror(traits) if ttl is None else _mirror(traits, f'ttl = "{ttl // timedelta(minutes=1)}m"')


def _always(traits: Traits) -> str:
    return _mirror(traits, f"always = [{_text(f'{traits.repository}:{traits.cache_tag}')}]")


def _never(traits: Traits) -> str:
    return _mirror(traits, f"never = [{_text(f'{traits.repository}:*')}]")


def _replica(traits: Traits) -> str:
    keys = ['driver = "replica"', 'url = "https://registry.example.com"', f"site = {_text(traits.site)}"]
    keys.append(f"allow = [{_text(f'{traits.repository}:*')}]")
    return _source(traits) + "[caches.replica]\n" + "\n".join(keys) + "\n"


def _edge(traits: Traits) -> str:
    keys = ['driver = "mirror"', 'url = "https://edge.example.com"', f"site = {_text(traits.site)}"]
    keys.append(f"upstream = {_text(_host(traits))}")
    return _source(traits) + "[caches.edge]\n" + "\n".join(keys) + "\n"


def _source(traits: Traits) -> str:
    host = _host(traits)
    url = "https://registry-1.docker.io" if host == HUB else f"https://{host}"
    return f"[registries.{_text(host)}]\nurl = {_text(url)}\n\n"


def _host(traits: Traits) -> str:
    return traits.repository.partition("/")[0]


def _text(value: str) -> str:
    """A basic string of TOML 1.0: names come from logs, and may hold anything."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _word(traits: Traits) -> str:
    """`morning`, `midday`, `evening` or `night`: the name of the schedule."""
    return ("night", "morning", "midday", "evening")[traits.peak // 6]


RECIPES: Mapping[str, Callable[[Traits], str]] = {
    "raise the TTL": _longer,
    "move off the rate-limited upstream": _replica,
    "keep the BuildKit cache warm": _always,
    "replicate on push": _replica,
    "pre-warm": _morning,
    "CDN edge": _edge,
    "regional replica": _replica,
    "lower the TTL": _never,
}
"""By strategy; the others are done in builds, deployments or the registry itself."""
