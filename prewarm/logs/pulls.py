"""Accesses become pulls: merge the lines of one request, group requests into sessions, collapse.

    accesses ─merge_requests─▶ requests ─sessions─▶ requests with a session ─collapse─▶ pulls

Every step is a function of the set of rows: their order does not matter, nor does how the stream was
cut, as long as whole sessions are seen. Columns `site` and `source` are optional in accesses.
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from prewarm.logs.accesses import TIMESTAMP, is_digest, merge_requests

__all__ = [
    "GAP",
    "SCHEMA",
    "attribute",
    "collapse",
    "conform",
    "image_of",
    "merge_requests",
    "pairs_of",
    "pushes",
    "sessions",
]

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "timestamp": TIMESTAMP,  # first manifest request of the pull (an engine's event: its completion)
    "until": TIMESTAMP,  # last access of the session the pull belongs to
    "site": pl.String,
    "source": pl.String,
    "client": pl.String,
    "user": pl.String,
    "agent": pl.String,
    "registry": pl.String,
    "repository": pl.String,
    "tag": pl.String,
    "digest": pl.String,
    "kind": pl.String,  # check | manifest | layers | local | null where the source cannot tell
    "blobs": pl.Int32,
    "bytes": pl.Int64,  # sum of the distinct blobs as logged; null when the size of one is unknown
    "seconds": pl.Float64,  # from the first request to the end of the last one; null when not logged
    "status": pl.String,  # ok | missed
    "cache": pl.String,
    "keys": pl.List(pl.String),  # every native id, so that a webhook and a log do not count twice
    "provisional": pl.Boolean,  # the session may still grow; replaced by the commit that re-reads it
    "offset": pl.Int64,  # of the first line of its session in its file
}

GAP = timedelta(seconds=60)
OWN_AGENT = "prewarm/"  # what we warm is never demand
LAYER_BYTES = 64 * 1024  # without a catalogue, smaller blobs are taken for configs
DEFAULT_REGISTRY = "docker.io"

_WHO = ("site", "source", "client", "user", "family_of_agent", "registry", "repository")
_BODY = (200, 203, 206)
_REDIRECT = (301, 302, 303, 307, 308)
_SERVED = (*_BODY, 304, *_REDIRECT)
_ARTIFACT_TAG = r"^sha256-[0-9a-f]{64}(?:\.sig|\.att|\.sbom)?$"  # referrers fallback and cosign tags


def conform(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` with the columns of SCHEMA, in order; missing ones null, `keys` empty, `provisional` false."""
    defaults: dict[str, pl.Expr] = {"keys": pl.lit([], pl.List(pl.String)), "provisional": pl.lit(False)}
    return frame.select(
        (pl.col(name) if name in frame.columns else defaults.get(name, pl.lit(None))).cast(dtype).alias(name)
        for name, dtype in SCHEMA.items()
    )


# --- sessions ---------------------------------------------------------------------------------


def sessions(accesses: pl.DataFrame, gap: timedelta = GAP) -> pl.DataFrame:
    """The accesses that can make pulls, each with its session.

    Kept are GETs and HEADs of manifests and blobs of a repository, except our own. Registry and
    repository become canonical (`docker.io` where none was logged, `library/` there). Added are
    `session` (UInt32, dense), `session_until`, `session_offset` (the offset of its first line),
    `turn` (UInt32: the order of the rows, by session and time), and when the request was `asked`
    and `done`, since one log stamps the start and another the end.

    A session holds what one client (site, source, client, user, first word of the agent) asks of
    one repository with no idle gap longer than `gap`.
    """
    requests = _with_times(_canonical(_relevant(accesses)))
    who = pl.struct(_WHO).hash().alias("_who")  # a 64-bit hash: 10^6 clients collide once in 10^7 logs
    tie = pl.struct("method", "reference", "status", "bytes").hash().alias("_tie")
    ordered = requests.with_columns(who, tie).sort("_who", "asked", "offset", "_tie")
    idle = pl.col("asked") - pl.col("done").cum_max().over("_who").shift(1)
    starts = (pl.col("_who") != pl.col("_who").shift(1)) | (idle > gap)
    return (
        ordered.with_columns(
            (starts.fill_null(True).cum_sum() - 1).cast(pl.UInt32).alias("session"),
            pl.int_range(pl.len(), dtype=pl.UInt32).alias("turn"),
        )
        .with_columns(
            pl.col("done").max().over("session").alias("session_until"),
            pl.col("offset").min().over("session").alias("session_offset"),
        )
        .drop("_who", "_tie", "family_of_agent")
    )


