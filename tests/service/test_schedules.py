"""Schedules in the service: begun once when they are due, on a clock that the test holds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

from prewarm.lake import Lake
from prewarm.pipeline.warming.caches import state_folder
from prewarm.pipeline.warming.switch import pause, resume
from prewarm.service.app import create_app
from prewarm.service.background import Runs
from prewarm.service.clockwork import Clockwork
from prewarm.settings import load
from prewarm.warming.executor import lock
from tests.past import lake_with
from tests.service.conftest import BASE, opened
from tests.service.test_runs import API, WEB, Hub, events_of, serving

DAWN = datetime(2026, 11, 24, 5, 0, tzinfo=UTC)  # a Tuesday; the run begins at six
LATE = DAWN + timedelta(hours=2)


@dataclass
class Service:
    """A service whose time stands still until it is told."""

    client: TestClient
    lake: Lake
    clock: list[datetime] = field(default_factory=lambda: [DAWN])

    def at(self, moment: datetime) -> dict[str, Any]:
        """The schedule as it is after a look at that moment."""
        self.clock[0] = moment
        self.client.portal.call(self.client.app.state.clockwork.tick, moment)  # type: ignore[union-attr, attr-defined]
        return self.row()

    def row(self) -> dict[str, Any]:
        (row,) = self.client.get("/v1/schedules").json()["schedules"]
        assert isinstance(row, dict)
        return row

    def runs(self) -> list[dict[str, Any]]:
        """The service's runs, once each is over."""
        found = self.client.get("/v1/runs").json()["runs"]
        for each in found:
            events_of(self.client, f"/v1/runs/{each['id']}")
        return list(self.client.get("/v1/runs").json()["runs"])


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving(Hub()) as hub:
        yield hub


@contextmanager
def service_over(folder: Path, hub: Hub, clock: list[datetime], **schedule: Any) -> Iterator[Service]:
    lake = Lake.open(folder / "lake")
    if not lake.exists("pulls"):
        lake_with(folder, WEB, API, now=DAWN)
    settings = load(
        lake=lake.root,
        registries={"docker.io": {"url": hub.url}},
        caches={"edge": {"driver": "layout", "path": str(folder / "oci"), "site": "default"}},
        schedules={"morning": {"cache": "edge"} | schedule},
        service={"schedules": False},
    )
    with opened(create_app(settings, lambda: clock[0]), BASE) as client:
        yield Service(client, lake, clock)


WARMING = {"days": "mon-fri", "ready_by": "07:00", "covers": "07:00-11:00", "top": 5}


@pytest.fixture
def service(tmp_path: Path, hub: Hub) -> Iterator[Service]:
    with service_over(tmp_path, hub, [DAWN], **WARMING) as service:
        yield service


def test_a_run_is_begun_once_when_it_is_due(service: Service) -> None:
    """An hour before it has to be ready; the next one is tomorrow's."""
    first = service.at(DAWN)
    begun = service.at(LATE)
    service.at(LATE + timedelta(seconds=5))

    (run,) = service.runs()
    assert first["next"] == "2026-11-24T06:00:00Z"
    assert begun["run"] == run["id"]
    assert run["totals"]["warmed"] == 2
    assert begun["next"] == "2026-11-25T06:00:00Z"


def test_what_was_missed_is_begun_once(tmp_path: Path, hub: Hub) -> None:
    """Down for a week, the service warms for the window that goes on, not for those that went by."""
    with service_over(tmp_path, hub, [DAWN], **WARMING) as service:
        service.at(DAWN)
    with service_over(tmp_path, hub, [DAWN], **WARMING) as service:
        left = service.at(DAWN + timedelta(days=7, hours=9))
        caught = service.at(DAWN + timedelta(days=8, hours=3))

        assert left["what"] == "left out: its window was over"
        assert len(service.runs()) == 1
        assert caught["run"] == service.runs()[0]["id"]


def test_a_paused_schedule_begins_nothing(tmp_path: Path, hub: Hub) -> None:
    """Also after a restart; resumed, it goes on with what is due next."""
    with service_over(tmp_path, hub, [DAWN], **WARMING) as service:
        service.at(DAWN)
        assert service.client.post("/v1/schedules/morning/pause").json()["paused"]
    with service_over(tmp_path, hub, [DAWN], **WARMING) as service:
        assert service.at(LATE)["what"] == "left out: the schedule is paused"
        assert not service.client.post("/v1/schedules/morning/resume").json()["paused"]
        assert service.runs() == []
        service.at(LATE + timedelta(days=1))
        assert len(service.runs()) == 1
        assert service.client.post("/v1/schedules/mourning/pause").status_code == 404


