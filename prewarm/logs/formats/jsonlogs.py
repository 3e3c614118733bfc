"""Request logs that are one JSON object a line: a table of keys for each family.

nginx (`log_format … escape=json`, also Kraken's), Caddy, Traefik, zot, GitLab's registry, Spegel, and the
IBM registry trace (FAST '18).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import polars as pl

from prewarm.logs.formats import Hints, fields, lacks, ndjson, requests, stamps
from prewarm.logs.formats.logged import RequestLog, accesses_of

Paths = Mapping[str, str | tuple[str, ...]]
"""Under which key a field stands; of several, the first that the line has. `a/b` is `b` of the object `a`."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Where the fields of a family stand, and what makes a line one of its requests.

    `paths` name `time` and any column of `logged.accesses_of`. A line without `all_of` these fields fits
    no grammar; one that `ignore` gives a reason for is none of a client's requests. `finish` turns fields
    into others before they get their meaning. `scale`: how many of `took` are a second; None: a Go duration.
    """

    paths: Paths
    scale: float | None = 1.0
    configurable: bool = False
    all_of: tuple[str, ...] = ("time", "uri")
    ignore: pl.Expr = field(default_factory=lambda: pl.lit(None, pl.String))
    finish: Callable[[pl.DataFrame], pl.DataFrame] = field(default=lambda rows: rows)

    def read(self, lines: pl.DataFrame, hints: Hints, name: str) -> pl.DataFrame:
        """Rows for `sort_out`."""
        paths = {**self.paths, **_chosen(hints.keys)} if self.configurable else self.paths
        rows = self.finish(_fields(lines, paths))
        whole = pl.all_horizontal(pl.col(self.all_of).is_not_null())
        reason = pl.lit(f"no JSON object with the keys of {name}")
        timed = rows.with_columns(
            stamps.any_of(pl.col("time"), hints.timezone).alias("timestamp"),
            _seconds(rows, self.scale),
            self.ignore.alias("ignored"),
        )
        unfit = pl.when(~whole & pl.col("ignored").is_null()).then(reason)
        return accesses_of(timed.with_columns(malformed=unfit), name)

    def lack(self, line: str) -> lacks.Lack | None:
        """Which field the line has under none of its keys."""
        every = {name: (path,) if isinstance(path, str) else path for name, path in self.paths.items()}
        needed = dict.fromkeys((*self.all_of, "uri", "status"))
        return lacks.of_json(line, {name: every[name] for name in needed if name in every})


def _seconds(rows: pl.DataFrame, scale: float | None) -> pl.Series:
    """From `took` in the family's unit, or from `milliseconds`; null where there is neither."""
    none = pl.Series("seconds", [None], dtype=pl.Float64).new_from_index(0, rows.height)
    if "took" in rows.columns and rows["took"].null_count() < rows.height:
        return (fields.duration(rows["took"]) if scale is None else _scaled(rows["took"], scale)).alias(
            "seconds"
        )
    return _scaled(rows["milliseconds"], 1e3).alias("seconds") if "milliseconds" in rows.columns else none


_CHOICES = {"timestamp": "time", "client": "peer", "seconds": "took"}


def _chosen(keys: Mapping[str, str]) -> Paths:
    """Where the operator says that fields stand, by the names that columns of accesses have."""
    return {_CHOICES.get(name, name): path for name, path in keys.items()}


def _fields(lines: pl.DataFrame, paths: Paths) -> pl.DataFrame:
    """A column of text for each of `paths`."""
    every = {key: (value,) if isinstance(value, str) else value for key, value in paths.items()}
    flat = {f"{key}.{n}": path for key, found in every.items() for n, path in enumerate(found)}
    dug = ndjson.dig(lines, flat)
    return dug.select(
        *lines.columns,
        *(
            pl.coalesce(_given(pl.col(f"{key}.{n}")) for n in range(len(found))).alias(key)
            for key, found in every.items()
        ),
    )


def _given(value: pl.Expr) -> pl.Expr:
    return pl.when(value != "-").then(value)


def _scaled(text: pl.Series, scale: float) -> pl.Series:
    return pl.select(fields.took(pl.lit(text), scale)).to_series()


def _first_of(value: pl.Expr) -> pl.Expr:
    """The first text of a list of header values."""
    inner = value.str.extract(r'^\["((?:[^"\\]|\\.)*)"', 1)
    return inner.str.replace_all(r"\"", '"', literal=True).str.replace_all(r"\\", "\\", literal=True)


def _unless(message: str) -> pl.Expr:
    """Lines with another message tell of no request."""
    return pl.when(pl.col("message") != message).then(pl.lit(requests.NO_REQUEST))


_PATHLESS = pl.when(pl.col("uri").is_null() & pl.col("message").is_not_null()).then(
    pl.lit(requests.NO_REQUEST)
)


