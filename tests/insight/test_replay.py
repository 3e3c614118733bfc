"""Past pulls through a simulated cache."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewarm.insight.costs import Cost
from prewarm.insight.mirrors import Mirror, WarmRun
from prewarm.insight.reasons import Cause
from prewarm.insight.replay import Result, over_quota, replay, together
from prewarm.insight.traces import Content, Pull, Trace

START = datetime(2026, 11, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

BASE = ("sha256:base", 100)
NGINX = Content("sha256:nginx", (BASE, ("sha256:n", 10)))
NEWER = Content("sha256:nginx2", (BASE, ("sha256:n2", 20)))
REDIS = Content("sha256:redis", (BASE, ("sha256:r", 30)))
MYSQL = Content("sha256:mysql", (("sha256:m", 200),))


def pull(hours: float, image: str, content: Content) -> Pull:
    return Pull(START + hours * HOUR, image, content)


def warm(hours: float, *images: tuple[str, Content], max_bytes: int | None = None) -> WarmRun:
    return WarmRun(START + hours * HOUR, images, max_bytes)


def causes(pulls: list[Pull], mirror: Mirror | None = None) -> dict[Cause, int]:
    return replay(pulls, mirror or Mirror()).misses


def test_the_first_pull_of_an_image_was_never_seen_and_the_second_hits() -> None:
    """What was fetched once is held for the next client."""
    result = replay([pull(0, "nginx:1", NGINX), pull(1, "nginx:1", NGINX)], Mirror())
    assert result.misses == {Cause.NEVER_SEEN: 1}
    assert (result.pulls, result.hits, result.filled_bytes) == (2, 1, 110)


def test_shared_layers_are_fetched_once() -> None:
    """A second image on the same base misses, and fetches only what is its own."""
    result = replay([pull(0, "nginx:1", NGINX), pull(1, "redis:7", REDIS)], Mirror())
    assert result.misses == {Cause.NEVER_SEEN: 2}
    assert result.filled_bytes == 110 + 30
    assert result.byte_hit_ratio == pytest.approx(100 / 240)


def test_a_first_pull_soon_after_the_push_is_a_fresh_push() -> None:
    """Within a day of its push a first pull is told apart from an image that nobody had wanted."""
    fresh = Content("sha256:new", (("sha256:x", 5),), pushed_at=START - HOUR)
    stale = Content("sha256:old", (("sha256:y", 5),), pushed_at=START - 3 * DAY)
    assert causes([pull(0, "app:build-9", fresh), pull(1, "app:build-1", stale)]) == {
        Cause.FRESH_PUSH: 1,
        Cause.NEVER_SEEN: 1,
    }


def test_a_known_tag_with_new_content_is_a_moved_tag() -> None:
    """The image was here before under another digest."""
    moved = causes([pull(0, "nginx:1", NGINX), pull(1, "nginx:1", NEWER)])
    assert moved == {Cause.NEVER_SEEN: 1, Cause.TAG_MOVED: 1}


def test_an_object_lapses_a_ttl_after_its_fill_and_hits_do_not_extend_it() -> None:
    """As in Distribution: filled at hour 0, pulled every day, gone at hour 168 sharp."""
    daily = [pull(24 * day, "nginx:1", NGINX) for day in range(7)]
    before = pull(167.9, "nginx:1", NGINX)
    after = pull(168, "nginx:1", NGINX)
    assert causes([*daily, before, after]) == {Cause.NEVER_SEEN: 1, Cause.TTL_LAPSED: 1}


def test_without_a_ttl_nothing_lapses() -> None:
    """A mirror without expiry still holds what it fetched a year ago."""
    year = [pull(0, "nginx:1", NGINX), pull(365 * 24, "nginx:1", NGINX)]
    assert causes(year, Mirror(ttl=None)) == {Cause.NEVER_SEEN: 1}


def test_the_least_recently_used_image_is_evicted() -> None:
    """310 bytes hold mysql with either nginx or redis's own layer; nginx was used last, so redis goes."""
    pulls = [
        pull(0, "redis:7", REDIS),
        pull(1, "nginx:1", NGINX),
        pull(2, "mysql:8", MYSQL),
        pull(3, "nginx:1", NGINX),
        pull(4, "redis:7", REDIS),
    ]
    assert causes(pulls, Mirror(capacity=310)) == {Cause.NEVER_SEEN: 3, Cause.EVICTED: 1}


