"""Which object goes first, worked out by hand, and what holds for any trace."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from prewarm.insight.mirrors import EvictionName, Mirror
from prewarm.insight.replay import replay
from prewarm.insight.traces import Content, Pull, Trace

START = datetime(2026, 11, 2, tzinfo=UTC)


def trace(names: str) -> Trace:
    """A pull a minute of one-byte images, named by letters."""
    contents = {name: Content(f"sha256:{name}", ((f"sha256:{name}-layer", 1),)) for name in names}
    return Trace.of(
        Pull(START + minute * timedelta(minutes=1), name, contents[name]) for minute, name in enumerate(names)
    )


def hits(names: str, capacity: int, eviction: EvictionName) -> int:
    return replay(trace(names), Mirror(capacity, None, eviction)).hits


def test_lru_evicts_what_was_used_longest_ago() -> None:
    """Two fit. a, b, a again; c evicts b; a still hits, b does not."""
    assert hits("abaca", 2, "lru") == 2
    assert hits("abacb", 2, "lru") == 1


def test_lfu_evicts_what_was_used_least() -> None:
    """a was used three times when c comes, b once: b goes, although it was used last; LRU drops a."""
    assert hits("aaabca", 2, "lfu") == 3
    assert hits("aaabca", 2, "lru") == 2


def test_lfu_forgets_the_uses_of_what_it_evicted() -> None:
    """c and d come and go at one use each; when a comes back it starts anew and goes before b."""
    assert hits("aabbbcad", 2, "lfu") == 3  # a twice (one hit), b three times (two hits); a missed, d missed
    assert hits("aabbbcadb", 2, "lfu") == 4


def test_of_equally_used_objects_lfu_evicts_the_one_used_longest_ago() -> None:
    """a and b were used once each; a goes."""
    assert hits("abcb", 2, "lfu") == 1
    assert hits("abca", 2, "lfu") == 0


def test_belady_evicts_what_is_needed_last() -> None:
    """The string of textbooks (Silberschatz) with three frames: twelve faults for LRU, nine for an optimum
    that must take page 4 in, and eight when it need not, since 4 never comes again."""
    pages = "70120304230321201701"
    assert hits(pages, 3, "belady") == 20 - 8
    assert hits(pages, 3, "lru") == 20 - 12


def test_belady_does_not_keep_what_is_never_needed_again() -> None:
    """x, y and z come once each; a and b stay."""
    assert hits("abxaybzab", 2, "belady") == 4


def test_belady_counts_a_shared_layer_as_needed_when_any_image_needs_it() -> None:
    """120 bytes: when b comes, the base stays since a comes next, and c goes, which comes after a."""
    base = ("sha256:base", 100)
    a, b, c = (
        Content(f"sha256:{name}", ((base,) if name != "c" else ()) + ((f"sha256:{name}1", 10),))
        for name in "abc"
    )
    order = [a, c, b, a, c, b]
    pulls = [
        Pull(START + hour * timedelta(hours=1), content.digest, content) for hour, content in enumerate(order)
    ]
    assert replay(pulls, Mirror(120, None, "belady")).bytes_missed == 110 + 10 + 10 + 0 + 10 + 0
    assert replay(pulls, Mirror(120, None, "lru")).bytes_missed == 110 + 10 + 10 + 10 + 10 + 10


NAMES = st.text(alphabet="abcdefgh", max_size=80)


@given(names=NAMES, capacity=st.integers(1, 6))
def test_belady_is_never_worse_than_lru_and_lfu_on_equal_sizes(names: str, capacity: int) -> None:
    """MIN is optimal where every object is as large as any other."""
    best = hits(names, capacity, "belady")
    assert best >= hits(names, capacity, "lru")
    assert best >= hits(names, capacity, "lfu")


@given(names=NAMES, capacity=st.integers(1, 6))
def test_a_bigger_disk_is_never_worse_for_lru(names: str, capacity: int) -> None:
    """LRU is a stack algorithm (Mattson et al., 1970): what a smaller disk holds, a bigger one holds too."""
    assert hits(names, capacity + 1, "lru") >= hits(names, capacity, "lru")
