"""Reading the files of one source: each through its format, together in the order of time."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import polars as pl

from prewarm import compute, plugins
from prewarm.errors import InvalidReference, SettingsError, UnknownFormat, UnreadableInput
from prewarm.logs import detection, files, privacy, pulls, skew, strays, streams, wrappers
from prewarm.logs.files import Known, Progress, Source
from prewarm.logs.formats import Format, Hints, Parsed, Scanner, header_of, printable, registered, stamps
from prewarm.logs.settling import Front
from prewarm.logs.streams import Chunk
from prewarm.logs.wrappers import Chain
from prewarm.references import Reference, rewrite

NEWEST = 16
"""How many of the lines read last tell how far a file has come; one skewed stamp alone does not."""

REFERRED = 64
"""How many lines of a kind that later lines refer to are remembered."""

FAR = 8 << 20
"""Bytes among which a format is looked for that the first lines do not show."""

REACH = 256 << 10
"""Bytes before the place where reading resumes in which they are looked for."""

LONG_AGO = -(1 << 60)

FILE_BITS = 40
"""A line's place: the number of its file above, its offset below (files of up to a terabyte)."""


POSSIBLE = (
    pl.col("timestamp")
    .is_between(datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))
    .fill_null(True)
)
"""Whether a time can be kept: what reads the lake knows years of four digits."""

Place = TypeVar("Place", int, pl.Expr)


def place(number: Place, offset: Place) -> Place:
    """Where a line is, as one integer that orders lines by file, then by offset."""
    return number * (1 << FILE_BITS) + offset


