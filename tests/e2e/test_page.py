"""The page in a real browser: what it shows, what it asks for, how it fails."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
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


VIEWS = ("now", "ranking", "rhythm", "image", "image/docker.io/library/postgres:16", "runs", "value")
FULL = {
    "now": ".causes table, .causes .note",
    "ranking": ".ranked tbody tr",
    "rhythm": ".heat tbody td",
    "image": ".card tbody tr",
    "runs": ".lately .none",
    "value": ".scores .figure",
}
"""What each view has when it is whole."""


async def view(tab: Tab, url: str, address: str, **window: Any) -> None:
    """Go to a view, and wait until nothing more is to come."""
    await tab.open("about:blank")
    await tab.open(f"{url}/#{address}", **window)
    name = address.partition("/")[0]
    await tab.until(f"!!document.querySelector('#{name}:not([hidden])')")
    await tab.until(f"document.querySelector('#{name}').querySelectorAll('{FULL[name]}').length > 0")
    await tab.until("!document.querySelector('[aria-busy]')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_view_is_whole_and_for_everybody(tab: Tab, folder: Path, scheme: str) -> None:
    """No barrier that axe-core knows, nothing is asked of another host, and nothing goes wrong."""
    filled(folder)
    with served(folder) as url:
        barriers = {}
        for address in VIEWS:
            await view(tab, url, address, scheme=scheme, height=1400)
            await seen(tab, f"page-{address.replace('/', '-').replace(':', '-')}-{scheme}")
            barriers[address] = await tab.barriers()

    assert {address: each for address, each in barriers.items() if each} == {}
    assert [each for each in tab.troubles if "503" not in each] == []  # it was told to come back
    hosts = {urlsplit(each).netloc for each in tab.requests if each.startswith("http")}
    assert hosts == {urlsplit(url).netloc}


async def test_a_phone_scrolls_in_one_direction(tab: Tab, folder: Path) -> None:
    """Nothing is wider than the screen but tables and the heat map, which scroll by themselves."""
    filled(folder)
    wide = {}
    with served(folder) as url:
        for address in VIEWS:
            await view(tab, url, address, width=360, height=780)
            await seen(tab, f"page-{address.partition('/')[0]}-phone")
            wide[address] = await tab.evaluate("document.documentElement.scrollWidth")

    assert {address: width for address, width in wide.items() if width > 360} == {}


async def test_a_ranking_names_images_as_people_do(tab: Tab, folder: Path) -> None:
    """Best first; another site, another window or an hour of some day is another ranking."""
    filled(folder)
    names = "[...document.querySelectorAll('.ranked tbody td:nth-child(2)')].map((cell) => cell.textContent)"
    with served(folder) as url:
        await view(tab, url, "ranking")
        boise = await tab.evaluate(names)
        await choose(tab, "#site", "berlin")
        await tab.until(f"{names}.length === 1")
        berlin = await tab.evaluate(names)
        await choose(tab, "#ranking [name=hours]", "1")
        await tab.until("document.querySelector('#ranking .body').textContent.startsWith('the coming hour')")
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).date()
        await choose(tab, "#ranking [name=day]", str(tomorrow))
        await choose(tab, "#ranking [name=hour]", "8")
        await tab.until("document.querySelector('#ranking .body').textContent.includes('08:00 at berlin')")

    assert boise == ["postgres:16", "ghcr.io/acme/api:main", "nginx:1.26"]
    assert berlin == ["postgres:16"]
    assert tab.troubles == []


async def test_an_image_has_a_page_of_its_own(tab: Tab, folder: Path) -> None:
    """From the ranking to its history, its forecast, and why; a name that nobody knows is told of."""
    filled(folder)
    with served(folder) as url:
        await view(tab, url, "ranking")
        await click(tab, ".ranked a")
        await tab.until("!!document.querySelector('#image .figure')")
        words = await tab.evaluate("document.querySelector('#image .figure').alt")
        drawn = await tab.until("document.querySelector('#image .figure').naturalWidth")
        cards = await tab.evaluate(
            "[...document.querySelectorAll('#image h3')].map((each) => each.textContent)"
        )
        await tab.evaluate("document.querySelector('#image [name=image]').value = 'nobody:1'")
        await click(tab, "#image form button")
        told = await tab.until("(document.querySelector('#image .bad') || {}).textContent")

    assert "postgres:16 in the last week" in words
    assert drawn > 300
    assert cards == [
        "History and forecast", "Rhythm", "Why this number", "Where it is warm", "Layers", "Other tags",
    ]  # fmt: skip
    assert "postgres:16" in told


async def test_a_keyboard_is_enough(tab: Tab, folder: Path) -> None:
    """Tab reaches the views in order, Enter goes there, and the focus follows."""
    filled(folder)
    with served(folder) as url:
        await tab.open(f"{url}/")
        await tab.until("document.querySelectorAll('#now .tile').length === 4")
        for _ in range(3):  # the skip link, Now, Ranking
            await tab.press("Tab")
        assert await tab.evaluate("document.activeElement.textContent") == "Ranking"
        await tab.press("Enter")
        await tab.until("document.activeElement.id === 'ranking-title'")
        current = await tab.evaluate("document.querySelector('nav [aria-current]').textContent")

    assert current == "Ranking"


async def choose(tab: Tab, selector: str, value: str) -> None:
    """As somebody does who picks `value` in a field."""
    await tab.evaluate(
        f"(() => {{ const field = document.querySelector({selector!r}); field.value = {value!r};"
        " field.dispatchEvent(new Event('change', {bubbles: true})); })()"
    )


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
        await tab.open(f"{url}/#runs")
        await tab.until("!document.querySelector('#runs form').hidden")
        await click(tab, "#runs form button")
        await tab.until("document.querySelectorAll('.planned tbody tr').length === 3")
        assert not (folder / "oci").exists()
        os.kill(registry.pid, signal.SIGSTOP)  # its images are on their way until it goes on
        await click(tab, ".execute")
        await tab.until("!!document.querySelector('.lately progress')")
        await tab.until("document.querySelector('.lately .going').textContent.includes('of 3')")
        await seen(tab, "page-running")
        await click(tab, ".lately tbody button")
        await tab.until("!!document.querySelector('.lately .state.cancelled')")
        os.kill(registry.pid, signal.SIGCONT)
        await click(tab, "#runs .now")
        await tab.until("!!document.querySelector('.lately .state.done')")
        await click(tab, ".switch")
        await tab.until("document.querySelector('.switch').getAttribute('aria-pressed') === 'true'")
        await click(tab, "#runs .now")
        await tab.until("document.querySelector('#runs .told').textContent.includes('paused')")
        await seen(tab, "page-paused")
        await click(tab, ".switch")
        await click(tab, ".schedules tbody button")
        await tab.until("document.querySelector('.schedules tbody').textContent.includes('paused')")
        await seen(tab, "page-warming")
        await click(tab, ".lately tbody button")
        await tab.until("document.querySelectorAll('.outcomes tbody tr').length === 3")
        assert await tab.barriers() == []
        await tab.open("about:blank")
        await tab.open(f"{url}/#runs", width=360, height=1400, scheme="dark")
        await tab.until("document.querySelectorAll('.lately tbody tr').length === 2")
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
        barriers = await tab.barriers()

    assert "prewarm ingest" in told
    assert barriers == []


async def test_a_token_is_asked_for(tab: Tab, folder: Path) -> None:
    """A wrong one is refused, the right one opens the page."""
    filled(folder)
    known = hashlib.sha256(b"let me in").hexdigest()
    with served(folder, "--set", f"service.tokens.me.sha256={known}") as url:
        await tab.open(f"{url}/")
        await tab.until("!document.querySelector('#login').hidden")
        await seen(tab, "page-login")
        for token in ("wrong", "let me in"):
            assert await tab.evaluate("document.querySelectorAll('#now .tile').length") == 0
            await tab.evaluate(
                f"(() => {{ document.querySelector('#token').value = {token!r};"
                " document.querySelector('#login button').click(); })()"
            )
        await tab.until("document.querySelectorAll('#now .tile').length === 4")
        hidden = await tab.evaluate("document.querySelector('#login').hidden")

    assert hidden


async def test_a_service_that_is_gone_is_told_of(tab: Tab, folder: Path) -> None:
    """What was shown stays, marked as old."""
    filled(folder)
    with served(folder) as url:
        await tab.open(f"{url}/")
        await tab.until("document.querySelectorAll('#now .tile').length === 4")
    await tab.evaluate("look()")
    status = await tab.until(
        "document.querySelector('#status.bad') && document.querySelector('#status').textContent"
    )

    assert "does not answer" in status
    assert await tab.evaluate("document.querySelectorAll('#now .tile').length") == 4


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
