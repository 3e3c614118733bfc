"""A random share of a plan is withheld, by groups that share layers."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from prewarm.warming.holdout import withhold
from prewarm.warming.planning import Budget, Candidate, Plan, Warm

EIGHT = datetime(2026, 11, 24, 8, tzinfo=UTC)


def candidate(name: str, *layers: str, place: str = "", size: int = 1_000_000) -> Candidate:
    """An image of so many layers; without any, of one of its own."""
    blobs = tuple((f"sha256:{layer}", size) for layer in layers or (name,))
    return Candidate(name, 1, 1.0, 0.5, 1.0, blobs=(("sha256:empty", 32), *blobs), place=place)


def withheld(
    candidates: list[Candidate], share: float, id: str = "p1", always: str = ""
) -> tuple[Plan, set[str]]:
    """The plan after the draw, and the images it withholds."""
    warms = tuple(Warm(each.image, None, 1, 1.0, f"rank {each.rank}") for each in candidates)
    window = (EIGHT, EIGHT + timedelta(hours=1))
    whole = Plan(id, "office", None, EIGHT, window, Budget(), "profile", "pulls", warms)
    plan = withhold(whole, candidates, share, lambda image: image == always)
    assert {warm.image for warm in (*plan.warms, *plan.withheld)} == {warm.image for warm in warms}
    return plan, {warm.image for warm in plan.withheld}


def test_a_tenth_of_twenty_images_is_two() -> None:
    """The number is as good as fixed; which ones is a draw."""
    images = [candidate(f"image{number}") for number in range(20)]
    draws = [withheld(images, 0.1, f"p{number}")[1] for number in range(50)]

    assert {len(draw) for draw in draws} == {2}
    assert len({frozenset(draw) for draw in draws}) > 20


def test_every_group_has_the_same_chance() -> None:
    """Whatever its size: a quarter of the plans withhold it."""
    images = [candidate("alone"), *(candidate(f"of-three-{number}", "base") for number in range(3))]
    images += [candidate("of-two-1", "pair"), candidate("of-two-2", "pair"), candidate("other")]
    counts = Counter(image for number in range(2000) for image in withheld(images, 0.25, f"p{number}")[1])

    assert {each.image for each in images} == set(counts)
    assert all(abs(count / 2000 - 0.25) < 0.05 for count in counts.values())


def test_images_that_share_a_layer_are_withheld_together() -> None:
    """Also through a third; a configuration or an empty layer ties nothing."""
    images = [candidate("a", "x"), candidate("b", "y"), candidate("c", "x", "y"), candidate("d")]
    draws = {frozenset(withheld(images, 0.5, f"p{number}")[1]) for number in range(50)}

    assert draws == {frozenset("abc"), frozenset("d")}


def test_a_layer_ties_only_where_it_is_shared() -> None:
    """A mirror fetches it for each repository."""
    images = [candidate("a", "x", place="one"), candidate("b", "x", place="two")]
    draws = {frozenset(withheld(images, 0.5, f"p{number}")[1]) for number in range(50)}

    assert draws == {frozenset("a"), frozenset("b")}


def test_one_plan_draws_the_same_each_time() -> None:
    """Its id is the seed."""
    images = [candidate(f"image{number}") for number in range(40)]
    assert withheld(images, 0.3) == withheld(images, 0.3)
    assert withheld(images, 0.3)[1] != withheld(images, 0.3, "p2")[1]


def test_what_the_operator_always_wants_is_never_withheld() -> None:
    """Nor what shares a layer with it."""
    images = [candidate("wanted", "base"), candidate("near", "base"), candidate("far")]
    drawn = {image for number in range(200) for image in withheld(images, 0.5, f"p{number}", "wanted")[1]}

    assert drawn == {"far"}


def test_no_holdout_leaves_the_plan_as_it_is() -> None:
    """And a plan says of what share it is."""
    plan, none = withheld([candidate("a"), candidate("b")], 0.0)
    drawn, _ = withheld([candidate("a"), candidate("b")], 0.5)

    assert (none, plan.meta) == (set(), {})
    assert drawn.meta == {"holdout": "0.5"}
    assert drawn.withheld[0].reason == "withheld at random, as a holdout of 0.5 says; rank 1"
    assert drawn.bytes == 1
