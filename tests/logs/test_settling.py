"""Which sessions are over, whatever pieces the log comes in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prewarm.logs import settling
from prewarm.logs.settling import LATENESS, LONGEST, Front, settle

BEGIN = datetime(2026, 11, 23, 8, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LAYER = f"sha256:{'a' * 64}"


def requests(*asked: tuple[float, str, str], family: str = "access", **more: object) -> pl.DataFrame:
    """Accesses of one client at (minutes, method, reference); offsets count up in that order."""
    rows = [
        {
            "timestamp": BEGIN + minutes * MINUTE,
            "client": "10.0.0.1",
            "agent": "docker/20.10",
            "method": method,
            "registry": "docker.io",
            "repository": "acme/app",
            "reference": reference,
            "object": "blob" if reference == LAYER else "manifest",
            "status": 200,
            "bytes": 100_000,
            "family": family,
            "offset": number,
            "site": "default",
            "source": "default",
            "paired": False,
            **more,
        }
        for number, (minutes, method, reference) in enumerate(asked)
    ]
    return pl.DataFrame(rows, schema=settling.empty().schema)


def at(minutes: float) -> Front:
    """A front at so many minutes after BEGIN."""
    micros = int((BEGIN + minutes * MINUTE).timestamp() * 1_000_000)
    return Front(micros, micros)


NOTHING = pl.DataFrame(schema=settling.COUNTED)
PULL = [(0.0, "HEAD", "1.0"), (0.2, "GET", LAYER)]


def test_a_session_closes_when_the_front_has_passed_it() -> None:
    """Its pull is final then, and nothing of it waits."""
    settled = settle(requests(*PULL), NOTHING, at(30))
    assert settled.final["tag"].to_list() == ["1.0"]
    assert (len(settled.open), len(settled.waiting), len(settled.done)) == (0, 0, 2)


def test_a_session_near_the_front_stays_open() -> None:
    """Its pull is provisional, and its requests wait to be seen with what comes."""
    settled = settle(requests(*PULL), NOTHING, at(1))
    assert settled.final.is_empty()
    assert settling.provisional(settled.open).select("tag", "provisional").rows() == [("1.0", True)]
    assert len(settled.waiting) == 2


def test_a_session_in_the_far_future_does_not_stay_open() -> None:
    """A skewed stamp would otherwise hold progress back until that time has come."""
    settled = settle(requests((1_000_000.0, "GET", "1.0")), NOTHING, at(0))
    assert len(settled.final) == 1
    assert settled.open.is_empty()


def test_an_unfinished_line_keeps_its_session_open() -> None:
    """Half a line may have parsed; it is read again when it is whole."""
    settled = settle(requests(*PULL), NOTHING, at(30), unfinished=frozenset({1}))
    assert settled.final.is_empty()
    assert len(settled.open) == 2


def test_lines_read_again_are_not_counted_again() -> None:
    """The end of a session that was counted makes no second pull, even with a manifest in it."""
    rows = requests((0, "HEAD", "1.0"), (0.2, "GET", "1.0"), (0.4, "GET", LAYER), (40, "GET", "1.0"))
    first = settle(rows.head(3), NOTHING, at(30)).final
    again = settle(rows.tail(3), settling.counted_by(first), at(90))
    assert again.final["timestamp"].to_list() == [BEGIN + 40 * MINUTE]


def test_another_client_is_not_taken_for_one_that_was_counted() -> None:
    """Counting is by client and repository."""
    first = settle(requests(*PULL), NOTHING, at(30)).final
    other = requests(*PULL).with_columns(client=pl.lit("10.0.0.2"))
    assert len(settle(other, settling.counted_by(first), at(30)).final) == 1


def test_what_was_counted_long_ago_is_forgotten() -> None:
    """Memory does not grow with the log."""
    counted = settling.counted_by(settle(requests(*PULL), NOTHING, at(30)).final)
    assert len(settling.recent(counted, at(30))) == 1
    assert settling.recent(counted, at(600)).is_empty()


def test_a_request_takes_no_third_line() -> None:
    """Two identical requests, whose four lines come in two pieces, stay two."""
    app = requests((0, "GET", "1.0"), (0, "GET", "1.0"), family="app").with_columns(pl.col("offset") * 2)
    access = requests((0, "GET", "1.0"), (0, "GET", "1.0")).with_columns(pl.col("offset") * 2 + 1)
    lines = pl.concat([app, access]).sort("offset")
    first = settle(lines.head(2), NOTHING, at(0))
    second = settle(pl.concat([first.waiting, lines.tail(2)]), NOTHING, at(0))
    assert len(second.waiting) == 2
    assert second.waiting["paired"].all()


def test_a_session_without_a_pause_is_cut_before_a_manifest() -> None:
    """Never between a manifest and its layers; the pieces do not overlap."""
    asked = [(float(m), "HEAD" if m % 2 == 0 else "GET", "1.0" if m % 2 == 0 else LAYER) for m in range(150)]
    final = settle(requests(*asked), NOTHING, at(600), gap=2 * MINUTE).final
    first = final.group_by("offset").agg(pl.col("timestamp").min(), pl.col("until").first()).sort("offset")
    assert first["timestamp"].to_list() == [BEGIN + m * MINUTE for m in (0, 62, 124)]
    assert all(until < begin for until, begin in zip(first["until"], first["timestamp"][1:], strict=False))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 180), st.sampled_from(["HEAD", "GET", "BLOB"])), min_size=1, max_size=60
    ),
    st.sets(st.integers(1, 59), max_size=6),
)
def test_pieces_make_the_pulls_of_the_whole(steps: list[tuple[int, str]], cuts: set[int]) -> None:
    """Wherever it is cut and read on, or read again from the oldest open session."""
    seconds, asked = 0, []
    for step, what in steps:
        seconds += step
        asked.append((seconds / 60, "HEAD" if what == "HEAD" else "GET", LAYER if what == "BLOB" else "1.0"))
    rows = requests(*asked)
    whole = settle(rows, NOTHING, at(100_000)).final
    for resume in (False, True):
        assert _in_cuts(rows, sorted(cuts), resume).equals(whole)


def _in_cuts(rows: pl.DataFrame, cuts: list[int], resume: bool) -> pl.DataFrame:
    """Settle `rows` piece by piece, keeping what waits or, as after a kill, reading it again."""
    found, counted, waiting, begin = [], NOTHING, settling.empty(), 0
    for end in [*(cut for cut in cuts if cut < len(rows)), len(rows)]:
        last = end == len(rows)
        front = at(100_000 if last else (rows["timestamp"][end - 1] - BEGIN) / MINUTE)
        settled = settle(pl.concat([waiting, rows[begin:end]]), counted, front)
        found.append(settled.final)
        counted = settling.recent(pl.concat([counted, settling.counted_by(settled.final)]), front)
        waiting, begin = settled.waiting, end
        if resume:
            oldest = settled.open["offset"].min()
            waiting, begin = settling.empty(), end if oldest is None else int(str(oldest))
    return pl.concat(found).sort("timestamp", "tag", "offset")


@pytest.mark.parametrize("late", [timedelta(seconds=30), LATENESS - timedelta(seconds=1)])
def test_a_late_line_still_finds_its_session(late: timedelta) -> None:
    """A long download is stamped with its start and logged at its end."""
    rows = requests((0, "HEAD", "1.0"), (0.1, "GET", LAYER))
    first = settle(rows.head(1), NOTHING, at(late / MINUTE))
    second = settle(pl.concat([first.waiting, rows.tail(1)]), NOTHING, at(60))
    assert first.final.is_empty()
    assert second.final.select("tag", "kind").rows() == [("1.0", "layers")]


def test_the_longest_session_is_longer_than_any_pull() -> None:
    """The bounds fit together: what is open is never older than what is remembered."""
    assert LONGEST > LATENESS > settling.MERGING
