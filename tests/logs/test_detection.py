"""What a file is shows in its lines: wrappers, then the format inside."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import polars as pl
import pytest

from prewarm.errors import UnknownFormat, UnreadableInput
from prewarm.logs import detection, wrappers
from prewarm.logs.formats import Format, Hints, Parsed, combined, distribution, registered, share

INNER = '10.0.0.7 - - [24/Nov/2026:08:15:02 +0000] "GET /v2/ HTTP/1.1" 401 87 "" "skopeo/1.9.3"'
APP = 'time="2026-11-24T08:15:02Z" level=info msg="response completed" go.version=go1.27 http.request.id=1'
HINTS = Hints("Asia/Kolkata", written=datetime(2026, 11, 24, 12, tzinfo=UTC))
EVENT = "2026-11-24T08:15:02Z,nginx"
AT = "2026-11-24T09:15:02.311204118Z"
WRAPPED = {
    "docker-json-file": json.dumps({"log": INNER + "\n", "stream": "stdout", "time": AT}),
    "cri": f"{AT} stdout F {INNER}",
    "fluentbit": json.dumps({"date": 1795511702.311204, "log": INNER}),
    "json": json.dumps({"textPayload": INNER, "timestamp": AT}),
}


def detected(*lines: str) -> tuple[str, wrappers.Chain]:
    """Name of the format, and the wrappers."""
    format, chain = detection.detect(pl.Series(list(lines)), HINTS, registered())
    return format.name, chain


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-24T01:58:43.094329905Z image pull nginx:1.25 (name=nginx)",
        '{"time":"2026-11-24T08:15:02Z","msg":"x","http.request.id":"1","go.version":"go1.27"}',
        '{"id":12,"op_time":"2026-11-24T09:15:02.311Z","operation":"pull","resource":"a/b:1","x":"of: y"}',
        '10.20.1.17 - k8s [24/Nov/2026:09:15:02 +0000] "GET /v2/ HTTP/1.1" 200 - 0 12 "cri/1" [qtp1-925]',
        f"<30>Nov 24 09:15:02 proxy[1]: {INNER}",
    ],
)
def test_what_a_line_begins_with_is_no_wrapper(line: str) -> None:
    """Times and names of the line's own stay with it, whatever is put before it."""
    bare, own = detected(line)
    assert own in ((), ("syslog",))
    for prefix in ("registry-1  | ", "[pod/registry-0/registry] ", "registry-0 registry ", f"{AT} "):
        format, chain = detected(prefix + line)
        assert format == bare
        assert chain[0] in ("prefix", "name")
        assert chain[1:] == own
    for wrap in (WRAPPED["fluentbit"], WRAPPED["json"], WRAPPED["docker-json-file"]):
        record = {key: line if value.strip() == INNER else value for key, value in _texts(wrap).items()}
        assert detected(json.dumps(record))[0] == bare


def _texts(record: str) -> dict[str, str]:
    return {key: str(value) for key, value in json.loads(record).items()}


def test_json_inside_json() -> None:
    """Marks of the inner line do not hide what is around it."""
    inner = json.dumps(
        {"time": AT, "msg": "response completed", "http.request.id": "1", "go.version": "go1.27"}
    )
    assert detected(json.dumps({"log": inner + "\n", "stream": "stderr", "time": AT})) == (
        "distribution",
        ("docker-json-file",),
    )


def test_lines_that_need_no_peeling() -> None:
    """What a format reads as it stands is not taken apart."""
    assert detected(INNER) == ("combined", ())
    assert detected(f"{AT},docker.io/library/nginx") == ("events", ())


def test_formats_that_fit_nothing_are_named_for_what_is_inside() -> None:
    """The first line shown is the peeled one."""
    with pytest.raises(UnknownFormat, match="the first is 'hello'"):
        detected(f"{AT} stdout F hello")


