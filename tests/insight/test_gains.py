"""What cheap policies would have gained each repository, and when tags are presumed to have moved."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from prewarm.insight.costs import ASSUMED
from prewarm.insight.gains import PREFERRED, Gain, presumed, together, waits
from prewarm.insight.mirrors import Mirror
from prewarm.insight.policies import LONGER, NONE, WEEKLY
from prewarm.insight.traces import Content, Pull, Trace
from tests.traffic import MONDAY

DAY = timedelta(days=1)


def _content(name: str) -> Content:
    return Content(f"sha256:{name}", ((f"{name}#all", 125_000_000),), None)


def test_a_repository_waits_for_its_own_misses_from_then_on() -> None:
    """Two tags of one repository and one of another; the first day fills the mirror."""
    pulls = [
        Pull(MONDAY, "docker.io/acme/app:1", _content("a")),
        Pull(MONDAY + DAY, "docker.io/acme/app:2", _content("b")),
        Pull(MONDAY + DAY, "docker.io/acme/app:1", _content("a")),
        Pull(MONDAY + 2 * DAY, "docker.io/acme/web:1", _content("c")),
    ]
    each = 10.0 + 4 * 0.08  # bytes at 100 Mbit/s, two manifests, the content itself and one blob

    told = waits(Trace.of(pulls), Mirror(ttl=None), [], MONDAY + DAY, ASSUMED, days=2.0)

    assert told == pytest.approx({"docker.io/acme/app": each / 2, "docker.io/acme/web": each / 2})


def test_two_presumptions_bound_a_gain_and_never_below_nothing() -> None:
    """A policy that costs more than it saves gains nothing."""
    replays = [
        {NONE: {"a": 10.0}, LONGER: {"a": 12.0}, WEEKLY: {"a": 9.0}},
        {NONE: {"a": 10.0}, LONGER: {"a": 10.0}, WEEKLY: {"a": 2.0}},
    ]

    told = together(replays)

    assert told.presumed
    assert told.of("a") == {LONGER: Gain(0.0, 0.0), WEEKLY: Gain(1.0, 8.0)}
    assert told.of("nobody's") == {LONGER: Gain(0.0, 0.0), WEEKLY: Gain(0.0, 0.0)}
    assert list(told.gains) == [name for name in PREFERRED if name in (LONGER, WEEKLY)]


@pytest.mark.parametrize(("early", "moved"), [(True, 2 * 3600 + 1), (False, 24 * 3600 - 60)])
def test_a_move_lies_between_the_last_pull_of_the_old_and_the_first_of_the_new(
    early: bool, moved: int
) -> None:
    """The tag is pulled twice on Monday, and stands for something else on Tuesday."""
    hours, digests = (0, 2, 24, 25), ("a", "a", "b", "b")
    pulls = pl.DataFrame(
        {
            "timestamp": [MONDAY + timedelta(hours=hour) for hour in hours],
            "image": ["docker.io/acme/app:main"] * 4, "registry": ["docker.io"] * 4,
            "repository": ["acme/app"] * 4, "tag": ["main"] * 4, "digest": digests,
        }
    )  # fmt: skip

    told = presumed(pulls, early)

    assert told["digest"].to_list() == ["a", "b"]
    assert told["timestamp"].to_list() == [MONDAY - timedelta(minutes=1), MONDAY + timedelta(seconds=moved)]


def test_what_was_pulled_without_a_digest_presumes_nothing() -> None:
    """No line says that it moved."""
    text = {key: ["x"] for key in ("image", "registry", "repository", "tag")} | {"digest": [None]}
    pulls = pl.DataFrame({"timestamp": [MONDAY], **text}, schema_overrides={"digest": pl.String})

    assert presumed(pulls, early=True).is_empty()
