"""Web servers and proxies in front of a real registry, each with an access log of its own.

What stands in front is what many people's logs come from. Each front is a context manager that
yields where it listens and the file that it logs to.
"""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError

from tests.e2e.servers import LOOPBACK, Process, free_port, listening, program, wait_until

JSON_FIELDS = {
    "time": "$time_iso8601",
    "remote_addr": "$remote_addr",
    "request_method": "$request_method",
    "request_uri": "$request_uri",
    "status": "$status",
    "body_bytes_sent": "$body_bytes_sent",
    "request_time": "$request_time",
    "request_id": "$request_id",
    "http_host": "$http_host",
    "http_user_agent": "$http_user_agent",
}
NGINX_JSON = "{" + ",".join(f'"{name}":"{variable}"' for name, variable in JSON_FIELDS.items()) + "}"
NGINX_FORWARDED = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent '
    '"$http_referer" "$http_user_agent" "$http_x_forwarded_for"'
)
APACHE_MODULES = ("mpm_event", "authz_core", "proxy", "proxy_http")
APACHE_COMBINED = r"%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-Agent}i\""
APACHE_VHOST = r"%v:%p %h %l %u %t \"%r\" %>s %O \"%{Referer}i\" \"%{User-Agent}i\""
KEPT = "proxy_cache blobs; proxy_cache_valid 200 206 1h;"


@dataclass(frozen=True)
class Front:
    """Where a front listens (host:port), and its access log."""

    address: str
    log: Path


Opener = Callable[[Path, str], AbstractContextManager[Front]]
"""(a folder of its own, the registry's host:port) -> a front that runs inside the `with`."""


