"""The service as a process: what it prints where."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen


def test_stdout_has_the_address_alone(tmp_path: Path) -> None:
    """`--json` is for scripts: what the service says of itself and of requests goes to stderr."""
    command = [sys.executable, "-m", "prewarm", "serve", "--lake", str(tmp_path / "lake"), "--port", "0"]
    with subprocess.Popen(
        [*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as service:
        assert service.stdout is not None
        url = json.loads(service.stdout.readline())["url"]
        with urlopen(f"{url}/livez", timeout=60) as answer:
            alive = answer.status
        service.send_signal(signal.SIGTERM)
        out, err = service.communicate(timeout=60)

    assert (alive, out) == (200, "")
    assert '"GET /livez HTTP/1.1" 200' in err