def number_of(place: pl.Expr) -> pl.Expr:
    """The number of the file that a place is in."""
    return (place // (1 << FILE_BITS)).cast(pl.Int64)


def offset_of(place: pl.Expr) -> pl.Expr:
    """The offset in its file of a place."""
    return place & ((1 << FILE_BITS) - 1)


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is held at once: decompressed bytes handed to one parser call, accesses of one commit."""

    chunk: int = streams.CHUNK
    batch: int = 125_000


PACE = Pace()


@dataclass(frozen=True, slots=True)
class Log:
    """A file that can be read: opened once, its format known. `shown` is its name for people."""

    path: str
    shown: str
    format: Format
    wrappers: Chain  # what stands around its lines, the outermost first
    hints: Hints
    newest: tuple[int, ...]  # times of its first lines: where it stands among the others
    utc_offset: int | None = None  # minutes, as its first lines write it

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return Path(self.path).stat().st_size

    @property
    def may_grow(self) -> bool:
        """Whether somebody may still write to it: a plain file, not a copy of something else."""
        return self.path == self.shown and not streams.is_compressed(self.path)


@dataclass(frozen=True, slots=True)
class Unit:
    """One chunk and all that is needed to parse it, in whatever process."""

    chunk: Chunk
    number: int
    log: Log
    source: Source
    before: bytes = b""  # lines of earlier chunks that these may refer to


@dataclass(frozen=True, slots=True)
class Read:
    """What one chunk said: accesses with `site`, `source` and a place as `offset`; or finished pulls."""

    chunk: Chunk  # without its data
    lines: int
    accesses: pl.DataFrame
    pulls: pl.DataFrame
    ignored: Mapping[str, int]
    malformed: Mapping[str, int]
    examples: Mapping[str, str]
    skewed: Mapping[str, int]  # lines that are kept, though their clock was wrong, by what gives it away
    goes_on: bool = False  # what the chunk ends with is the beginning of a record of several lines


def look(path: str, shown: str, source: Source, likely: Log | None = None) -> Log:
    """Open a file for the first time: tell its format, what stands around it, the time of its first lines.

    `likely` is a file beside it, whose format is taken when all the first lines fit. Raises
    UnreadableInput, UnknownFormat, and UnknownName for a format that nobody defined.
    """
    sample = streams.head(path, files.SAMPLE)
    files.refuse(shown, sample)
    frame, _ = streams.lines(Chunk(0, _first_lines(path, sample), 0, 0))
    written = _written(shown if Path(shown).is_file() else path)
    hints = Hints(source.timezone, written=written, keys=source.keys)
    if likely and source.format in ("auto", likely.format.name):
        log, parsed = _opened(path, shown, likely.format, likely.wrappers, frame, hints)
        formats = registered() if source.format == "auto" else [likely.format]
        same = detection.confirmed(frame["line"], likely.wrappers, likely.format, hints, formats)
        if same and parsed.accesses.height > 0 and not parsed.malformed:
            return log
    return _opened(path, shown, *_detected(path, shown, source, frame["line"], hints), frame, hints)[0]


def _first_lines(path: str, sample: bytes) -> bytes:
    """The whole lines of `sample`; where not even one is, those after it: truncation leaves NULs."""
    if len(sample) < files.SAMPLE or b"\n" in sample:
        return sample[: sample.rfind(b"\n") + 1] if len(sample) == files.SAMPLE else sample
    with closing(streams.chunks(path)) as chunks:
        data = next((chunk.data for chunk in chunks if chunk.data), sample)
    few = data[: streams.LONGEST_LINE + files.SAMPLE]
    return few[: few.rfind(b"\n") + 1] or few


def _opened(
    path: str, shown: str, format: Format, chain: Chain, lines: pl.DataFrame, hints: Hints
) -> tuple[Log, Parsed]:
    """The file read in this way, and what its first lines say then."""
    inner = wrappers.inside(lines, chain, hints, format)
    hints = replace(hints, header=header_of(inner["line"]))
    parsed = format.parse(inner, hints)
    newest = _newest(parsed.accesses["timestamp"].head(NEWEST))
    return Log(path, shown, format, chain, hints, newest, stamps.utc_offset(inner["line"])), parsed


def _sampled(path: str) -> pl.Series | None:
    """Lines from far into a file whose first ones are of no format; None for a short one or one line."""
    data = streams.head(path, FAR)
    whole = data[: data.rfind(b"\n") + 1]
    if len(data) <= files.SAMPLE or not whole:
        return None
    frame, _ = streams.lines(Chunk(0, whole, 0, 0))
    return frame["line"].gather_every(-(-len(frame) // detection.SAMPLE))


def _written(path: str) -> datetime:
    return datetime.fromtimestamp(Path(path).stat().st_mtime, UTC)


def _detected(path: str, shown: str, source: Source, lines: pl.Series, hints: Hints) -> tuple[Format, Chain]:
    auto = source.format == "auto"
    show = source.client_key is None  # lines name clients
    named = [] if auto else [plugins.load(plugins.FORMATS, source.format)]
    try:
        return detection.detect(lines, hints, registered() if auto else named, show=show)
    except UnknownFormat as error:
        if named:
            return named[0], detection.certain(lines, hints)
        if (later := _sampled(path)) is not None:
            with suppress(UnreadableInput):
                return detection.detect(later, hints, registered(), show=show)
        raise UnknownFormat(f"{shown}: {error}") from error
    except UnreadableInput as error:
        raise type(error)(f"{shown}: {error}") from error


def parse(unit: Unit) -> Read:
    """Lines become accesses, or finished pulls: a pure function, run wherever there is a processor."""
    parsed, lines, too_long = _parsed(unit)
    accesses = _possible(parsed.accesses)
    finished = pl.DataFrame(schema=pulls.SCHEMA) if parsed.pulls is None else pulls.conform(parsed.pulls)
    timed = _possible(finished)
    told = _permitted(timed, unit.source)
    reasons = {
        "line longer than 1 MiB": too_long,
        "a year that no calendar has": len(parsed.accesses) - len(accesses) + len(finished) - len(timed),
        "a site that its sender may not speak of": len(timed) - len(told),
    }
    skewed, shown = _skewed(accesses, unit)
    base = place(unit.number, 0)
    chunk = Chunk(unit.chunk.offset, b"", unit.chunk.end, unit.chunk.check, 0, unit.chunk.whole)
    return Read(
        chunk,
        lines + too_long,
        _placed(named(accesses, unit.source), unit.source, base),
        _placed(told, unit.source, base),
        parsed.ignored,
        {**parsed.malformed, **{reason: count for reason, count in reasons.items() if count}},
        {} if unit.source.client_key else {**parsed.examples, **shown},  # lines name clients
        skewed,
        not chunk.whole and wrappers.unfinished(unit.chunk.data, unit.log.wrappers) < len(unit.chunk.data),
    )


def _possible(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows whose time can be kept: nearly always all, without a copy."""
    return frame if frame.select(POSSIBLE.all()).item() else frame.filter(POSSIBLE)


def _permitted(pulls: pl.DataFrame, source: Source) -> pl.DataFrame:
    """The pulls whose sender may speak of the site that they name; naming none is always right."""
    if source.sites is None or "site" not in pulls.columns:
        return pulls
    return pulls.filter(pl.col("site").is_null() | pl.col("site").is_in(source.sites))


def _skewed(accesses: pl.DataFrame, unit: Unit) -> tuple[dict[str, int], dict[str, str]]:
    """How many lines have which wrong clock, and the first line of each."""
    found = skew.of(accesses, unit.log.hints.written)
    if found.is_empty():
        return {}, {}
    counts = found.group_by("skewed", maintain_order=True).agg(pl.len(), pl.col("offset").first())
    texts = {
        reason: streams.line_at(unit.chunk, offset).decode(errors="replace")
        for reason, offset in counts.select("skewed", "offset").iter_rows()
    }
    return dict(counts.select("skewed", "len").iter_rows()), {
        reason: printable(text) for reason, text in texts.items()
    }


def _parsed(unit: Unit) -> tuple[Parsed, int, int]:
    """What the lines say, how many they are, and how many more were too long."""
    log = unit.log
    scanned = None
    if isinstance(log.format, Scanner) and not log.wrappers:
        scanned = log.format.scan(unit.chunk.data, unit.chunk.offset)
    if scanned is not None and not _has_strays(scanned[0], unit):
        return *scanned, unit.chunk.dropped
    frame, too_long = streams.lines(unit.chunk)
    peeled = wrappers.peel(frame, log.wrappers, log.hints)
    inner = wrappers.for_format(peeled, log.format)
    parsed = scanned[0] if scanned else log.format.parse(inner, _hints(unit))
    if _has_strays(parsed, unit):
        parsed = strays.reread(parsed, peeled, log.format, log.hints, registered())
    return wrappers.keyed(parsed, frame, log.wrappers), len(frame), too_long


def _has_strays(parsed: Parsed, unit: Unit) -> bool:
    """Whether whole lines may be of another format: nobody named one, and this one cannot read them."""
    return unit.chunk.whole and unit.source.format == "auto" and not parsed.unread.is_empty()


def _hints(unit: Unit) -> Hints:
    """Those of the log, with the lines before the chunk that it may refer to."""
    if not unit.before:
        return unit.log.hints
    frame, _ = streams.lines(Chunk(0, unit.before, 0, 0))
    inner = wrappers.inside(frame, unit.log.wrappers, unit.log.hints, unit.log.format)
    return replace(unit.log.hints, before=tuple(inner["line"]))


def _placed(frame: pl.DataFrame, source: Source, base: int) -> pl.DataFrame:
    """`frame` with `site` and `source` filled in, places for offsets, pseudonyms where wanted."""
    if source.client_key is not None:
        frame = privacy.pseudonymous(frame, source.client_key)
    site = pl.col("site") if "site" in frame.columns else pl.lit(None, pl.String)
    return frame.with_columns(
        site.fill_null(source.site).alias("site"),
        pl.lit(source.name).alias("source"),
        pl.col("offset") + base,
    )


def named(accesses: pl.DataFrame, source: Source) -> pl.DataFrame:
    """`accesses` with the registry that the source names, and its rewrites applied.

    The longest fitting prefix of `repository` is rewritten to a registry and path; other names belong
    to the upstream that the request names (`?ns=`), else to `source.registry`, else to the logged host. Where
    none is known it stays null: another line of the request may tell, else `pulls` takes docker.io.
    """
    if source.registry:
        upstream = pl.col("upstream").fill_null(source.registry)
        of_images = pl.when(pl.col("repository").is_not_null()).then(upstream)
        accesses = accesses.with_columns(registry=of_images.otherwise("registry"))
    if not source.rewrite:
        return accesses
    distinct = accesses["repository"].drop_nulls().unique().to_list()
    moved = [(name, *_rewritten(name, source)) for name in distinct if rewrite(name, source.rewrite) != name]
    schema = {"repository": pl.String, "new_registry": pl.String, "new_repository": pl.String}
    table = pl.DataFrame(moved, schema=schema, orient="row")
    return accesses.join(table, on="repository", how="left", maintain_order="left").select(
        *(pl.col(name) for name in accesses.columns if name not in ("registry", "repository")),
        pl.coalesce("new_registry", "registry").alias("registry"),
        pl.coalesce("new_repository", "repository").alias("repository"),
    )


def _rewritten(name: str, source: Source) -> tuple[str | None, str]:
    """The registry (None: unchanged) and repository that a rewritten name stands for."""
    text = rewrite(name, source.rewrite)
    reference = Reference.parse(text)
    explicit = text.lower().startswith(f"{reference.registry}/")
    return (reference.registry, reference.repository) if explicit else (None, text)


def check_rewrites(source: Source) -> None:
    """SettingsError for a rewrite that yields no name, before anything is read."""
    for prefix, target in source.rewrite.items():
        try:
            Reference.parse(f"{target}x")
        except InvalidReference as error:
            raise SettingsError(
                f"source {source.name}: rewrite {prefix!r} = {target!r} makes no image name; "
                "example: {'ghcr-proxy/' = 'ghcr.io/'}"
            ) from error


@dataclass(slots=True)
class Cursor:
    """One file being read.

    `unfinished` is the offset of a last line without its newline, which is read again. Where such a line
    says nothing yet, reading ends before it, as if it were not there: `cut` tells.
    """

    log: Log
    number: int
    known: Known
    newest: tuple[int, ...]
    pace: Pace
    seen: int = 0
    check: int = 0
    unfinished: int | None = None
    cut: bool = False
    finished: bool = False
    reads: Generator[Read, None, None] | None = field(default=None, repr=False)

    @property
    def resumed(self) -> int:
        """The offset that reading begins at."""
        return self.known.progress.offset if self.known.progress else 0

    @property
    def before(self) -> int:
        """The offset that earlier reads came to: lines that begin there or later were never counted."""
        return self.known.progress.seen if self.known.progress else 0

    @property
    def front(self) -> int:
        """How far it has come, in microseconds since 1970; long ago when that cannot be told."""
        return min(self.newest, default=LONG_AGO)

    def advance(self, executor: Executor, ahead: int, source: Source, warn: streams.Warn) -> Read | None:
        """The next chunk, parsed; None at the end."""
        if self.reads is None:
            self.newest = ()  # the first lines are not where reading resumes
            self.reads = compute.ordered(executor, parse, self._units(source, warn), ahead)
        read = next(self.reads, None)
        self.cut = read is not None and self._says_nothing_yet(read)
        if read is None or self.cut:
            self.finished = True
            return None
        self.seen, self.check = read.chunk.end, read.chunk.check
        if not read.chunk.whole:
            self.unfinished = read.chunk.offset
        self.newest = (self.newest + _newest(read.accesses["timestamp"].tail(NEWEST)))[-NEWEST:]
        return read

    def is_new(self, read: Read) -> bool:
        """Whether the chunk was read for the first time."""
        return read.chunk.offset >= self.before

    def _says_nothing_yet(self, read: Read) -> bool:
        """Whether the chunk is the beginning of a line, or of a record, that is still being written."""
        short = read.chunk.end - read.chunk.offset <= streams.LONGEST_LINE
        partial = bool(read.malformed) or read.goes_on
        return not read.chunk.whole and partial and short and self.log.may_grow

    def progress(self, open_from: int | None) -> Progress:
        """What to commit when the oldest open session begins at `open_from` (None: none is open)."""
        held = [offset for offset in (open_from, self.unfinished) if offset is not None]
        return Progress(min(held, default=self.seen), self.seen, self.check)

    def close(self) -> None:
        """Stop reading; what was submitted and not begun is cancelled."""
        if self.reads is not None:
            self.reads.close()

    def _units(self, source: Source, warn: streams.Warn) -> Iterator[Unit]:
        path, size = self.log.path, self.pace.chunk
        chunks: Iterator[Chunk] = streams.chunks(path, self.resumed, self.before, warn, size)
        if wrappers.cuts(self.log.wrappers):
            chunks = streams.rejoined(chunks, partial(wrappers.unfinished, chain=self.log.wrappers))
        refers = tuple(text.encode() for text in getattr(self.log.format, "refers", ()))
        known = streams.before(self.log.path, self.resumed, REACH) if refers and self.resumed else b""
        for chunk in chunks:
            before = streams.holding(known, refers, REFERRED)
            yield Unit(chunk, self.number, self.log, source, before)
            known = before + chunk.data if refers else b""


def front_of(cursors: list[Cursor]) -> Front | None:
    """How far reading has come over all files; None while no line told its time.

    The file furthest behind holds the others back; once all are read, what comes next comes after the
    newest of them.
    """
    reading = [cursor.front for cursor in cursors if not cursor.finished]
    times = [time for cursor in cursors for time in cursor.newest]
    if not times:
        return None
    ended = max(cursor.front for cursor in cursors if cursor.newest)
    return Front(min(reading, default=ended), max(times))


def _newest(times: pl.Series) -> tuple[int, ...]:
    return tuple(times.drop_nulls().to_physical().to_list())
