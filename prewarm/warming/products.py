"""Which product a registry is, told by how it answers `GET /v2/`, and how images are named there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Product:
    """A registry product, and what a pull-through cache of its kind needs to be told."""

    name: str  # with its version, where it tells one
    advice: str = ""  # how images are named there
    prefixed: bool = False  # an upstream's images always lie under a prefix, which `rewrite` names


def recognise(host: str, headers: Mapping[str, str]) -> Product | None:
    """The product at `host`; `headers` (case-insensitive) are those of `GET /v2/`, a 401's as well.

    None when nothing tells it, which a registry behind a proxy may well do.
    """
    challenge, server = headers.get("WWW-Authenticate", ""), headers.get("Server", "")
    for found in (
        _ecr(host, challenge),
        _harbor(challenge),
        _gitlab(challenge),
        _artifactory(headers, server),
        _nexus(server),
    ):
        if found is not None:
            return found
    if "Docker-Distribution-Api-Version" in headers:
        return Product("Distribution, or one that answers as it does")
    return None


def _ecr(host: str, challenge: str) -> Product | None:
    by_name = re.search(r"\.dkr[.-]ecr(-fips)?\.[a-z0-9-]+\.(amazonaws\.com|on\.aws)", host)
    if not by_name and 'service="ecr.amazonaws.com"' not in challenge:
        return None
    advice = 'its pull-through cache rules have prefixes: rewrite = {"docker.io/" = "docker-hub/"}'
    return Product("Amazon ECR", advice, prefixed=True)


def _harbor(challenge: str) -> Product | None:
    if 'service="harbor-registry"' not in challenge:
        return None
    advice = 'a proxy-cache project is a prefix: rewrite = {"docker.io/" = "dockerhub-proxy/"}'
    return Product("Harbor", advice, prefixed=True)


def _gitlab(challenge: str) -> Product | None:
    if 'service="dependency_proxy"' not in challenge:
        return None
    advice = 'a group\'s proxy is a prefix: rewrite = {"docker.io/" = "GROUP/dependency_proxy/containers/"}'
    return Product("GitLab's dependency proxy", advice, prefixed=True)


def _artifactory(headers: Mapping[str, str], server: str) -> Product | None:
    telling = [name for name in headers if name.lower().startswith(("x-artifactory-", "x-jfrog-"))]
    if not telling and not server.startswith("Artifactory/"):
        return None
    said = re.match(r"Artifactory/(\S+)", headers.get("X-JFrog-Version", server))
    version = said[1] if said else ""
    advice = 'a repository without a host of its own is a prefix: rewrite = {"docker.io/" = "docker-remote/"}'
    return Product(f"Artifactory {version}".strip(), advice)


def _nexus(server: str) -> Product | None:
    match = re.match(r"Nexus/(\S+)", server)
    if match is None:
        return None
    advice = (
        "a proxy repository has a port or a host of its own, which is its url; by path, its name is a prefix"
    )
    return Product(f"Nexus {match[1]}", advice)
