"""Candidates, holdings and budgets become a plan."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewarm.warming.planning import Budget, Candidate, Plan, Skip, in_units, plan, warnings_of
from prewarm.warming.rules import Gate, Patterns, Rules

EIGHT = datetime(2026, 11, 24, 8, tzinfo=UTC)
WINDOW = (EIGHT, EIGHT + timedelta(hours=1))


def candidate(name: str, rank: int, **known: object) -> Candidate:
    """A candidate of 100 bytes in one layer of its own."""
    defaults: dict[str, object] = {"bytes": 100, "blobs": ((f"sha256:{name}", 100),)}
    return Candidate(f"docker.io/library/{name}:1", rank, 41.0, 0.99, 41.0, **(defaults | known))  # type: ignore[arg-type]


def made(candidates: list[Candidate], budget: Budget = Budget(), rules: Rules = Rules()) -> Plan:  # noqa: B008
    """A plan for 08:00–09:00 UTC."""
    return plan(
        candidates,
        budget,
        rules,
        id="p1",
        cache="office",
        site="boise",
        created_at=EIGHT - timedelta(hours=8),
        window=WINDOW,
        model="profile",
        objective="pulls",
    )


def names(images: list[str]) -> list[str]:
    return [image.removeprefix("docker.io/library/").removesuffix(":1") for image in images]


def warmed(result: Plan) -> list[str]:
    return names([warm.image for warm in result.warms])


def why(result: Plan) -> dict[str, str]:
    return {names([skip.image])[0]: skip.reason for skip in result.skipped}


def test_the_best_n_are_warmed_in_rank_order() -> None:
    """Candidates may come in any order; ranks decide."""
    result = made([candidate("c", 3), candidate("a", 1), candidate("b", 2)], Budget(top=2))
    assert warmed(result) == ["a", "b"]
    assert why(result) == {"c": "rank 3 is beyond the top 2"}


def test_a_warm_says_why_in_words() -> None:
    """Rank, expected pulls, hours and probability, as a person would say it."""
    [warm] = made([candidate("a", 3)]).warms
    assert warm.reason == "rank 3, 41 pulls expected 08:00–09:00, P 0.99"


def test_reasons_use_the_sites_clock() -> None:
    """08:00 in Mumbai is 02:30 UTC."""
    start = datetime(2026, 11, 24, 2, 30, tzinfo=UTC)
    result = plan(
        [candidate("a", 1)],
        Budget(),
        Rules(),
        id="p",
        cache="c",
        site="mumbai",
        created_at=start,
        window=(start, start + timedelta(hours=1)),
        model="profile",
        objective="pulls",
        clock=ZoneInfo("Asia/Kolkata"),
    )
    assert "08:00–09:00" in result.warms[0].reason


def test_a_held_image_keeps_its_place() -> None:
    """Otherwise a second run would warm the next image, and the next run another."""
    result = made([candidate("a", 1, held=True), candidate("b", 2)], Budget(top=1))
    assert warmed(result) == []
    assert result.skipped[0].held
    assert result.skipped[0].reason == "already held, fresh"


@pytest.mark.parametrize(
    ("minutes", "reason"),
    [
        (-30, "already held, but its fill expires Tue 24 Nov 07:30, before the hours 08:00–09:00"),
        (30, "already held, but its fill expires Tue 24 Nov 08:30, within the hours 08:00–09:00"),
        (60, "already held, fresh"),
    ],
)
def test_a_fill_that_lapses_before_the_hours_are_over_is_told(minutes: int, reason: str) -> None:
    """A pull-through cache forgets at its time, however often the image is used."""
    held = candidate("a", 1, held=True, expires=EIGHT + timedelta(minutes=minutes))
    result = made([held, candidate("b", 2)], Budget(top=1))
    assert why(result)["a"] == reason
    assert result.skipped[0].held
    assert warmed(result) == []


def test_an_image_that_can_never_be_warmed_gives_its_place_to_the_next() -> None:
    """A deleted tag must not cost a place."""
    result = made([candidate("a", 1, problem="not found"), candidate("b", 2)], Budget(top=1))
    assert warmed(result) == ["b"]
    assert result.skipped[0].failed
    assert result.skipped[0].reason == "not found"


def test_an_upstream_that_is_down_does_not_pull_in_the_next_image() -> None:
    """A passing problem keeps the place, or an outage would fill the plan from the tail."""
    result = made(
        [candidate("a", 1, problem="upstream down", passing=True), candidate("b", 2)], Budget(top=1)
    )
    assert warmed(result) == []
    assert result.skipped[0].failed


def test_shared_layers_are_paid_once() -> None:
    """The second image adds only the layer that the first does not bring."""
    base = ("sha256:base", 1000)
    result = made(
        [
            candidate("a", 1, bytes=1100, blobs=(base, ("sha256:a", 100))),
            candidate("b", 2, bytes=1100, blobs=(base, ("sha256:b", 100))),
        ],
        Budget(max_bytes=1200),
    )
    assert [warm.bytes for warm in result.warms] == [1100, 100]
    assert result.bytes == 1200


def test_layers_of_held_images_are_free() -> None:
    """What the cache shows to hold costs nothing again, whatever the rank of its image."""
    base = ("sha256:base", 1000)
    result = made(
        [
            candidate("a", 1, bytes=1100, blobs=(base, ("sha256:a", 100))),
            candidate("b", 2, held=True, blobs=(base,)),
        ]
    )
    assert [warm.bytes for warm in result.warms] == [100]


def test_a_layer_is_paid_in_every_place_where_it_lies() -> None:
    """A pull-through cache fetches it again for another repository; what is held there is free there only."""
    base = ("sha256:base", 1000)
    result = made(
        [
            candidate("a", 1, blobs=(base, ("sha256:a", 100)), place="library/a"),
            candidate("b", 2, blobs=(base, ("sha256:b", 100)), place="library/b"),
            candidate("c", 3, held=True, blobs=(base,), place="library/c"),
            candidate("d", 4, blobs=(base, ("sha256:d", 100)), place="library/c"),
        ],
        Budget(max_bytes=2200),
    )
    assert [warm.bytes for warm in result.warms] == [1100, 1100]
    assert why(result)["d"] == "needs 100 B, 0 B of 2.2 kB are left"


def test_a_smaller_later_image_may_fit_where_a_bigger_did_not() -> None:
    """The budget skips an image with words and goes on."""
    big = candidate("big", 1, bytes=3_000_000, blobs=(("sha256:big", 3_000_000),))
    result = made([big, candidate("small", 2)], Budget(max_bytes=1_500_000))
    assert warmed(result) == ["small"]
    assert why(result) == {"big": "needs 3 MB, 1.5 MB of 1.5 MB are left"}


def scored(
    name: str, rank: int, score: float, size: int, *layers: tuple[str, int], cold: float = 1.0
) -> Candidate:
    """A candidate worth `score`, of `size` bytes of its own beside the layers."""
    blobs = ((f"sha256:{name}", size), *layers)
    return replace(candidate(name, rank, blobs=blobs, cold=cold), score=score)


def test_where_bytes_are_short_what_is_worth_more_together_goes_first() -> None:
    """One big image of the first rank would keep three out that nearly match it; they stand in rank order."""
    big = scored("big", 1, 10.0, 3000)
    small = [scored(name, rank, 9.0, 1000) for rank, name in enumerate("abc", start=2)]
    result = made([big, *small], Budget(max_bytes=3000))
    assert warmed(result) == ["a", "b", "c"]
    assert why(result) == {"big": "other images are worth more for as many bytes"}


def test_what_an_image_lacks_is_told_of_the_plan_that_is_made() -> None:
    """Not of the one in rank order, which another choice has replaced."""
    rivals = [scored("big", 1, 10.0, 3000), scored("late", 2, 1.0, 2500)]
    small = [scored(name, rank, 9.0, 1100) for rank, name in enumerate("abc", start=3)]
    result = made([*rivals, *small], Budget(max_bytes=3600))
    assert warmed(result) == ["a", "b", "c"]
    assert why(result)["late"] == "needs 2.5 kB, 300 B of 3.6 kB are left"


def test_a_big_image_that_is_worth_more_than_what_fits_beside_it_stays() -> None:
    """Value per byte alone would take the small one, and leave the room."""
    result = made([scored("big", 1, 10.0, 3000), scored("a", 2, 1.0, 1)], Budget(max_bytes=3000))
    assert warmed(result) == ["big"]


def test_layers_that_many_share_pay_for_themselves() -> None:
    """Each of the three is dear alone; together they cost less than the one of the first rank."""
    base = ("sha256:base", 900)
    three = [scored(name, rank, 4.0, 20, base) for rank, name in enumerate("abc", start=2)]
    result = made([scored("big", 1, 4.1, 960), *three], Budget(max_bytes=970))
    assert warmed(result) == ["a", "b", "c"]
    assert result.bytes == 960


def test_the_operators_images_do_not_compete() -> None:
    """However little they are worth for their bytes."""
    small = [scored(name, rank, 9.0, 1000) for rank, name in enumerate("ab", start=2)]
    result = made([scored("mine", 1, 0.1, 2000), *small], Budget(max_bytes=3000), Rules(always=("mine:1",)))
    assert warmed(result) == ["mine", "a"]


def test_an_image_that_most_nodes_have_is_worth_less() -> None:
    """The node that gets the next pod has it, most likely; the reason says how many lack it."""
    spread = scored("spread", 1, 10.0, 1000, cold=0.1)
    result = made([spread, scored("a", 2, 5.0, 1000)], Budget(max_bytes=1000))
    assert warmed(result) == ["a"]
    [warm] = made([spread]).warms
    assert warm.reason.endswith("P 0.99, missing on 10% of the nodes")


def test_pulls_bound_the_choice_by_bytes_too() -> None:
    """Three fit, two may be pulled."""
    small = [scored(name, rank, 9.0, 1000) for rank, name in enumerate("abc", start=2)]
    result = made([scored("big", 1, 10.0, 3000), *small], Budget(max_bytes=3000, max_pulls=2))
    assert warmed(result) == ["a", "b"]


def test_an_image_of_unknown_size_does_not_slip_through_a_byte_budget() -> None:
    """Unknown is not zero."""
    result = made([candidate("a", 1, bytes=None, blobs=())], Budget(max_bytes=10**9))
    assert warmed(result) == []
    assert "size is unknown" in why(result)["a"]


def test_a_budget_of_no_bytes_warms_nothing_but_what_is_free() -> None:
    """Zero is a budget, not the absence of one."""
    free = candidate("free", 2, bytes=0, blobs=(("sha256:none", 0),))
    assert warmed(made([candidate("a", 1), free], Budget(max_bytes=0))) == ["free"]


def test_pulls_are_limited_apart_from_bytes() -> None:
    """An upstream counts pulls, however small."""
    result = made([candidate("a", 1), candidate("b", 2)], Budget(max_pulls=1))
    assert warmed(result) == ["a"]
    assert why(result) == {"b": "the plan's 1 pulls are spent"}


def test_always_comes_first_and_takes_no_place() -> None:
    """The operator's images lead every plan, beside the top N."""
    rules = Rules(always=("c:1", "extra:1"))
    extra = candidate("extra", 0)
    result = made([candidate("a", 1), candidate("b", 2), candidate("c", 3), extra], Budget(top=1), rules)
    assert warmed(result) == ["extra", "c", "a"]
    assert result.warms[0].reason == "always on the operator's list"
    assert result.warms[1].reason.startswith("always on the operator's list; rank 3")