def _json(
    name: str, summary: str, tells: str, keys: Keys, marks: tuple[str, ...], specificity: int = 2
) -> RequestLog:
    def read(lines: pl.DataFrame, hints: Hints) -> pl.DataFrame:
        return keys.read(lines, hints, name)

    tell = frozenset(tells.split())
    return RequestLog(name, summary, tell, read, marks, specificity, lack=keys.lack)


# --- nginx, and whatever else writes flat objects of this kind ---------------------------------------


def _nginx(rows: pl.DataFrame) -> pl.DataFrame:
    """Method and URI may be in the request line only."""
    words = pl.col("request").str.splitn(" ", 3)
    path = pl.when(pl.col("request").str.starts_with("/")).then("request")
    return rows.with_columns(
        pl.coalesce("method", words.struct.field("field_0")).alias("method"),
        pl.coalesce("uri", path, words.struct.field("field_1"), pl.lit("")).alias("uri"),
    )


NGINX = _json(
    "nginx-json",
    "nginx with escape=json, under the usual names of its variables; Kraken's nginx",
    "tag digest bytes seconds client user agent host",
    Keys(
        {
            "time": ("msec", "time_iso8601", "@timestamp", "timestamp", "time", "time_local", "ts", "date"),
            "peer": ("remote_addr", "clientip", "client_ip", "remote_ip", "client", "ip"),
            "forwarded": ("http_x_forwarded_for", "x_forwarded_for", "xff", "forwarded_for"),
            "user": ("remote_user", "user"),
            "request": ("request", "request_line"),
            "method": ("request_method", "verb", "method", "http_method"),
            "uri": ("request_uri", "path", "uri", "url"),
            "status": ("status", "responseStatusCode", "status_code", "response_code", "code", "response"),
            "bytes": ("body_bytes_sent", "response_body_length", "bytes_sent", "size", "bytes"),
            "took": ("request_time", "responseTime", "duration", "request_duration"),
            "agent": ("http_user_agent", "agent", "user_agent", "ua"),
            "host": ("http_host", "host", "server_name", "vhost"),
            "key": ("request_id", "req_id", "http_x_request_id"),
            "cache": ("upstream_cache_status", "cache_status"),
        },
        configurable=True,
        all_of=("time", "status"),
        finish=lambda rows: _nginx(rows).with_columns(fields.cache_of(pl.col("cache")).alias("cache")),
    ),
    (
        "request_method",
        "request_uri",
        "responseStatusCode",
        "body_bytes_sent",
        '"request"',
        '"status"',
        '"status_code"',
        '"verb"',
    ),
    specificity=0,
)


# --- Caddy ------------------------------------------------------------------------------------------------


def _caddy(rows: pl.DataFrame) -> pl.DataFrame:
    headers = [_first_of(pl.col(name)).alias(name) for name in ("agent", "digest", "media_type", "forwarded")]
    plain = pl.col("took").cast(pl.Float64, strict=False).is_not_null()
    return rows.with_columns(
        *headers, pl.when(plain).then(pl.col("took") + "s").otherwise("took").alias("took")
    )


CADDY = _json(
    "caddy",
    "Caddy 2's JSON access log; the best of all, for it names the digest of a tag",
    "tag digest bytes seconds client user agent host",
    Keys(
        {
            "time": "ts",
            "message": "msg",
            "peer": ("request/client_ip", "request/remote_ip", "request/remote_addr"),
            "forwarded": "request/headers/X-Forwarded-For",
            "method": "request/method",
            "uri": "request/uri",
            "host": "request/host",
            "agent": "request/headers/User-Agent",
            "user": "user_id",
            "took": "duration",
            "bytes": "size",
            "status": "status",
            "digest": "resp_headers/Docker-Content-Digest",
            "media_type": "resp_headers/Content-Type",
        },
        scale=None,
        all_of=("time", "message"),
        ignore=_PATHLESS,
        finish=_caddy,
    ),
    ('"http.log.access', '"handled request"'),
)


# --- Traefik ----------------------------------------------------------------------------------------------

TRAEFIK_KEYS = Keys(
    {
        "time": ("StartUTC", "StartLocal", "time"),
        "peer": ("ClientHost", "ClientAddr"),
        "forwarded": "request_X-Forwarded-For",
        "user": "ClientUsername",
        "method": "RequestMethod",
        "uri": "RequestPath",
        "host": ("RequestHost", "RequestAddr"),
        "status": "DownstreamStatus",
        "bytes": "DownstreamContentSize",
        "took": "Duration",
        "agent": ("request_User-Agent", "request_user-agent"),
    },
    scale=1e9,
)
TRAEFIK_MARKS = ('"RequestPath"', '"DownstreamStatus"')


