"""An operator's lists and thresholds: what a cache always gets, what never, and what may come at all."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass

from prewarm.errors import InvalidReference
from prewarm.references import Reference


@dataclass(frozen=True, slots=True)
class Rules:
    """An operator's lists and thresholds.

    A pattern is a reference (`nginx:1.25`), a repository (`docker.io/acme/api`: any of its tags) or a glob
    on canonical references (`*/test-*`).
    """

    always: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()  # () allows anything of a listed registry
    min_clients: int = 1


class Patterns:
    """An operator's list, compiled: does an image match any of its patterns?"""

    def __init__(self, texts: Iterable[str]) -> None:
        """`texts` as `Rules` describes them; any text is a valid pattern."""
        self.images: tuple[str, ...] = ()
        globs = []
        repositories = []
        for text in texts:
            reference = _reference(text)
            if reference is None:
                globs.append(fnmatch.translate(text))
                continue
            self.images += (str(reference),)
            if _is_repository(text):
                repositories.append(reference.name)
        self._literal = frozenset(self.images)
        self._repositories = tuple(name + end for name in repositories for end in ":@")
        self._glob = re.compile("|".join(globs)) if globs else None

    def name(self, image: str) -> bool:
        """Whether the canonical reference `image` is written out, by image or repository, without a glob."""
        return image in self._literal or image.startswith(self._repositories)

    def match(self, image: str) -> bool:
        """Whether the canonical reference `image` matches."""
        return self.name(image) or bool(self._glob and self._glob.fullmatch(image))


class Gate:
    """Rules, compiled: why an image may not be warmed, before anyone is asked about it."""

    def __init__(self, rules: Rules) -> None:
        self._never = Patterns(rules.never)
        self._allow = Patterns(rules.allow) if rules.allow else None
        self._always = Patterns(rules.always)
        self._min_clients = rules.min_clients

    def always(self, image: str) -> bool:
        """Whether the operator wants `image` in every plan."""
        return self._always.match(image)

    def named(self, image: str) -> bool:
        """Whether the operator wrote `image` or its repository out in `always` or `allow`.

        A glob names nobody: `*/library/*` must not open every host that a log line mentions.
        """
        return self._always.name(image) or (self._allow is not None and self._allow.name(image))

    def unranked(self, ranked: Iterable[str]) -> list[str]:
        """Images that the operator named in `always` and the ranking does not have, in his order."""
        known = set(ranked)
        return [image for image in dict.fromkeys(self._always.images) if image not in known]

    def forbids(self, image: str) -> str | None:
        """Why the operator's lists keep `image` out, in words; None when they do not."""
        if self._never.match(image):
            return "on the cache's never list"
        if self._allow is not None and not self._allow.match(image):
            return "not on the cache's allow list"
        return None

    def unpopular(self, clients: int | None) -> str | None:
        """Why so many distinct clients (None: nobody knows) are not enough, in words; None when they are."""
        if self._min_clients <= 1:
            return None
        if clients is None:
            return f"its distinct clients are unknown, {self._min_clients} are required"
        if clients < self._min_clients:
            return f"pulled by {clients} distinct clients, {self._min_clients} are required"
        return None


def _reference(text: str) -> Reference | None:
    try:
        return Reference.parse(text)
    except InvalidReference:
        return None


def _is_repository(text: str) -> bool:
    """Whether a pattern that is a reference names neither tag nor digest."""
    return "@" not in text and ":" not in text.rpartition("/")[2]