def nginx(
    log_format: str = "combined", *, blobs: str = "", ip: str = LOOPBACK, port: int | None = None
) -> Opener:
    """nginx with a `log_format`; "combined" is its own. `blobs`: what holds for them alone, as KEPT."""

    @contextmanager
    def opened(folder: Path, backend: str) -> Iterator[Front]:
        listens, log = port or free_port(), folder / "access.log"
        folder.mkdir(exist_ok=True)
        named = "combined" if log_format == "combined" else "registry"
        declared = "" if named == "combined" else f"log_format registry escape=json '{log_format}';"
        temporary = " ".join(
            f"{kind}_temp_path {folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        passed = f"proxy_pass http://{backend}; proxy_set_header Host $http_host;"
        (folder / "nginx.conf").write_text(
            f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
            f"events {{}}\nhttp {{ {temporary} {declared} access_log {log} {named};\n"
            f"proxy_cache_path {folder}/cache keys_zone=blobs:1m;\n"
            f"server {{ listen {ip}:{listens}; client_max_body_size 0;\n"
            f"location / {{ {passed} }}\nlocation ~ /blobs/ {{ {passed} {blobs} }} }} }}\n"
        )
        command = [program("nginx"), "-c", str(folder / "nginx.conf"), "-p", str(folder)]
        with _running(command, folder, listens, ip):
            yield Front(f"{ip}:{listens}", log)

    return opened


def apache(log_format: str) -> Opener:
    """Apache httpd with a `LogFormat`."""

    @contextmanager
    def opened(folder: Path, backend: str) -> Iterator[Front]:
        port, log = free_port(), folder / "access.log"
        folder.mkdir(exist_ok=True)
        modules = "\n".join(
            f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in APACHE_MODULES
        )
        (folder / "httpd.conf").write_text(
            f'ServerRoot "{folder}"\nPidFile {folder}/pid\nListen {LOOPBACK}:{port}\n{modules}\n'
            f"ServerName registry.example.com\nErrorLog {folder}/error.log\nAllowEncodedSlashes NoDecode\n"
            f'CustomLog {log} "{log_format}"\nProxyPreserveHost On\n'
            f"ProxyPass / http://{backend}/ nocanon\n"
        )
        command = [program("apache2"), "-d", str(folder), "-f", str(folder / "httpd.conf"), "-DFOREGROUND"]
        with _running(command, folder, port):
            yield Front(f"{LOOPBACK}:{port}", log)

    return opened


def haproxy(line_format: str, *directives: str) -> Opener:
    """HAProxy that writes its lines to its own stdout, in a `format` of its `log` directive."""

    @contextmanager
    def opened(folder: Path, backend: str) -> Iterator[Front]:
        port = free_port()
        folder.mkdir(exist_ok=True)
        lines = "\n".join(f"  {directive}" for directive in directives)
        (folder / "haproxy.cfg").write_text(
            f"global\n  log stdout format {line_format} local0\n"
            "defaults\n  mode http\n  log global\n"
            "  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n"
            f"frontend registry\n  bind {LOOPBACK}:{port}\n{lines}\n  default_backend origin\n"
            f"backend origin\n  server first {backend}\n"
        )
        with _running([program("haproxy"), "-db", "-f", str(folder / "haproxy.cfg")], folder, port):
            yield Front(f"{LOOPBACK}:{port}", folder / "stdout.log")

    return opened


def varnish(*arguments: str, receive: str = "return (pass);") -> Opener:
    """Varnish with `varnishncsa` beside it, whose arguments these are.

    `receive` is its vcl_recv: it keeps nothing, or with "" what says that it may be kept.
    """

    @contextmanager
    def opened(folder: Path, backend: str) -> Iterator[Front]:
        port, log = free_port(), folder / "access.log"
        folder.mkdir(exist_ok=True)
        vcl, instance = folder / "varnish.vcl", ["-n", str(folder / "instance")]
        vcl.write_text(
            "vcl 4.1;\n"
            f'backend origin {{ .host = "{LOOPBACK}"; .port = "{backend.rpartition(":")[2]}"; }}\n'
            f"sub vcl_recv {{ {receive} }}\n"
        )
        server = [program("varnishd"), *["-j", "none", "-F", "-s", "malloc,64m", "-f"], str(vcl), *instance]
        logger = [program("varnishncsa"), *instance, "-t", "20", "-w", str(log), *arguments]
        with ExitStack() as stack:
            stack.enter_context(_running([*server, "-a", f"{LOOPBACK}:{port}"], folder, port))
            writer = Process(logger, folder / "ncsa.log", folder / "ncsa.log")
            stack.callback(writer.stop)
            writer.wait_ready(lambda: _logged(port, log))
            yield Front(f"{LOOPBACK}:{port}", log)
            wait_until(lambda: _logged(port, log), "the last line of varnishncsa")

    return opened


def caddy() -> Opener:
    """Caddy with the JSON lines of its `log` directive."""

    @contextmanager
    def opened(folder: Path, backend: str) -> Iterator[Front]:
        port, log = free_port(), folder / "access.log"
        folder.mkdir(exist_ok=True)
        (folder / "Caddyfile").write_text(
            "{\n  admin off\n  auto_https off\n}\n"
            f"http://:{port} {{\n  bind {LOOPBACK}\n  log {{\n    output file {log}\n  }}\n"
            f"  reverse_proxy {backend}\n}}\n"
        )
        command = [program("caddy"), "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
        with _running(command, folder, port):
            yield Front(f"{LOOPBACK}:{port}", log)

    return opened


def _logged(port: int, log: Path) -> bool:
    """Whether a request that is made now, whatever its answer, is in a log that is written later."""
    mark = f"/v2/?{time.monotonic_ns()}"
    with suppress(HTTPError), urllib.request.urlopen(f"http://{LOOPBACK}:{port}{mark}", timeout=10):
        pass
    time.sleep(0.2)
    return log.exists() and mark in log.read_text()


@contextmanager
def _running(command: list[str], folder: Path, port: int, ip: str = LOOPBACK) -> Iterator[None]:
    process = Process(command, folder / "stdout.log", folder / "stderr.log")
    try:
        process.wait_ready(lambda: listening(port, ip))
        yield
    finally:
        process.stop()


FRONTS: dict[str, Opener] = {
    "nginx-combined": nginx("combined"),
    "nginx-forwarded": nginx(NGINX_FORWARDED),
    "nginx-json": nginx(NGINX_JSON),
    "apache-combined": apache(APACHE_COMBINED),
    "apache-vhost": apache(APACHE_VHOST),
    "haproxy-raw": haproxy("raw", "option httplog", "capture request header User-Agent len 200"),
    "haproxy-rfc3164": haproxy("rfc3164", "option httplog"),
    "haproxy-rfc5424": haproxy("rfc5424", "option httplog"),
    "haproxy-iso": haproxy("iso", "option httplog"),
    "haproxy-timed": haproxy("timed", "option httplog"),
    "haproxy-short": haproxy("short", "option httplog"),
    "haproxy-clf": haproxy("raw", "option httplog clf"),
    "varnish": varnish(),
    "varnish-common": varnish("-F", '%h %l %u %t "%r" %s %b'),
    "caddy": caddy(),
}
"""Every front, and every format it can write, that prewarm reads."""