# --- Envoy -------------------------------------------------------------------------------------------------

ENVOY_KEYS = Keys(
    {
        "time": "start_time",
        "peer": ("downstream_remote_address", "downstream_direct_remote_address"),
        "forwarded": "x_forwarded_for",
        "method": "method",
        "uri": "path",
        "host": "authority",
        "status": "response_code",
        "bytes": "bytes_sent",
        "took": "duration",
        "agent": "user_agent",
        "key": ("request_id", "x_request_id"),
    },
    scale=1e3,
)


# --- zot ---------------------------------------------------------------------------------------------------

ZOT = _json(
    "zot",
    "zot: its HTTP log (zerolog and slog); the audit and sync logs tell of no pulls",
    "tag digest bytes client user agent",
    Keys(
        {
            "time": "time",
            "message": "message",
            "peer": "clientIP",
            "user": "username",
            "method": "method",
            "uri": "path",
            "status": "statusCode",
            "bytes": "bodySize",
            "agent": "headers/User-Agent",
            "forwarded": "headers/X-Forwarded-For",
        },
        all_of=("time", "message"),
        ignore=_unless("HTTP API"),
        finish=lambda rows: rows.with_columns(
            _first_of(pl.col(name)).alias(name) for name in ("agent", "forwarded")
        ),
    ),
    ("zotregistry", "project-zot", '"HTTP API'),
)


# --- GitLab -------------------------------------------------------------------------------------------------

GITLAB = _json(
    "gitlab",
    "GitLab's container registry: its access log (LabKit JSON); application lines tell of no request",
    "tag digest bytes seconds client agent host",
    Keys(
        {
            "time": "time",
            "message": "msg",
            "peer": ("remote_ip", "remote_addr"),
            "method": "method",
            "uri": "uri",
            "host": "host",
            "status": "status",
            "bytes": "written_bytes",
            "took": "duration_ms",
            "agent": "user_agent",
            "key": "correlation_id",
            "media_type": "content_type",
        },
        scale=1e3,
        all_of=("time", "message"),
        ignore=_unless("access"),
    ),
    ('"correlation_id"', '"root_repo"'),
)


# --- Spegel -------------------------------------------------------------------------------------------------

SPEGEL = _json(
    "spegel",
    "Spegel: what nodes ask of each other (since 0.4 with debug logging only)",
    "tag digest seconds client host",
    Keys(
        {
            "time": "time",
            "message": "msg",
            "uri": "path",
            "status": "status",
            "method": "method",
            "took": "latency",
            "peer": "ip",
            "upstream": "registry",
            "handler": "handler",
        },
        scale=None,
        all_of=("time", "message"),
        ignore=_PATHLESS,
    ),
    ('"handler"', "spegel-org/spegel"),
)


# --- the IBM trace ------------------------------------------------------------------------------------------


def _ibm(rows: pl.DataFrame) -> pl.DataFrame:
    """Paths without a slash before them."""
    return rows.with_columns(("/" + pl.col("uri").str.strip_prefix("/")).alias("uri"))


_IBM_PATH = r"^/v2/(?P<name>.+)/(?P<noun>manifests|blobs)/(?P<item>[^/?]+)$"
_IBM_KEYS = Keys(
    {
        "time": "timestamp",
        "peer": "http.request.remoteaddr",
        "method": "http.request.method",
        "uri": "http.request.uri",
        "status": "http.response.status",
        "bytes": "http.response.written",
        "took": "http.request.duration",
        "agent": "http.request.useragent",
        "key": "id",
    },
    finish=_ibm,
)


def _read_ibm(lines: pl.DataFrame, hints: Hints) -> pl.DataFrame:
    """Names, tags and digests are hashes: what a reference is, its place tells."""
    rows = _IBM_KEYS.read(lines, hints, "ibm-trace")
    uri = _ibm(_fields(lines, {"uri": "http.request.uri"}))["uri"]
    hashed = (
        uri.str.extract_groups(_IBM_PATH)
        .struct.unnest()
        .with_columns(
            object=pl.col("noun").replace_strict({"manifests": "manifest", "blobs": "blob"}, default=None)
        )
    )
    found = hashed["noun"].is_not_null() & rows["malformed"].is_null()
    named = {"repository": "name", "reference": "item", "object": "object"}
    return rows.with_columns(
        *(hashed[source].zip_with(found, rows[name]).alias(name) for name, source in named.items()),
        pl.when(~found).then("ignored").alias("ignored"),
    )


IBM = RequestLog(
    "ibm-trace",
    "the IBM registry trace of FAST '18, for replays: names and references are hashes",
    frozenset({"tag", "bytes", "seconds", "client", "agent"}),
    _read_ibm,
    ('"http.request.duration"',),
)
