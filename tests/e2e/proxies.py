"""A small HTTP proxy before a real registry: it moves the client's address, and it breaks things on demand.

`Proxy(target, source="127.0.0.11")` forwards from another loopback address, so that one machine can
play several clients; `host` is the Host header that the target then sees. Faults make single
answers wrong the way real networks and registries do.
"""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.e2e.servers import LOOPBACK

CHUNK = 64 * 1024
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection"}


@dataclass
class Fault:
    """What to do to the next `times` requests whose `METHOD path` matches `pattern`.

    `status` answers instead of the target, with `headers`. `hang` never answers. `cut_after` closes the
    connection after so many bytes of the body. `trickle` sends a few bytes now and then. `corrupt` sends
    other bytes, as many. `bytes_per_second` slows the body. `then` is called once so many bytes have
    passed (0 with `status`).
    """

    pattern: str
    times: int | None = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    cut_after: int | None = None
    trickle: bool = False
    corrupt: bool = False
    bytes_per_second: int | None = None
    then: Callable[[], None] | None = None
    then_after: int = 0
    struck: int = 0

    def fits(self, request: str) -> bool:
        left = self.times is None or self.struck < self.times
        return left and re.search(self.pattern, request) is not None


class Proxy:
    """Forwards to `target` (host:port), notes every request with its time, and obeys its faults."""

    def __init__(self, target: str, *faults: Fault, source: str = LOOPBACK, host: str | None = None) -> None:
        self.target = target
        self.faults = list(faults)
        self.source = source
        self.host = host
        self._requests: list[tuple[float, str]] = []
        self._lock = threading.Lock()
        self._hanging = threading.Event()
        self._server = ThreadingHTTPServer((LOOPBACK, 0), _handler(self))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port = int(self._server.server_address[1])
        self.address = f"{LOOPBACK}:{self.port}"
        self.url = f"http://{self.address}"

    def fault_for(self, request: str) -> Fault | None:
        """Note the request; the first fault that fits it, counted as struck."""
        with self._lock:
            self._requests.append((time.monotonic(), request))
            for fault in self.faults:
                if fault.fits(request):
                    fault.struck += 1
                    return fault
        return None

    def times(self, pattern: str) -> list[float]:
        """When each request that matched `METHOD path` came, in monotonic seconds."""
        with self._lock:
            return [moment for moment, request in self._requests if re.search(pattern, request)]

    def hang(self, seconds: float | None = None) -> bool:
        """Return when somebody lets go (True), or after so many seconds."""
        return self._hanging.wait(seconds)

    def let_go(self) -> None:
        """Hanging requests end now, without an answer."""
        hanging, self._hanging = self._hanging, threading.Event()
        hanging.set()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.let_go()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: `Proxy.times` knows what matters."""

        def handle(self) -> None:
            try:
                super().handle()
            except (ConnectionError, TimeoutError):
                self.close_connection = True

        def do_GET(self) -> None:
            self._serve()

        def do_HEAD(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def do_PATCH(self) -> None:
            self._serve()

        def do_PUT(self) -> None:
            self._serve()

        def do_DELETE(self) -> None:
            self._serve()

        def _serve(self) -> None:
            self._body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = proxy.fault_for(f"{self.command} {self.path}")
            if fault and fault.hang:
                proxy.hang()
                self.close_connection = True
            elif fault and fault.status:
                self._answer(fault.status, fault.headers, fault.then)
            else:
                self._forward(fault or Fault(""))

        def _answer(self, status: int, headers: dict[str, str], then: Callable[[], None] | None) -> None:
            if then:
                then()
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _forward(self, fault: Fault) -> None:
            upstream = http.client.HTTPConnection(proxy.target, timeout=60, source_address=(proxy.source, 0))
            try:
                upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():  # repeats included: clients send many Accepts
                    if name.lower() == "host":
                        upstream.putheader(name, proxy.host or value)
                    elif name.lower() not in HOP_BY_HOP:
                        upstream.putheader(name, value)
                upstream.endheaders(self._body or None)
                self._copy(upstream.getresponse(), fault)
            except (OSError, http.client.HTTPException):
                self.close_connection = True
            finally:
                upstream.close()

        def _copy(self, reply: http.client.HTTPResponse, fault: Fault) -> None:
            self.send_response_only(reply.status)
            for name, value in reply.getheaders():
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            if reply.chunked:
                self.close_connection = True
                self.send_header("Connection", "close")
            self.end_headers()
            self._copy_body(reply, fault)
            if reply.length:  # cut short, by a fault or by the target
                self.close_connection = True

        def _copy_body(self, reply: http.client.HTTPResponse, fault: Fault) -> None:
            passed = 0
            while chunk := reply.read(_next_read(fault, passed)):
                self.wfile.write(bytes(byte ^ 0xFF for byte in chunk) if fault.corrupt else chunk)
                passed += len(chunk)
                if fault.then and passed >= fault.then_after:
                    action, fault.then = fault.then, None
                    action()
                if fault.trickle and proxy.hang(0.2):
                    return
                if fault.bytes_per_second:
                    time.sleep(len(chunk) / fault.bytes_per_second)

    return Handler


def _next_read(fault: Fault, passed: int) -> int:
    """Bytes to read next; 0 where the fault cuts."""
    if fault.trickle:
        return 50
    return CHUNK if fault.cut_after is None else min(CHUNK, fault.cut_after - passed)