def test_only_the_named_format_is_tried() -> None:
    """Its wrappers are found all the same."""
    found = detection.detect(pl.Series([WRAPPED["cri"], f"{AT} stdout F {APP}"]), HINTS, [combined.FORMAT])
    assert found == (combined.FORMAT, ("cri",))


class _Timeless:
    """A format whose lines have no time."""

    name, summary, tells, finished_pulls, needs_stamp = "timeless", "", frozenset[str](), False, True

    def sniff(self, lines: pl.Series) -> float:
        return float(lines.str.contains("^GET").mean() or 0)  # type: ignore[arg-type]

    def refuse(self, lines: pl.Series) -> str | None:
        return "no time"

    def parse(self, lines: pl.DataFrame, hints: Hints) -> Parsed:
        return Parsed()


def test_lines_without_a_time_need_a_wrapper() -> None:
    """One that tells it; another format that fits is taken before, and else there is a reason."""
    formats: list[Format] = [_Timeless(), combined.FORMAT]
    assert detection.detect(pl.Series([f"{AT} stdout F GET /"]), HINTS, formats) == (formats[0], ("cri",))
    assert detection.detect(pl.Series(["GET /", INNER]), HINTS, formats) == (combined.FORMAT, ())
    with pytest.raises(UnreadableInput, match="timeless: no time"):
        detection.detect(pl.Series(["GET /"]), HINTS, formats)


def test_the_mix_of_docker_logs_stays_together() -> None:
    """Two families in one container's output are one format."""
    lines = [f"{AT} stdout F {INNER}", f"{AT} stderr F {APP}"]
    assert detected(*lines) == (distribution.FORMAT.name, ("cri",))


def test_certain_wrappers_are_found_whatever_is_inside() -> None:
    """For a format that is named because nobody would tell it."""
    lines = pl.Series([f"{AT} stdout F <30>Nov 24 09:15:02 proxy[1]: registry-1  | hello"])
    assert detection.certain(lines, HINTS) == ("cri", "syslog")


@pytest.mark.parametrize(("chain", "expected"), [(("cri",), True), ((), False), (("syslog",), False)])
def test_a_guess_is_checked(chain: wrappers.Chain, expected: bool) -> None:
    """Neither too many wrappers nor too few stand around these lines."""
    lines = pl.Series([WRAPPED["cri"]] * 3)
    assert detection.confirmed(lines, chain, combined.FORMAT, HINTS, registered()) is expected


def test_a_guess_gives_way_to_a_format_that_says_more() -> None:
    """Though the lines fit the one that was guessed."""
    nexus = '10.20.1.17 - k8s [24/Nov/2026:09:15:02 +0000] "GET /v2/ HTTP/1.1" 200 1791 12 "cri/1" [qtp1-925]'
    assert not detection.confirmed(pl.Series([nexus]), (), combined.FORMAT, HINTS, registered())
    assert detection.confirmed(pl.Series([nexus]), (), combined.FORMAT, HINTS, [combined.FORMAT])


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ([INNER], "combined"),
        ([APP], "distribution"),
        ([INNER] * 50 + [APP], "distribution"),
        (["timestamp,image", EVENT], "events"),
        (["timestamp,image"], "events"),
        (["", "garbage", INNER], "combined"),
        (["panic: x"] * 8 + [APP] * 2, "distribution"),
    ],
)
def test_the_format_that_fits_most_lines_wins(lines: list[str], name: str) -> None:
    """Application lines make a mix Distribution's; noise does not hide a format."""
    assert detected(*lines) == (name, ())


