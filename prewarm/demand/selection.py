"""Which pulls are demand: what clients asked for, without pollers, failures and our own warming."""

from __future__ import annotations

from datetime import timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import polars as pl

from prewarm.demand.crawlers import crawling
from prewarm.errors import InvalidReference
from prewarm.references import DEFAULT_REGISTRY, Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

KINDS = ("manifest", "layers")
OWN_AGENT = "prewarm/"
EARLY = timedelta(seconds=5)  # a log's clock may run behind ours by so much
SESSION_GAP = timedelta(seconds=60)
REMEMBERED = timedelta(weeks=4)
"""How long after a warming a use of what was there still stands for the pull that it saved."""

TOOLS = (
    *(
        "*trivy*",
        "clair*",
        "*grype*",
        "*syft*",
        "*anchore*",
        "*snyk*",
        "*twistlock*",
        "*neuvector*",
        "*aquasec*",
    ),
    *(
        "harbor-registry-client",
        "harbor-scanner*",
        "regsync*",
        "regclient/regsync*",
        "image-syncer*",
        "dregsy*",
    ),
    *("kube-probe", "googlehc", "elb-healthchecker", "haproxy*check*", "blackbox*exporter*", "prometheus"),
    *("uptime-kuma", "uptimerobot*", "pingdom*", "check_http", "consul health check", "checkmk*"),
    *("renovate*", "diun", "argocd-image-updater*"),
)
"""Agents whose requests no client waits for: scanners, replication, health checks, watchers of updates."""

# Drivers whose engine pulls on our behalf, and the agents (lower case, before the slash) it shows. Other
# drivers transfer with our own agent.
ENGINES: dict[str, tuple[str, ...]] = {
    "docker": ("docker",),
    "kubernetes": ("containerd", "cri-o", "docker"),
    "harbor": ("harbor-registry-client", "go-http-client"),
}

# Of these, each client may have pulled once for an outcome: every node of a cluster does.
MANY = frozenset({"kubernetes"})

_TRIED = ("warmed", "already", "failed", "cancelled")


def demand_pulls(
    pulls: pl.DataFrame,
    outcomes: pl.DataFrame | None = None,
    kinds: Sequence[str] = KINDS,
    ignore: Sequence[str] = (),
    gap: timedelta = SESSION_GAP,
) -> tuple[pl.DataFrame, dict[str, int]]:
    """The pulls that are demand, with their `image`, and how many were set aside for which reason.

    Set aside, in this order: `unnamed` (no repository, or neither tag nor digest), `missed` (the registry
    had no such tag), `use` (kind `local`: no request was sent), `own agent`, `ignored agent` (globs of
    `ignore`, on the whole agent or on its product name, whatever the case), `warmed by us` (see
    `on_our_behalf`), kinds that are not in `kinds`, under their own name, and of what is left `crawl` (see
    `crawlers`). A pull whose kind the source cannot tell counts. So does the first use a day and client
    of an image that we warmed: without us it would have been a pull (see `saved`). The order of rows
    does not matter.
    """
    agent = pl.col("agent").fill_null("")
    numbered = pulls.with_columns(image_column()).with_row_index("_row")
    ours = on_our_behalf(numbered, outcomes, gap) if outcomes is not None else set()
    ignored = matching(pulls["agent"], ignore)
    used = saved(numbered, outcomes) if outcomes is not None else pl.Series(dtype=pl.UInt32)
    reason = (
        pl.when(pl.col("image").is_null())
        .then(pl.lit("unnamed"))
        .when(pl.col("status") == "missed")
        .then(pl.lit("missed"))
        .when((pl.col("kind") == "local") & ~pl.col("_row").is_in(used.implode()))
        .then(pl.lit("use"))
        .when(agent.str.starts_with(OWN_AGENT))
        .then(pl.lit("own agent"))
        .when(agent.is_in(ignored))
        .then(pl.lit("ignored agent"))
        .when(pl.col("_row").is_in(pl.Series(sorted(ours), dtype=pl.UInt32).implode()))
        .then(pl.lit("warmed by us"))
        .when(pl.col("kind").is_not_null() & ~pl.col("kind").is_in([*kinds, "local"]))
        .then(pl.col("kind"))
    )
    judged = _without_crawls(numbered.with_columns(reason.alias("_reason")))
    aside = judged.drop_nulls("_reason").group_by("_reason").len().sort("_reason")
    kept = judged.filter(pl.col("_reason").is_null()).drop("_row", "_reason")
    return kept, dict(aside.iter_rows())