def test_a_blob_larger_than_the_disk_is_never_held() -> None:
    """It misses every time, for want of disk."""
    pulls = [pull(0, "mysql:8", MYSQL), pull(1, "mysql:8", MYSQL)]
    assert causes(pulls, Mirror(capacity=150)) == {Cause.NEVER_SEEN: 1, Cause.EVICTED: 1}


def test_a_warm_run_spares_the_client_the_wait_and_is_charged() -> None:
    """The bytes move from the client's time to the run's; upstream sends no more than before."""
    result = replay([pull(1, "nginx:1", NGINX)], Mirror(), runs=[warm(0, ("nginx:1", NGINX))])
    assert result.missed == 0
    assert (result.warmed_bytes, result.filled_bytes, result.wasted_bytes) == (110, 0, 0)
    assert result.seconds == 0


def test_a_warm_run_at_the_moment_of_a_pull_comes_first() -> None:
    """Ties go to the run, whatever the order of the arguments."""
    result = replay([pull(0, "nginx:1", NGINX)], Mirror(), runs=[warm(0, ("nginx:1", NGINX))])
    assert result.missed == 0


def test_warming_what_is_held_transfers_nothing_and_extends_nothing() -> None:
    """A run shortly before the expiry finds the image fresh; the pull after the expiry misses."""
    result = replay(
        [pull(0, "nginx:1", NGINX), pull(168.5, "nginx:1", NGINX)],
        Mirror(),
        runs=[warm(167, ("nginx:1", NGINX))],
    )
    assert result.warmed_bytes == 0
    assert result.misses == {Cause.NEVER_SEEN: 1, Cause.TTL_LAPSED: 1}


def test_warming_before_a_moved_tag_is_pulled_removes_that_miss() -> None:
    """The run fetched what the tag had become."""
    result = replay(
        [pull(0, "nginx:1", NGINX), pull(5, "nginx:1", NEWER)],
        Mirror(),
        runs=[warm(4, ("nginx:1", NEWER))],
    )
    assert result.misses == {Cause.NEVER_SEEN: 1}
    assert result.warmed_bytes == 20


def test_a_budget_passes_over_what_does_not_fit_and_takes_what_does() -> None:
    """Mysql needs 200 of 150 bytes; redis needs 130."""
    run = warm(0, ("mysql:8", MYSQL), ("redis:7", REDIS), max_bytes=150)
    result = replay([pull(1, "mysql:8", MYSQL), pull(2, "redis:7", REDIS)], Mirror(), runs=[run])
    assert result.warmed_bytes == 130
    assert result.misses == {Cause.NEVER_SEEN: 1}


def test_a_budget_counts_only_what_is_missing() -> None:
    """Redis shares nginx's base, so both fit into 140 bytes."""
    run = warm(0, ("nginx:1", NGINX), ("redis:7", REDIS), max_bytes=140)
    assert replay([], Mirror(), runs=[run]).warmed_bytes == 140


@pytest.mark.parametrize(
    ("pulls", "wasted"),
    [
        ([], 130),
        ([pull(1, "nginx:1", NGINX)], 30),
        ([pull(1, "redis:7", REDIS)], 0),
        ([pull(200, "redis:7", REDIS)], 130),
    ],
    ids=["nobody came", "the base was used by another image", "used", "lapsed before it was used"],
)
def test_warmed_bytes_that_nobody_pulled_in_time_are_wasted(pulls: list[Pull], wasted: int) -> None:
    """Waste is counted by blob, when it lapses, is evicted, or is still unused at the end."""
    assert replay(pulls, Mirror(), runs=[warm(0, ("redis:7", REDIS))]).wasted_bytes == wasted


