"""Peel what shippers put around a line: container runtimes, syslog, journald, log collectors.

A wrapper may stand around another one: they are peeled from the outside in. A line that a wrapper does not
fit stays as it is. What a wrapper adds that counts is its time, for lines that carry none: the column
`stamp`; the innermost wins. Long lines that a container runtime cut are joined again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import polars as pl

from prewarm.logs.accesses import TIMESTAMP
from prewarm.logs.formats import Format, Hints, Parsed, ndjson, stamps

LOOK_BACK = 256
"""Lines at the end of a chunk among which the beginning of a cut record is looked for."""

Chain = tuple[str, ...]
"""Names of wrappers, the outermost first."""


@dataclass(frozen=True, slots=True)
class Wrapper:
    """`fits` tells which lines it stands around; `peel` takes it off lines, which `fits` may not hold for.

    `certain`: nothing else looks like it. Others are peeled only where no format fits what they stand
    around. `piece` reads (stream, whether it goes on) of a raw line, for wrappers that cut long lines.
    """

    name: str
    fits: Callable[[pl.Expr], pl.Expr]
    peel: Callable[[pl.DataFrame, Hints], pl.DataFrame]
    certain: bool = True
    piece: Callable[[bytes], tuple[str, bool] | None] | None = None


def shares(lines: pl.Series) -> dict[str, float]:
    """The share of these lines that each wrapper stands around."""
    fits = (each.fits(pl.col("line")).mean().alias(name) for name, each in WRAPPERS.items())
    found = lines.to_frame("line").select(fits).row(0, named=True)
    return {name: each or 0.0 for name, each in found.items()}


def peel(lines: pl.DataFrame, chain: Chain, hints: Hints) -> pl.DataFrame:
    """`lines` (offset, line) without the wrappers of `chain`; with `stamp` if there was one.

    A record that was cut has the offset of its first piece; one that stands for several
    ("message repeated") is there as often.
    """
    for name in chain:
        lines = WRAPPERS[name].peel(lines, hints)
    return lines


def inside(lines: pl.DataFrame, chain: Chain, hints: Hints, format: Format) -> pl.DataFrame:
    """What `format` is to parse: `lines` peeled, with `stamp` for a format whose lines have no time."""
    return for_format(peel(lines, chain, hints), format)


def for_format(peeled: pl.DataFrame, format: Format) -> pl.DataFrame:
    """`peeled` lines as `format` parses them: `stamp` is for those whose lines have no time."""
    return peeled if getattr(format, "needs_stamp", False) else peeled.select("offset", "line")


def keyed(parsed: Parsed, lines: pl.DataFrame, chain: Chain) -> Parsed:
    """`parsed`, with journald's id of the entry as the key of accesses that have none of their own.

    `lines` are those of the file. Two exports of one journal that overlap then tell of it once.
    """
    if not chain or chain[0] != "journald" or parsed.accesses["key"].null_count() == 0:
        return parsed
    cursor = ndjson.decode(lines["line"], ["__CURSOR"])["__CURSOR"].str.extract(_CURSOR, 1)
    ids = lines.select("offset", cursor.alias("_key")).unique("offset")
    known = parsed.accesses.join(ids, on="offset", how="left", maintain_order="left")
    keys = known.with_columns(pl.coalesce("key", "_key").alias("key"))
    return replace(parsed, accesses=keys.select(parsed.accesses.columns))


_CURSOR = r"^(s=[0-9a-f]+;i=[0-9a-f]+);"  # file and number of the entry; the rest is where and when


def unfinished(data: bytes, chain: Chain) -> int:
    """Where in `data`, whole lines of a file, the records begin that go on after it; its length for none."""
    cutting = [depth for depth, name in enumerate(chain) if WRAPPERS[name].piece]
    if not cutting or not data:
        return len(data)
    starts = _last_lines(data)
    texts = [data[start:end] for start, end in pairwise([*starts, len(data)])]
    begins = [_goes_on_from(starts, texts, chain[cutting[0]]) if cutting[0] == 0 else None]
    if cutting[-1] > 0:
        lines = pl.DataFrame({"offset": starts, "line": [text.decode(errors="replace") for text in texts]})
        lines = lines.with_columns(pl.col("line").str.strip_chars_end("\r\n"))
        for depth, name in enumerate(chain[: cutting[-1] + 1]):
            if depth in cutting and depth > 0:
                inner = [text.encode() for text in lines["line"]]
                begins.append(_goes_on_from(lines["offset"].to_list(), inner, name))
            lines = WRAPPERS[name].peel(lines, Hints())
    return min((begin for begin in begins if begin is not None), default=len(data))


def _last_lines(data: bytes) -> list[int]:
    """Where the last LOOK_BACK lines begin."""
    starts: list[int] = []
    end = len(data)
    while end > 0 and len(starts) < LOOK_BACK:
        end = data.rfind(b"\n", 0, end - 1) + 1
        starts.append(end)
    return starts[::-1]


def _goes_on_from(starts: list[int], texts: list[bytes], name: str) -> int | None:
    """Where the first record begins that the last of these lines do not end."""
    piece = WRAPPERS[name].piece
    assert piece is not None
    begins = None
    closed: dict[str, bool] = {}
    for start, text in zip(reversed(starts), reversed(texts), strict=True):
        told = piece(text)
        if told is not None and not closed.get(told[0], False):
            stream, goes_on = told
            closed[stream] = not goes_on
            begins = start if goes_on else begins
    return begins


def cuts(chain: Chain) -> bool:
    """Whether one of the wrappers cuts long lines."""
    return any(WRAPPERS[name].piece is not None for name in chain)


# --- objects: one JSON record a line ------------------------------------------------------------------


def _object(
    name: str,
    needs: Sequence[str],
    text: Sequence[str],
    times: Sequence[str],
    stamp: Callable[[pl.Expr], pl.Expr] = stamps.zoned,
    one_of: Sequence[str] = (),
    certain: bool = True,
) -> Wrapper:
    """A JSON object with the keys `needs` (and at least one of `one_of`), the line under one of `text`.

    Its time is under one of `times`.
    """

    def fits(line: pl.Expr) -> pl.Expr:
        found = [line.str.starts_with("{"), *(line.str.contains(f'"{key}"', literal=True) for key in needs)]
        some = [line.str.contains_any([f'"{key}"' for key in one_of])] if one_of else []
        return pl.all_horizontal(*found, *some)

    def peel(lines: pl.DataFrame, hints: Hints) -> pl.DataFrame:
        decoded = ndjson.decode(lines["line"], [*text, *times])
        inner = pl.coalesce(text).str.strip_chars_end("\r\n")
        inside = (
            lines.select(fits(pl.col("line"))).to_series() & decoded.select(inner.is_not_null()).to_series()
        )
        rows = decoded.select(_=inner, stamp=pl.when(inside).then(stamp(pl.coalesce(times))))
        line = _from_bytes(rows["_"]).zip_with(inside, lines["line"])
        return _peeled(lines, line, rows["stamp"])

    return Wrapper(name, fits, peel, certain)


def _from_bytes(lines: pl.Series) -> pl.Series:
    """journald prints what is no UTF-8, or holds control characters, as an array of bytes."""
    coded = lines.filter(lines.str.contains(r"^\[[0-9]{1,3}(?:, ?[0-9]{1,3})*\]$")).unique()
    if coded.is_empty():
        return lines
    texts = [bytes(min(byte, 255) for byte in json.loads(each)).decode(errors="replace") for each in coded]
    return lines.replace(coded, pl.Series(texts, dtype=pl.String))


def _peeled(lines: pl.DataFrame, line: pl.Series, stamp: pl.Series) -> pl.DataFrame:
    """`lines` with what was inside, and the wrapper's time where it told one."""
    outer = pl.col("stamp") if "stamp" in lines.columns else pl.lit(None, TIMESTAMP)
    return lines.with_columns(line.alias("line"), pl.coalesce(stamp, outer).alias("stamp"))


