"""Bytes of a log: decompressed, bounded, cut into whole lines."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewarm.errors import UnreadableInput
from prewarm.logs import streams
from prewarm.logs.streams import Chunk, _Cutter

TEXT = b"".join(b"line %d of a log\n" % n for n in range(20_000))


def zstd(data: bytes) -> bytes:
    return bytes(pyarrow.compress(data, codec="zstd", asbytes=True))


CODECS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd,
}
every_codec = pytest.mark.parametrize("compress", CODECS.values(), ids=CODECS.keys())


def written(folder: Path, data: bytes) -> str:
    path = folder / "x.log"
    path.write_bytes(data)
    return str(path)


def texts(chunk: Chunk) -> list[str]:
    return streams.lines(chunk)[0]["line"].to_list()


@every_codec
def test_compression_is_told_by_content(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    """No file name is asked; concatenated members read as one."""
    path = written(tmp_path, compress(TEXT[:1000]) + compress(TEXT[1000:]))
    assert b"".join(streams.blocks(path)) == TEXT
    assert b"".join(streams.blocks(path, start=12_345)) == TEXT[12_345:]


@every_codec
def test_a_truncated_file_yields_what_it_has(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    """A rotation caught half-way loses nothing that can be read, and says so."""
    whole = compress(TEXT * 20)
    warnings: list[str] = []
    read = b"".join(streams.blocks(written(tmp_path, whole[: len(whole) * 9 // 10]), warn=warnings.append))
    assert (TEXT * 20).startswith(read)
    assert len(read) > len(TEXT)
    assert len(warnings) == 1
    assert "is damaged after" in warnings[0]


@every_codec
def test_garbage_after_the_magic_is_refused(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    """A file of which nothing can be read is an error, not an empty log."""
    path = written(tmp_path, compress(TEXT)[:6] + b"\xff" * 64)
    with pytest.raises(UnreadableInput, match="cannot be decompressed"):
        list(streams.blocks(path))


def test_a_bomb_is_refused_with_its_ratio(tmp_path: Path) -> None:
    """Output out of all proportion stops early."""
    path = written(tmp_path, gzip.compress(bytes(200 << 20)))
    sizes: list[int] = []
    with pytest.raises(UnreadableInput, match=r"expands \d+ times"):
        sizes.extend(map(len, streams.blocks(path)))
    assert sum(sizes) < 100 << 20


def test_an_xz_file_may_not_ask_for_gigabytes(tmp_path: Path) -> None:
    """The dictionary size in its header is a claim on our memory."""
    encoder = lzma.LZMACompressor(lzma.FORMAT_XZ)
    data = bytearray(encoder.compress(TEXT) + encoder.flush())
    data[12 + 4] = 38  # block header: LZMA2 property byte of a 2 GiB dictionary; its CRC follows
    size = (data[12] + 1) * 4
    data[12 + size - 4 : 12 + size] = zlib.crc32(bytes(data[12 : 12 + size - 4])).to_bytes(4, "little")
    with pytest.raises(UnreadableInput, match=r"[Mm]emory"):
        list(streams.blocks(written(tmp_path, bytes(data))))


def test_an_unreadable_file_says_why(tmp_path: Path) -> None:
    """One line with the name and the reason."""
    with pytest.raises(UnreadableInput, match="Is a directory"):
        list(streams.blocks(str(tmp_path)))


@given(st.binary(max_size=300), st.integers(1, 50), st.data())
def test_chunks_put_together_are_the_file(data: bytes, size: int, draw: st.DataObject) -> None:
    """Nothing is lost or doubled wherever the reader cuts, and no line is cut but the last."""
    border = draw.draw(st.integers(0, len(data)))
    cutter = _Cutter(0, border, b"")
    chunks = [c for at in range(0, len(data), size) for c in cutter.feed(data[at : at + size])]
    chunks += cutter.finish()
    assert b"".join(c.data for c in chunks) == data
    assert all(c.data.endswith(b"\n") for c in chunks if c.whole and c.data)
    assert [c.offset for c in chunks] == [0, *(c.end for c in chunks)][:-1]
    for chunk in chunks:
        assert chunk.check == streams.fingerprint(data[: chunk.end][-streams.TAIL :])
        if chunk.offset < border < chunk.end:
            assert b"\n" not in data[chunk.offset : chunk.end - 1]


@given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line), max_size=20))
def test_line_offsets_point_at_their_lines(raw: list[bytes]) -> None:
    """Offsets count bytes of the file, whatever is done to make the text valid."""
    data = b"".join(line + b"\n" for line in raw)
    if not data:
        return
    frame, _ = streams.lines(Chunk(1000, data, 1000 + len(data), 0))
    assert len(frame) == len(raw)
    for offset, line in zip(frame["offset"], raw, strict=True):
        assert data[offset - 1000 :].startswith(line + b"\n")


@given(st.lists(st.text(st.sampled_from("a é\t\"'\\\x1f\0#,\u2028\ufeff"), max_size=5), min_size=1))
def test_whatever_text_lines_hold_they_are_cut_at_newlines_alone(texts: list[str]) -> None:
    """Quotes, separators and comments of a CSV mean nothing."""
    data = "\n".join(["x", *texts, "y"]).encode()
    frame, _ = streams.lines(Chunk(0, data, len(data), 0))
    assert frame["line"].to_list() == ["x", *texts, "y"]


@pytest.mark.parametrize("magic", [b"\x1f\x8b\x08", b"x\x9c", b"x^", b"x\xda", b"x\x01", b"(\xb5/\xfd"])
def test_lines_that_look_compressed_are_lines(magic: bytes) -> None:
    """What a file holds is inflated once, by its first bytes, and not again."""
    inner = zlib.compress(b"inflated") if magic == b"x\x9c" else magic
    assert texts(Chunk(0, inner + b"\nb\n", 0, 0))[-1] == "b"


def test_text_is_made_valid() -> None:
    """A byte order mark and carriage returns go, bytes that are no UTF-8 become U+FFFD."""
    assert texts(Chunk(0, "\ufeffé\r\nb\n".encode(), 0, 0)) == ["é", "b"]
    assert texts(Chunk(0, b"\xffa\r\nb\n", 0, 0)) == ["\ufffda", "b"]


def test_reading_may_begin_in_the_middle(tmp_path: Path) -> None:
    """The check is of the same bytes, wherever reading began."""
    start = TEXT.index(b"line 9000")
    middle = list(streams.chunks(written(tmp_path, TEXT), start, size=10_000))
    assert b"".join(c.data for c in middle) == TEXT[start:]
    assert middle[-1].check == streams.fingerprint(TEXT[-streams.TAIL :])


def test_an_endless_line_is_dropped_in_bounded_memory(tmp_path: Path) -> None:
    """It is counted, and the lines around it are read."""
    data = b"before\n" + b"x" * (30 << 20) + b"\nafter\n"
    chunks = list(streams.chunks(written(tmp_path, data), size=1 << 20))
    assert max(len(c.data) for c in chunks) < 4 << 20
    assert [line for c in chunks if c.data for line in texts(c)] == ["before", "after"]
    assert sum(c.dropped for c in chunks) == 1
    assert chunks[-1].end == len(data)


def test_a_long_line_within_a_chunk_is_dropped() -> None:
    """The bound is the line's, not the chunk's."""
    frame, dropped = streams.lines(Chunk(0, b"x" * (streams.LONGEST_LINE + 1) + b"\nshort\n", 0, 0))
    assert (frame["line"].to_list(), dropped) == (["short"], 1)


def test_an_endless_last_line_is_read_again_from_its_start(tmp_path: Path) -> None:
    """It may still end, so its chunk begins where the line begins."""
    chunks = list(streams.chunks(written(tmp_path, b"a\n" + b"x" * (3 << 20)), size=1 << 20))
    assert (chunks[-1].offset, chunks[-1].whole, chunks[-1].dropped) == (2, False, 1)


def test_probing_asks_for_the_bytes_before_a_place(tmp_path: Path) -> None:
    """Same bytes, same fingerprint; a file that is too short has none."""
    path = written(tmp_path, TEXT)
    assert streams.probe(path, 9000) == (streams.fingerprint(TEXT[9000 - streams.TAIL : 9000]), True)
    assert streams.probe(path, len(TEXT)) == (streams.fingerprint(TEXT[-streams.TAIL :]), False)
    assert streams.probe(path, len(TEXT) + 1) == (None, False)


def rejoined(text: str, size: int) -> list[tuple[int, str, bool]]:
    """Chunks of `size` bytes of lines, cut where no line ends with a plus; as offset, text and whole."""

    def whole(data: bytes) -> int:
        kept = data.splitlines(keepends=True)
        while kept and kept[-1].rstrip().endswith(b"+"):
            kept.pop()
        return sum(map(len, kept))

    cut = [text[at : at + size] for at in range(0, len(text), size)]
    chunks = [streams.Chunk(size * n, part.encode(), size * n + len(part), n) for n, part in enumerate(cut)]
    return [(c.offset, c.data.decode(), c.whole) for c in streams.rejoined(iter(chunks), whole)]


def test_records_of_several_lines_stay_in_one_chunk() -> None:
    """A short chunk waits whole, a long one gives up its last lines; nothing is lost or moved."""
    line = "x" * 1022
    text = f"{line}\n" * 3 + f"{line[1:]}+\n" * 3 + f"{line}\n" * 6
    for size in (1023, 2046, 4092, 5115):
        found = rejoined(text, size)
        assert "".join(data for _, data, _ in found) == text
        assert all(text[offset:].startswith(data) for offset, data, _ in found)
        assert all(not data.endswith("+\n") for _, data, _ in found)


def test_a_record_that_goes_on_at_the_end_is_unfinished() -> None:
    """It is read again when the file has grown."""
    line = "x" * 5000
    assert rejoined(f"{line}\na+\n", 1 << 20) == [(0, f"{line}\n", True), (5001, "a+\n", False)]
