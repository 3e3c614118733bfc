"""Bytes of a log: decompressed, bounded, cut into chunks of whole lines.

gzip, bzip2, xz and zstd are told by their first bytes. Nothing here holds more than a chunk: a bomb,
an endless line and a file larger than memory stream through in the same space.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import hashlib
import lzma
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import polars as pl

from prewarm.errors import UnreadableInput

CHUNK = 12 << 20  # bytes handed to one parser call
BLOCK = 1 << 20  # bytes decompressed at once
NEAR = 4096  # bytes in which the end of a line is looked for
LONGEST_LINE = 1 << 20
TAIL = 4096  # bytes hashed before the place read up to
BOMB_RATIO, BOMB_BYTES = 500, 64 << 20
XZ_MEMORY = 256 << 20

_INFLATED = (b"\x1f", b"x", b"(")  # polars takes bytes that begin with these for gzip, zlib or zstd

Warn = Callable[[str], None]
Blocks = Generator[bytes, None, None]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole lines of a file, as bytes.

    `end` is the offset after the last byte consumed and `check` the hash of the bytes before it (see
    `fingerprint`). `dropped` counts lines that were too long to be kept. `whole` is False for an
    unfinished last line, which has a chunk of its own.
    """

    offset: int
    data: bytes
    end: int
    check: int
    dropped: int = 0
    whole: bool = True


def fingerprint(data: bytes, salt: bytes = b"") -> int:
    """A 63-bit hash: what one integer of a Delta transaction holds."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8, salt=salt).digest()) >> 1


def blocks(path: str, start: int = 0, warn: Warn = lambda text: None, size: int = BLOCK) -> Blocks:
    """Decompressed bytes of `path` from offset `start` on.

    A compressed file that is damaged or ends early yields what can be read, then warns. Raises
    UnreadableInput when that is nothing, and for a decompression bomb.
    """
    with _opened(path) as file:
        inflate = _codec(file)
        if inflate is None:
            file.seek(start)
            yield from iter(lambda: file.read(size + _to_the_end_of_a_line(file, size)), b"")
            return
        produced = 0
        for block in _until_damaged(path, inflate(file, min(size, BLOCK)), warn):
            produced += len(block)
            _refuse_bomb(path, file, produced)
            if produced > start:
                yield block[max(0, start - (produced - len(block))) :]


def chunks(
    path: str, start: int = 0, border: int = 0, warn: Warn = lambda text: None, size: int = CHUNK
) -> Generator[Chunk, None, None]:
    """Cut `path`, from the line that begins at `start` on, into chunks of about `size` bytes.

    A line that reaches across `border` has a chunk of its own, so that the caller can tell lines read
    again (`offset < border`) from lines read for the first time.
    """
    tail = max(0, start - TAIL)
    with closing(blocks(path, tail, warn, size)) as source:
        pieces = _pieces(source, start - tail, size)
        cutter = _Cutter(start, border, window=next(pieces))
        for piece in pieces:
            yield from cutter.feed(piece)
        yield from cutter.finish()


def rejoined(chunks: Iterator[Chunk], whole: Callable[[bytes], int]) -> Iterator[Chunk]:
    """`chunks` cut where no record of several lines goes on; `whole` tells how many bytes such records fill.

    What a chunk ends with and is not whole is handed out with the next one, or as unfinished at the end.
    """
    waiting: Chunk | None = None
    for chunk in chunks:
        if waiting and waiting.end != chunk.offset:  # lines too long to be kept lie between
            yield waiting
        elif waiting:
            chunk = replace(chunk, offset=waiting.offset, data=waiting.data + chunk.data)
        size = whole(chunk.data)
        if not chunk.whole or not 0 < len(chunk.data) - size <= LONGEST_LINE:
            waiting = None
            yield chunk
            continue
        waiting = chunk
        if size >= TAIL:
            data, end = chunk.data[:size], chunk.offset + size
            yield Chunk(chunk.offset, data, end, fingerprint(data[-TAIL:]), chunk.dropped)
            waiting = replace(chunk, offset=end, data=chunk.data[size:], dropped=0)
    if waiting:
        yield replace(waiting, whole=False)


def is_compressed(path: str) -> bool:
    """Whether the file's size says nothing of how much there is to read."""
    with _opened(path) as file:
        return _codec(file) is not None


def head(path: str, size: int) -> bytes:
    """The first `size` decompressed bytes, fewer when the file has fewer."""
    with closing(blocks(path, size=size)) as source:
        return next(_pieces(source, size, 1), b"")


def before(path: str, offset: int, size: int) -> bytes:
    """The last lines before `offset`, of at most `size` bytes together; the first may be cut."""
    first = max(0, offset - size)
    with closing(blocks(path, first)) as source:
        return next(_pieces(source, offset - first, 1), b"")


