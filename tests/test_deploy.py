"""What is deployed fits what the service tells."""

from __future__ import annotations

import json
import re
from pathlib import Path

from starlette.testclient import TestClient

from prewarm.service.app import create_app
from prewarm.settings import load
from tests.past import NOW, lake_with

DASHBOARD = Path(__file__).parents[1] / "deploy/grafana/prewarm.json"


def test_the_dashboard_asks_for_metrics_that_there_are(tmp_path: Path) -> None:
    """Every family that a panel or a variable names is told at /metrics, and panels do not overlap."""
    app = create_app(load(lake=lake_with(tmp_path, "docker.io/acme/a:1").root), lambda: NOW)
    app.state.board.look(NOW)
    with TestClient(app, "http://127.0.0.1") as client:
        known = set(re.findall(r"^# TYPE (\w+) ", client.get("/metrics").text, re.MULTILINE))
    board = json.loads(DASHBOARD.read_text())

    asked = set(re.findall(r"\bprewarm_\w+", DASHBOARD.read_text()))
    places = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in board["panels"]
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]

    assert asked
    assert asked <= known
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) == 23