def test_never_wins_over_always() -> None:
    """Of two contradicting lists the careful one counts."""
    result = made([candidate("a", 1)], rules=Rules(always=("a:1",), never=("a:1",)))
    assert why(result) == {"a": "on the cache's never list"}


def test_what_the_rules_refuse_takes_no_place() -> None:
    """Three refused images, then the top 1."""
    result = made(
        [
            candidate("never", 1, clients=9),
            candidate("private", 2, clients=1),
            candidate("unknown", 3),
            candidate("fine", 4, clients=2),
        ],
        Budget(top=1),
        Rules(never=("*/never:*",), min_clients=2),
    )
    assert warmed(result) == ["fine"]
    assert why(result) == {
        "never": "on the cache's never list",
        "private": "pulled by 1 distinct clients, 2 are required",
        "unknown": "its distinct clients are unknown, 2 are required",
    }


def test_an_image_that_this_cache_cannot_serve_is_left_out_with_the_reason() -> None:
    """Nobody is asked about it, and the next image has its place."""
    result = made([candidate("a", 1, barred="its registry is not listed"), candidate("b", 2)], Budget(top=1))
    assert warmed(result) == ["b"]
    assert why(result) == {"a": "its registry is not listed"}
    assert not result.skipped[0].failed


def test_allow_shuts_out_everything_else() -> None:
    """A list of globs is all that may be warmed."""
    result = made([candidate("a", 1), candidate("b", 2)], rules=Rules(allow=("docker.io/library/a*",)))
    assert warmed(result) == ["a"]
    assert why(result) == {"b": "not on the cache's allow list"}


