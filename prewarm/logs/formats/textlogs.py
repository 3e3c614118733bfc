"""Request logs that are one line of text a request: a pattern for each family.

Harbor's proxy and nginx's timed_combined, Nexus, Quay's nginx, Traefik, combined behind a virtual host,
HAProxy, Envoy and Istio, the S3 server access log. Most narrow down the combined format.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import polars as pl

from prewarm.logs.formats import Hints, combined, fields, jsonlogs, lacks, stamps
from prewarm.logs.formats.logged import Read, RequestLog, accesses_of, requested, stamp_of

Finish = Callable[[pl.DataFrame, Hints], pl.DataFrame]


def quoted(name: str) -> str:
    """A field between quotes, in which quotes are escaped."""
    return rf'"(?P<{name}>(?:[^"\\]|\\.)*)"'


_CLF = rf"^(?P<peer>\S+) - (?P<user>.*?) \[(?P<time>[^\]]+)\] {quoted('request')} (?P<status>[0-9]{{3}})"
_NUMBER = r"(?:-?[0-9]+|-)"


def found(lines: pl.DataFrame, patterns: Sequence[str]) -> pl.DataFrame:
    """`lines` with a column of text for each group of the patterns; `fits`: whether any fits."""
    names = dict.fromkeys(name for pattern in patterns for name in _groups(pattern))
    line = pl.col("line")
    matched = lines.select(
        *(line.str.contains(pattern).alias(f"fits{n}") for n, pattern in enumerate(patterns)),
        *(line.str.extract_groups(pattern).alias(f"match{n}") for n, pattern in enumerate(patterns)),
    )
    fits = matched.select(fits=pl.any_horizontal(f"fits{n}" for n in range(len(patterns))))
    columns = [
        pl.coalesce(
            pl.col(f"match{n}").struct.field(name)
            for n, pattern in enumerate(patterns)
            if name in _groups(pattern)
        ).alias(name)
        for name in names
    ]
    return lines.hstack(matched.select(columns)).hstack(fits)


def _groups(pattern: str) -> list[str]:
    return [part.partition(">")[0] for part in pattern.split("(?P<")[1:]]


def _text(
    name: str,
    summary: str,
    tells: str,
    patterns: Sequence[str],
    finish: Finish,
    marks: tuple[str, ...] = (),
    must: str = "",
) -> RequestLog:
    def read(lines: pl.DataFrame, hints: Hints) -> pl.DataFrame:
        return accesses_of(_finished(found(lines, patterns), hints, name, finish), name)

    lack = partial(lacks.of_text, patterns=patterns)
    return RequestLog(name, summary, frozenset(tells.split()), read, marks, must=must, lack=lack)


def _finished(rows: pl.DataFrame, hints: Hints, name: str, finish: Finish) -> pl.DataFrame:
    unfit = pl.when(~pl.col("fits")).then(pl.lit(f"not a line of {name}")).alias("malformed")
    split = rows.with_columns(unfit, *requested(pl.col("request")))
    decoded = fields.unescape(split["agent"]) if "agent" in split.columns else None
    return finish(split if decoded is None else split.with_columns(decoded.alias("agent")), hints)


def _either(name: str, keys: jsonlogs.Keys, pattern: str, finish: Finish) -> Read:
    """JSON or text, as the operator told the proxy."""

    def read(lines: pl.DataFrame, hints: Hints) -> pl.DataFrame:
        is_json = lines["line"].str.starts_with("{")
        text = found(lines.filter(~is_json), [pattern])
        rows = accesses_of(_finished(text, hints, name, finish), name)
        if not is_json.any():
            return rows
        objects = keys.read(lines.filter(is_json), hints, name)
        return pl.concat([objects, rows]).sort("offset", maintain_order=True)

    return read


def _explained(line: str, keys: jsonlogs.Keys, pattern: str) -> lacks.Lack | None:
    return keys.lack(line) if line.startswith("{") else lacks.of_text(line, [pattern])


def _seconds(scale: float = 1.0) -> pl.Expr:
    return fields.took(pl.col("took"), scale).alias("seconds")


def _clf(scale: float = 1.0) -> Finish:
    return lambda rows, hints: rows.with_columns(
        stamps.clf(pl.col("time")).alias("timestamp"), _seconds(scale)
    )


# --- Harbor ----------------------------------------------------------------------------------------------

_TIMED = (
    rf"^(?P<peer>\S+) - {quoted('request')} (?P<status>[0-9]{{3}}) (?P<bytes>{_NUMBER}) {quoted('referer')} "
    rf"{quoted('agent')} (?P<took>\S+) \S.* \S+$"
)


def _read_harbor(lines: pl.DataFrame, hints: Hints) -> pl.DataFrame:
    """Lines of Harbor's nginx, whose time is the wrapper's; combined ones may stand between them."""
    rows = found(lines, [_TIMED])
    timed, others = rows.filter("fits"), lines.filter(~rows["fits"])
    stamped = _finished(timed, hints, "harbor-proxy", lambda rows, _: rows.with_columns(_seconds()))
    untold = pl.when(stamp_of(timed).is_null()).then(pl.lit("no time")).alias("malformed")
    harbor = accesses_of(stamped.with_columns(stamp_of(timed).alias("timestamp"), untold), "harbor-proxy")
    if others.is_empty():
        return harbor
    access = combined.read(others.select("offset", "line"))
    return pl.concat([harbor, access], how="diagonal").sort("offset", maintain_order=True)


def _timeless(lines: pl.Series) -> str | None:
    return combined.TIMELESS if lines.str.contains(_TIMED).any() else None


HARBOR_PROXY = RequestLog(
    "harbor-proxy",
    "Harbor's proxy.log, and nginx with timed_combined: the time is that of syslog or the container runtime",
    frozenset({"tag", "digest", "bytes", "seconds", "client", "agent"}),
    _read_harbor,
    needs_stamp=True,
    must=_TIMED,
    lack=partial(lacks.of_text, patterns=[_TIMED]),
    unusable=_timeless,
)


# --- Nexus -----------------------------------------------------------------------------------------------

_NEXUS = (
    rf"{_CLF} (?:{_NUMBER} )?(?P<bytes>{_NUMBER}) (?P<took>[0-9]+) {quoted('agent')}"
    r"(?: \[(?P<thread>[^\]]*)\])?$"
)
_NEXUS_OUTBOUND = (
    rf"^\[(?P<time>[0-9]{{2}}/[^\]]+)\] (?P<user>.*?) {quoted('request')} (?P<status>[0-9]{{3}}) "
    rf"(?:{_NUMBER} )?(?P<bytes>{_NUMBER}) (?P<took>[0-9]+) {quoted('agent')} \[(?P<outbound>[^\]]*)\]$"
)


def _nexus(rows: pl.DataFrame, hints: Hints) -> pl.DataFrame:
    upstream = pl.when(pl.col("outbound").is_not_null()).then(pl.lit("Nexus asking its upstream"))
    return _clf(1e3)(rows, hints).with_columns(upstream.alias("ignored"))


NEXUS = _text(
    "nexus",
    "Nexus 3 request.log, new and old pattern; outbound-request.log is no demand",
    "tag digest bytes seconds client user agent",
    [_NEXUS, _NEXUS_OUTBOUND],
    _nexus,
    must=r'\d \d+ "[^"]*"(?: \[[^\]]*\])?$',
)


# --- Quay ------------------------------------------------------------------------------------------------

_QUAY = (
    rf"^(?P<peer>\S+) \((?P<forwarded>[^)]*)\) - (?P<user>.*?) \[(?P<time>[^\]]+)\] {quoted('request')} "
    rf"(?P<status>[0-9]{{3}}) (?P<bytes>{_NUMBER}) {quoted('referer')} {quoted('agent')} "
    r"\((?P<took>\S+) \S+ [^)]*\)$"
)

QUAY_NGINX = _text(
    "quay-nginx",
    "Quay's own nginx (lb_logs)",
    "tag digest bytes seconds client user agent",
    [_QUAY],
    _clf(),
    (") - ",),
)


# --- Traefik -----------------------------------------------------------------------------------------------

_TRAEFIK = (
    rf"{_CLF} (?P<bytes>{_NUMBER}) {quoted('referer')} {quoted('agent')} [0-9]+ {quoted('router')} "
    rf"{quoted('server')} (?P<took>[0-9]+)ms$"
)


TRAEFIK = RequestLog(
    "traefik",
    "Traefik's access log: CLF, or JSON (the agent only where headers are kept)",
    frozenset({"tag", "digest", "bytes", "seconds", "client", "user", "agent", "host"}),
    _either("traefik", jsonlogs.TRAEFIK_KEYS, _TRAEFIK, _clf(1e3)),
    (*jsonlogs.TRAEFIK_MARKS, "ms"),
    must=r'[0-9]ms$|"RequestPath"|"DownstreamStatus"',
    lack=partial(_explained, keys=jsonlogs.TRAEFIK_KEYS, pattern=_TRAEFIK),
)


# --- virtual hosts -----------------------------------------------------------------------------------------

_VHOST = (
    r"^(?P<host>(?:[\w.-]*[A-Za-z][\w.-]*|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?) (?P<peer>[0-9A-Fa-f:.]+) "
    rf"\S+ (?P<user>\S.*?) \[(?P<time>[0-9][^\]]+)\] {quoted('request')} (?P<status>[0-9]{{3}}) "
    rf"(?P<bytes>{_NUMBER})(?: {quoted('referer')} {quoted('agent')}.*)?$"
)
_SCHEME_PORT = r":(?:80|443)$"


def _vhost(rows: pl.DataFrame, hints: Hints) -> pl.DataFrame:
    """Apache writes the port even where it is that of the scheme; a reference never does."""
    return rows.with_columns(
        pl.col("host").str.replace(_SCHEME_PORT, ""), stamps.clf(pl.col("time")).alias("timestamp")
    )


COMBINED_VHOST = _text(
    "combined-vhost",
    "combined behind the virtual host: Debian's other_vhosts_access.log, nginx-proxy, GoAccess's VCOMBINED",
    "tag digest bytes client user agent host",
    [_VHOST],
    _vhost,
    must=r"^\S*[A-Za-z\]]\S* [0-9A-Fa-f:.]+ \S+ \S.* \[[0-9]",
)


# --- HAProxy -----------------------------------------------------------------------------------------------

_HAPROXY = (
    r"^(?P<peer>[^\s<>]+):[0-9]+ \[(?P<accepted>[^\]]+)\] \S+ \S+ (?:[+-]?[0-9]+/)+(?P<took>[+-]?[0-9]+) "
    r"(?P<status>-?[0-9]+) \+?(?P<bytes>[0-9]+) \S+ \S+ \S{4} [0-9/+]+ [0-9/]+ "
    rf"(?:\{{(?P<captured>[^}}]*)\}} )?(?:\{{[^}}]*\}} )?{quoted('request')}(?: .*)?$"
)
_HAPROXY_CLF = (
    rf"{_CLF} (?P<bytes>{_NUMBER}) {quoted('referer')} {quoted('agent')} [0-9]+ "
    rf'(?P<milliseconds>[0-9]{{1,3}}) "[^"]*" "[^"]*" "[^"]*" '
    r"(?:-?[0-9]+ ){4}(?P<took>[+-]?[0-9]+) \S{4} .*$"
)
_HOST = r"^(?:[A-Za-z0-9-]+\.)+[A-Za-z0-9-]+(?::[0-9]{1,5})?$|^[A-Za-z0-9-]+:[0-9]{1,5}$|^localhost$"


def _haproxy(rows: pl.DataFrame, hints: Hints) -> pl.DataFrame:
    """Captured headers have no names: what looks like a host is one, another with a slash is the agent.

    Their quotes, bars and what is not printable are written `#22`.
    """
    headers = fields.unescape(rows["captured"].str.replace_all(r"#([0-9A-Fa-f]{2})", r"\x$1"))
    captured = pl.col("captured").str.split("|").list
    host = captured.eval(pl.element().filter(pl.element().str.contains(_HOST))).list.first()
    agent = captured.eval(pl.element().filter(pl.element().str.contains("/", literal=True))).list.first()
    milliseconds = pl.duration(milliseconds=pl.col("milliseconds").cast(pl.Int64, strict=False))
    accepted = stamps.naive(pl.col("accepted"), hints.timezone)
    return rows.with_columns(headers.alias("captured")).with_columns(
        pl.coalesce(accepted, stamps.clf(pl.col("time")) + milliseconds).alias("timestamp"),
        host.alias("host"),
        pl.coalesce(agent, "agent").alias("agent"),
        _seconds(1e3),
    )


HAPROXY = _text(
    "haproxy",
    "HAProxy's httplog and httplog clf (agent and host where they are captured)",
    "tag digest bytes seconds client agent host",
    [_HAPROXY, _HAPROXY_CLF],
    _haproxy,
    must=r'/[+-]?\d+/[+-]?\d+ -?\d+ |" (?:-?\d+ ){4}',
)


# --- Envoy -------------------------------------------------------------------------------------------------

_ENVOY = (
    rf"^\[(?P<time>[^\]]+)\] {quoted('request')} (?P<status>[0-9]+) \S+ (?:\S+ \S+ (?:\"[^\"]*\"|-) )?"
    rf"[0-9]+ (?P<bytes>{_NUMBER}) (?P<took>{_NUMBER}) \S+ {quoted('forwarded')} {quoted('agent')} "
    rf"{quoted('key')} {quoted('host')} \"[^\"]*\"(?: \S+ \S+ \S+ (?P<peer>\S+) \S+ \S+)?$"
)

ENVOY = RequestLog(
    "envoy",
    "Envoy's and Istio's default access log, as text or JSON",
    frozenset({"tag", "digest", "bytes", "seconds", "client", "agent", "host"}),
    _either(
        "envoy",
        jsonlogs.ENVOY_KEYS,
        _ENVOY,
        lambda rows, hints: rows.with_columns(
            stamps.rfc3339(pl.col("time")).alias("timestamp"), _seconds(1e3)
        ),
    ),
    must=r'^\[\d{4}-|"response_code"',
    lack=partial(_explained, keys=jsonlogs.ENVOY_KEYS, pattern=_ENVOY),
)


# --- S3 ----------------------------------------------------------------------------------------------------

_S3 = (
    r"^[0-9a-f]{64} \S+ \[(?P<time>[^\]]+)\] (?P<peer>\S+) (?P<user>\S+) (?P<key>\S+) [A-Z]+\.\S+ \S+ "
    rf"(?:{quoted('request')}|-) (?P<status>\S+) \S+ (?P<bytes>{_NUMBER}) (?:{_NUMBER}) (?P<took>{_NUMBER}) "
    rf"(?:{_NUMBER}) (?:{quoted('referer')}|-) (?:{quoted('agent')}|-)(?: .*)?$"
)

S3 = _text(
    "s3",
    "S3 server access log of a bucket behind a registry: digests without a repository, so no pulls alone",
    "digest bytes seconds client agent",
    [_S3],
    lambda rows, hints: _clf(1e3)(rows, hints).with_columns(pl.lit(None, pl.String).alias("user")),
    must="^[0-9a-f]{64} ",
)
