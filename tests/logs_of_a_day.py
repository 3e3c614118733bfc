"""Access lines as a Distribution mirror writes them, for tests that need a small history."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 2, tzinfo=UTC)  # a Monday
DAYS = 14
AGENT = "containerd/v2.3.4"
DIGEST = "sha256:" + "a" * 64
LAYER = "sha256:" + "b" * 64


def access_log(days: int = DAYS) -> str:
    """Hourly one pull of acme/api:2.1, at eight three of acme/web:1.0, and a poller of acme/idle:1."""
    lines = [line for hour in range(24 * days) for line in _hour(START + timedelta(hours=hour))]
    return "\n".join(lines) + "\n"


def _hour(at: datetime) -> Iterator[str]:
    yield from pull(at + timedelta(minutes=5), "acme/api", "2.1", "10.0.0.1")
    yield request(at + timedelta(minutes=7), "HEAD", "acme/idle", "manifests/1", 200, 500, "10.0.0.9")
    if at.hour == 8:
        for number in range(3):
            yield from pull(at + timedelta(minutes=10 + number), "acme/web", "1.0", f"10.0.1.{number}")


def pull(at: datetime, repository: str, tag: str, client: str) -> Iterator[str]:
    """A cold pull: the tag by HEAD, the manifest and one layer by digest."""
    yield request(at, "HEAD", repository, f"manifests/{tag}", 200, 500, client)
    yield request(at, "GET", repository, f"manifests/{DIGEST}", 200, 500, client)
    yield request(at + timedelta(seconds=2), "GET", repository, f"blobs/{LAYER}", 200, 5_000_000, client)


def request(
    at: datetime, method: str, repository: str, what: str, status: int, size: int, client: str
) -> str:
    """One combined line."""
    stamp = at.strftime("%d/%b/%Y:%H:%M:%S +0000")
    return f'{client} - - [{stamp}] "{method} /v2/{repository}/{what} HTTP/1.1" {status} {size} "" "{AGENT}"'
