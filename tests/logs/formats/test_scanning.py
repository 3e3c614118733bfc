"""Scanning combined lines as CSV says what reading them line by line says."""

import warnings
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from prewarm.logs.formats import Hints, Parsed, combined
from prewarm.logs.streams import Chunk, lines

GOLDENS = Path(__file__).parents[2] / "goldens"
FAMILY = ("nginx-combined", "nginx-main-xff", "distribution-2.8-access-combined", "varnishncsa")
AGENT = "docker/20.10.24+dfsg1 go/go1.19.8 os/linux"
LINE = '10.0.0.7 - - [24/Nov/2026:01:58:42 +0000] "%s" 200 1234 "-" "%s"'
PULL = LINE % ("GET /v2/team/app/manifests/1.2 HTTP/1.1", AGENT)


def scanned(text: str, offset: int = 0) -> tuple[Parsed, int] | None:
    return combined.FORMAT.scan(text.encode(errors="surrogatepass"), offset)


def read(text: str, offset: int = 0) -> tuple[Parsed, int]:
    data = text.encode(errors="surrogatepass")
    frame, _ = lines(Chunk(offset, data, offset + len(data), 0))
    return combined.FORMAT.parse(frame, Hints()), len(frame)


def assert_same(text: str, offset: int = 0) -> bool:
    """Whether it was scanned at all; if so it must say what reading says."""
    found = scanned(text, offset)
    if found is None:
        return False
    (quick, counted), (slow, there) = found, read(text, offset)
    assert_frame_equal(quick.accesses, slow.accesses)
    assert (quick.ignored, quick.malformed, quick.examples, counted) == (
        slow.ignored,
        slow.malformed,
        slow.examples,
        there,
    )
    return True


def test_ordinary_lines_are_scanned_and_say_the_same() -> None:
    assert assert_same(f"{PULL}\n" * 3, offset=700)
    found = scanned(f"{PULL}\n")
    assert found is not None
    assert found[0].accesses.select("client", "repository", "reference", "status", "bytes").row(0) == (
        "10.0.0.7",
        "team/app",
        "1.2",
        200,
        1234,
    )


@pytest.mark.parametrize("name", FAMILY)
def test_captured_logs_say_the_same_either_way(name: str) -> None:
    for line in (GOLDENS / f"{name}.log").read_text().splitlines():
        assert_same(f"{PULL}\n" * 9 + f"{line}\n")


def test_lines_of_another_shape_between_ordinary_ones_are_read_the_slow_way() -> None:
    others = ["no access line", "", LINE % ("GET / HTTP/1.1", "curl/8"), LINE % ("\\x16\\x03", "-")]
    for other in others:
        assert assert_same(f"{PULL}\n" * 9 + f"{other}\n{PULL}\n")


def test_a_forwarded_client_names_the_client() -> None:
    text = f'{PULL} "203.0.113.9, 10.0.0.1"\n{PULL} "-"\n'
    found = scanned(text)
    assert found is not None
    assert found[0].accesses["client"].to_list() == ["203.0.113.9", "10.0.0.7"]
    assert assert_same(text)


@pytest.mark.parametrize(
    "rest",
    [
        ' "10.0.0.1" 0.123 HIT',
        ' "10.0.0.1, 10.0.0.2" "-" "0.123"',
        ' "10.0.0.1',  # cut short: no address
        ' "é" rt=0.250 "10.0.0.1" ',
        " 612 0.004 [kube-registry-80] [] 10.0.0.1:5000 44 0.004 200 " + "0f" * 16,
        ' "a" "b" "c" "d"',  # more parts than are kept
    ],
)
def test_what_stands_after_the_agent_means_the_same_either_way(rest: str) -> None:
    assert assert_same(f"{PULL}\n" * 9 + f"{PULL}{rest}\n")


def test_a_common_line_without_referer_and_agent_is_scanned() -> None:
    common = PULL[: PULL.index(' "-"')]
    assert assert_same(f"{common}\n" * 3)


def test_an_escaped_quote_leaves_the_other_lines_to_be_scanned() -> None:
    for text in ('a \\"b\\" c', "a\\\\", '\\" "10.0.0.1\\"'):
        assert assert_same(f"{PULL}\n" * 9 + LINE % (FULL, text) + "\n")