def test_only_windows_are_scored_and_the_time_before_fills_the_cache() -> None:
    """Scored are hours 9 to 12 and 19 to 21; bytes that were fetched between them count, others do not."""
    pulls = [
        pull(0, "nginx:1", NGINX),
        pull(10, "nginx:1", NGINX),
        pull(15, "redis:7", REDIS),
        pull(20, "redis:7", REDIS),
        pull(30, "mysql:8", MYSQL),
    ]
    windows = [(START + start * HOUR, START + end * HOUR) for start, end in ((9, 12), (19, 21))]
    result = replay(pulls, Mirror(), windows=windows)
    assert (result.pulls, result.hits) == (2, 2)
    assert result.filled_bytes == 30


def test_waiting_is_round_trips_and_bytes() -> None:
    """Two blobs and the manifests: two round trips for them and one per object."""
    result = replay([pull(0, "nginx:1", NGINX)], Mirror(), cost=Cost(round_trip=0.5, bandwidth=10))
    assert result.seconds == pytest.approx(0.5 * 5 + 11)


def test_waiting_is_kept_by_window() -> None:
    """The first window waited, the second did not."""
    pulls = [pull(1, "nginx:1", NGINX), pull(11, "nginx:1", NGINX)]
    windows = [(START, START + 2 * HOUR), (START + 10 * HOUR, START + 12 * HOUR)]
    result = replay(pulls, Mirror(), windows=windows, cost=Cost(round_trip=1, bandwidth=110))
    assert result.waiting == (6.0, 0.0)
    assert result.seconds == 6.0


def test_nothing_pulled_is_a_perfect_hit_ratio() -> None:
    """No pull missed."""
    empty = replay([], Mirror())
    assert (empty.hit_ratio, empty.byte_hit_ratio, empty.missed) == (1.0, 1.0, 0)


def naive(pulls: list[Pull], mirror: Mirror) -> tuple[int, int]:
    """The rules of the replay written as slowly and plainly as possible: (hits, bytes fetched)."""
    held: list[tuple[str, int, datetime]] = []  # least recently used first
    hits = fetched = 0
    for one in pulls:
        held = [entry for entry in held if mirror.ttl is None or one.time - entry[2] < mirror.ttl]
        wanted = [*one.content.blobs, (one.content.digest, 0)]
        missing = [blob for blob in wanted if blob[0] not in [entry[0] for entry in held]]
        hits += not missing
        fetched += sum(size for _, size in missing)
        for digest, _ in wanted:
            held.sort(key=lambda entry, digest=digest: entry[0] == digest)  # type: ignore[misc]
        for digest, size in missing:
            if mirror.capacity is None:
                held.append((digest, size, one.time))
            elif size <= mirror.capacity:
                while sum(entry[1] for entry in held) + size > mirror.capacity:
                    held.pop(0)
                held.append((digest, size, one.time))
    return hits, fetched


BLOBS = [(f"sha256:b{number}", 7 * number + 3) for number in range(8)]
CONTENTS = st.builds(
    lambda number, blobs: Content(
        f"sha256:c{number}-{sorted(blobs)}", tuple(BLOBS[blob] for blob in sorted(blobs))
    ),
    st.integers(0, 3),
    st.sets(st.integers(0, 7), min_size=1, max_size=4),
)


@given(
    steps=st.lists(st.tuples(st.integers(1, 60), CONTENTS), max_size=40),
    capacity=st.one_of(st.none(), st.integers(10, 200)),
    ttl=st.one_of(st.none(), st.integers(20, 200)),
)
def test_it_agrees_with_a_plain_model(
    steps: list[tuple[int, Content]], capacity: int | None, ttl: int | None
) -> None:
    """Hits and bytes equal those of a model that is too slow to be wrong."""
    now, pulls = START, []
    for minutes, content in steps:
        now += timedelta(minutes=minutes)
        pulls.append(Pull(now, content.digest, content))
    mirror = Mirror(capacity, timedelta(minutes=ttl) if ttl else None)
    result: Result = replay(pulls, mirror)
    assert (result.hits, result.filled_bytes) == naive(pulls, mirror)
    assert result.missed == sum(result.misses.values()) == result.pulls - result.hits


def nodes(*rows: tuple[float, str, Content, int]) -> Trace:
    """Pulls (hour, image, content, node), in order of time."""
    trace = Trace.of([pull(hours, image, content) for hours, image, content, _ in rows])
    return replace(trace, node=np.array([node for *_, node in rows], dtype=np.int32))


