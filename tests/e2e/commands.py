"""The command line as a user types it: one process a verb, its JSON, its exit code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

STAMP = re.compile(r"\[(\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d) \+0000\]")
STAMP_FORMAT = "%d/%b/%Y:%H:%M:%S"


@dataclass(frozen=True)
class Done:
    """How a verb ended: its exit code, the JSON object on stdout (None when there is none), its stderr."""

    code: int
    json: Any
    stderr: str

    def states(self) -> dict[str, str]:
        """Image -> state, of a run's outcomes."""
        return {outcome["image"]: outcome["state"] for outcome in self.json["outcomes"]}

    def errors(self) -> dict[str, str]:
        """Image -> error, of a run's outcomes that have one."""
        return {outcome["image"]: outcome["error"] for outcome in self.json["outcomes"] if outcome["error"]}


class Prewarm:
    """`prewarm` with a lake, a config file and a home of its own."""

    def __init__(self, folder: Path, config: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.lake = folder / "lake"
        self.config = folder / "prewarm.toml"
        self.config.write_text(config)
        self.docker_config = folder / "home" / ".docker" / "config.json"
        self.docker_config.parent.mkdir(parents=True, exist_ok=True)

    def command(self, verb: str, *arguments: str | Path) -> list[str]:
        """The whole command line, with `--json`."""
        shared = ("--lake", str(self.lake), "--config", str(self.config), "--json")
        return [sys.executable, "-m", "prewarm", verb, *map(str, arguments), *shared]

    def __call__(self, verb: str, *arguments: str | Path, days_ago: int = 0, within: float = 120) -> Done:
        """Run a verb to its end, on a clock that is set back by whole days (`faketime`)."""
        from tests.e2e.servers import program

        command = self.command(verb, *arguments)
        if days_ago:
            command = [program("faketime"), "-f", f"-{days_ago}d", *command]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
        return Done(done.returncode, json.loads(done.stdout) if done.stdout.strip() else None, done.stderr)

    def ok(self, verb: str, *arguments: str | Path, days_ago: int = 0) -> Any:
        """The JSON of a verb that must succeed."""
        done = self(verb, *arguments, days_ago=days_ago)
        assert done.code == 0, f"{verb}: exit {done.code}\n{done.json}\n{done.stderr}"
        return done.json

    def start(self, verb: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Start a verb and leave it running; the caller ends it."""
        return subprocess.Popen(
            self.command(verb, *arguments),
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def environment(self) -> dict[str, str]:
        """This process's environment without its PREWARM_ variables, in a home of its own."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREWARM_")}
        root = str(Path(__file__).parents[2])
        return kept | {"HOME": str(self.folder / "home"), "PYTHONPATH": root}


def moved(log: str, by: timedelta) -> str:
    """Access lines as if they had been written at another time."""

    def move(match: re.Match[str]) -> str:
        stamp = datetime.strptime(f"{match[1]} +0000", f"{STAMP_FORMAT} %z") + by
        return f"[{stamp:{STAMP_FORMAT}} +0000]"

    return STAMP.sub(move, log)


def two_weeks(log: str) -> str:
    """Real access lines, repeated every five hours over the fourteen days before them.

    Five hours visit every hour of the day, so that a forecast of any hour has seen demand.
    """
    return "".join(moved(log, by) for by in _steps())


def _steps() -> Iterator[timedelta]:
    hour = timedelta(hours=1)
    for hours in range(14 * 24 + 1, 0, -5):
        yield -hours * hour


def history(*image_names: str) -> str:
    """Events: each image pulled every five hours of the last fourteen days, the first one most often."""
    now = datetime.now(UTC)
    rows = ["timestamp,image,client"]
    for by in _steps():
        for place, image in enumerate(image_names):
            stamp = (now + by).isoformat()
            rows += [f"{stamp},{image},10.0.0.{client}" for client in range(1, 2 + len(image_names) - place)]
    return "\n".join(rows) + "\n"


def with_history(folder: Path, settings: str, *names: str) -> Prewarm:
    """A lake that has seen these images pulled for two weeks."""
    prewarm = Prewarm(folder, settings)
    (folder / "events.csv").write_text(history(*names))
    prewarm.ok("ingest", folder / "events.csv", "--format", "events")
    return prewarm
