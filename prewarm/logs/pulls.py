"""Accesses become pulls: merge the lines of one request, group requests into sessions, collapse.

    accesses ─merge_requests─▶ requests ─sessions─▶ requests with a session ─collapse─▶ pulls

Every step is a function of the set of rows: their order does not matter, nor does how the stream was
cut, as long as whole sessions are seen (`logs.sessions`).
"""

from __future__ import annotations

import polars as pl

from prewarm.logs.accesses import TIMESTAMP, is_digest, merge_requests
from prewarm.logs.sessions import GAP, canonical, sessions

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

LAYER_BYTES = 64 * 1024  # without a catalogue, smaller blobs are taken for configs

_SHARED = (  # by the requests of a session
    *map(pl.col, ("site", "source", "client", "user", "agent", "registry", "repository")),
    pl.col("session_until").alias("until"),
    pl.col("session_offset").alias("offset"),
)
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
    weighed = _weigh(served)
    rare = _rare(weighed)
    pulls = pl.concat([_aggregate(part, rare) for part in _number(weighed)])
    shared = ordered.select(_SHARED)[pulls["row"]]
    told = pulls.join(_digests(served), on="group", how="left").hstack(shared)
    missed = labelled.filter("missed").filter(~_is_artifact(pl.col("reference")))
    if missed.height:
        missed = missed.join(
            served, left_on=["session", "reference"], right_on=["session", "tag"], how="anti"
        )
    return pl.concat([conform(told), conform(_missed(ordered[missed["row"]]))]).sort(
        "timestamp", "site", "source", "client", "agent", "registry", "repository", "tag", "digest", "offset"
    )


