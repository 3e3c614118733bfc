"""Application logs of what pulls images on a node: containerd's CRI plugin, CRI-O and the Docker engine.

All three write logrus lines, as text or JSON. What tells of a pull, quotes not escaped here:

    containerd 1.6   msg="PullImage "X" returns image reference "sha256:CONFIG""
    containerd 1.7+  msg="Pulled image "X" with ... repo digest "NAME@D", size "N" in 1.5s" before the above
    CRI-O            msg="Pulling image: X" id=I, then msg="Pulled image: NAME@D" id=I
    dockerd          msg="Pulling ref from V2 registry: X" at level debug
    Engine 29        msg="image pulled" digest=D remote=X

The line is written whether or not any byte was transferred, so that the kind of pull is unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

from prewarm.logs.formats import Hints, Parsed, clean, fields, holds, images, ndjson, records, share, stamps

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_LOGRUS = (
    r'^time="?[0-9T:.Z+ -]+"? level=[a-z]+ msg=|'
    r'^\{(?:.*"level": ?"[a-z]+".*"msg": ?"|.*"msg": ?".*"level": ?"[a-z]+")'
)
_TALKATIVE = 10  # one line of so many, at least, holds a word of its program
_CONTAINERD = (
    r'^Pulled image "(?P<pulled>[^"]+)" with image id "[^"]*", repo tag "[^"]*", '
    r'repo digest "(?:[^"@]*@(?P<exact>[^"]+))?", size "(?P<bytes>[0-9]*)" in (?P<took>[0-9.a-zµμ]+)'
)
_RETURNED = r'^PullImage "([^"]+)" returns image reference "'
_MISSED = r'^PullImage "([^"]+)" failed$'
_ABSENT = r"[Nn]ot ?[Ff]ound|manifest unknown"
_NAMES = ("time", "msg", "error", "digest", "remote", "id")
_OTHERS = ["http.request.", "http.response."]  # of a registry, whose lines logrus writes, too
_STORE = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[.0-9]* \S+ \S+ \S+ /[a-z]+/[a-z]+ \{"
_LINES = {"offset": pl.Int64, "line": pl.String}
_Find = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True, slots=True)
class Node:
    """A format of this module. `words` are texts of the program's own lines, those about no pull, too.

    `find` adds columns to lines that end a pull: `image`, `exact` (its digest), `bytes`, `took`,
    `missed` and `key`.
    """

    name: str
    summary: str
    tells: frozenset[str]
    words: list[str]
    find: _Find
    unusable: Callable[[pl.Series], str | None] = field(default=lambda lines: None)
    finished_pulls: bool = True
    refers: tuple[str, ...] = ()

    def sniff(self, lines: pl.Series) -> float:
        """The share of logrus lines, as far as these are more this program's than another's."""
        if not holds(lines, self.words):
            return 0.0
        logrus = lines.filter(lines.str.contains(_LOGRUS) & ~lines.str.contains_any(_OTHERS))
        said = {each.name: int(logrus.str.contains_any(each.words).sum()) for each in FORMATS}
        own, every = said[self.name], sum(said.values())
        return min(len(logrus), _TALKATIVE * own) / len(lines) * own / every if own else 0.0

    def refuse(self, lines: pl.Series) -> str | None:
        """Why other lines of this program tell nothing of pulls."""
        return self.unusable(lines)

    def parse(self, lines: pl.DataFrame, hints: Hints) -> Parsed:
        """Finished pulls."""
        earlier = pl.DataFrame({"offset": [-1] * len(hints.before), "line": hints.before}, schema=_LINES)
        rows = pl.concat([earlier, clean(lines).select("offset", "line")])
        return records.finished(_pulls(self.find(_lines(rows)).filter(pl.col("offset") >= 0)))


def _pulls(found: pl.DataFrame) -> pl.DataFrame:
    named = images.resolve(found.with_columns(timestamp=stamps.rfc3339(pl.col("time"))))
    malformed = {
        "no line of logrus: time and msg are missing": pl.col("time").is_null() | pl.col("msg").is_null(),
        "a time that is not RFC 3339": pl.col("timestamp").is_null(),
        "no image reference": pl.col("image").is_not_null() & pl.col("registry").is_null(),
    }
    return named.select(
        "offset",
        "line",
        "timestamp",
        pl.col("timestamp").alias("until"),
        "registry",
        "repository",
        "tag",
        pl.coalesce("exact", "digest").alias("digest"),
        fields.count(pl.col("bytes")).alias("bytes"),
        fields.duration(named["took"]).alias("seconds"),
        pl.when("missed").then(pl.lit("missed")).otherwise(pl.lit("ok")).alias("status"),
        records.key_of("key"),
        *records.set_aside(malformed, {"a message about no finished pull": pl.col("image").is_null()}),
    )


def _lines(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` with the fields of each line as columns of text."""
    is_json = rows["line"].str.starts_with("{")
    text = rows.filter(~is_json)
    values = [text["line"].str.extract(rf"(?:^| ){name}=({_QUOTED}|[^ \"]*)(?: |$)", 1) for name in _NAMES]
    bare = [
        fields.unescape(value.str.strip_prefix('"').str.strip_suffix('"')).alias(name)
        for name, value in zip(_NAMES, values, strict=True)
    ]
    coded = rows.filter(is_json)
    both = [text.hstack(bare), coded.hstack(ndjson.decode(coded["line"], _NAMES))]
    return pl.concat(both).sort("offset").rename({"digest": "logged"})