def test_each_node_has_a_disk_of_its_own() -> None:
    """What one node holds, another has to fetch; that is due to the node, and fetched from upstream again."""
    trace = nodes((0, "nginx:1", NGINX, 0), (1, "nginx:1", NGINX, 1), (2, "nginx:1", NGINX, 1))
    result = replay(trace, Mirror())
    assert result.misses == {Cause.NEVER_SEEN: 1, Cause.COLD_NODE: 1}
    assert (result.hits, result.filled_bytes, result.upstream_pulls) == (1, 220, 2)


def test_a_run_reaches_the_nodes_that_are_there() -> None:
    """Node 0 pulled an hour before the run, node 1 a fortnight before it, node 2 only after it."""
    late = 14 * 24
    trace = nodes(
        (0, "mysql:8", MYSQL, 1),
        (late, "mysql:8", MYSQL, 0),
        (late + 2, "nginx:1", NGINX, 0),
        (late + 3, "nginx:1", NGINX, 2),
    )
    result = replay(trace, Mirror(ttl=None), runs=[warm(late + 1, ("nginx:1", NGINX))])
    assert result.warmed_bytes == 110
    assert result.misses == {Cause.NEVER_SEEN: 1, Cause.COLD_NODE: 2}


def test_upstream_pulls_are_manifests_for_clients_and_for_runs() -> None:
    """The run fetches one, the client another; a hit and a lapsed layer of a held manifest are none."""
    result = replay(
        [pull(1, "nginx:1", NGINX), pull(2, "redis:7", REDIS), pull(3, "redis:7", REDIS)],
        Mirror(),
        runs=[warm(0, ("nginx:1", NGINX))],
    )
    hour, start = 3_600_000_000, (START - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert result.fetched.tolist() == [start, start + 2 * hour]
    assert result.metered.size == 0
    hub = replay([pull(0, "docker.io/library/nginx:1", NGINX)], Mirror())
    assert hub.metered.tolist() == [start]


def test_pulls_over_the_quota_are_counted_in_a_sliding_window() -> None:
    """Two in six hours: the third within them is refused, and frees nothing; at six hours there is room."""
    hour = 3_600_000_000
    fetched = np.array([0, 1, 2, 5, 6, 7]) * hour
    assert over_quota(fetched, 2, timedelta(hours=6)) == 2
    assert over_quota(fetched, 1, timedelta(hours=6)) == 4
    assert over_quota(fetched[:0], 2, timedelta(hours=6)) == 0


def test_percentiles_are_of_seconds_that_pulls_took() -> None:
    """A cold pull of 5 round trips and 110 bytes, and a warm one that takes 4 local ones and its bytes."""
    cost = Cost(round_trip=1, bandwidth=110, local_round_trip=0.5, local_bandwidth=55)
    result = replay([pull(0, "nginx:1", NGINX), pull(1, "nginx:1", NGINX)], Mirror(), cost=cost)
    assert result.took.tolist() == [10.0, 4.0]
    assert result.percentile(50) == 7.0
    assert replay([], Mirror()).percentile(50) is None


def test_precision_is_the_share_of_warmed_bytes_that_was_used() -> None:
    """Redis needs 130 bytes, of which nginx uses the base."""
    result = replay([pull(1, "nginx:1", NGINX)], Mirror(), runs=[warm(0, ("redis:7", REDIS))])
    assert result.precision == pytest.approx(100 / 130)
    assert replay([], Mirror()).precision is None


def test_sites_add_up() -> None:
    """Two sites as one: counts are summed, windows stay apart."""
    one = replay([pull(0, "nginx:1", NGINX)], Mirror(), cost=Cost(1, 110))
    two = replay([pull(0, "mysql:8", MYSQL), pull(1, "mysql:8", MYSQL)], Mirror(), cost=Cost(1, 200))
    both = together([one, two])
    assert (both.pulls, both.hits, both.filled_bytes) == (3, 1, 310)
    assert both.waiting == (6.0, 5.0)
    assert both.misses == {Cause.NEVER_SEEN: 2}
    assert len(both.took) == 3
