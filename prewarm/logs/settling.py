"""Which sessions are over.

A log is read piece by piece, and a session may go on in a piece not yet read. So requests are kept
until their session is over; its pulls are then final. The pulls of open sessions are provisional:
whoever commits them reads their lines again next time. What is decided here does not depend on where
the pieces were cut, as long as no line is later than LATENESS, and neither does what is counted.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from prewarm.logs import accesses as access_table
from prewarm.logs import pulls, sessions
from prewarm.logs.accesses import TIMESTAMP, merge_requests

LATENESS = timedelta(minutes=5)
"""How much older than its neighbours a line may be: some logs stamp the start of a long download."""

LONGEST = timedelta(hours=1)
"""A session that never pauses (a poller, a busy office behind one address) is counted in pieces."""

MERGING = timedelta(seconds=5)
"""How long a request waits for its other log line."""

COUNTED: dict[str, pl.DataType | type[pl.DataType]] = {
    "who": pl.UInt64,
    "timestamp": TIMESTAMP,
    "until": TIMESTAMP,
}


@dataclass(frozen=True, slots=True)
class Front:
    """How far reading has come: the times of the lines read last, in the file furthest behind and ahead.

    In microseconds since 1970, since a log may claim times that `datetime` cannot hold.
    """

    low: int
    high: int

    def near(self, time: pl.Expr, margin: timedelta) -> pl.Expr:
        """Whether `time` is so close to the front that lines about it may still come."""
        return time.cast(pl.Int64).is_between(self.low - _micros(margin), self.high + _micros(margin))


@dataclass(frozen=True, slots=True)
class Settled:
    """What is over and what is not.

    `final` are pulls of `pulls.SCHEMA`; `open` the requests of open sessions, for `provisional`;
    `waiting` the accesses to be seen again together with the next ones; `done` all others, `offset` and
    `family` of them.
    """

    final: pl.DataFrame
    open: pl.DataFrame
    waiting: pl.DataFrame
    done: pl.DataFrame


def settle(
    accesses: pl.DataFrame,
    counted: pl.DataFrame,
    front: Front,
    gap: timedelta = pulls.GAP,
    unfinished: frozenset[int] = frozenset(),
) -> Settled:
    """Make pulls of the sessions that are over.

    `accesses` are those waiting and those just read, with the columns of `empty`. `counted`
    (see `counted_by`) are sessions whose pulls were committed: lines read again are recognised by
    it. `unfinished` are the offsets of lines whose end is not yet written; their session stays open.
    """
    requests = _merged(accesses)
    rows = _in_pieces(_not_counted(pulls.sessions(requests, gap), counted))
    going_on = front.near(pl.col("session_until"), gap + LATENESS)
    if unfinished:
        going_on = going_on | pl.col("offset").is_in(list(unfinished)).any().over("session")
    is_open = rows.select(going_on.alias("open"))["open"]
    open_rows = rows.filter(is_open)
    waits = requests.select(
        waits=pl.col("offset").is_in(open_rows["offset"].implode())
        | front.near(pl.col("timestamp"), MERGING).fill_null(False)
    )["waits"]
    done = requests.select("offset", "family").filter(~waits)
    return Settled(pulls.collapse(rows.filter(~is_open)), open_rows, requests.filter(waits), done)


def provisional(open_rows: pl.DataFrame) -> pl.DataFrame:
    """The pulls of open sessions, as far as they have come."""
    return pulls.collapse(open_rows).with_columns(provisional=pl.lit(True))


def counted_by(final: pl.DataFrame) -> pl.DataFrame:
    """What `settle` must know of committed pulls: who pulled, from when until when (COUNTED)."""
    return final.select(_who(), "timestamp", "until").select(
        pl.col(name).cast(dtype) for name, dtype in COUNTED.items()
    )


def recent(counted: pl.DataFrame, front: Front, gap: timedelta = pulls.GAP) -> pl.DataFrame:
    """The part of `counted` that lines still to come may touch."""
    horizon = front.low - _micros(LONGEST + gap + LATENESS)
    return counted.filter(pl.col("until").cast(pl.Int64) >= horizon)


def _merged(accesses: pl.DataFrame) -> pl.DataFrame:
    """One row a request. One that has both its lines is left alone: it must not take a third."""
    if accesses["family"].n_unique() < 2 and accesses["key"].null_count() == len(accesses):
        return accesses
    lines = accesses.filter(~pl.col("paired")).with_columns(
        app_line=pl.when(pl.col("family") == "app").then(True),
        access_line=pl.when(pl.col("family") == "access").then(True),
    )
    both = pl.col("app_line").is_not_null() & pl.col("access_line").is_not_null()
    requests = merge_requests(lines).with_columns(paired=both).drop("app_line", "access_line")
    return pl.concat([accesses.filter("paired"), requests])


def _who() -> pl.Expr:
    """What tells the sessions of one client and repository from others, as in `logs.sessions`."""
    return pl.struct(*sessions.IDENTITY, sessions.family(pl.col("agent")).alias("family")).hash().alias("who")


def _not_counted(rows: pl.DataFrame, counted: pl.DataFrame) -> pl.DataFrame:
    """`rows` of sessions, without what belongs to sessions already counted.

    A session read again from its middle still touches the pulls that were made of it, and no other
    session does, since sessions are `gap` apart.
    """
    if counted.is_empty() or rows.is_empty():
        return rows
    early = rows.filter(pl.col("asked") <= counted["until"].max())  # few: most rows are newer than any
    spans = early.group_by("session").agg(
        _who().first(), pl.col("asked").min(), pl.col("session_until").first()
    )
    touched = spans.join(counted, on="who").filter(
        pl.col("timestamp") <= pl.col("session_until"), pl.col("until") >= pl.col("asked")
    )
    settled = touched.group_by("session").agg(pl.col("until").max().alias("settled"))
    known = rows.join(settled, on="session", how="left", maintain_order="left")
    again = (pl.col("asked") <= pl.col("settled")).fill_null(False)
    return known.filter(~again).drop("settled")


def _in_pieces(rows: pl.DataFrame) -> pl.DataFrame:
    """Cut sessions longer than LONGEST, always before the first manifest request after that time.

    Pieces are sessions of their own; the first ends before the second begins. Where to cut is found
    from the start of a piece alone, so a piece that is read again is cut in the same places.
    """
    lasted = (rows["session_until"] - rows["asked"]).max()
    if not isinstance(lasted, timedelta) or lasted <= LONGEST:
        return rows
    served = (pl.col("status") < 400).fill_null(True)
    manifests = rows.filter((pl.col("object") == "manifest") & served).select("session", "asked")
    spans = manifests.group_by("session").agg(span=pl.col("asked").max() - pl.col("asked").min())
    long = spans.filter(pl.col("span") > LONGEST)
    if long.is_empty():
        return rows
    times = manifests.join(long, on="session", how="semi").group_by("session")
    asked = times.agg(pl.col("asked").cast(pl.Int64).sort())
    cuts = pl.DataFrame(
        [(session, cut) for session, times in asked.iter_rows() for cut in _cuts(times)],
        schema={"session": rows.schema["session"], "cut": pl.Int64},
        orient="row",
    ).with_columns(pl.col("cut").cast(TIMESTAMP))
    nexts = cuts.sort("cut").with_columns(ends=pl.col("cut").shift(-1).over("session"))
    first_ends = cuts.group_by("session").agg(pl.col("cut").min().alias("first_end"))
    pieces = (
        rows.sort("asked")
        .join_asof(nexts, left_on="asked", right_on="cut", by="session", check_sortedness=False)
        .join(first_ends, on="session", how="left")
        .sort("turn")
        .with_columns(session=pl.struct("session", "cut").rle_id())
    )
    ends = pl.when(pl.col("cut").is_null()).then("first_end").otherwise("ends")
    until = pl.min_horizontal(pl.col("done").max().over("session"), ends - timedelta(microseconds=1))
    return pieces.with_columns(
        session_until=until, session_offset=pl.col("offset").min().over("session")
    ).drop("cut", "ends", "first_end")


def _cuts(times: list[int]) -> list[int]:
    """Where the pieces after the first one begin; `times` ascend."""
    cuts, at = [], 0
    while (at := bisect_right(times, times[at] + _micros(LONGEST))) < len(times):
        cuts.append(times[at])
    return cuts


def _micros(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


def empty() -> pl.DataFrame:
    """No accesses, with the columns that `settle` needs.

    `paired` tells that a request has both its lines, the application's and the access log's.
    """
    own = {"site": pl.String(), "source": pl.String(), "paired": pl.Boolean()}
    return pl.DataFrame(schema={**access_table.SCHEMA, **own})