def holding(data: bytes, texts: tuple[bytes, ...], most: int) -> bytes:
    """The lines of `data` that hold one of `texts`, the last `most` of each."""
    starts: set[int] = set()
    for text in texts:
        at, count = len(data), 0
        while count < most and (at := data.rfind(text, 0, at)) >= 0:
            at = data.rfind(b"\n", 0, at) + 1
            starts.add(at)
            count += 1
    ends = [(start, data.find(b"\n", start) + 1 or len(data)) for start in sorted(starts)]
    return b"".join(data[start:end] for start, end in ends if end - start <= LONGEST_LINE)


def probe(path: str, seen: int) -> tuple[int | None, bool]:
    """The fingerprint of the bytes before offset `seen`, and whether there are any after it.

    The fingerprint is None when the file is shorter than `seen`.
    """
    tail = max(0, seen - TAIL)
    with closing(blocks(path, tail)) as source:
        pieces = _pieces(source, seen - tail, 1)
        window = next(pieces)
        found = fingerprint(window) if len(window) == seen - tail else None
        return found, next(pieces, None) is not None


def line_at(chunk: Chunk, offset: int) -> bytes:
    """The line of the chunk that begins at this offset of the file."""
    return chunk.data[offset - chunk.offset :].partition(b"\n")[0].removesuffix(b"\r")


def lines(chunk: Chunk) -> tuple[pl.DataFrame, int]:
    """The chunk's lines, columns `offset` (Int64) and `line` (String), and how many were too long.

    Bytes that are no UTF-8 become U+FFFD; a byte order mark and carriage returns before a newline go.
    """
    frame = _split(chunk.data).with_columns(pl.col("offset") + chunk.offset)
    short = frame.filter(pl.col("line").str.len_bytes() <= LONGEST_LINE)
    return short, chunk.dropped + len(frame) - len(short)


def _split(data: bytes) -> pl.DataFrame:
    if not data:
        return pl.DataFrame(schema={"offset": pl.Int64, "line": pl.String})
    data = data.removesuffix(b"\n")
    if (plain := _plain(data)) is not None:
        return plain
    try:
        line = pl.Series("line", [data.decode()]).str.split("\n").explode()
        size = line.str.len_bytes()
    except UnicodeDecodeError:
        raw = data.split(b"\n")
        line = pl.Series("line", [text.decode(errors="replace") for text in raw])
        size = pl.Series([len(text) for text in raw])
    offset = (size.cast(pl.Int64) + 1).cum_sum().shift(1, fill_value=0)
    if b"\r" in data:
        line = line.str.strip_suffix("\r")
    if data.startswith(codecs.BOM_UTF8):
        line = line.str.strip_prefix("\ufeff")
    return pl.DataFrame({"offset": offset, "line": line})


def _plain(data: bytes) -> pl.DataFrame | None:
    """Lines as a CSV of one column has them, the quick way; None where CSV and lines differ."""
    if data.startswith(_INFLATED):
        return None
    try:
        line = pl.read_csv(
            data,
            has_header=False,
            separator="\x1f",  # what stands after one is lost, and missing in the sum below
            quote_char=None,
            schema={"line": pl.String},
            empty_string_is_null=False,
            truncate_ragged_lines=True,
        ).to_series()
    except pl.exceptions.PolarsError:  # no UTF-8, nothing to read
        return None
    ends = (line.str.len_bytes().cast(pl.Int64) + 1).cum_sum()
    if line.is_empty() or ends[-1] != len(data) + 1 or b"\r" in data:
        return None
    return pl.DataFrame({"offset": ends.shift(1, fill_value=0), "line": line})