def last_uses(
    pulls: pl.DataFrame,
    outcomes: pl.DataFrame | None = None,
    ignore: Sequence[str] = (),
    gap: timedelta = SESSION_GAP,
) -> pl.DataFrame:
    """When somebody last wanted each image: `image, last_used`.

    Wanting is more than demand: checks count, which a node that has the image sends, and so do uses.
    Tools, crawls and our own warming do not.
    """
    asked, _ = demand_pulls(pulls, outcomes, (*KINDS, "check"), ignore, gap)
    used = pulls.filter(pl.col("kind") == "local").select(image_column(), "timestamp")
    return (
        pl.concat([asked.select("image", "timestamp"), used])
        .drop_nulls("image")
        .group_by("image")
        .agg(pl.col("timestamp").max().alias("last_used"))
        .sort("image")
    )


def _without_crawls(judged: pl.DataFrame) -> pl.DataFrame:
    """`judged` with a reason for what is left of crawls."""
    left = judged.filter(pl.col("_reason").is_null())
    crawls = left.filter(crawling(left))["_row"]
    crawl = pl.when(pl.col("_row").is_in(crawls.implode())).then(pl.lit("crawl"))
    return judged.with_columns(pl.coalesce("_reason", crawl).alias("_reason"))


def saved(numbered: pl.DataFrame, outcomes: pl.DataFrame) -> pl.Series:
    """The `_row`s of uses that stand for a pull which our warming saved: a client's first one of a day.

    The image was warmed at the use's site, or for all sites, in the four weeks before. Without these the
    node cache that works would erase its own evidence.
    """
    warm = outcomes.filter(
        pl.col("state").is_in(["warmed", "already"]) & pl.col("finished_at").is_not_null()
    ).select(pl.col("image", "digest"), pl.col("site").alias("ours_at"), "finished_at")
    uses = numbered.filter((pl.col("kind") == "local") & pl.col("image").is_not_null())
    if warm.is_empty() or uses.is_empty():
        return pl.Series(dtype=pl.UInt32)
    ids = [
        (image, row["ours_at"], row["finished_at"])
        for row in warm.iter_rows(named=True)
        for image in _ids(row["image"], row["digest"])
    ]
    schema = {"image": pl.String(), "ours_at": pl.String(), "finished_at": warm.schema["finished_at"]}
    warmed = pl.DataFrame(ids, schema=schema, orient="row").unique()
    since = pl.col("timestamp") - pl.col("finished_at")
    proven = (
        uses.select("_row", "image", "site", "client", "timestamp")
        .join(warmed, on="image")
        .filter(
            (pl.col("ours_at").is_null() | pl.col("site").is_null() | (pl.col("ours_at") == pl.col("site")))
            & since.is_between(timedelta(0), REMEMBERED)
        )
    )
    daily = [pl.col("image"), pl.col("site"), pl.col("client"), pl.col("timestamp").dt.date()]
    return proven.sort("timestamp", "_row").filter(pl.struct(daily).is_first_distinct())["_row"]


def image_column() -> pl.Expr:
    """The image id of a row with `registry, repository, tag, digest`: the tag if known, else the digest.

    Null where neither is known. The registry is `docker.io` where the source could not tell.
    """
    name = pl.col("registry").fill_null(DEFAULT_REGISTRY) + "/" + pl.col("repository")
    return (
        pl.when(pl.col("tag").is_not_null())
        .then(name + ":" + pl.col("tag"))
        .when(pl.col("digest").is_not_null())
        .then(name + "@" + pl.col("digest"))
        .alias("image")
    )


