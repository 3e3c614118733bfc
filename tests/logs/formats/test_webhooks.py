"""Notifications of Distribution become fetches and pushes."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from prewarm.logs import pulls
from prewarm.logs.formats import Hints, Parsed, webhooks

INDEX = "sha256:" + "81" * 32
LAYER = "sha256:" + "65" * 32


def event(action: str = "pull", method: str = "GET", **target: Any) -> dict[str, Any]:
    """A notification about library/nginx:1.25."""
    return {
        "id": "event-1",
        "timestamp": "2026-11-24T01:58:42.907495743Z",
        "action": action,
        "target": {
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "digest": INDEX,
            "size": 517,
            "repository": "library/nginx",
            "url": f"http://mirror:5000/v2/library/nginx/manifests/{INDEX}",
            "tag": "1.25",
        }
        | target,
        "request": {
            "id": f"request-{method}",
            "addr": "10.0.0.7:53244",
            "host": "mirror:5000",
            "method": method,
            "useragent": "docker/27",
        },
        "actor": {"name": "ann"},
    }


def layer(method: str = "GET", action: str = "pull") -> dict[str, Any]:
    url = f"http://mirror:5000/v2/library/nginx/blobs/{LAYER}"
    return event(
        action, method, mediaType="application/octet-stream", digest=LAYER, size=150233, url=url, tag=None
    )


def parse(*records: Any) -> Parsed:
    lines = [json.dumps(record) for record in records]
    frame = pl.DataFrame({"offset": range(len(lines)), "line": lines})
    return webhooks.FORMAT.parse(frame, Hints())


def collapsed(parsed: Parsed) -> list[dict[str, Any]]:
    requests = pulls.merge_requests(parsed.accesses)
    return list(pulls.collapse(pulls.sessions(requests)).iter_rows(named=True))


def test_an_envelope_holds_many_events() -> None:
    """What one client fetches is one pull; tag and digest stand in the HEAD."""
    (pull,) = collapsed(parse({"events": [event(method="HEAD"), event(tag=None), layer()]}))
    assert (pull["tag"], pull["digest"], pull["kind"], pull["blobs"]) == ("1.25", INDEX, "layers", 1)
    assert (pull["client"], pull["user"], pull["agent"]) == ("10.0.0.7", "ann", "docker/27")
    assert (pull["registry"], pull["bytes"]) == ("mirror:5000", 150233)


def test_an_event_may_stand_alone() -> None:
    """As an indented envelope is unrolled."""
    alone, within = parse(event()), parse({"events": [event()]})
    assert alone.accesses.equals(within.accesses)
    assert set(alone.accesses["family"]) == {"event"}


def test_a_notification_that_comes_again_is_the_same() -> None:
    """Delivery is at least once; the request's id is that of the registry's log."""
    (pull,) = collapsed(parse(event(), layer(), event(), layer()))
    assert pull["keys"] == ["request-GET"]


def test_a_pushed_manifest_is_a_push() -> None:
    """A blob that is pushed, mounted or deleted is none."""
    parsed = parse(event("push", "PUT"), layer("PUT", "push"), layer("POST", "mount"), event("delete"))
    (push,) = pulls.pushes(parsed.accesses).iter_rows(named=True)
    assert (push["registry"], push["repository"], push["tag"], push["digest"]) == (
        "mirror:5000",
        "library/nginx",
        "1.25",
        INDEX,
    )
    assert collapsed(parsed) == []
    assert sum(parsed.ignored.values()) == 3


def test_without_a_url_the_media_type_tells() -> None:
    """Other senders of this form leave the url out."""
    parsed = parse(event(url=None), layer() | {"target": {**layer()["target"], "url": None}})
    assert parsed.accesses["object"].to_list() == ["manifest", "blob"]


@pytest.mark.parametrize(
    "record",
    [
        {"events": []},
        {"events": [{"id": "x"}]},
        event(repository="NOT A NAME"),
        event() | {"timestamp": "soon"},
    ],
)
def test_bad_notifications_are_malformed(record: dict[str, Any]) -> None:
    """No event, no name, no time."""
    assert sum(parse(record).malformed.values()) == 1
