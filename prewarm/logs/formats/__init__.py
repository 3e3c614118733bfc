"""Plug point: log formats, one module per family.

A format turns lines into accesses, or into pulls when its source logs finished pulls. It is a pure
function of the lines: no clock, no files, no state between chunks. Lines of one request that a
family logs more than once are all yielded; `prewarm.logs.pulls.merge_requests` joins them, since
they may fall into different chunks.

Four kinds of sources:

- **Request logs** yield accesses of family `app` (application lines, stamped at completion) or
  `access` (access lines, stamped at the start).
- **Logs of manifest fetches** (webhooks, audit logs, the logs of cloud registries) yield accesses of
  family `event`: one row an entry, `object` manifest or blob, `status` 200 or 404, `key` the entry's
  native id, `digest` where the entry names it beside the tag. They collapse into pulls as requests do,
  but are not counted as accesses, for they are no logged requests. `method` is GET or HEAD where the
  source tells; null where it does not, and then `kind` of the pull is null too, unless a blob of the
  session shows it. A push is a PUT of a manifest with status 201.
- **Logs of what a registry asks its own upstream** yield rows of family `upstream`: the `key` of the
  client's request, which was a miss, and no `object`.
- **Logs of finished pulls** (engines, nodes, `events`) yield pulls; no session is made of them.

A file that is one JSON document reaches a format as lines, one record a line (`logs.documents`), and
what shippers put around a line is peeled before (`logs.wrappers`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile
from typing import Protocol, runtime_checkable

import polars as pl

from prewarm import plugins
from prewarm.logs import accesses
from prewarm.logs.formats.lacks import Lack

EXAMPLE = 200  # characters shown of a line that was set aside


@dataclass(frozen=True, slots=True)
class Hints:
    """What the lines of a chunk cannot say of themselves.

    `timezone`: the zone of stamps without one. `header`: the file's first line, or all of its first
    ones that begin with `#`, for formats that name their columns there (a later chunk does not hold
    them). `written`: when the file was last written (aware), which gives the year to stamps without
    one; None: none can be given. `keys`: where fields stand, for JSON under keys of the operator's
    choice, by the names that columns of accesses have: `{"uri": "req/path"}`. `before`: lines before those
    of the chunk that hold one of the format's `refers`.
    """

    timezone: str = "UTC"
    header: str | None = None
    written: datetime | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a chunk of lines said.

    `accesses` has the columns of `accesses.SCHEMA`; `pulls` (only sources of finished pulls fill it)
    has columns of `pulls.SCHEMA`, completed by `pulls.conform`. Every line that is in neither is
    counted: under a reason in `ignored` when it fits the family's grammar but is no registry request,
    in `malformed` when it fits none, with one example a reason (printable, at most 200 characters).
    Empty lines are neither. `unread`: the offsets of malformed lines, for what else may read them.
    """

    accesses: pl.DataFrame = field(default_factory=accesses.empty)
    pulls: pl.DataFrame | None = None
    ignored: dict[str, int] = field(default_factory=dict)
    malformed: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    unread: pl.Series = field(default_factory=lambda: pl.Series("offset", [], pl.Int64))


class Format(Protocol):
    """The contract of a format driver.

    Three attributes are optional. `specificity` (int, 1 if absent) decides between formats that fit the
    same lines: 0 for a grammar that others narrow down (combined), 2 for one that narrows another down.
    `needs_stamp` (bool, False if absent) tells that lines have no time of their own and that
    only a wrapper can give it. `refers` (tuple of str) are texts of lines that later lines refer to: the
    last of them come with a chunk that they are not in, as `Hints.before`.
    """

    name: str
    summary: str  # one line for `prewarm formats`
    tells: frozenset[str]  # of: tag, digest, bytes, seconds, client, user, agent, host
    finished_pulls: bool  # True: `parse` yields pulls, not accesses

    def sniff(self, lines: pl.Series) -> float:
        """The share of these lines (0 to 1) that fit this family's grammar."""
        ...

    def refuse(self, lines: pl.Series) -> str | None:
        """Why these lines, though of this family, cannot be used (no absolute time); else None."""
        ...

    def parse(self, lines: pl.DataFrame, hints: Hints) -> Parsed:
        """Parse `lines`: columns `offset` (Int64) and `line` (String, without its newline).

        A format that `needs_stamp` gets a third, `stamp` (Datetime us UTC, may be null): the time of
        the wrapper around the line. `offset` may repeat, and grows.
        """
        ...