def test_lines_of_no_format_name_the_closest() -> None:
    """One line that says what came closest, if anything did, and what the log starts with."""
    with pytest.raises(UnknownFormat, match=r"of 3 lines none fits any .*'hello'") as caught:
        detected("hello", "wor\x1bld", "!")
    assert "\n" not in str(caught.value)
    with pytest.raises(UnknownFormat, match=r"of 21 lines combined fits 5%.*'hello'"):
        detected(*["hello"] * 20, INNER)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (INNER.replace(" - - ", " "), r"combined fits 0% \(line 1: no ident after its client where"),
        (
            INNER.replace("- - [24/Nov/2026:08:15:02 +0000]", "ci - [2026-11-24T08:15:02Z]").split(" 401")[0],
            "combined fits 0% .*no status after its request",
        ),
        (
            INNER.replace("24/Nov/2026:08:15:02 +0000", "x"),
            r"combined fits 0% \(line 1: no time after its user",
        ),
        (INNER.replace(" 401", " ok"), "combined fits 0% .*no status after its request"),
        (
            json.dumps({"ts": 1795511702.3, "msg": "x", "request": {"method": "GET"}}),
            r"nginx-json fits 0% \(line 1: no status \(a key such as status or responseStatusCode\)",
        ),
        (json.dumps({"RequestPath": "/v2/", "DownstreamStatus": 200}), "traefik fits 0% .*no time"),
        (
            "10.20.1.17 - k8s [24/Nov/2026:09:15:02] 12 cri/1 [qtp1-925]",
            "(combined|nexus) fits 0% .*no request after its time",
        ),
    ],
)
def test_what_the_first_line_lacks_is_told(line: str, reason: str) -> None:
    """The field that would have to be there, for the formats that come closest."""
    with pytest.raises(UnknownFormat, match=reason) as caught:
        detected(*[line] * 3)
    assert "\n" not in str(caught.value)


def test_the_line_that_does_not_fit_is_shown() -> None:
    """Not one that does."""
    with pytest.raises(UnknownFormat, match=r"combined fits 5% \(line 2: .*; line 2 is 'hello'"):
        detected(INNER, *["hello"] * 20)


def test_no_lines_are_no_format() -> None:
    """An empty file says so."""
    with pytest.raises(UnknownFormat, match="no lines"):
        detection.detect(pl.Series([], dtype=pl.String), HINTS, registered())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("\x1b[36mINFO\x1b[0m[0000] redis not configured", "tty: false"),
        ('10.0.0.7 - "GET /v2/ HTTP/1.1" 401 76 "-" "docker/27" 0.004 0.004 .', "no time"),
    ],
)
def test_known_lines_that_cannot_be_used_say_why(line: str, reason: str) -> None:
    """The reason teaches how to log the time."""
    with pytest.raises(UnreadableInput, match=reason):
        detected(*[line] * 3)


class _Narrow:
    """A format that fits some of the lines that the combined one fits."""

    name, summary, tells, finished_pulls = "narrow", "", frozenset[str](), False

    def sniff(self, lines: pl.Series) -> float:
        return share(lines.str.contains("skopeo"))

    def refuse(self, lines: pl.Series) -> str | None:
        return None

    def parse(self, lines: pl.DataFrame, hints: Hints) -> Parsed:
        return Parsed()


@pytest.mark.parametrize(("others", "name"), [(0, "narrow"), (4, "narrow"), (9, "combined")])
def test_the_more_specific_of_two_that_fit_wins(others: int, name: str) -> None:
    """Unless it leaves more than half of the lines to the other."""
    lines = pl.Series([INNER] * 5 + [INNER.replace("skopeo", "crane")] * others)
    assert detection.fitting(lines, [combined.FORMAT, _Narrow()]).format.name == name


def test_a_few_lines_of_a_family_are_enough() -> None:
    """Three; one among many may be there by chance."""
    assert detected(*["starting up"] * 300, *[INNER] * 3) == ("combined", ())
    with pytest.raises(UnknownFormat):
        detected(*["starting up"] * 300, *[INNER] * 2)


def test_a_long_start_up_hides_no_format() -> None:
    """The first lines are looked at first, not only."""
    assert detected(*["starting up"] * 600, *[INNER] * 400) == ("combined", ())