@pytest.mark.parametrize(
    ("pattern", "image", "expected"),
    [
        ("nginx:1.25", "docker.io/library/nginx:1.25", True),
        ("nginx:1.25", "docker.io/library/nginx:1.26", False),
        ("docker.io/acme/api", "docker.io/acme/api:2", True),
        ("docker.io/acme/api", "docker.io/acme/api-gateway:2", False),
        ("*/test-*", "ghcr.io/acme/test-runner:1", True),
        ("docker.io/library/*", "docker.io/acme/api:1", False),
        ("127.0.0.1:5000/x", "127.0.0.1:5000/x:1", True),
        ("[", "docker.io/library/nginx:1.25", False),
    ],
)
def test_patterns(pattern: str, image: str, expected: bool) -> None:
    """References, repositories and globs."""
    assert Patterns([pattern]).match(image) is expected


def test_unranked_always_images_are_named_to_be_resolved() -> None:
    """A glob names no image; a reference that the ranking lacks does."""
    gate = Gate(Rules(always=("alpine:3", "*/tools-*", "nginx:1")))
    assert gate.unranked(["docker.io/library/nginx:1"]) == ["docker.io/library/alpine:3"]


def test_bandwidth_limits_bytes_until_ready_by() -> None:
    """50 MB/s for ten seconds are 500 MB."""
    budget = Budget(max_bytes=10**12, ready_by=EIGHT)
    assert budget.within(50_000_000, EIGHT - timedelta(seconds=10)).max_bytes == 500_000_000
    assert budget.within(50_000_000, EIGHT + timedelta(hours=1)).max_bytes == 0
    assert budget.within(None, EIGHT).max_bytes == 10**12


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (41 * 10**9, "41 GB")]
)
def test_sizes_for_people(count: int, words: str) -> None:
    """Powers of ten, three digits."""
    assert in_units(count) == words


