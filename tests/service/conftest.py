"""A service over a lake of two weeks, asked as a browser on the same machine would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from prewarm.service.app import create_app
from prewarm.settings import load
from tests.past import NOW, lake_with

BASE = "http://127.0.0.1:8080"
A, B = "docker.io/acme/a:1", "docker.io/acme/b:1"


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A lake that was fed until half an hour ago: two images at one site."""
    return lake_with(tmp_path_factory.mktemp("recent"), A, B).root


@contextmanager
def opened(app: FastAPI, url: str = BASE, *, raising: bool = True) -> Iterator[TestClient]:
    """A client of `app`, which has looked at its lake: however slow the machine, nobody is too early."""
    app.state.board.look(app.state.board.now())
    with TestClient(app, url, raise_server_exceptions=raising) as client:
        yield client


@pytest.fixture
def service(lake: str) -> Iterator[TestClient]:
    """The service at NOW."""
    with opened(create_app(load(lake=lake), lambda: NOW)) as client:
        yield client
