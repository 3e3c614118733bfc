"""What container clients send for a wish, given what their machine already has.

The sequences are those captured from docker 20.10 and later, containerd 1.6 and later and skopeo: a tag
is resolved by HEAD and fetched by digest; a machine that has the image sends the HEAD alone; layers that
are already there are not asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from prewarm.demo.contents import Catalogue, Layer, Version, at
from prewarm.demo.habits import Wish

GAP = timedelta(minutes=3)
"""A client leaves at least this much between two pulls of one repository, so that they are two pulls."""


@dataclass(frozen=True, slots=True)
class Pull:
    """The truth of one pull: who asked for what, and what went over the wire.

    `kind` is `check` (asked for the digest only), `manifest`, `layers`, or `missed` (no such tag).
    """

    time: datetime
    site: str
    client: str
    agent: str
    repository: str
    tag: str
    kind: str
    version: Version | None
    layers: tuple[Layer, ...] = ()  # those that were fetched

    @property
    def image(self) -> str:
        """Canonical reference: docker.io/library/nginx:1.25."""
        return f"docker.io/{self.repository}:{self.tag}"


@dataclass(slots=True)
class _Machine:
    """What one machine has."""

    images: dict[str, str] = field(default_factory=dict)  # name -> digest
    layers: set[str] = field(default_factory=set)


def pulls(site: str, wishes: Iterable[Wish], known: Catalogue) -> Iterator[Pull]:
    """The pulls that these wishes (in order of time) become."""
    machines: dict[str, _Machine] = defaultdict(_Machine)
    asked: dict[tuple[str, str], datetime] = {}
    for wish in wishes:
        key = (wish.client, wish.repository)
        if key not in asked or wish.time - asked[key] >= GAP:
            asked[key] = wish.time
            content = at(known.get((wish.repository, wish.tag), ()), wish.time)
            yield _pull(site, wish, content, machines[wish.store])


def _pull(site: str, wish: Wish, content: Version | None, machine: _Machine) -> Pull:
    kind, fetched = _transfer(wish, content, machine)
    return Pull(wish.time, site, wish.client, wish.agent, wish.repository, wish.tag, kind, content, fetched)


def _transfer(wish: Wish, content: Version | None, machine: _Machine) -> tuple[str, tuple[Layer, ...]]:
    """What kind of pull this is and which layers travel; the machine has them afterwards."""
    name = f"{wish.repository}:{wish.tag}"
    if content is None:
        return "missed", ()
    if wish.agent == "bot" or machine.images.get(name) == content.digest:
        return "check", ()
    fetched = tuple(one for one in content.layers if one.digest not in machine.layers)
    machine.images[name] = content.digest
    machine.layers.update(one.digest for one in fetched)
    return ("layers" if fetched else "manifest"), fetched
