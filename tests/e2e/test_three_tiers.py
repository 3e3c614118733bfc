"""The three-tier example of the docs runs: half a day of the office, on real registries."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.e2e.servers import program, run

EXAMPLE = Path(__file__).parents[2] / "docs" / "three-tiers" / "run.py"


def test_each_tier_fails_less_when_the_line_is_cut(folder: Path) -> None:
    """The same pulls three times: all of an outage's fail without tiers, and ever fewer with them."""
    program("docker-registry")

    told = json.loads(run([sys.executable, str(EXAMPLE), "--hours", "12", "--delay", "0.005", "--json"], 300))

    bare, tiers, warmed = told.values()
    assert bare["pulls"] == tiers["pulls"] == warmed["pulls"] > 100
    assert bare["pulls_in_outage"] == bare["failures"] > 20
    assert 0 < warmed["failures"] < tiers["failures"] < bare["failures"]
    assert warmed["upstream_bytes"] < bare["upstream_bytes"]