def _label(requests: pl.DataFrame) -> pl.DataFrame:
    """What collapsing needs of each request: what was served, what was missed and what is a tag."""
    manifest = pl.col("object") == "manifest"
    ok = pl.col("status").is_in(_SERVED)
    unlogged = pl.col("status").is_null() & (
        pl.col("method") == "HEAD"
    )  # Distribution 3.0.0 with authorization
    tag = manifest & ~is_digest(pl.col("reference"))
    return requests.select(
        *("session", "reference", "status", "bytes", "timestamp", "asked", "done"),
        *("seconds", "cache", "digest", "media_type", "key", "method"),
        row=pl.int_range(pl.len(), dtype=pl.UInt32),
        manifest=manifest,
        tagged=tag,
        served=pl.when(manifest)
        .then(ok | unlogged)
        .otherwise(ok & (pl.col("method") == "GET"))
        .fill_null(False),
        missed=(tag & (pl.col("status") == 404)).fill_null(False),
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


def _digests(served: pl.DataFrame) -> pl.DataFrame:
    """`digest` of a `group`: as logged with its tag, else the first one asked for after a HEAD of the tag.

    After a GET of the tag the next digest is a platform's manifest, so nothing is known. Without a
    tag it is the first digest asked for.
    """
    told = served.select("group", "manifest", "tagged", "tag", "method", "reference", "digest")
    manifests = told.filter("manifest").sort("group", maintain_order=True)
    headed = (pl.col("tagged") & (pl.col("method") == "HEAD")).shift(1) & ~_begins("group")
    follows = ~pl.col("tagged") & (headed | pl.col("tag").is_null())
    named = manifests.select(
        "group", digest=pl.when("tagged").then("digest").when(follows).then("reference")
    ).filter(pl.col("digest").is_not_null())
    return named.filter(_begins("group"))


def _begins(name: str) -> pl.Expr:
    """Whether a row of sorted ones is the first of its kind."""
    return (pl.col(name) != pl.col(name).shift(1)).fill_null(True)


def _weigh(served: pl.DataFrame) -> pl.DataFrame:
    """`layer`: whether a blob is one; `size`: its bytes as far as logged; `whole`: fetched in one piece.

    `again`: whether its session asked for it more than once, as few do.
    """
    blob = ~pl.col("manifest")
    logged = pl.when(blob & pl.col("status").is_in(_BODY) & (pl.col("bytes") > 0)).then("bytes")
    what = pl.struct("session", "reference")
    weighed = served.with_columns(size=logged, again=what.hash().is_duplicated())
    again = weighed["again"].arg_true()
    most = weighed[again].select("size", what=what.hash()).select(pl.col("size").max().over("what"))["size"]
    return (
        weighed.with_columns(weighed["size"].scatter(again, most))
        .with_columns(layer=blob & _is_layer())
        .with_columns(whole=pl.col("layer") & _is_whole())
    )


def _is_layer() -> pl.Expr:
    """Whether a blob is a layer rather than a config."""
    media = pl.col("media_type")
    return (
        pl.when(media.str.contains_any(["layer", "rootfs"]))
        .then(True)
        .when(media.str.contains_any(["config", "container.image"]))
        .then(False)
        .otherwise(pl.col("size").is_null() | (pl.col("size") >= LAYER_BYTES))
    )


def _is_whole() -> pl.Expr:
    all_of_it = pl.col("bytes").is_null() | (pl.col("bytes") >= pl.col("size"))
    return ((pl.col("status") == 200) & all_of_it).fill_null(False)


def _number(served: pl.DataFrame) -> list[pl.DataFrame]:
    """`nth`: the pull of its group that a row belongs to; groups that have one, as most, and the others.

    The k-th time that a layer is fetched whole belongs to the k-th pull, which also tells clients
    apart whose requests interleave. A manifest belongs to the pull whose layers follow it.
    """
    fetched = served.filter(pl.col("again") & pl.col("whole")).select("group", "reference")
    repeated = pl.col("group").is_in(fetched.filter(fetched.is_duplicated())["group"].unique().implode())
    once = served.filter(~repeated).with_columns(
        nth=pl.lit(1, pl.UInt32), manifest_at=pl.lit(None, TIMESTAMP), manifest_asked=pl.lit(None, TIMESTAMP)
    )
    return [once, _number_repeated(served.filter(repeated))]


def _number_repeated(items: pl.DataFrame) -> pl.DataFrame:
    counted = items.with_columns(item=pl.struct("group", "reference").hash()).with_columns(
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
        manifest_at=pl.when(begins).then("timestamp").forward_fill().backward_fill().over("group"),
        manifest_asked=pl.when(begins).then("asked").forward_fill().backward_fill().over("group"),
    ).drop("item")


def _aggregate(rows: pl.DataFrame, rare: list[pl.Expr]) -> pl.DataFrame:
    """One row for each pull of each group that holds a manifest; `row`: one of its requests."""
    manifest, blob = pl.col("manifest"), ~pl.col("manifest")
    several = rows["manifest_at"].null_count() < len(rows)
    marked = rows.with_columns(first=_first_of_each_blob(rows)).with_columns(
        blob=blob,
        body=manifest & (pl.col("method") == "GET") & (pl.col("status") != 304),
        untold=manifest & pl.col("method").is_null(),
        began=pl.when(manifest).then("timestamp"),
        began_asked=pl.when(manifest).then("asked"),
        again=pl.when("whole").then("manifest_at"),
        again_asked=pl.when("whole").then("manifest_asked"),
        sized=pl.when("first").then("size"),
        unsized=pl.col("first") & pl.col("size").is_null(),
    )
    again = pl.col("again", "again_asked")
    grouped = marked.group_by("group", *(["nth"] if several else [])).agg(
        *([] if several else [pl.col("nth").first()]),
        pl.col("row", "tag").first(),
        pl.col("began", "began_asked").min(),
        again.min() if several else again.first(),
        pl.col("done").max(),
        pl.col("layer", "body", "blob").any(),
        *(
            pl.col(name).any() if marked[name].any() else pl.lit(False).alias(name)
            for name in ("untold", "unsized")
        ),
        pl.col("first").sum().alias("blobs"),
        pl.col("sized").sum().alias("bytes"),
        *rare,
    )
    began = pl.col("began").is_not_null()
    return grouped.filter(began.any().over("group") if several else began).with_columns(*_facts())


def _first_of_each_blob(rows: pl.DataFrame) -> pl.Series:
    first = ~rows["manifest"]
    again = rows["again"].arg_true()
    distinct = rows[again].select(pl.struct("group", "reference", "nth").is_first_distinct())
    return first.scatter(again, first.gather(again) & distinct.to_series())


def _rare(rows: pl.DataFrame) -> list[pl.Expr]:
    """What few logs tell: a column for each pull is worth its cost only there."""
    wanted = {
        "seconds": [pl.col("seconds").is_not_null().any().alias("timed")],
        "cache": [
            (pl.col("cache") == "miss").any().alias("cold"),
            (pl.col("cache") == "hit").any().alias("warm"),
        ],
        "key": [pl.col("key").drop_nulls().unique().sort().alias("keys")],
    }
    absent = {"timed": pl.lit(False), "cold": pl.lit(False), "warm": pl.lit(False)}
    told = [each for name, exprs in wanted.items() if rows[name].null_count() < len(rows) for each in exprs]
    names = {each.meta.output_name() for each in told}
    return told + [value.alias(name) for name, value in absent.items() if name not in names]


def _facts() -> list[pl.Expr]:
    later = pl.col("nth") > 1
    took = pl.col("done") - pl.when(later).then("again_asked").otherwise("began_asked")
    return [
        pl.coalesce(pl.when(later).then("again"), "began", "again").alias("timestamp"),
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
    return rows.group_by("session", pl.col("reference").alias("tag")).agg(
        *(each.first() for each in _SHARED),
        pl.col("timestamp").min(),
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
    return canonical(stored).select(
        "timestamp",
        pl.col("site") if "site" in stored.columns else pl.lit(None, pl.String).alias("site"),
        "registry",
        "repository",
        pl.when(~by_digest).then("reference").alias("tag"),
        pl.coalesce("digest", pl.when(by_digest).then("reference")).alias("digest"),
    )