layers = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.just(7)), max_size=5).map(tuple)


@given(
    st.lists(st.tuples(layers, st.booleans(), st.booleans()), max_size=30),
    st.none() | st.integers(0, 10),
    st.none() | st.integers(0, 60),
)
def test_every_candidate_ends_in_exactly_one_place_and_no_budget_breaks(
    drawn: list[tuple[tuple[tuple[str, int], ...], bool, bool]], top: int | None, max_bytes: int | None
) -> None:
    """Whatever is held, broken or shared."""
    candidates = [
        candidate(
            str(i), i + 1, blobs=blobs, bytes=7 * len(blobs), held=held, problem="x" if broken else None
        )
        for i, (blobs, held, broken) in enumerate(drawn)
    ]
    result = made(candidates, Budget(top=top, max_bytes=max_bytes))
    placed = [*result.warms, *result.skipped]
    assert sorted(each.image for each in placed) == sorted(each.image for each in candidates)
    assert top is None or len(result.warms) <= top
    assert max_bytes is None or result.bytes <= max_bytes


def test_a_plan_of_nothing_tells_what_failed_before_what_was_left_out() -> None:
    """A mirror that is down is the news; that another registry's images do not pass through it is not."""
    left_out, failed = Skip("a:1", "not listed"), Skip("b:1", "no connection", failed=True)
    window = (datetime(2026, 11, 16, 8, tzinfo=UTC), datetime(2026, 11, 16, 9, tzinfo=UTC))
    empty = Plan(
        "p1", "office", None, window[0], window, Budget(), "auto", "pulls", skipped=(left_out, failed)
    )

    assert warnings_of(empty) == ("none of the 2 images in question can be warmed; b:1: no connection",)


def test_a_tag_that_is_likely_to_have_moved_says_so() -> None:
    """The chance stays with the warm; a hardly likely one is not worth a word."""
    result = made([candidate("latest", 1, p_stale=0.9), candidate("pinned", 2, p_stale=0.01)])
    assert [warm.p_stale for warm in result.warms] == [0.9, 0.01]
    assert result.warms[0].reason.endswith("; its tag has moved with P 0.90")
    assert "moved" not in result.warms[1].reason