def _relevant(accesses: pl.DataFrame) -> pl.DataFrame:
    missing = [
        pl.lit(None, pl.String).alias(name) for name in ("site", "source") if name not in accesses.columns
    ]
    untold = pl.col("method").is_null() & (pl.col("family") == "event")
    return accesses.with_columns(missing).filter(
        pl.col("object").is_in(["manifest", "blob"]),
        pl.col("method").is_in(["GET", "HEAD"]) | untold,
        pl.col("repository").is_not_null(),
        pl.col("timestamp").is_not_null(),
        ~pl.col("agent").str.starts_with(OWN_AGENT).fill_null(False),
    )


def _canonical(accesses: pl.DataFrame) -> pl.DataFrame:
    registry = pl.col("registry").fill_null(DEFAULT_REGISTRY).replace("index.docker.io", DEFAULT_REGISTRY)
    official = (registry == DEFAULT_REGISTRY) & ~pl.col("repository").str.contains("/", literal=True)
    family = (
        pl.col("agent").str.splitn("/", 2).struct.field("field_0").str.splitn(" ", 2).struct.field("field_0")
    )
    return accesses.with_columns(
        registry,
        pl.when(official).then("library/" + pl.col("repository")).otherwise("repository").alias("repository"),
        family.alias("family_of_agent"),
    )


def _with_times(accesses: pl.DataFrame) -> pl.DataFrame:
    """When each request began and ended: application logs stamp the end, access logs the start."""
    took = pl.duration(microseconds=(pl.col("seconds").fill_null(0) * 1e6).cast(pl.Int64))
    at_end = pl.col("family") == "app"
    return accesses.with_columns(
        pl.when(at_end).then(pl.col("timestamp") - took).otherwise("timestamp").alias("asked"),
        pl.when(at_end).then("timestamp").otherwise(pl.col("timestamp") + took).alias("done"),
    )


# --- collapse ---------------------------------------------------------------------------------


def collapse(requests: pl.DataFrame) -> pl.DataFrame:
    """One row a pull, of SCHEMA, from what `sessions` gave.

    A session is one pull for each tag asked for, or one pull when only digests were. Digests and
    blobs join the latest tag asked for, those before the first tag join the first. A layer fetched
    whole again for the same tag is another pull: many clients behind one address show by
    repetition. Retries after an error, ranges and re-read configs are not. Blobs without a
    manifest, signatures and refused requests make no pull; a 404 on a tag is one that is `missed`.
    """
    ordered = requests if requests["turn"].is_sorted() else requests.sort("turn")
    labelled = _label(ordered)
    served = _name_tags(labelled.filter("served"))
    pulls = _aggregate(_number(_weigh(_name_digests(served))))
    missed = labelled.filter("missed").join(
        served, left_on=["session", "reference"], right_on=["session", "tag"], how="anti"
    )
    return pl.concat([conform(pulls), conform(_missed(missed))]).sort(
        "timestamp", "site", "source", "client", "agent", "registry", "repository", "tag", "digest", "offset"
    )


def _label(requests: pl.DataFrame) -> pl.DataFrame:
    """Mark what was served, what was missed and what is a tag."""
    manifest = pl.col("object") == "manifest"
    ok = pl.col("status").is_in(_SERVED)
    unlogged = pl.col("status").is_null() & (
        pl.col("method") == "HEAD"
    )  # Distribution 3.0.0 with authorization
    tag = manifest & ~is_digest(pl.col("reference"))
    return requests.with_columns(
        manifest=manifest,
        tagged=tag,
        served=pl.when(manifest)
        .then(ok | unlogged)
        .otherwise(ok & (pl.col("method") == "GET"))
        .fill_null(False),
        missed=(tag & (pl.col("status") == 404) & ~_is_artifact(pl.col("reference"))).fill_null(False),
    )


def _is_artifact(tag: pl.Expr) -> pl.Expr:
    """Whether a tag names a signature, attestation or SBOM rather than an image."""
    return tag.str.contains(_ARTIFACT_TAG).fill_null(False)


def _name_tags(served: pl.DataFrame) -> pl.DataFrame:
    """`tag`: the latest one asked for in the session, else its first; `group`: both as one number."""
    asked = pl.when("tagged").then("reference")
    session = pl.when("tagged").then("session")

    # Rows are in the order of sessions: a fill that left its session shows by the number it brought.
    latest = pl.when(session.forward_fill() == pl.col("session")).then(asked.forward_fill())
    first = pl.when(session.backward_fill() == pl.col("session")).then(asked.backward_fill())
    named = served.with_columns(tag=pl.coalesce(latest, first))
    return named.filter(~_is_artifact(pl.col("tag"))).with_columns(group=pl.struct("session", "tag").hash())


