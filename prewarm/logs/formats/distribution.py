"""The application log of CNCF Distribution 2.8 and 3.x, and what `docker logs` mixes with it.

logrus writes `text`, `json` or `logstash` lines; the fields are those of the request context
(`http.request.*`, `http.response.*`, `auth.user.name`), stamped at completion. One request may take
several lines ("authorized request", "response completed", one "response completed with error" for
each error) with one `http.request.id`, and an access line of the combined family beside them. All
are yielded. Release 3.0.0 does not log that a HEAD of a manifest completed (distribution#4733), so
that only its "authorized request" tells of it: an access without a status.
"""

from __future__ import annotations

import polars as pl

from prewarm.logs.formats import Hints, Parsed, clean, combined, fields, logrus, requests, share, sort_out
from prewarm.logs.formats.remembered import Remembered

_MARKS = ["http.request.", "go.version", "instance.id"]  # what logrus lines of other programs lack
_KEYS = [before + mark for before in ('{"', ',"', ', "') for mark in _MARKS]  # of the line, not inside a text
_TEXT = r"^[A-Za-z@][A-Za-z0-9_.@-]*="
_DIGITS = "0123456789"
_BEFORE_PORT = r"^(?:[^:,\[\]]+|\[[^,\[\]]*\]):$"
_TERMINAL = r"^(?:\x1b\[[0-9;]*m)?(?:TRAC|DEBU|INFO|WARN|ERRO|FATA|PANI)(?:\x1b\[[0-9;]*m)?\[[0-9]+\] "


class Distribution:
    """Application lines of Distribution, alone or between its access lines."""

    name = "distribution"
    summary = "CNCF Distribution 2.8 and 3.x: text, json, logstash, and the mix that docker logs shows"
    tells = frozenset({"tag", "digest", "bytes", "seconds", "client", "user", "agent", "host"})
    finished_pulls = False

    def sniff(self, lines: pl.Series) -> float:
        """The share of application and access lines; 0 when no application line is among them."""
        rows = clean(pl.DataFrame({"offset": range(len(lines)), "line": lines}))
        line = rows["line"]
        is_json, is_text = line.str.starts_with("{"), line.str.contains(_TEXT)
        ours = (is_text & line.str.contains_any(_MARKS)) | (is_json & line.str.contains_any(_KEYS))
        if not ours.any():
            return 0.0
        access = combined.read(rows.filter(~is_json & ~is_text))["malformed"].is_null().sum()
        return (int(ours.sum()) + int(access)) / rows.height

    def refuse(self, lines: pl.Series) -> str | None:
        """Lines written for a terminal: seconds since the start instead of a time."""
        if share(lines.str.contains(_TERMINAL)) < 0.5:
            return None
        return (
            "these lines were written for a terminal and count seconds since the start, so they have no "
            "time; run the registry without -t (tty: false)"
        )

    def parse(self, lines: pl.DataFrame, hints: Hints) -> Parsed:
        """Accesses of families `app` and `access`."""
        rows = clean(lines)
        is_json = rows["line"].str.starts_with("{")
        if is_json.all():
            return sort_out(_read_json(rows)) if rows.height else Parsed()
        is_text = rows["line"].str.contains(_TEXT)
        parts = [
            read(rows.filter(fits))
            for read, fits in (
                (_read_json, is_json),
                (_read_text, is_text),
                (combined.read, ~is_json & ~is_text),
            )
            if fits.any()
        ]
        return sort_out(parts[0] if len(parts) == 1 else pl.concat(parts, how="diagonal").sort("offset"))


def _read_text(rows: pl.DataFrame) -> pl.DataFrame:
    return _read_app(rows.hstack(logrus.from_text(rows["line"])))


def _read_json(rows: pl.DataFrame) -> pl.DataFrame:
    return _read_app(rows.hstack(logrus.from_json(rows["line"])))


def _read_app(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows for `sort_out` from application lines whose fields are columns of text."""
    stamp = pl.col("time").str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
    stamped = rows.with_columns(timestamp=fields.instant(stamp))
    refused = pl.col("message").str.starts_with("error authorizing context")  # always answered with a 401
    status = pl.col("status").cast(pl.Float64, strict=False).cast(pl.Int16, strict=False)
    return requests.locate(stamped, host=pl.col("host")).select(
        "offset",
        "line",
        "timestamp",
        _client(rows["peer"]),
        fields.known(pl.col("user")).alias("user"),
        fields.known(pl.col("agent")).alias("agent"),
        "method",
        "registry",
        "upstream",
        "repository",
        "reference",
        "object",
        pl.coalesce(status, pl.when(refused).then(pl.lit(401, pl.Int16))).alias("status"),
        fields.count(pl.col("bytes")).alias("bytes"),
        fields.duration(rows["took"]).alias("seconds"),
        fields.known(pl.col("media_type")).alias("media_type"),
        fields.known(pl.col("key")).alias("key"),
        pl.lit("app").alias("family"),
        _ignored().alias("ignored"),
        _malformed().alias("malformed"),
    )


def _client(peers: pl.Series) -> pl.Series:
    """Addresses without ports, worked out once for each host."""
    client = _CLIENTS.join(peers.str.strip_chars_end(_DIGITS).alias("host").to_frame())["client"]
    others = client.is_null() & peers.is_not_null()
    return client.zip_with(~others, fields.address(peers).alias("client")) if others.any() else client


def _clients(hosts: pl.Series) -> pl.DataFrame:
    """The address before any port; null where only the whole text can tell where that begins."""
    client = fields.address(hosts + "0").set(~hosts.str.contains(_BEFORE_PORT), None)
    return pl.DataFrame({"host": hosts, "client": client})


def _ignored() -> pl.Expr:
    request = pl.col("uri").is_not_null() & pl.col("method").is_not_null()
    joinable = pl.col("key").is_not_null() | pl.col("status").is_not_null()
    return (
        pl.when(_malformed().is_not_null())
        .then(None)
        .when(~request | ~joinable)
        .then(pl.lit("a message about no request"))
        .when(pl.col("object").is_null())
        .then(pl.lit("outside the registry API"))
    )


def _malformed() -> pl.Expr:
    return (
        pl.when(pl.col("time").is_null() | pl.col("message").is_null())
        .then(pl.lit("no application line: time and msg are missing"))
        .when(pl.col("timestamp").is_null())
        .then(pl.lit("a time that is not RFC 3339"))
    )


_CLIENTS = Remembered("host", _clients)
FORMAT = Distribution()
