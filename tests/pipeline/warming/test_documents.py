"""A plan survives its journey through JSON, and a hostile plan file does not get in."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from prewarm.errors import SettingsError
from prewarm.pipeline.warming.documents import from_document, from_text, to_document
from prewarm.warming.planning import Budget, Plan, Skip, Warm

EIGHT = datetime(2026, 11, 24, 8, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64
PLAN = Plan(
    id="p1",
    cache="office",
    site="boise",
    created_at=EIGHT,
    window=(EIGHT, EIGHT.replace(hour=9)),
    budget=Budget(top=2, max_bytes=10**9, ready_by=EIGHT),
    model="profile",
    objective="pulls",
    warms=(Warm("docker.io/library/nginx:1.25", DIGEST, 7, 41.5, "rank 1", 1, 0.25),),
    skipped=(Skip("docker.io/library/redis:7", "already held, fresh", held=True, digest=DIGEST, rank=2),),
    withheld=(Warm("docker.io/library/alpine:3", None, None, 1.0, "held out"),),
    meta={"note": "x"},
)


def test_a_plan_comes_back_equal() -> None:
    """Through text, with every field."""
    assert from_text(json.dumps(to_document(PLAN))) == PLAN


def test_the_document_has_the_promised_keys() -> None:
    """Scripts rely on them."""
    document = to_document(PLAN)
    assert {"id", "cache", "window", "budget", "warms", "skipped", "withheld"} <= set(document)
    assert {"image", "digest", "bytes", "score", "reason"} <= set(document["warms"][0])
    assert {"image", "reason"} <= set(document["skipped"][0])
    assert document["window"]["start"] == "2026-11-24T08:00:00Z"


def test_a_plan_written_by_hand_needs_little() -> None:
    """An id, a cache and images; familiar names are understood."""
    plan = from_document({"id": "mine", "cache": "office", "warms": [{"image": "nginx:1.25"}]})
    assert plan.warms[0].image == "docker.io/library/nginx:1.25"


def with_warm(**changes: Any) -> dict[str, Any]:
    """The good document with one field of its first warm changed."""
    document = to_document(PLAN)
    document["warms"][0] |= changes
    return document


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "plan must be an object"),
        ({"id": "x", "cache": "c"}, "plan lacks 'warms'"),
        ({"id": "x", "cache": "c", "warms": [], "warm": []}, "unknown key 'warm'; did you mean 'warms'?"),
        ({"id": "x\x1b[2J", "cache": "c", "warms": []}, "plan: id must be a printable name"),
        ({"id": "x", "cache": "c", "warms": {}}, "plan: warms must be a list"),
        (with_warm(image="no spaces"), "plan: warms[0].image"),
        (with_warm(image="redis:7"), "names docker.io/library/redis:7 2 times"),
        (with_warm(image=7), "plan: warms[0].image must be a text"),
        (with_warm(digest="sha256:short"), "plan: warms[0].digest must be a digest"),
        (with_warm(bytes=-1), "plan: warms[0].bytes must be a whole number"),
        (with_warm(bytes=True), "plan: warms[0].bytes must be a whole number"),
        (with_warm(score=float("nan")), "plan: warms[0].score must be a number"),
        (with_warm(score=10**400), "plan: warms[0].score must be a number"),
        (with_warm(reason="x" * 5000), "plan: warms[0].reason must be a text"),
        (
            to_document(PLAN) | {"created_at": "2026-11-24T08:00:00"},
            "created_at must be a time with its offset",
        ),
        (
            to_document(PLAN) | {"window": {"start": "2026-11-24T08:00Z", "end": "2026-11-24T07:00Z"}},
            "ends before",
        ),
        (to_document(PLAN) | {"meta": {"k": 1}}, "plan: meta['k'] must be a text"),
    ],
)
def test_a_bad_document_is_refused_with_the_place_of_the_fault(document: object, words: str) -> None:
    """One line, the path of the value, what was expected."""
    with pytest.raises(SettingsError) as refused:
        from_document(document)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, b"\xff\xfe"])
def test_what_is_no_json_is_refused(text: str | bytes) -> None:
    """Depth and encoding included."""
    with pytest.raises(SettingsError, match="is no JSON"):
        from_text(text)
