"""What each pull obtained, and what a tag stood for at a time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import polars as pl

from prewarm.demand.selection import image_column
from prewarm.insight.recollections import Known, Recollection, recollect
from prewarm.tables import IMAGES, PUSHES
from tests.demand.samples import after, pull, table

NAME = "docker.io/library/app:1"


def past(
    *rows: dict[str, Any],
    pushes: list[tuple[datetime, str, str]] | None = None,
    layers: dict[str, list[tuple[str, int]]] | None = None,
    scope: str = "site",
) -> Recollection:
    """The recollection of pulls, of pushes (time, tag, digest), and of a catalogue by digest."""
    catalogue = [
        {
            **{"registry": "docker.io", "repository": "library/app", "tag": "1", "digest": digest},
            "layers": [{"digest": layer, "bytes": size} for layer, size in blobs],
            "checked_at": after(),
        }
        for digest, blobs in (layers or {}).items()
    ]
    pushed = [
        {
            "timestamp": time,
            "registry": "docker.io",
            "repository": "library/app",
            "tag": tag,
            "digest": digest,
        }
        for time, tag, digest in pushes or []
    ]
    return recollect(
        table(*rows).with_columns(image_column()).sort("timestamp"),
        pl.DataFrame(catalogue, schema=dict(IMAGES)),
        pl.DataFrame(pushed, schema=dict(PUSHES)),
        scope,
    )


def stood_for(known: Recollection, at: datetime) -> str | None:
    content = known.resolve(NAME, at)
    return content.digest if content else None


def test_layers_come_from_the_catalogue() -> None:
    """Two digests that share a base share its object."""
    known = past(
        pull(after(0), digest="sha256:a", bytes=5),
        pull(after(1), digest="sha256:b", bytes=5),
        layers={
            "sha256:a": [("sha256:base", 100), ("sha256:x", 1)],
            "sha256:b": [("sha256:base", 100), ("sha256:y", 2)],
        },
    )
    assert [content.bytes for content in known.trace.contents] == [101, 102]
    assert known.known == Known(layers=2)


def test_without_layers_a_content_is_as_large_as_the_largest_pull_of_it() -> None:
    """The second client had half of it already; a digest whose size nobody logged has that of its image."""
    known = past(
        pull(after(0), digest="sha256:a", bytes=100),
        pull(after(1), digest="sha256:a", bytes=50),
        pull(after(2), digest="sha256:b"),
    )
    assert [content.bytes for content in known.trace.contents] == [100, 100]
    assert known.known == Known(bytes=3)


def test_unknown_sizes_are_those_of_the_median_content_and_counted() -> None:
    """Nobody knows how large app:2 is."""
    known = past(pull(after(0), digest="sha256:a", bytes=70), pull(after(1), tag="2"))
    assert [content.bytes for content in known.trace.contents] == [70, 70]
    assert known.known == Known(bytes=1, neither=1)
    assert past(pull(after(0))).known.nothing


def test_a_pull_without_a_digest_obtained_what_the_tag_stood_for() -> None:
    """Before the first known digest, that one; after, the one that was known last."""
    known = past(
        pull(after(0)), pull(after(1), digest="sha256:a"), pull(after(2)), pull(after(3), digest="sha256:b")
    )
    digests = [known.trace.contents[row].digest for row in known.trace.content]
    assert digests == ["sha256:a", "sha256:a", "sha256:a", "sha256:b"]


def test_a_tag_stands_for_what_was_pulled_last_and_never_for_what_comes() -> None:
    """It moved at some time between the pulls; before the second one nobody here knew."""
    known = past(pull(after(1), digest="sha256:a"), pull(after(3), digest="sha256:b"))
    assert stood_for(known, after(1)) is None
    assert stood_for(known, after(1, seconds=1)) == "sha256:a"
    assert stood_for(known, after(3)) == "sha256:a"
    assert stood_for(known, after(3, seconds=1)) == "sha256:b"


def test_a_push_tells_when_a_tag_moved() -> None:
    """It stands for what was pushed before anybody pulls it, and the content knows its push."""
    known = past(
        pull(after(1), digest="sha256:a"),
        pull(after(3), digest="sha256:b"),
        pushes=[(after(2), "1", "sha256:b")],
    )
    assert stood_for(known, after(2.5)) == "sha256:b"
    assert known.trace.contents[1].pushed_at == after(2)
    assert [(image, content.digest) for _, image, content in known.pushes] == [(NAME, "sha256:b")]
    assert len(known.trace) == 2


def test_clients_are_nodes_and_after_a_silent_day_new_ones() -> None:
    """Scope `client` keeps a node's disk; scope `cold` takes it for new after more than a day."""
    rows = [
        pull(after(0), client="n1"),
        pull(after(0.5), client="n2"),
        pull(after(0.9), client="n1"),
        pull(after(2), client="n1"),
    ]
    assert past(*rows).trace.node is None
    kept, cold = (past(*rows, scope=scope).trace.node for scope in ("client", "cold"))
    assert kept is not None
    assert cold is not None
    assert kept[0] == kept[2] == kept[3]
    assert kept[0] != kept[1]
    assert cold[0] == cold[2] != cold[3]