def _name_digests(served: pl.DataFrame) -> pl.DataFrame:
    """`digest` of each group: as logged with its tag, else the first one asked for after a HEAD of the tag.

    After a GET of the tag the next digest is a platform's manifest, so nothing is known. Without a
    tag it is the first digest asked for.
    """
    manifests = served.filter("manifest")
    headed = (pl.col("tagged") & (pl.col("method") == "HEAD")).shift(1).over("group")
    follows = ~pl.col("tagged") & (headed | pl.col("tag").is_null())
    named = manifests.select(
        "group", digest=pl.when("tagged").then("digest").when(follows).then("reference")
    ).filter(pl.col("digest").is_not_null())
    first = named.unique("group", keep="first", maintain_order=True)
    return served.drop("digest").join(first, on="group", how="left", maintain_order="left")


def _weigh(served: pl.DataFrame) -> pl.DataFrame:
    """`layer`: whether a blob is one; `size`: its bytes as far as logged; `whole`: fetched in one piece."""
    blob = ~pl.col("manifest")
    logged = pl.when(blob & pl.col("status").is_in(_BODY) & (pl.col("bytes") > 0)).then("bytes")
    media = pl.col("media_type")
    layer = (
        pl.when(media.str.contains_any(["layer", "rootfs"]))
        .then(True)
        .when(media.str.contains_any(["config", "container.image"]))
        .then(False)
        .otherwise(pl.col("size").is_null() | (pl.col("size") >= LAYER_BYTES))
    )
    whole = (pl.col("status") == 200) & (pl.col("bytes").is_null() | (pl.col("bytes") >= pl.col("size")))
    return (
        served.with_columns(blob=pl.struct("session", "reference").hash())
        .with_columns(size=logged.max().over("blob"))
        .with_columns(layer=blob & layer)
        .with_columns(whole=pl.col("layer") & whole.fill_null(False))
    )


def _number(served: pl.DataFrame) -> pl.DataFrame:
    """`nth`: the pull of its group that a row belongs to; most groups have one.

    The k-th time that a layer is fetched whole belongs to the k-th pull, which also tells clients
    apart whose requests interleave. A manifest belongs to the pull whose layers follow it.
    """
    items = served.with_columns(item=pl.struct("group", "reference").hash())
    whole = items.filter("whole").select("group", "item")
    repeated = pl.col("group").is_in(whole.filter(pl.col("item").is_duplicated())["group"].unique().implode())
    once = items.filter(~repeated).with_columns(
        nth=pl.lit(1, pl.UInt32), manifest_at=pl.col("timestamp"), manifest_asked=pl.col("asked")
    )
    return pl.concat([once, _number_repeated(items.filter(repeated))])


def _number_repeated(items: pl.DataFrame) -> pl.DataFrame:
    counted = items.with_columns(
        nth=pl.when("whole").then(pl.col("whole").cast(pl.UInt32).cum_sum().over("item"))
    )
    read_again = pl.int_range(1, pl.len() + 1, dtype=pl.UInt32).over("item")  # a config, a range
    other = pl.min_horizontal(read_again, pl.col("nth").max().over("group"))
    follows = pl.col("nth").backward_fill().forward_fill().over("group")
    manifest = pl.col("manifest")
    # Tag, index and platform manifest follow each other: a pull begins with the first of such a run.
    begins = manifest & ~manifest.shift(1, fill_value=False).over("group")
    return counted.with_columns(
        nth=pl.when(manifest).then(follows).otherwise(pl.coalesce("nth", other)),
        manifest_at=pl.when(begins).then("timestamp").forward_fill().over("group"),
        manifest_asked=pl.when(begins).then("asked").forward_fill().over("group"),
    )


def _aggregate(rows: pl.DataFrame) -> pl.DataFrame:
    """One row for each pull of each group that holds a manifest."""
    manifest, blob = pl.col("manifest"), ~pl.col("manifest")
    first = blob & pl.struct("item", "nth").is_first_distinct()
    marked = rows.with_columns(
        first=first,
        body=manifest & (pl.col("method") == "GET") & (pl.col("status") != 304),
        untold=manifest & pl.col("method").is_null(),
        began=pl.when(manifest).then("timestamp"),
        began_asked=pl.when(manifest).then("asked"),
        again=pl.when("whole").then("manifest_at"),
        again_asked=pl.when("whole").then("manifest_asked"),
        sized=pl.when(first).then("size"),
        unsized=first & pl.col("size").is_null(),
    )
    shared = ("site", "source", "client", "user", "agent", "registry", "repository", "tag", "digest")
    times = ("began", "began_asked", "again", "again_asked")
    grouped = marked.group_by("group", "nth").agg(
        pl.col(*shared, "session_until", "session_offset").first(),
        pl.col(*times).min(),
        pl.col("done").max(),
        pl.col("layer", "body", "untold", "unsized").any(),
        blob.any().alias("blob"),
        pl.col("first").sum().alias("blobs"),
        pl.col("sized").sum().alias("bytes"),
        pl.col("seconds").is_not_null().any().alias("timed"),
        (pl.col("cache") == "miss").any().alias("cold"),
        (pl.col("cache") == "hit").any().alias("warm"),
        *_keys(marked),
    )
    return grouped.filter(pl.col("began").is_not_null().any().over("group")).with_columns(*_facts())


