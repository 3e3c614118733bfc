"""The application log of CNCF Distribution 2.8 and 3.x, and what `docker logs` mixes with it.

logrus writes `text`, `json` or `logstash` lines (`application`). One request may take several lines
("authorized request", "response completed", one "response completed with error" for each error) with
one `http.request.id`, and an access line of the combined family beside them. All are yielded. Release
3.0.0 does not log that a HEAD of a manifest completed (distribution#4733), so that only its "authorized
request" tells of it: an access without a status.
"""

from __future__ import annotations

import polars as pl

from prewarm.logs.formats import Hints, Parsed, application, clean, combined, holds, share, sort_out

_BEFORE_KEY = ('{"', ',"', ', "')  # of the line, not inside a text
_KEYS = [before + mark for before in _BEFORE_KEY for mark in application.MARKS]
_TERMINAL = r"^(?:\x1b\[[0-9;]*m)?(?:TRAC|DEBU|INFO|WARN|ERRO|FATA|PANI)(?:\x1b\[[0-9;]*m)?\[[0-9]+\] "


class Distribution:
    """Application lines of Distribution, alone or between its access lines."""

    name = "distribution"
    summary = "CNCF Distribution 2.8 and 3.x: text, json, logstash, and the mix that docker logs shows"
    tells = frozenset({"tag", "digest", "bytes", "seconds", "client", "user", "agent", "host"})
    finished_pulls = False

    def sniff(self, lines: pl.Series) -> float:
        """The share of application and access lines; 0 when no application line is among them."""
        if not holds(lines, application.MARKS):
            return 0.0
        rows = clean(pl.DataFrame({"offset": range(len(lines)), "line": lines}))
        line = rows["line"]
        is_json, is_text = line.str.starts_with("{"), line.str.contains(application.TEXT)
        ours = (is_text & line.str.contains_any(application.MARKS)) | (is_json & line.str.contains_any(_KEYS))
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
            return sort_out(application.read_json(rows)) if rows.height else Parsed()
        is_text = rows["line"].str.contains(application.TEXT)
        parts = [
            read(rows.filter(fits))
            for read, fits in (
                (application.read_json, is_json),
                (application.read_text, is_text),
                (combined.read, ~is_json & ~is_text),
            )
            if fits.any()
        ]
        return sort_out(parts[0] if len(parts) == 1 else pl.concat(parts, how="diagonal").sort("offset"))


FORMAT = Distribution()
