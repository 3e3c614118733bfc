"""Parsing registry logs, beside the usual ways to do it.

    python -m benchmarks.ingest_parse [--lines 300000] [--rounds 3]

A seeded generator writes what a few hundred clients ask of a registry, as combined access lines and as
Distribution's text and JSON. Each round runs every contender once, in turn, so that a busy moment of
the machine meets them all; the least CPU time of the rounds is kept, user and system, children and
threads included. Compared are, from the bytes of the file:

* `prewarm`: lines, fields, times, repository and reference of each request, as an access table;
* `prewarm to pulls`: the same, then sessions and pulls;
* `re`, `json`, `orjson`: a loop over the lines with one compiled expression, `json.loads` or
  `orjson.loads` (where it is installed), that keeps seven fields of each as text;
* `goaccess`: the C log analyser, which also aggregates what it reads.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import random
import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from prewarm.logs import pulls, streams
from prewarm.logs.formats import Format, Hints, Scanner, combined, distribution
from prewarm.logs.streams import Chunk

START = datetime(2026, 11, 2, tzinfo=UTC)
AGENTS = (
    "containerd/1.7.22",
    r"docker/27.3.1 go/go1.22.7 kernel/6.8 os/linux arch/amd64 UpstreamClient(Docker-Client/27.3 \(linux\))",
    "containers/5.32.2 (github.com/containers/image)",
)
ACCESS = re.compile(
    r'(\S+) \S+ (\S+) \[([^\]]+)\] "([A-Z]+) (\S+) [^"]*" (\d{3}) (\S+) "(?:[^"\\]|\\.)*" "((?:[^"\\]|\\.)*)"'
)
TEXT = re.compile(
    r'time="([^"]+)".* http\.request\.method=(\S+).* http\.request\.remoteaddr="?([^" ]+)"?'
    r' http\.request\.uri="?([^" ]+)"? http\.request\.useragent=("(?:[^"\\]|\\.)*"|\S*)'
    r".* http\.response\.status=(\d+) http\.response\.written=(\d+)"
)
JSON_KEYS = (
    "time",
    "http.request.method",
    "http.request.remoteaddr",
    "http.request.uri",
    "http.request.useragent",
    "http.response.status",
    "http.response.written",
)


def requests(count: int) -> Iterator[dict[str, object]]:
    """Cold pulls of 400 images by 300 clients: a HEAD, two manifests, a config, three layers each."""
    chance = random.Random(1)
    time = START
    while count > 0:
        time += timedelta(seconds=chance.expovariate(0.5))
        image, client = min(int(chance.paretovariate(0.8)), 400), chance.randrange(300)
        digests = [f"sha256:{image * 16 + part:064x}" for part in range(7)]
        paths = [f"manifests/v{image % 7}"] + [f"manifests/{digest}" for digest in digests[1:3]]
        paths += [f"blobs/{digest}" for digest in digests[3:]]
        for step, path in enumerate(paths):
            yield {
                "time": time + timedelta(milliseconds=40 * step),
                "client": f"10.0.{client // 250}.{client % 250}",
                "method": "GET" if step else "HEAD",
                "uri": f"/v2/team-{image % 20}/service-{image // 7}/{path}",
                "agent": AGENTS[client % len(AGENTS)],
                "bytes": 1_500 if step < 4 else image * 100_000,
                "id": f"{chance.getrandbits(128):032x}",
            }
        count -= len(paths)


def as_access(request: dict[str, object]) -> str:
    """A combined line as gorilla writes it."""
    agent = str(request["agent"]).replace("\\", "\\\\")
    return (
        f"{request['client']} - - [{request['time']:%d/%b/%Y:%H:%M:%S} +0000] "
        f'"{request["method"]} {request["uri"]} HTTP/1.1" 200 {request["bytes"]} "" "{agent}"'
    )


def as_fields(request: dict[str, object]) -> dict[str, object]:
    """What Distribution 3.x logs of a request."""
    return {
        "go.version": "go1.27.3",
        "http.request.host": "mirror.example:5000",
        "http.request.id": request["id"],
        "http.request.method": request["method"],
        "http.request.remoteaddr": f"{request['client']}:41822",
        "http.request.uri": request["uri"],
        "http.request.useragent": request["agent"],
        "http.response.contenttype": "application/octet-stream",
        "http.response.duration": "9.16296ms",
        "http.response.status": 200,
        "http.response.written": request["bytes"],
    }


def as_text(request: dict[str, object]) -> str:
    """A logrus text line: values are quoted where they hold more than letters, digits and a few signs."""
    plain = re.compile(r"[A-Za-z0-9\-._/@^+]+")
    fields = " ".join(
        f"{key}={value}" if plain.fullmatch(str(value)) else f"{key}={json.dumps(value)}"
        for key, value in as_fields(request).items()
    )
    return f'time="{request["time"]:%Y-%m-%dT%H:%M:%S.%fZ}" level=info msg="response completed" {fields}'


def as_json(request: dict[str, object]) -> str:
    """A logrus JSON line."""
    fields = {
        "level": "info",
        "msg": "response completed",
        "time": f"{request['time']:%Y-%m-%dT%H:%M:%S.%fZ}",
    }
    return json.dumps(as_fields(request) | fields, separators=(",", ":"))


def parse(path: Path, driver: Format) -> pl.DataFrame:
    """All accesses of a file, chunk by chunk, as ingest reads them."""
    with closing(streams.chunks(str(path))) as chunks:  # type: ignore[type-var]
        return pl.concat([_accesses(chunk, driver) for chunk in chunks])


def _accesses(chunk: Chunk, driver: Format) -> pl.DataFrame:
    """Scanned where the format can, as ingest does."""
    scanned = driver.scan(chunk.data, chunk.offset) if isinstance(driver, Scanner) else None
    parsed = scanned[0] if scanned else driver.parse(streams.lines(chunk)[0], Hints())
    return parsed.accesses


def to_pulls(path: Path, driver: Format) -> pl.DataFrame:
    """All pulls of a file."""
    return pulls.collapse(pulls.sessions(pulls.merge_requests(parse(path, driver))))


def loop_re(path: Path, expression: re.Pattern[str]) -> list[tuple[str, ...]]:
    """Seven fields of every line, as text."""
    with path.open(encoding="utf-8") as file:
        return [match.groups() for line in file if (match := expression.match(line))]


def loop_json(
    path: Path, loads: Callable[[str], Mapping[str, object]] = json.loads
) -> list[tuple[object, ...]]:
    """Seven fields of every line."""
    with path.open(encoding="utf-8") as file:
        return [tuple(map(loads(line).get, JSON_KEYS)) for line in file]


def goaccess(path: Path) -> None:
    """GoAccess's whole report of a combined log, as JSON."""
    report = path.with_suffix(".report.json")
    command = ["goaccess", str(path), "--log-format=COMBINED", "--no-global-config", "-o", str(report)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of `work`, threads and children included."""
    before = _spent()
    work()
    return _spent() - before


def _spent() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def contenders(folder: Path, lines: int) -> dict[str, dict[str, Callable[[], object]]]:
    """For each kind of log, what is compared on it; writes the logs into `folder`."""
    access, text, ndjson = folder / "access.log", folder / "app.log", folder / "app.ndjson"
    asked = list(requests(lines))
    for path, render in ((access, as_access), (text, as_text), (ndjson, as_json)):
        path.write_text("".join(f"{render(request)}\n" for request in asked))
    peers: dict[str, dict[str, Callable[[], object]]] = {
        "combined": {
            "prewarm": lambda: parse(access, combined.FORMAT),
            "prewarm to pulls": lambda: to_pulls(access, combined.FORMAT),
            "re": lambda: loop_re(access, ACCESS),
        },
        "distribution text": {
            "prewarm": lambda: parse(text, distribution.FORMAT),
            "prewarm to pulls": lambda: to_pulls(text, distribution.FORMAT),
            "re": lambda: loop_re(text, TEXT),
        },
        "distribution json": {
            "prewarm": lambda: parse(ndjson, distribution.FORMAT),
            "prewarm to pulls": lambda: to_pulls(ndjson, distribution.FORMAT),
            "json": lambda: loop_json(ndjson),
        },
    }
    if importlib.util.find_spec("orjson"):
        loads = importlib.import_module("orjson").loads
        peers["distribution json"]["orjson"] = lambda: loop_json(ndjson, loads)
    if shutil.which("goaccess"):
        peers["combined"]["goaccess"] = lambda: goaccess(access)
    return peers


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        logs = contenders(Path(folder), options.lines)
        best: dict[tuple[str, str], float] = {}
        for _ in range(options.rounds):
            for log, works in logs.items():
                for name, work in works.items():
                    best[log, name] = min(cpu(work), best.get((log, name), float("inf")))
    machine = f"{os.cpu_count()} cores, polars {pl.__version__}"
    print(f"{options.lines:,} lines, best of {options.rounds}, {machine}\n")
    print(f"{'log':<20}{'contender':<20}{'lines per CPU-second':>22}{'prewarm is':>13}")
    for (log, name), seconds in best.items():
        times = "" if name == "prewarm" else f"{seconds / best[log, 'prewarm']:.1f} x"
        print(f"{log:<20}{name:<20}{options.lines / seconds:>22,.0f}{times:>13}")


if __name__ == "__main__":
    main()