def _of_containerd(lines: pl.DataFrame) -> pl.DataFrame:
    """Every version writes one line when a pull is over; newer ones tell more just before it."""
    told = lines.with_columns(
        pl.col("msg").str.extract_groups(_CONTAINERD).alias("_"),
        pl.col("msg").str.extract(_RETURNED, 1).alias("returned"),
        pl.col("msg").str.extract(_MISSED, 1).alias("failed"),
    ).unnest("_")
    ends = pl.coalesce("pulled", "returned")
    before = [pl.col(name).shift(1).over(ends).alias(name) for name in ("exact", "bytes", "took")]
    missed = pl.col("failed").is_not_null() & pl.col("error").str.contains(_ABSENT)
    return told.with_columns(
        *before,
        image=pl.coalesce("returned", pl.when(missed).then("failed")),
        missed=missed.fill_null(False),
        key=pl.lit(None, pl.String),
    )


def _of_crio(lines: pl.DataFrame) -> pl.DataFrame:
    """The line that begins a pull names its tag, the one that ends it the digest; both the same request."""
    begun = pl.col("msg").str.extract(r"^Pulling image: (\S+)", 1)
    named = lines.with_columns(
        asked=begun.forward_fill().over("id"), ended=pl.col("msg").str.extract(r"^Pulled image: (\S+)", 1)
    )
    ended = pl.col("ended").is_not_null()
    name = pl.when(pl.col("id").is_not_null()).then(pl.col("asked").str.replace("@.*$", ""))
    return named.with_columns(
        image=pl.when(ended).then(pl.coalesce(name, "ended")),
        exact=pl.col("ended").str.extract("@(.+)$", 1),
        key=pl.when(ended).then("id"),
        **_UNTOLD,
    )


def _of_docker(lines: pl.DataFrame) -> pl.DataFrame:
    begun = pl.col("msg").str.extract(r"^Pulling ref from V2 registry: (\S+)$", 1)
    pulled = pl.col("msg") == "image pulled"
    return lines.with_columns(
        image=pl.coalesce(begun, pl.when(pulled).then(pl.col("remote").fill_null(""))),  # "": a cut line
        exact=pl.when(pulled).then("logged"),
        key=pl.lit(None, pl.String),
        **_UNTOLD,
    )


_UNTOLD = {
    "bytes": pl.lit(None, pl.String),
    "took": pl.lit(None, pl.String),
    "missed": pl.lit(False),
}


def _of_the_store(lines: pl.Series) -> str | None:
    if share(lines.str.contains(_STORE)) < 0.5:
        return None
    return (
        "the events of ctr tell what is in the image store, which proves no pull; read containerd's own log, "
        "for example journalctl -u containerd -o json"
    )


CONTAINERD = Node(
    name="containerd",
    summary="containerd's log: what its CRI plugin pulled, 1.6 and later",
    tells=frozenset({"tag", "digest", "bytes", "seconds", "host"}),
    words=[
        *("PullImage ", "ImageCreate", "ImageUpdate", "PodSandbox", "io.containerd.", "shim", "cni"),
        *("do request", "fetch response received"),
    ],
    find=_of_containerd,
    refers=("Pulled image ",),
    unusable=_of_the_store,
)
CRIO = Node(
    name="crio",
    summary="CRI-O's log: what it pulled",
    tells=frozenset({"tag", "digest", "host"}),
    words=["/runtime.v1", "Pulled image: ", "Pulling image: ", "Trying to access ", "crio", "CRI-O"],
    find=_of_crio,
    refers=("Pulling image: ",),
)
DOCKER = Node(
    name="docker-engine",
    summary="the Docker engine's log: pulls at level debug, from Engine 29 on at level info",
    tells=frozenset({"tag", "digest", "host"}),
    words=[
        *("Pulling ref from V2 registry", "image pulled", "Calling ", "Registering ", "Trying to pull "),
        *("endpoint for pull", "API listen on", "libnetwork", "Daemon has completed", "Loading containers"),
    ],
    find=_of_docker,
)
FORMATS = (CONTAINERD, CRIO, DOCKER)