@runtime_checkable
class Scanner(Protocol):
    """What a format may offer beside `parse`: a quicker way for chunks that nothing is wrapped around."""

    def scan(self, data: bytes, offset: int) -> tuple[Parsed, int] | None:
        """What `parse` would say of the lines of `data`, and how many they are; None: ask `parse`."""
        ...


@runtime_checkable
class Explaining(Protocol):
    """What a format may offer beside `refuse`: why a line does not fit, field by field."""

    def explain(self, line: str) -> Lack | None:
        """What this line lacks of the grammar; None where nothing more can be told."""
        ...


def registered() -> list[Format]:
    """Every format that can be loaded, in the order of names."""
    return list(plugins.usable(plugins.FORMATS)[0].values())


def header_of(lines: pl.Series) -> str:
    """What `Hints.header` is for a file that begins with these lines."""
    first = lines.head(8).to_list()
    comments = list(takewhile(lambda line: line.startswith("#"), first))
    return "\n".join(comments or first[:1])


def clean(lines: pl.DataFrame) -> pl.DataFrame:
    """`lines` without empty ones, carriage returns, leading NULs and a byte order mark."""
    line = pl.col("line").str
    dirt = (
        line.ends_with("\r").any().alias("returns"),
        line.starts_with("\0").any().alias("nuls"),  # a file that was truncated while it was written
        line.contains("^\0*\ufeff").first().alias("mark"),
        (~line.contains(r"\S")).any().alias("blank"),
    )
    found = lines.select(dirt).row(0, named=True)
    text = lines["line"]
    if found["returns"]:
        text = text.str.strip_chars_end("\r")
    if found["nuls"]:
        text = text.str.strip_chars_start("\0")
    if found["mark"]:
        text = text.clone().scatter(0, text[0].removeprefix("\ufeff"))
    if not any(found.values()):
        return lines
    return lines.with_columns(text).filter(text.str.contains(r"\S"))


def holds(lines: pl.Series, texts: Iterable[str]) -> bool:
    """Whether any of these few lines holds one of `texts`: quicker than to look through a column."""
    whole = "\n".join(lines.to_list())
    return any(text in whole for text in texts)


def share(fits: pl.Series) -> float:
    """The share of true values, 0 for none at all."""
    return int(fits.fill_null(False).sum()) / len(fits) if len(fits) else 0.0


def sort_out(frame: pl.DataFrame) -> Parsed:
    """Split parsed rows into accesses and counts.

    `frame` has columns of `accesses.SCHEMA`, the raw `line`, and two reasons, `ignored` and
    `malformed`, both null for a row that is an access.
    """
    good = frame.filter(pl.col("ignored").is_null() & pl.col("malformed").is_null())
    ignored, malformed, examples = reasons(frame)
    return Parsed(accesses.conform(good), None, ignored, malformed, examples, unread(frame))


def unread(frame: pl.DataFrame) -> pl.Series:
    """The offsets of rows with a reason in `malformed`."""
    return frame["offset"].filter(frame["malformed"].is_not_null()).cast(pl.Int64)


def reasons(frame: pl.DataFrame) -> tuple[dict[str, int], dict[str, int], dict[str, str]]:
    """How many rows have which reason in `ignored` and in `malformed`, and one example line of each."""
    counts: dict[str, dict[str, int]] = {}
    examples: dict[str, str] = {}
    for column in ("ignored", "malformed"):
        told = frame[column].is_not_null()
        if not told.any():
            counts[column] = {}
            continue
        tally = frame.filter(told).group_by(column, maintain_order=True).agg(pl.len(), pl.col("line").first())
        counts[column] = dict(tally.select(column, "len").iter_rows())
        examples |= {reason: printable(line) for reason, line in tally.select(column, "line").iter_rows()}
    return counts["ignored"], counts["malformed"], examples


def printable(text: str, limit: int = EXAMPLE) -> str:
    """At most `limit` characters of `text`, control characters escaped so that no terminal obeys them."""
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text[:limit])
    return shown if len(shown) <= limit else shown[:limit]
