"""What several drivers share: keys, and answers of registries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from prewarm.errors import PrewarmError
from prewarm.quantities import parse_duration
from prewarm.warming.caches import Eviction, Finding
from prewarm.warming.contacts import Endpoint, base_url, without_login
from prewarm.warming.deletions import Removal
from prewarm.warming.registry import Registry


def _seconds(value: object) -> float:
    return parse_duration(value).total_seconds()


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]


class RegistryKeys(BaseModel):
    """How a cache that is a registry is reached."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, AfterValidator(without_login)] = Field(
        description="its registry API, such as http://127.0.0.1:5001"
    )
    timeout: Seconds = Field(30.0, description="silence after which a request is given up")
    max_concurrency: int = Field(4, ge=1, le=64, description="requests at once")
    ca_file: Path | None = Field(None, description="a private authority's certificates, PEM")

    def endpoint(self, cache: str, actions: str = "pull") -> Endpoint:
        """The registry of the cache called `cache`; its name in references is the host of its url."""
        found = Endpoint(cache, self.url, self.max_concurrency, self.ca_file, self.timeout, actions=actions)
        return replace(found, registry=base_url(found).authority)


def eviction(removals: Iterable[Removal]) -> Eviction:
    """What was removed from a registry's repositories, together."""
    found = tuple(removals)
    removed = tuple(name for each in found for name in each.removed)
    kept = {name: why for each in found for name, why in each.kept.items()}
    note = "the registry's garbage collection frees the bytes" if removed else None
    return Eviction(removed, sum(each.bytes for each in found), kept, note)


async def reached(registry: Registry) -> list[Finding]:
    """Whether a registry answers, and whose login it is asked with; its refusal alone when it does not."""
    try:
        await registry.ping()
        login = await registry.login()
    except PrewarmError as refused:
        return [Finding("reachable", False, str(refused))]
    return [
        Finding("reachable", True, f"{registry.endpoint.url} answers as a registry"),
        Finding("credentials", True, "docker's login" if login else "none stored; asked anonymously"),
    ]
