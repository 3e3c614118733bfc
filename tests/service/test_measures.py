"""What only reports know, among the metrics."""

from __future__ import annotations

import re

from starlette.testclient import TestClient

from prewarm.lake import Lake
from prewarm.pipeline.insight.reports import Scope, report
from prewarm.service.measures import Measure, measure
from prewarm.settings import load
from tests.past import NOW


def test_a_site_is_measured_as_its_reports_tell(lake: str) -> None:
    settings = load(lake=lake)
    (found,) = measure(Lake.open(lake), settings, ["default"], NOW)
    day = Scope("default", since=NOW.replace(day=NOW.day - 1), until=NOW)
    told = report(Lake.open(lake), "hit-rate", day).summary
    assert (found.site, found.hit_ratio) == ("default", told["hit_rate"])
    assert told["pulls"] > 0
    assert (found.seconds_saved, found.wasted_bytes) == (0, 0)  # no run has warmed anything


def test_counters_never_go_down(lake: str) -> None:
    """Reports may value the same runs at less later on; a site that is new begins with what they say."""
    before = [Measure("default", 0.1, 100.5, 7)]
    (found,) = measure(Lake.open(lake), load(lake=lake), ["default"], NOW, before)
    assert (found.seconds_saved, found.wasted_bytes) == (100.5, 7)
    assert found.hit_ratio != 0.1


def test_a_site_without_pulls_has_no_measure(lake: str) -> None:
    assert measure(Lake.open(lake), load(lake=lake), ["elsewhere"], NOW) == []


def test_a_scrape_waits_for_no_measure_and_later_ones_tell_it(service: TestClient) -> None:
    """The first begins it; the report that is asked for next is made on the same thread, after it."""
    first = service.get("/metrics").text
    service.get("/v1/reports/misses")
    later = service.get("/metrics").text
    assert not re.search(r"^prewarm_hit_ratio\{", first, re.MULTILINE)
    assert re.search(r'^prewarm_hit_ratio\{site="default"\} [0-9.]+$', later, re.MULTILINE)
    assert 'prewarm_seconds_saved_total{site="default"} 0' in later
    assert 'prewarm_wasted_bytes_total{site="default"} 0' in later