# --- container runtimes: long lines are cut --------------------------------------------------------------


_JSON_FILE = _object("docker-json-file", ("log", "time"), ("log",), ("time",))


def _peel_json_file(lines: pl.DataFrame, hints: Hints) -> pl.DataFrame:
    """A record of docker's goes on while its text does not end with a newline."""
    decoded = ndjson.decode(lines["line"], ("log", "stream", "time"))
    log = decoded["log"]
    goes_on = log.is_not_null() & ~log.str.ends_with("\n")
    peeled = _JSON_FILE.peel(lines, hints)
    return _joined(peeled, decoded["stream"], goes_on.fill_null(False))


def _json_file_piece(line: bytes) -> tuple[str, bool] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    log = record.get("log") if isinstance(record, dict) else None
    return (str(record.get("stream")), not log.endswith("\n")) if isinstance(log, str) else None


_CRI = r"^(?P<time>\d{4}-\d\d-\d\dT\S+) (?P<stream>stdout|stderr) (?P<tag>[PF])(?::\S*)? (?P<text>.*)$"
_CRI_PIECE = re.compile(rb"\d{4}-\d\d-\d\dT\S+ (stdout|stderr) ([PF])(?::\S*)? ")


def _peel_cri(lines: pl.DataFrame, hints: Hints) -> pl.DataFrame:
    found = lines.select(pl.col("line").str.extract_groups(_CRI).alias("_")).unnest("_")
    text = found["text"].zip_with(found["text"].is_not_null(), lines["line"])
    peeled = _peeled(lines, text, found.select(stamps.rfc3339(pl.col("time"))).to_series())
    return _joined(peeled, found["stream"], (found["tag"] == "P").fill_null(False))