class _Cutter:
    """What `chunks` has read but not yet handed out."""

    def __init__(self, start: int, border: int, window: bytes) -> None:
        self.offset = start  # of the first byte of `rest`
        self.border = border
        self.window = window  # the TAIL bytes before `offset`
        self.rest = b""
        self.dropped = 0
        self.dropping: int | None = None  # start of the endless line being skipped

    def feed(self, piece: bytes) -> Iterator[Chunk]:
        ordinary = self.dropping is None and self.offset >= self.border
        if ordinary and (size := piece.rfind(b"\n") + 1):
            whole_lines = not self.rest and size == len(piece)
            # Copied once, not twice, or not at all.
            self.rest = piece if whole_lines else b"".join([self.rest, memoryview(piece)[:size]])
            yield self._take(len(self.rest))
            piece = piece[size:]
        self.rest += piece
        if self.dropping is not None:
            self._drop()
        inner = self.rest.rfind(b"\n", 0, max(0, self.border - self.offset)) + 1
        if inner:
            yield self._take(inner)
        across = self.rest.find(b"\n") + 1 if self.offset < self.border else 0
        if across:
            yield self._take(across)
        whole = self.rest.rfind(b"\n") + 1
        if whole:
            yield self._take(whole)
        if len(self.rest) > LONGEST_LINE:
            self.dropping = self.offset
            self._drop()

    def finish(self) -> Iterator[Chunk]:
        if self.dropping is not None:
            check = fingerprint(self.window)
            yield Chunk(self.dropping, b"", self.offset, check, self.dropped + 1, whole=False)
        elif self.rest or self.dropped:
            yield self._take(len(self.rest), whole=not self.rest)

    def _take(self, size: int, whole: bool = True) -> Chunk:
        offset, data = self.offset, self._consume(size)
        dropped, self.dropped = self.dropped, 0
        return Chunk(offset, data, self.offset, fingerprint(self.window), dropped, whole)

    def _drop(self) -> None:
        newline = self.rest.find(b"\n") + 1
        self._consume(newline or len(self.rest))
        if newline:
            self.dropping = None
            self.dropped += 1

    def _consume(self, size: int) -> bytes:
        data, self.rest = self.rest[:size], self.rest[size:]
        self.offset += size
        self.window = (self.window + data[-TAIL:])[-TAIL:]
        return data


def _pieces(source: Blocks, first: int, size: int) -> Blocks:
    """`source` re-cut: exactly `first` bytes (fewer at its end), then pieces of at least `size`."""
    wanted, have, waiting = first, 0, []
    exact = True
    for block in source:
        waiting.append(block)
        have += len(block)
        if have < wanted:
            continue
        data = b"".join(waiting)
        if exact:
            yield data[:first]
            data, wanted, exact = data[first:], size, False
        if len(data) >= wanted:
            yield data
            data = b""
        waiting, have = [data] if data else [], len(data)  # one alone is not copied when it is joined
    rest = b"".join(waiting)
    if exact or rest:
        yield rest


def _to_the_end_of_a_line(file: BinaryIO, size: int) -> int:
    """Bytes from `size` ahead to the next line, if it is near: blocks of whole lines are not put together."""
    here = file.tell()
    file.seek(here + size)
    near = file.read(NEAR) if size > NEAR else b""
    file.seek(here)
    return near.find(b"\n") + 1


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - closed by the caller's `with`
    except OSError as error:
        raise UnreadableInput(f"{path} cannot be read: {error.strerror or error}") from error
    with file:
        yield file


def _codec(file: BinaryIO) -> Callable[[BinaryIO, int], Blocks] | None:
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return _gzip
    if magic.startswith(b"BZh"):
        return _bzip2
    if magic.startswith(b"\xfd7zXZ\x00"):
        return _xz
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        return _zstd
    return None


def _gzip(file: BinaryIO, size: int) -> Blocks:
    with gzip.GzipFile(fileobj=file) as stream:
        yield from iter(lambda: stream.read1(size), b"")


def _bzip2(file: BinaryIO, size: int) -> Blocks:
    with bz2.BZ2File(file) as stream:
        yield from iter(lambda: stream.read1(size), b"")


def _zstd(file: BinaryIO, size: int) -> Blocks:
    import pyarrow

    # A failing read gives nothing, so reads are as small as what zstd compresses at once.
    size = min(size, 128 << 10)
    with pyarrow.CompressedInputStream(pyarrow.PythonFile(file, mode="r"), "zstd") as stream:
        yield from iter(lambda: stream.read(size), b"")


def _xz(file: BinaryIO, size: int) -> Blocks:
    """As `lzma.LZMAFile`, with a bound on memory: an xz file may ask for gigabytes."""
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)
    while feed := file.read(1 << 16):
        while feed or not (decoder.needs_input or decoder.eof):
            if decoder.eof:  # concatenated streams
                decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)
            yield decoder.decompress(feed, size)
            feed = decoder.unused_data
    if not decoder.eof:
        raise EOFError("the stream ends early")


def _until_damaged(path: str, source: Blocks, warn: Warn) -> Blocks:
    produced = 0
    try:
        for block in source:
            produced += len(block)
            yield block
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        reason = str(error) or type(error).__name__
        if not produced:
            raise UnreadableInput(f"{path} cannot be decompressed: {reason}") from error
        warn(f"{path} is damaged after {produced} decompressed bytes ({reason}); the rest was not read")


def _refuse_bomb(path: str, file: BinaryIO, produced: int) -> None:
    ratio = produced / max(1, file.tell())
    if produced > BOMB_BYTES and ratio > BOMB_RATIO:
        raise UnreadableInput(
            f"{path} expands {ratio:.0f} times, as no log does (at most {BOMB_RATIO}); "
            "if it is one, decompress it by hand"
        )
