"""The page in a real browser: what it shows, what it asks for, how it fails."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.browser import Tab, chromium
from tests.e2e.images import push_image
from tests.e2e.servers import Distribution, Process, free_port, listening
from tests.past import lake_with

SHOTS = os.environ.get("PREWARM_SCREENSHOTS")
"""A folder in which the tests leave what they saw."""

IMAGES = ["docker.io/library/postgres:16", "ghcr.io/acme/api:main", "docker.io/library/nginx:1.26"]


@contextmanager
def served(folder: Path, *flags: str) -> Iterator[str]:
    """The service over `folder`/lake; yields its address."""
    port = free_port()
    command = [sys.executable, "-m", "prewarm", "serve", "--lake", str(folder / "lake"), "--port", str(port)]
    process = Process([*command, *flags], folder / "serve.out", folder / "serve.log")
    try:
        process.wait_ready(lambda: listening(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stop()


def filled(folder: Path) -> None:
    """Two sites with a past that ends now."""
    now = datetime.now(UTC)
    lake_with(folder, *IMAGES, site="boise", now=now)
    lake_with(folder, IMAGES[0], site="berlin", now=now)


@pytest.fixture
async def tab(folder: Path) -> AsyncIterator[Tab]:
    async with chromium(folder) as tab:
        yield tab


async def seen(tab: Tab, name: str) -> None:
    """Leave a screenshot where somebody wants one."""
    if SHOTS:
        shot = await tab.screenshot()
        await asyncio.to_thread(Path(SHOTS, f"{name}.png").write_bytes, shot)


async def test_every_site_shows_its_ranking_and_its_week(tab: Tab, folder: Path) -> None:
    """Familiar names, seven days of 24 hours, and nothing is asked of another host."""
    filled(folder)
    with served(folder) as url:
        await tab.open(f"{url}/")
        await tab.until("document.querySelectorAll('article').length === 2")
        names = await tab.evaluate(
            "[...document.querySelectorAll('article:last-of-type .ranking tbody td:nth-child(2)')]"
            ".map((cell) => cell.textContent)"
        )
        cells = await tab.evaluate("document.querySelectorAll('article .rhythm tbody td').length")
        await seen(tab, "page-light")
        await tab.open(f"{url}/", scheme="dark")
        await tab.until("document.querySelectorAll('article').length === 2")
        await seen(tab, "page-dark")

    assert sorted(names) == ["ghcr.io/acme/api:main", "nginx:1.26", "postgres:16"]
    assert cells == 2 * 7 * 24
    assert tab.troubles == []
    assert {urlsplit(asked).netloc for asked in tab.requests if not asked.startswith("data:")} == {
        urlsplit(url).netloc
    }


async def test_a_phone_scrolls_in_one_direction(tab: Tab, folder: Path) -> None:
    """Nothing is wider than the screen but the heat map, which scrolls by itself."""
    filled(folder)
    with served(folder) as url:
        await tab.open(f"{url}/", width=360, height=780)
        await tab.until("document.querySelectorAll('article').length === 2")
        await seen(tab, "page-phone")
        wide = await tab.evaluate("document.documentElement.scrollWidth")

    assert wide <= 360


async def test_another_window_is_another_ranking(tab: Tab, folder: Path) -> None:
    """The picker asks again."""
    filled(folder)
    with served(folder) as url:
        await tab.open(f"{url}/")
        await tab.until("document.querySelectorAll('article').length === 2")
        await tab.evaluate(
            "(() => { const picked = document.querySelector('#window'); picked.value = '1';"
            " picked.dispatchEvent(new Event('change')); })()"
        )
        await tab.until("performance.getEntriesByType('resource').some((e) => e.name.includes('hours=1&'))")

    assert tab.troubles == []


async def click(tab: Tab, selector: str) -> None:
    await tab.evaluate(f"document.querySelector({selector!r}).click()")


def warmable(folder: Path, registry: Distribution) -> list[str]:
    """Demand for three images of a registry, a cache, a schedule; the flags that say so."""
    names = [f"{registry.address}/acme/{name}:1.0" for name in ("api", "web", "db")]
    for name in names:
        push_image(registry.url, name.partition("/")[2].partition(":")[0], "1.0", layers=(300_000,))
    lake_with(folder, *names, site="boise", now=datetime.now(UTC))
    config = folder / "prewarm.toml"
    config.write_text(
        f'''
[registries."{registry.address}"]
url = "{registry.url}"
[caches.edge]
driver = "layout"
path = "{folder}/oci"
site = "boise"
[schedules.morning]
cache = "edge"
days = "mon-fri"
covers = "07:30-11:00"
[schedules.fresh]
cache = "edge"
cron = "0 3 * * *"
verb = "refresh"
'''
    )
    return ["--config", str(config)]


async def test_a_run_is_planned_begun_watched_and_cancelled(tab: Tab, folder: Path) -> None:
    """Its progress is live, and the kill switch is one click away."""
    with Distribution(folder / "registry") as registry, served(folder, *warmable(folder, registry)) as url:
        await tab.open(f"{url}/")
        await tab.until("!document.querySelector('#warming form').hidden")
        await click(tab, "#warming form button")
        await tab.until("document.querySelectorAll('.planned tbody tr').length === 3")
        assert not (folder / "oci").exists()
        os.kill(registry.pid, signal.SIGSTOP)  # its images are on their way until it goes on
        await click(tab, ".execute")
        await tab.until("!!document.querySelector('.runs progress')")
        await tab.until("document.querySelector('.runs .going').textContent.includes('of 3')")
        await seen(tab, "page-running")
        await click(tab, ".runs tbody button")
        await tab.until("!!document.querySelector('.runs .state.cancelled')")
        os.kill(registry.pid, signal.SIGCONT)
        await click(tab, "#warming .now")
        await tab.until("!!document.querySelector('.runs .state.done')")
        await click(tab, ".switch")
        await tab.until("document.querySelector('.switch').getAttribute('aria-pressed') === 'true'")
        await click(tab, "#warming .now")
        await tab.until("document.querySelector('.told').textContent.includes('paused')")
        await seen(tab, "page-paused")
        await click(tab, ".switch")
        await click(tab, ".schedules tbody button")
        await tab.until("document.querySelector('.schedules tbody').textContent.includes('paused')")
        await seen(tab, "page-warming")
        await tab.open(f"{url}/", width=360, height=1400, scheme="dark")
        await tab.until("document.querySelectorAll('.runs tbody tr').length === 2")
        await tab.evaluate("document.querySelector('#warming').scrollIntoView()")
        await seen(tab, "page-warming-phone")
        wide = await tab.evaluate("document.documentElement.scrollWidth")

    assert wide <= 360
    assert [trouble for trouble in tab.troubles if "409" not in trouble] == []


async def test_an_empty_lake_says_what_to_do(tab: Tab, folder: Path) -> None:
    """The page is there before the first log is read."""
    with served(folder) as url:
        await tab.open(f"{url}/")
        told = await tab.until("(document.querySelector('.empty') || {}).textContent")
        await seen(tab, "page-empty")

    assert "prewarm ingest" in told


async def test_a_token_is_asked_for(tab: Tab, folder: Path) -> None:
    """A wrong one is refused, the right one opens the page."""
    filled(folder)
    known = hashlib.sha256(b"let me in").hexdigest()
    with served(folder, "--set", f"service.tokens.me.sha256={known}") as url:
        await tab.open(f"{url}/")
        await tab.until("!document.querySelector('#login').hidden")
        await seen(tab, "page-login")
        for token in ("wrong", "let me in"):
            assert await tab.evaluate("document.querySelectorAll('article').length") == 0
            await tab.evaluate(
                f"(() => {{ document.querySelector('#token').value = {token!r};"
                " document.querySelector('#login button').click(); })()"
            )
        await tab.until("document.querySelectorAll('article').length === 2")
        hidden = await tab.evaluate("document.querySelector('#login').hidden")

    assert hidden


async def test_a_service_that_is_gone_is_told_of(tab: Tab, folder: Path) -> None:
    """What was shown stays, marked as old."""
    filled(folder)
    with served(folder) as url:
        await tab.open(f"{url}/")
        await tab.until("document.querySelectorAll('article').length === 2")
    await tab.evaluate("look()")
    status = await tab.until(
        "document.querySelector('#status.bad') && document.querySelector('#status').textContent"
    )

    assert "does not answer" in status
    assert await tab.evaluate("document.querySelectorAll('article').length") == 2


async def test_the_interface_is_described(tab: Tab, folder: Path) -> None:
    """Every route of the OpenAPI document, with its parameters."""
    with served(folder) as url:
        await tab.open(f"{url}/docs")
        await tab.until("document.querySelectorAll('.route').length >= 8")
        await seen(tab, "docs")
        titles = await tab.evaluate(
            "[...document.querySelectorAll('.route h2')].map((each) => each.textContent)"
        )

    assert "GET /v1/rankings" in titles
    assert tab.troubles == []