@pytest.mark.parametrize(
    "text",
    [
        PULL,  # no newline: the line may still grow
        f"{PULL}\r\n",
        f"\ufeff{PULL}\n",
        f"\0{PULL}\n",
        f"x^{PULL}\n",  # zlib, says polars
        LINE % ('GET /v2/a\\"b HTTP/1.1', AGENT) + "\n",
        f'{PULL}\nunbalanced "quote\n{PULL}\n',
        "free text\n" * 3 + f"{PULL}\n",
    ],
)
def test_what_csv_would_read_otherwise_is_left_to_the_slow_way(text: str) -> None:
    assert scanned(text) is None


def test_bytes_that_are_no_utf_8_are_left_to_the_slow_way() -> None:
    assert combined.FORMAT.scan(PULL.encode() + b'\xff"\n', 0) is None


FULL = "GET /v2/a/manifests/1 HTTP/1.1"
DIGEST = "sha256:" + "a" * 64
_PIECES = st.sampled_from(
    [
        *'" -[]\\:/?=&%+.,',
        *("\\x22", '""', "10.0.0.7", "::1", "-", "john doe", "é", "\u2028", "NaN", "null", "GET", "/v2/"),
        *("[24/Nov/2026:01:58:42 +0000]", "[30/Feb/2026:01:58:42 +0000]", "200", "999", "2e2", "9" * 20),
        *(f'"{FULL}"', f'"HEAD /v2/b/c/blobs/{DIGEST}"', '"-"', PULL, f"{PULL} "),
    ]
)
_LINES = st.lists(_PIECES, max_size=9).flatmap(
    lambda pieces: st.sampled_from([" ".join(pieces), "".join(pieces)])
)


@given(st.lists(_LINES, max_size=6))
def test_whatever_stands_between_ordinary_lines_means_the_same_either_way(others: list[str]) -> None:
    ordinary = f"{PULL}\n" * 40
    assert_same(ordinary + "".join(f"{other}\n{PULL}\n" for other in others), offset=12345)


@given(
    st.builds(
        '{} - {} [24/Nov/2026:01:58:42 {}] "{}" {} {} "{}" "{}"{}\n'.format,
        st.sampled_from(["10.0.0.7", "::1", "-", "host.example", ""]),
        st.sampled_from(["-", "ann", "ann lee", ""]),
        st.sampled_from(["+0000", "-0330", "0000", ""]),
        st.sampled_from(
            [FULL, "GET /", "-", "", "PUT /v2/a/blobs/uploads/ HTTP/2", "GET /v2/%61/tags/list?n=1"]
        ),
        st.sampled_from(["200", "0", "20", "1000", "-", " "]),
        st.sampled_from(["5", "-", "-1", "x", "007", "9" * 20]),
        st.sampled_from(["", "-", "http://a/"]),
        st.sampled_from(["", "-", AGENT, "a  b", "\\x41"]),
        st.sampled_from(["", " ", ' "-"', ' "10.0.0.1"', ' "a, b" "c"', " 7", ' "10.0.0.1, 2"']),
    )
)
def test_every_value_of_a_field_means_the_same_either_way(line: str) -> None:
    assert_same(f"{PULL}\n" * 9 + line)


def test_an_example_of_each_kind_of_line_set_aside_is_kept() -> None:
    found = scanned(f"{PULL}\n" + LINE % ("GET /metrics HTTP/1.1", "curl/8") + "\n")
    assert found is not None
    assert list(found[0].ignored) == ["outside the registry API"]
    assert "GET /metrics" in found[0].examples["outside the registry API"]
    assert isinstance(found[0].accesses, pl.DataFrame)


def test_lines_with_more_words_than_columns_warn_nobody() -> None:
    """Polars warns, on stderr, of rows that join such lines; they are read the slow way."""
    words = "Registry does not implement RepositoryRemover. Will not be able to delete repos and tags"
    application = "".join(
        f'time="2026-11-24T08:48:32Z" level=warning msg="{text}" go.version=go1.19.8\n'
        for text in (words, "listening on 127.0.0.1:5000")
    )

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert scanned(f"{PULL}\n" + application) is None

    assert said == []
