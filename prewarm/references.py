"""Image references: parse, normalise, print; name rewrites.

The grammar is that of distribution/reference, whole:

    reference       := name [ ":" tag ] [ "@" digest ]
    name            := [ registry "/" ] repository
    registry        := host [ ":" port ]
    host            := label ( "." label )* | IPv4 | "[" IPv6 "]"
    repository      := component ( "/" component )*          at most 255 characters
    component       := [a-z0-9]+ ( ( "." | "_" | "__" | "-"+ ) [a-z0-9]+ )*
    tag             := [A-Za-z0-9_] [A-Za-z0-9_.-]{0,127}
    digest          := algorithm ":" hex                     sha256: 64, sha384: 96, sha512: 128 characters

A first component is a registry when it has a dot or a colon, or is `localhost`; otherwise the registry is
`docker.io`, whose one-component repositories live in `library/`. One that has capitals and is none of these
(`Acme/api`) is refused: docker takes it for a host, and nobody means one.
Without tag and digest the tag is `latest`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from prewarm.errors import InvalidReference

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
MAX_REPOSITORY = 255
HEX_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_REGISTRY = re.compile(
    rf"(?P<host>{_LABEL}(?:\.{_LABEL})*|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])(?P<port>:[0-9]{{1,5}})?"
)
_COMPONENT = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(
    r"(?P<algorithm>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*):(?P<hex>[0-9A-Fa-f]{32,})"
)
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")
_ALIASES = {"index.docker.io": DEFAULT_REGISTRY}


@dataclass(frozen=True, slots=True)
class Reference:
    """A valid reference; at least one of `tag` and `digest` is set.

    >>> str(Reference.parse("nginx"))
    'docker.io/library/nginx:latest'
    >>> Reference.parse("[::1]:5000/acme/api:2.1").registry
    '[::1]:5000'
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse any form that docker accepts; raises InvalidReference."""
        rest, at, digest = text.partition("@")
        head, colon, tag = rest.rpartition(":")
        if not colon or "/" in tag or _is_host_only(rest):
            head, colon, tag = rest, "", ""
        if (at and not digest) or (colon and not tag):
            raise _invalid(text, "a tag or digest is missing after ':' or '@'")
        registry, repository = _split_name(head, text)
        return cls.of(registry, repository, tag or None, digest or None)

    @classmethod
    def of(
        cls, registry: str, repository: str, tag: str | None = None, digest: str | None = None
    ) -> Reference:
        """Build from parts, with the same checks and defaults as `parse`."""
        registry = _normal_registry(registry)
        if registry == DEFAULT_REGISTRY and "/" not in repository:
            repository = f"library/{repository}"
        if tag is None and digest is None:
            tag = DEFAULT_TAG
        reference = cls(registry, repository, tag, digest)
        _check(reference)
        return reference

    def __str__(self) -> str:
        """The one canonical form, with registry and tag spelled out."""
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def name(self) -> str:
        """`registry/repository`."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar(self) -> str:
        """The short form that docker shows: `nginx:1.25` for `docker.io/library/nginx:1.25`."""
        first, slash, rest = self.repository.partition("/")
        if self.registry != DEFAULT_REGISTRY or (slash and _is_registry_part(first)):
            return str(self)
        short = str(self).removeprefix(f"{DEFAULT_REGISTRY}/")
        return short.removeprefix("library/") if "/" not in rest else short

    @property
    def target(self) -> str:
        """What a registry is asked for: the digest where there is one, else the tag."""
        return self.digest or self.tag or DEFAULT_TAG

    def with_digest(self, digest: str) -> Reference:
        """The same tag, pinned; checked like any other."""
        pinned = replace(self, digest=digest)
        _check(pinned)
        return pinned


def is_digest(text: str) -> bool:
    """Whether `text` is a well-formed digest (image-spec, "Digests")."""
    match = _DIGEST.fullmatch(text)
    if match is None:
        return False
    return len(match["hex"]) == HEX_LENGTHS.get(match["algorithm"], len(match["hex"]))


def is_tag(text: str) -> bool:
    """Whether `text` is a well-formed tag (distribution-spec, "Pulling manifests")."""
    return _TAG.fullmatch(text) is not None


def rewrite(name: str, table: Mapping[str, str]) -> str:
    """`name` with its longest prefix found in `table` replaced; unchanged when none fits.

    >>> rewrite("ghcr-proxy/acme/api", {"ghcr-proxy/": "ghcr.io/"})
    'ghcr.io/acme/api'
    """
    fitting = [prefix for prefix in table if name.startswith(prefix)]
    if not fitting:
        return name
    longest = max(fitting, key=len)
    return table[longest] + name[len(longest) :]


def served_path(reference: Reference, table: Mapping[str, str]) -> str:
    """The repository's path on a server that renames by `table`; its own where no prefix fits.

    >>> served_path(Reference.parse("nginx:1.25"), {"docker.io/": "hub/"})
    'hub/library/nginx'
    """
    name = rewrite(reference.name, table)
    return reference.repository if name == reference.name else name


def _is_host_only(rest: str) -> bool:
    """`[::1]` alone would split at a colon inside the brackets."""
    return rest.endswith("]")


def _split_name(name: str, text: str) -> tuple[str, str]:
    if _IMAGE_ID.fullmatch(name):
        raise _invalid(text, "64 hexadecimal characters are an image id, not a name")
    first, slash, rest = name.partition("/")
    if slash and first != first.lower() and not _is_registry_part(first):
        raise _invalid(text, f"{_shown(first)} has capitals, and is no host: it has no dot and no port")
    return (first, rest) if slash and _is_registry_part(first) else (DEFAULT_REGISTRY, name)


def _is_registry_part(first: str) -> bool:
    """Whether a first component names a registry; all others are namespaces."""
    return any(c in first for c in ".:[") or first == "localhost"


def _normal_registry(registry: str) -> str:
    lower = registry.lower()
    return _ALIASES.get(lower, lower)


def _check(reference: Reference) -> None:
    text = str(reference)
    if not _is_registry(reference.registry):
        raise _invalid(text, f"{_shown(reference.registry)} is no registry host")
    if len(reference.repository) > MAX_REPOSITORY:
        raise _invalid(text, f"the repository is longer than {MAX_REPOSITORY} characters")
    if not _REPOSITORY.fullmatch(reference.repository):
        raise _invalid(text, f"{_shown(reference.repository)} is no repository (lower case, digits, . _ - /)")
    if reference.tag is not None and not is_tag(reference.tag):
        raise _invalid(text, f"{_shown(reference.tag)} is no tag (at most 128 letters, digits, _ . -)")
    if reference.digest is not None and not is_digest(reference.digest):
        raise _invalid(
            text, f"{_shown(reference.digest)} is no digest (sha256: and 64 hexadecimal characters)"
        )


def _is_registry(registry: str) -> bool:
    match = _REGISTRY.fullmatch(registry)
    if not match or int((match["port"] or ":1")[1:]) not in range(1, 65536):
        return False
    if match["ipv6"] is None:
        return True
    try:
        ipaddress.IPv6Address(match["ipv6"])
    except ValueError:
        return False
    return True


def _invalid(text: str, why: str) -> InvalidReference:
    return InvalidReference(f"{_shown(text)} is no image reference: {why}; example: ghcr.io/acme/api:2.1")


def _shown(text: str) -> str:
    """Printable and bounded: hostile names never reach a terminal raw."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")