def _keys(rows: pl.DataFrame) -> list[pl.Expr]:
    logged = rows["key"].null_count() < rows.height  # a list for each pull is worth its cost only then
    return [pl.col("key").drop_nulls().unique().sort().alias("keys")] if logged else []


def _facts() -> list[pl.Expr]:
    later = pl.col("nth") > 1
    took = pl.col("done") - pl.when(later).then("again_asked").otherwise("began_asked")
    return [
        pl.coalesce(pl.when(later).then("again"), "began", "again").alias("timestamp"),
        pl.col("session_until").alias("until"),
        pl.col("session_offset").alias("offset"),
        pl.when("layer")
        .then(pl.lit("layers"))
        .when("untold")  # the source does not tell GET from HEAD
        .then(None)
        .when(pl.col("body") | pl.col("blob"))
        .then(pl.lit("manifest"))
        .otherwise(pl.lit("check"))
        .alias("kind"),
        pl.when(~pl.col("unsized")).then("bytes").alias("bytes"),
        pl.when("timed").then(took.dt.total_microseconds() / 1e6).alias("seconds"),
        pl.when("cold").then(pl.lit("miss")).when("warm").then(pl.lit("hit")).alias("cache"),
        pl.lit("ok").alias("status"),
    ]


def _missed(rows: pl.DataFrame) -> pl.DataFrame:
    """One pull for each tag that a session asked for and never got."""
    shared = ("site", "source", "client", "user", "agent", "registry", "repository")
    return rows.group_by("session", pl.col("reference").alias("tag")).agg(
        pl.col(*shared).first(),
        pl.col("timestamp").min(),
        pl.col("session_until").first().alias("until"),
        pl.col("session_offset").first().alias("offset"),
        pl.col("key").drop_nulls().unique().sort().alias("keys"),
        pl.lit(0).alias("blobs"),
        pl.lit("missed").alias("status"),
    )


# --- names ------------------------------------------------------------------------------------


def image_of() -> pl.Expr:
    """The canonical image id of a pull row: by tag if known, else by digest."""
    name = pl.concat_str("registry", pl.lit("/"), "repository")
    return pl.coalesce(name + ":" + pl.col("tag"), name + "@" + pl.col("digest"), name).alias("image")


def pairs_of(pulls: pl.DataFrame) -> pl.DataFrame:
    """What pulls prove of tags: timestamp, registry, repository, digest, tag; for `attribute`."""
    known = pulls.filter(pl.col("tag").is_not_null(), pl.col("digest").is_not_null())
    return known.select("timestamp", "registry", "repository", "digest", "tag").unique(maintain_order=True)


def attribute(pulls: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Fill the tag of pulls by digest with the tag last seen on that digest, at or before the pull.

    `pairs`: timestamp, registry, repository, digest, tag, as `pairs_of` gives.
    """
    name = ["registry", "repository", "digest"]
    nameless = pl.col("tag").is_null() & pl.col("digest").is_not_null()
    found = (
        pulls.filter(nameless)
        .drop("tag")
        .sort("timestamp")
        .join_asof(
            pairs.sort("timestamp", "tag"),
            on="timestamp",
            by=name,
            strategy="backward",
            check_sortedness=False,
        )
    )
    return pl.concat([pulls.filter(~nameless), found.select(pulls.columns)]).sort(
        "timestamp", maintain_order=True
    )


def pushes(accesses: pl.DataFrame) -> pl.DataFrame:
    """Manifests that were stored (PUT, 201): timestamp, site, registry, repository, tag, digest."""
    stored = accesses.filter(
        (pl.col("object") == "manifest") & (pl.col("method") == "PUT") & (pl.col("status") == 201)
    )
    by_digest = is_digest(pl.col("reference"))
    return _canonical(stored).select(
        "timestamp",
        pl.col("site") if "site" in stored.columns else pl.lit(None, pl.String).alias("site"),
        "registry",
        "repository",
        pl.when(~by_digest).then("reference").alias("tag"),
        pl.coalesce("digest", pl.when(by_digest).then("reference")).alias("digest"),
    )
