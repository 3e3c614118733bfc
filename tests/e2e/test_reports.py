"""Reports on the log of a real cache say what its clients met; their page stands alone in a browser."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e import images
from tests.e2e.browser import chromium
from tests.e2e.commands import Prewarm
from tests.e2e.fronts import KEPT, nginx
from tests.e2e.proxies import Proxy
from tests.e2e.servers import Distribution, skopeo

RUNNERS = tuple(f"127.0.0.{31 + number}" for number in range(10))
REPOSITORIES = ("library/base", "acme/api", "acme/web")
LOGGED = (
    '$remote_addr - - [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" '
    "$upstream_cache_status $request_time"
)


def _lived(origin: Distribution, folder: Path, stack: ExitStack) -> Path:
    """The log of five runners that pull three images, and of five others after one tag has moved."""
    front = stack.enter_context(nginx(LOGGED, blobs=KEPT)(folder / "nginx", origin.address))
    behind = [stack.enter_context(Proxy(front.address, source=client)).address for client in RUNNERS]
    for repository in REPOSITORIES:
        images.push_image(origin.url, repository, "1", [150_000, 90_000])
        _all_pull(behind[:5], f"{repository}:1", folder)
    time.sleep(1.1)  # the log has whole seconds: within one nobody can tell which version was first
    images.push_image(origin.url, "acme/api", "1", [150_000, 90_000], seed="moved")
    _all_pull(behind[5:], "acme/api:1", folder)
    return front.log


def _all_pull(behind: list[str], image: str, folder: Path) -> None:
    for address in behind:
        target = folder / f"{image.replace('/', '-').replace(':', '-')}-{address.rpartition(':')[2]}"
        skopeo("copy", "--src-tls-verify=false", f"docker://{address}/{image}", f"dir:{target}")


def test_an_assessment_counts_what_the_cache_missed(
    origin: Distribution, folder: Path, stack: ExitStack
) -> None:
    """Twenty pulls: the first of each image missed, and the first after a move; nothing else did."""
    log = _lived(origin, folder, stack)

    told = Prewarm(folder / "prewarm").ok("assess", log)

    assert told["traffic"]["pulls"] == 20
    assert told["hit_rate"] == 16 / 20
    assert told["causes"]["never seen before"]["misses"] == 3
    assert told["causes"]["tag moved"]["misses"] == 1
    assert told["sure"] == "low"  # as logged, but of twenty pulls


def test_a_report_counts_what_the_cache_missed(origin: Distribution, folder: Path, stack: ExitStack) -> None:
    """The same from a lake, and the bytes that came from the cache."""
    prewarm = Prewarm(folder / "prewarm")
    prewarm.ok("ingest", _lived(origin, folder, stack))

    told = prewarm.ok("report", "hit-rate")

    assert (told["pulls"], told["hits"]) == (20, 16)
    assert told["byte_hit_rate"] == pytest.approx(0.8, abs=0.01)


async def test_the_page_stands_alone(origin: Distribution, folder: Path, stack: ExitStack) -> None:
    """Opened as a file it has its verdict and a bar for every hour, and asks nobody for anything."""
    log = await asyncio.to_thread(_lived, origin, folder, stack)
    page = folder / "page.html"
    await asyncio.to_thread(Prewarm(folder / "prewarm").ok, "assess", log, "--html", page)

    async with chromium(folder) as tab:
        await tab.open(page.as_uri())
        verdict = await tab.evaluate("document.querySelector('.verdict').textContent")
        bars = await tab.evaluate("document.querySelectorAll('svg g').length")
        wide = await tab.evaluate("document.documentElement.scrollWidth > innerWidth")
        await tab.open(page.as_uri(), width=390, scheme="dark")
        overflow = await tab.evaluate("document.documentElement.scrollWidth > innerWidth")

    assert verdict in ("pays", "fix this first", "does not pay")
    assert bars == 24
    assert not wide
    assert not overflow
    assert tab.troubles == []
    assert {url for url in tab.requests if not url.startswith("file:")} == set()