def _cri_piece(line: bytes) -> tuple[str, bool] | None:
    found = _CRI_PIECE.match(line)
    return (found[1].decode(), found[2] == b"P") if found else None


def _joined(lines: pl.DataFrame, stream: pl.Series, goes_on: pl.Series) -> pl.DataFrame:
    """Records whose pieces follow each other in one stream, in one line; most have one piece."""
    if not goes_on.any():
        return lines
    marked = lines.with_columns(stream.alias("_stream"), goes_on.alias("_goes_on")).with_columns(
        _record=(~pl.col("_goes_on").shift(1, fill_value=False)).cum_sum().over("_stream")
    )
    others = [pl.col(name).first() for name in lines.columns if name != "line"]
    joined = marked.group_by("_stream", "_record", maintain_order=True).agg(
        pl.col("line").str.join(), *others
    )
    return joined.select(lines.columns)


# --- text before the line -----------------------------------------------------------------------------------


_BSD = r"[A-Z][a-z]{2} [ 0-9][0-9] \d\d:\d\d:\d\d(?:\.\d{1,9})?"
_ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)"
_FULL = (
    r"(?:[A-Z][a-z]{2} )?(?P<full>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,9})?) (?P<zone>[A-Z]{2,5}|[+-]\d\d)"
)
_UNIX = r"\d{9,10}\.\d{1,6}"
_STAMP = rf"(?:(?P<bsd>{_BSD})|(?P<iso>{_ISO})|{_FULL}|(?P<unix>{_UNIX}))"
_TAG = r"[^\s\[\]{}\"]+(?:\[[^\]\s]*\])?"
_HOST = r"[^\s{}\"]*[^\s:{}\"]"
_STRUCTURED = r'(?:-|(?:\[(?:[^"\]]|"(?:[^"\\]|\\.)*")*\])+)'
_SYSLOG = rf"^(?:<\d{{1,3}}>)?{_STAMP} (?:{_HOST} )?{_TAG}:(?: (?P<text>.*))?$"
_SYSLOG_5424 = rf"^<\d{{1,3}}>\d (?P<iso>{_ISO}|-) \S+ \S+ \S+ \S+ {_STRUCTURED} ?(?P<text>.*)$"
_REPEATED = r"^message repeated (?P<times>\d{1,9}) times: \[ ?(?P<text>.*)\]$"
_MOST_REPEATED = 100_000


def _peel_syslog(lines: pl.DataFrame, hints: Hints) -> pl.DataFrame:
    """BSD syslog (RFC 3164) as docker, rsyslog and journalctl write it, and RFC 5424."""
    line = pl.col("line")
    found = lines.select(
        line.str.extract_groups(_SYSLOG).alias("old"), line.str.extract_groups(_SYSLOG_5424).alias("new")
    )
    old, new = found["old"].struct.unnest(), found["new"].struct.unnest()
    text = new["text"].zip_with(new["text"].is_not_null(), old["text"])
    times = old.with_columns(
        pl.coalesce("iso", new["iso"]).alias("iso"),
        stamps.yearless(old["bsd"], hints.written, hints.timezone).alias("bsd"),
    )
    full = pl.col("full")
    stamp = times.select(
        pl.coalesce(
            stamps.rfc3339(pl.col("iso")),
            "bsd",
            pl.when(pl.col("zone") == "UTC").then(stamps.naive(full, "UTC")),
            stamps.naive(full, hints.timezone),
            stamps.epoch(pl.col("unix")),
        )
    ).to_series()
    inside = text.zip_with(text.is_not_null(), lines["line"]).str.strip_prefix("\ufeff")
    return _repeated(_peeled(lines, inside, stamp))


def _repeated(lines: pl.DataFrame) -> pl.DataFrame:
    """rsyslog writes that a line came N times more instead of N lines (`$RepeatedMsgReduction`)."""
    if not lines["line"].str.starts_with("message repeated ").any():
        return lines
    told = lines.with_columns(pl.col("line").str.extract_groups(_REPEATED).alias("_")).unnest("_")
    times = pl.col("times").cast(pl.UInt32, strict=False).clip(1, _MOST_REPEATED).fill_null(1)
    return (
        told.with_columns(pl.coalesce("text", "line").alias("line"), times)
        .select(pl.col(lines.columns).repeat_by("times"))
        .explode(lines.columns)
    )


