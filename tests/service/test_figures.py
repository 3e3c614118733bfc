"""Figures and portraits of images: what the page shows beside numbers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest
from starlette.testclient import TestClient

from prewarm.service.app import create_app
from prewarm.settings import load
from prewarm.tables import OUTCOMES
from tests.past import NOW, lake_with
from tests.service.conftest import A, B, opened

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (f"band?image={A}", {"pulled", "90 %", "pulls an hour"}),
        ("causes", {"misses"}),
        ("arms", {"holdout"}),
        ("scores", {"auto", "capture@10"}),
    ],
)
def test_a_figure_is_an_image_with_its_words(service: TestClient, name: str, words: set[str]) -> None:
    """SVG whose text is text, the same bytes for the same lake, and other colours on a dark page."""
    light = service.get(f"/v1/figures/{name}")
    again = service.get(f"/v1/figures/{name}", headers={"If-None-Match": light.headers["etag"]})
    dark = service.get(f"/v1/figures/{name}{'&' if '?' in name else '?'}scheme=dark").text

    told = {text.text for text in ElementTree.fromstring(light.content).iter(f"{SVG}text")}
    assert light.headers["content-type"] == "image/svg+xml"
    assert words <= told
    assert again.status_code == 304
    assert "#e6ebf1" in dark
    assert "#e6ebf1" not in light.text


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("band", 422, "image: a band is of one image"),
        ("band?image=acme/none:1", 404, "no image at site"),
        ("pie", 422, "band"),
        ("causes?scheme=sepia", 422, "scheme"),
    ],
)
def test_what_cannot_be_drawn_is_told(service: TestClient, path: str, status: int, words: str) -> None:
    """With what there is."""
    answer = service.get(f"/v1/figures/{path}")
    assert answer.status_code == status
    assert words in answer.json()["detail"]


def test_an_image_is_known_by_its_short_name(service: TestClient) -> None:
    """Its demand and its rank at each site, why, and the other tags of its repository."""
    told = service.get("/v1/images/acme/a:1").json()
    kin = service.get("/v1/images/acme/a:2").json()

    (here,) = told["sites"]
    assert (told["image"], here["site"], here["rank"]) == (A, "default", 1)
    assert here["expected"] > 0
    assert here["why"]["links"][0]["step"] == "site"
    assert (told["catalogue"], told["caches"], told["tags"]) == (None, [], [])
    assert [row["image"] for row in kin["tags"]] == [A]
    assert kin["sites"] == []


def test_a_tag_that_was_only_pushed_has_its_page(tmp_path: Path) -> None:
    """It may be ranked first, and the ranking sends who asks why to its page."""
    lake = lake_with(tmp_path, "docker.io/acme/api:1")
    pushed = {"timestamp": NOW - timedelta(minutes=5), "site": "default"}
    named = {"registry": "docker.io", "repository": "acme/api", "tag": "2"}
    lake.append("pushes", pl.DataFrame([pushed | named]))
    with opened(create_app(load(lake=lake.root), lambda: NOW)) as service:
        ranked = [row["image"] for row in service.get("/v1/rankings").json()["ranking"]]
        (here,) = service.get("/v1/images/acme/api:2").json()["sites"]
        figure = service.get("/v1/figures/band", params={"image": "acme/api:2"})
        ahead = service.get("/v1/forecasts", params={"image": "acme/api:2"})

    assert "docker.io/acme/api:2" in ranked
    assert (here["pulls"], here["last"], here["why"]["waited"]) == (0, None, 0)
    assert here["expected"] > 0
    assert (figure.status_code, ahead.status_code) == (200, 200)


def test_an_image_that_nobody_knows_is_a_problem(service: TestClient) -> None:
    """It names some that there are."""
    answer = service.get("/v1/images/nobody/knows:1")
    assert answer.status_code == 404
    assert "acme/a:1" in answer.json()["detail"]


def test_an_image_is_warm_where_a_run_left_it(tmp_path: Path) -> None:
    """The last word counts: what was evicted is not there any more, and was there before."""
    lake = lake_with(tmp_path, A, B)
    rows = [
        ("office", "warmed", 1, "sha256:1"), ("office", "already", 2, "sha256:2"),
        ("office", "failed", 3, None),
        ("attic", "warmed", 1, "sha256:1"), ("attic", "evicted", 2, "sha256:1"),
    ]  # fmt: skip
    outcomes = [
        {"run": f"r{hour}", "cache": cache, "driver": "layout", "image": A, "digest": digest, "state": state,
         "finished_at": NOW - timedelta(hours=9 - hour)}
        for cache, state, hour, digest in rows
    ]  # fmt: skip
    lake.append("outcomes", pl.DataFrame(outcomes, schema=dict(OUTCOMES)))
    with opened(create_app(load(lake=lake.root), lambda: NOW)) as client:
        warm = client.get("/v1/images/acme/a:1").json()["caches"]
        other = client.get("/v1/images/acme/b:1").json()["caches"]

    assert [(row["cache"], row["digest"], row["run"]) for row in warm] == [("office", "sha256:2", "r2")]
    assert other == []


def test_a_lake_is_assessed_as_a_log_is(service: TestClient) -> None:
    """The verdict with its reasons, and the causes of misses."""
    told = service.get("/v1/assessment", params={"site": "default"}).json()
    assert told["verdict"] in {"pays", "fix this first", "does not pay"}
    assert told["why"]
    assert told["traffic"]["pulls"] > 0
    assert "tag moved" in told["causes"]
    assert service.get("/v1/assessment", params={"site": "nowhere"}).status_code == 404