def test_it_waits_while_the_kill_switch_is_set(service: Service) -> None:
    """And begins as soon as somebody resumes."""
    service.at(DAWN)
    pause(service.lake, DAWN, "ann")
    service.at(LATE)
    assert service.runs() == []

    resume(service.lake)
    service.at(LATE + timedelta(seconds=5))
    assert len(service.runs()) == 1


def test_it_waits_while_its_cache_is_being_warmed(service: Service) -> None:
    """By whatever process."""
    service.at(DAWN)
    with lock(state_folder(service.lake) / "locks", "edge", DAWN):
        service.at(LATE)
    assert service.runs() == []

    service.at(LATE + timedelta(seconds=5))
    assert len(service.runs()) == 1


def test_two_services_begin_it_once(tmp_path: Path, hub: Hub) -> None:
    """The start is claimed in the lake's folder."""
    with (
        service_over(tmp_path, hub, [DAWN], **WARMING) as one,
        service_over(tmp_path, hub, [DAWN], **WARMING) as two,
    ):
        one.at(DAWN)
        two.at(DAWN)
        one.at(LATE)
        one.runs()
        two.at(LATE)

        assert len(one.runs()) == 1


def until_idle(service: Service) -> None:
    """Wait for what the last look began."""

    async def wait() -> None:
        await asyncio.gather(*service.client.app.state.clockwork._tasks)  # type: ignore[attr-defined]

    service.client.portal.call(wait)  # type: ignore[union-attr]


def test_forecast_only_plans_and_transfers_nothing(tmp_path: Path, hub: Hub) -> None:
    """The plan is kept, and the schedule tells of it."""
    with service_over(tmp_path, hub, [DAWN], **WARMING, mode="forecast-only") as service:
        service.at(DAWN)
        service.at(LATE)
        until_idle(service)
        row = service.row()

        assert service.runs() == []
        assert row["what"].startswith("planned 2 images")
        assert service.client.get(f"/v1/plans/{row['run']}").json()["cache"] == "edge"
        assert not any("/blobs/" in seen.path for seen in hub.registry.seen)


def test_maintenance_goes_by_its_expression(tmp_path: Path, hub: Hub) -> None:
    """Every quarter of an hour; what was missed counts once."""
    with service_over(tmp_path, hub, [DAWN], cron="*/15 * * * *", verb="refresh") as service:
        assert service.at(DAWN)["next"] == "2026-11-24T05:15:00Z"
        service.at(LATE)
        until_idle(service)

        assert service.row()["what"] == "refreshed 0 images"
        assert service.row()["next"] == "2026-11-24T07:15:00Z"


def test_a_schedule_that_cannot_be_read_is_told_and_stops_no_other(tmp_path: Path, hub: Hub) -> None:
    """Its row says why."""
    with service_over(tmp_path, hub, [DAWN], cron="61 * * * *", verb="refresh") as service:
        row = service.at(DAWN)

    assert "cannot be read" in row["problem"]
    assert row["next"] is None


def test_a_folder_that_cannot_be_written_is_told_once(
    tmp_path: Path, hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is begun that could be begun twice; the service goes on."""
    with service_over(tmp_path, hub, [DAWN], **WARMING) as service:
        (state_folder(service.lake) / "schedules.lock").mkdir()
        service.at(DAWN)
        service.at(LATE)

        assert service.runs() == []
    assert [record.message for record in caplog.records].count(
        f"{state_folder(service.lake) / 'schedules.json'} cannot be written: Is a directory"
    ) == 1


async def test_a_panic_ends_no_ticking(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The next look comes as if nothing had happened."""

    def panic() -> datetime:
        raise pl.exceptions.PanicException("out of bounds")

    settings = load(lake=str(tmp_path / "lake"))
    async with Clockwork(settings, Runs(settings, panic), panic).ticking():
        await asyncio.sleep(0)
        assert "schedules could not be looked at" in caplog.text