_SVLOGD = r"^(?P<time>\d{4}-\d\d-\d\d_\d\d:\d\d:\d\d\.\d{1,9}) (?P<text>.*)$"


def _peel_svlogd(lines: pl.DataFrame, hints: Hints) -> pl.DataFrame:
    """What runit's svlogd puts before the lines of GitLab's packages, in UTC."""
    found = lines.select(pl.col("line").str.extract_groups(_SVLOGD).alias("_")).unnest("_")
    text = found["text"].zip_with(found["text"].is_not_null(), lines["line"])
    stamp = pl.col("time").str.to_datetime("%Y-%m-%d_%H:%M:%S%.f", time_unit="us", strict=False)
    return _peeled(lines, text, found.select(stamps.local(stamp, "UTC")).to_series())


_NAME = (  # compose and swarm; kubectl logs --prefix; stern
    r"(?:(?:\x1b\[[0-9;]*m)*[A-Za-z0-9][A-Za-z0-9_.@-]*\s*\|(?:\x1b\[[0-9;]*m)* ?(?:\x1b\[[0-9;]*m)*"
    r"|\[pod/[^\]\s]+\] "
    r"|(?:[a-z0-9][a-z0-9-]* )?[a-z0-9][a-z0-9.-]*-[a-z0-9]+ [a-z0-9][a-z0-9-]* (?:› )?)"
)
_LABELS = r'\{[A-Za-z_]\w*="[^"]*"(?:, ?[A-Za-z_]\w*="[^"]*")*\} '  # logcli
_PRIORITY = r"<\d{1,3}>"  # alone or before a time, as HAProxy logs to stdout (`format short`, `timed`)
_PREFIX = rf"^(?:{_NAME}(?:{_ISO} )?|(?:{_PRIORITY})?{_ISO} (?:{_LABELS})?|{_PRIORITY})"


def _prefix(name: str, pattern: str) -> Wrapper:
    """A name, or a time of --timestamps, or both: the line follows."""

    def peel(lines: pl.DataFrame, hints: Hints) -> pl.DataFrame:
        before = lines["line"].str.extract(f"({pattern})", 1).fill_null("")
        text = lines["line"].str.slice(before.str.len_chars())
        stamp = before.str.extract(rf"({_ISO}) (?:\{{.*)?$", 1)
        return _peeled(lines, text, pl.select(stamps.rfc3339(pl.lit(stamp))).to_series())

    return Wrapper(name, _begins(pattern), peel, certain=False)


def _begins(pattern: str) -> Callable[[pl.Expr], pl.Expr]:
    return lambda line: line.str.contains(pattern)


def _microseconds(text: pl.Expr) -> pl.Expr:
    return text.cast(pl.Int64, strict=False).cast(TIMESTAMP)


_TEXT_KEYS = ("log", "message", "MESSAGE", "line", "textPayload", "_raw")
_TIME_KEYS = ("@timestamp", "timestamp", "time", "ts", "_time")

WRAPPERS: dict[str, Wrapper] = {
    wrapper.name: wrapper
    for wrapper in (
        Wrapper("docker-json-file", _JSON_FILE.fits, _peel_json_file, piece=_json_file_piece),
        Wrapper("cri", _begins(_CRI), _peel_cri, piece=_cri_piece),
        _object(
            "journald",
            ("__REALTIME_TIMESTAMP", "MESSAGE"),
            ("MESSAGE",),
            ("__REALTIME_TIMESTAMP",),
            _microseconds,
        ),
        _object("loki", ("labels", "line", "timestamp"), ("line",), ("timestamp",)),
        _object("vector", ("source_type", "message", "timestamp"), ("message",), ("timestamp",)),
        _object(
            "filebeat",
            ("@timestamp", "message"),
            ("message",),
            ("@timestamp",),
            one_of=("@metadata", "input", "agent"),
        ),
        _object(
            "fluentbit", ("date",), ("log", "message"), ("date",), one_of=("log", "message"), certain=False
        ),
        _object("json", (), _TEXT_KEYS, _TIME_KEYS, one_of=_TEXT_KEYS, certain=False),
        Wrapper(
            "syslog",
            lambda line: line.str.contains(_SYSLOG) | line.str.contains(_SYSLOG_5424),
            _peel_syslog,
        ),
        Wrapper("svlogd", _begins(_SVLOGD), _peel_svlogd),
        _prefix("prefix", _PREFIX),
        _prefix("name", rf"^{_NAME}"),  # where the line itself begins with a time
    )
}
