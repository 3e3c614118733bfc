"""Lists that rivals would warm."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prewarm.insight.mirrors import WarmRun
from prewarm.insight.policies import (
    fixed,
    foresight,
    most_pulled,
    oracle,
    replicated,
    repository,
    scheduled,
    weekly,
)
from prewarm.insight.traces import Content, Pull, Trace

MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
DAY = timedelta(days=1)
CONTENT = Content("sha256:x", (("sha256:b", 1),))


def pulls(*counts: tuple[float, str, int]) -> Trace:
    """(day, image, how often), in order of time."""
    made = [Pull(MONDAY + day * DAY, image, CONTENT) for day, image, count in counts for _ in range(count)]
    return Trace.of(sorted(made, key=lambda pull: pull.time))


def test_most_pulled_ranks_by_count_then_by_name() -> None:
    """Two pulls beat one; b and c tie."""
    history = pulls((0, "c", 1), (0, "a", 2), (1, "b", 1), (9, "late", 9))
    assert most_pulled(history, MONDAY, MONDAY + 7 * DAY, None) == ["a", "b", "c"]
    assert most_pulled(history, MONDAY, MONDAY + 7 * DAY, 1) == ["a"]


def test_a_weekly_list_knows_only_the_week_before_its_refresh() -> None:
    """On Wednesday of the second week the list is still Monday's; what is new this week is not on it."""
    history = pulls((1, "old", 3), (8, "new", 9))
    wednesday, next_tuesday = MONDAY + 9 * DAY, MONDAY + 15 * DAY
    lists = weekly(history, [wednesday, next_tuesday], 5, refreshed=MONDAY + 7 * DAY)
    assert lists == [(wednesday, ["old"]), (next_tuesday, ["new"])]


def test_the_oracle_names_exactly_what_will_be_pulled() -> None:
    """The window starts with the run and ends before its end."""
    history = pulls((0.9, "before", 1), (1.0, "at", 1), (1.5, "within", 2), (2.0, "after", 1))
    assert oracle(history, [MONDAY + DAY], DAY) == [(MONDAY + DAY, ["within", "at"])]


def test_runs_resolve_names_at_their_own_time_and_leave_out_what_does_not_exist() -> None:
    """The tag appears on the second day; before that there is nothing to warm."""

    def resolve(image: str, time: datetime) -> Content | None:
        return CONTENT if image == "app:1" and time >= MONDAY + DAY else None

    runs = scheduled(fixed(["app:1", "app:2"], [MONDAY, MONDAY + DAY]), resolve, 50)
    assert [run.images for run in runs] == [(), (("app:1", CONTENT),)]
    assert {run.max_bytes for run in runs} == {50}


def test_perfect_foresight_takes_what_will_be_pulled_and_what_was_pushed_by_then() -> None:
    """`late` is pushed after the run; `app` moves and is taken as it will be."""
    moved = Content("sha256:moved", (("sha256:m", 1),))
    late = Content("sha256:late", (("sha256:l", 1),), pushed_at=MONDAY + 1.5 * DAY)
    trace = Trace.of(
        [
            Pull(MONDAY, "app", CONTENT),
            Pull(MONDAY + 1.1 * DAY, "app", moved),
            Pull(MONDAY + 1.6 * DAY, "late", late),
            Pull(MONDAY + 2 * DAY, "other", CONTENT),
        ]
    )
    (run,) = foresight(trace, [(MONDAY + DAY, MONDAY + 2 * DAY)], 9)
    assert run == WarmRun(MONDAY + DAY, (("app", moved),), 9)


def test_replication_takes_pushes_of_repositories_that_were_pulled_lately() -> None:
    """Within the window's budget; a repository that nobody pulled in four weeks is not subscribed to."""
    day = 86_400_000_000
    start = (MONDAY - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    trace = Trace.of([Pull(MONDAY, "acme/app:1", CONTENT)])
    pushes = [
        (start + place * day, image, Content(f"sha256:{place}", ((f"sha256:b{place}", 6),)))
        for place, image in ((1, "acme/app:2"), (2, "acme/other:1"), (3, "acme/app:3"), (40, "acme/app:4"))
    ]
    windows = [(MONDAY, MONDAY + 30 * DAY), (MONDAY + 30 * DAY, MONDAY + 60 * DAY)]
    assert [run.images[0][0] for run in replicated(trace, pushes, windows, 10)] == ["acme/app:2"]
    assert [run.images[0][0] for run in replicated(trace, pushes, windows, None)] == [
        "acme/app:2",
        "acme/app:3",
    ]


def test_a_repository_is_a_name_without_tag_and_digest() -> None:
    """A port is no tag."""
    assert repository("127.0.0.1:5000/acme/api:2.1") == "127.0.0.1:5000/acme/api"
    assert repository("docker.io/library/nginx@sha256:1") == "docker.io/library/nginx"
    assert repository("127.0.0.1:5000/acme/api") == "127.0.0.1:5000/acme/api"