def on_our_behalf(numbered: pl.DataFrame, outcomes: pl.DataFrame, gap: timedelta = SESSION_GAP) -> set[int]:
    """The `_row`s that an engine or a node pulled because we told it to.

    An outcome of a driver in `ENGINES` accounts for at most one pull (of a driver in `MANY`: one for each
    client): of its image (by tag, or by digest),
    with an agent of that engine (or none logged), at its site where it names one, whose session touches the
    time from 5 s before the outcome's start to `gap` after its end. A real client that pulls the same image
    in those seconds is still counted, since the outcome can only stand for one pull. An image that was
    `already` there transferred no layers.
    """
    tried = outcomes.filter(
        pl.col("state").is_in(_TRIED)
        & pl.col("driver").is_in(list(ENGINES))
        & pl.col("started_at").is_not_null()
        & pl.col("finished_at").is_not_null()
    )
    if tried.is_empty():
        return set()
    pairs = _touching(numbered, _wanted(tried), gap)
    claimed: set[tuple[int, str | None]] = set()
    ours: set[int] = set()
    ordered = pairs.sort("started_at", "outcome", "timestamp", "_row")
    for outcome, driver, client, row in ordered.select("outcome", "driver", "client", "_row").rows():
        claim = outcome, client if driver in MANY else None
        if claim not in claimed and row not in ours:
            claimed.add(claim)
            ours.add(row)
    return ours


def _wanted(tried: pl.DataFrame) -> pl.DataFrame:
    """What each outcome asked for: one row per outcome and image id it may show up under, and agent."""
    rows = [
        (
            number,
            row["driver"],
            image,
            agent,
            row["site"],
            row["state"],
            row["started_at"],
            row["finished_at"],
        )
        for number, row in enumerate(tried.iter_rows(named=True))
        for image in _ids(row["image"], row.get("digest"))
        for agent in (*ENGINES[row["driver"]], "")
    ]
    stamp = tried.schema["started_at"]
    schema = {
        "outcome": pl.Int64(),
        "driver": pl.String(),
        "image": pl.String(),
        "family": pl.String(),
        "ours_at": pl.String(),
        "state": pl.String(),
        "started_at": stamp,
        "finished_at": stamp,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _ids(image: str, digest: str | None) -> Iterable[str]:
    """The image ids a pull of `image` may have in the log: by tag, or by digest."""
    try:
        reference = Reference.parse(image)
    except InvalidReference:  # an outcome says so itself; nothing was pulled
        return
    if reference.tag:
        yield f"{reference.name}:{reference.tag}"
    if digest := reference.digest or digest:
        yield f"{reference.name}@{digest}"


def _touching(numbered: pl.DataFrame, wanted: pl.DataFrame, gap: timedelta) -> pl.DataFrame:
    """Pairs of outcome and pull that fit in image, agent, site and time."""
    family = pl.col("agent").fill_null("").str.to_lowercase().str.extract(r"^([^/\s]*)").alias("family")
    candidates = numbered.filter((pl.col("kind") != "local") | pl.col("kind").is_null()).select(
        "_row",
        "image",
        family,
        "client",
        "site",
        "kind",
        "timestamp",
        pl.max_horizontal("timestamp", "until").alias("end"),
    )
    return candidates.join(wanted, on=["image", "family"]).filter(
        (pl.col("ours_at").is_null() | pl.col("site").is_null() | (pl.col("ours_at") == pl.col("site")))
        & (pl.col("timestamp") <= pl.col("finished_at") + gap)
        & (pl.col("end") >= pl.col("started_at") - EARLY)
        & ((pl.col("state") != "already") | pl.col("kind").is_null() | (pl.col("kind") != "layers"))
    )


def matching(agents: pl.Series, patterns: Sequence[str]) -> list[str]:
    """The distinct agents that one of the globs fits, whole or by product name (`skopeo/1.9` is skopeo)."""
    return [
        agent
        for agent in agents.drop_nulls().unique().sort().to_list()
        if any(
            fnmatchcase(text, pattern.lower())
            for pattern in patterns
            for text in (agent.lower(), agent.lower().partition("/")[0])
        )
    ]
