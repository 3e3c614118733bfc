"""A headless Chromium, driven over its DevTools protocol: go somewhere, evaluate, look."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.servers import Process, program, wait_until

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--hide-scrollbars", "--remote-debugging-port=0", "--remote-allow-origins=*",
)  # fmt: skip


@dataclass
class Tab:
    """One page. `requests` are the addresses that it asked for, `troubles` what its console complained of."""

    socket: aiohttp.ClientWebSocketResponse
    requests: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    _last: int = 0

    async def call(self, method: str, **params: Any) -> Any:
        """The result of one DevTools command."""
        self._last += 1
        await self.socket.send_json({"id": self._last, "method": method, "params": params})
        while True:
            told = await self.socket.receive_json(timeout=60)
            if told.get("id") == self._last:
                assert "error" not in told, told
                return told["result"]
            self._heard(told)

    def _heard(self, told: dict[str, Any]) -> None:
        about = told.get("params", {})
        if told.get("method") == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        if told.get("method") == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.troubles.append(about["entry"]["text"])
        if told.get("method") == "Runtime.exceptionThrown":
            self.troubles.append(json.dumps(about["exceptionDetails"]))

    async def evaluate(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, script: str) -> Any:
        """The first value of the expression that is true."""
        while True:
            if found := await self.evaluate(script):
                return found
            await asyncio.sleep(0.05)

    async def open(self, url: str, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        """Go to `url` in a window of that size, in light or dark."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        await self.call(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )
        await self.call("Page.navigate", url=url)
        await self.until(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    async def press(self, key: str) -> None:
        """One key of the keyboard, such as Tab or Enter."""
        typed = {"Tab": ("", 9), "Enter": ("\r", 13)}[key]
        about = {"key": key, "code": key, "text": typed[0], "windowsVirtualKeyCode": typed[1]}
        await self.call("Input.dispatchKeyEvent", type="keyDown" if typed[0] else "rawKeyDown", **about)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    async def barriers(self) -> list[str]:
        """What keeps somebody from using the page, as axe-core judges it (WCAG 2.1, A and AA)."""
        script = (files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")
        await self.call("Runtime.evaluate", expression=script)
        found: list[str] = await self.evaluate(
            "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']})"
            ".then((told) => told.violations.flatMap((each) => each.nodes.map("
            "(node) => `${each.id}: ${each.help}: ${node.html.slice(0, 200)}`)))"
        )
        return found

    async def screenshot(self) -> bytes:
        """What the window shows, as PNG."""
        shot = await self.call("Page.captureScreenshot", format="png")
        return base64.b64decode(shot["data"])


@asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Tab]:
    """A browser with one tab, gone afterwards; raises Missing where none is installed."""
    log = folder / "chromium.log"
    browser = Process(
        [program("chromium"), *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"], log, log
    )
    try:
        wait_until(
            lambda: log.exists() and "DevTools listening" in log.read_text(errors="replace"), "chromium"
        )
        port = re.findall(r"DevTools listening on ws://127\.0\.0\.1:(\d+)/", log.read_text(errors="replace"))[
            0
        ]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                page = next(each for each in await answer.json() if each["type"] == "page")
            async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=2**26) as socket:
                tab = Tab(socket)
                for domain in ("Page", "Network", "Log", "Runtime"):
                    await tab.call(f"{domain}.enable")
                await tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
                yield tab
    finally:
        browser.stop()
