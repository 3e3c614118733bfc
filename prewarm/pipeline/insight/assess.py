"""The verb `assess`: one page from a log, without a configuration; or from a lake that is there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from prewarm.errors import NotEnoughHistory
from prewarm.insight.assessment import Assessment
from prewarm.insight.assessment import assess as judge
from prewarm.insight.reasons import Cause
from prewarm.lake import Lake
from prewarm.logs.sessions import canonical
from prewarm.pipeline.demand.histories import extents
from prewarm.pipeline.insight.reports import KEY, TERMS, Material, Scope, Terms
from prewarm.pipeline.logs.ingest import ingest

if TYPE_CHECKING:
    from prewarm.logs.files import Source
    from prewarm.pipeline.logs.ingest import Advance, IngestResult

NAMELESS = ("timestamp", "until", "client", "repository", "tag", "digest")
RETRIES = "10m"  # requests of one client for one repository that were refused within this are one pull
TOO_MANY = 429


def assess(
    sources: Sequence[Source],
    terms: Terms = TERMS,
    progress: Advance = lambda done, total: None,
    warn: Callable[[str], None] = lambda word: None,
) -> Assessment:
    """Read the logs into a lake that is gone afterwards, and judge what they tell.

    Raises what `ingest` raises for logs that cannot be read, NotEnoughHistory where they hold no pull.
    """
    refusals, blobs = Refusals(), Blobs()

    def see(accesses: pl.DataFrame) -> None:
        refusals.see(accesses)
        blobs.see(accesses)

    with tempfile.TemporaryDirectory(prefix="prewarm-assess-") as folder:
        lake = Lake.open(Path(folder) / "lake")
        read = ingest(lake, sources, progress=progress, watching=see)
        for word in read.warnings:
            warn(word)
        everything = lake.read("pulls", columns=["timestamp", "kind", "status", "client", "agent"])
        if everything.is_empty() and not refusals.counted():
            raise NotEnoughHistory(
                f"the logs hold no pull: {read.lines:,} lines, {read.accesses:,} requests, "
                f"{read.malformed:,} malformed"
            )
        contents = blobs.told(lake.read("pulls", columns=NAMELESS))
        judged = Material(lake, Scope(), terms, contents).judged(Scope())
    return judge(judged, _traffic(everything) | _read(read), terms.zone, refusals.counted())


def assess_lake(lake: Lake, scope: Scope, terms: Terms = TERMS) -> Assessment:
    """Judge the pulls of a lake that stays. What upstream refused left no pull there, and is not counted.

    Raises UnknownName for a site that does not exist, NotEnoughHistory for a lake without pulls.
    """
    extents(lake, scope.site)
    where = [] if scope.site is None else [pl.col("site") == scope.site]
    everything = lake.read("pulls", *where, columns=["timestamp", "kind", "status", "client", "agent"])
    return judge(Material(lake, scope, terms).judged(scope), _traffic(everything), terms.zone)


class Refusals:
    """Counts the pulls that upstream or its quota refused, as chunks of a log go by."""

    def __init__(self) -> None:
        self._seen: list[pl.DataFrame] = []

    def see(self, accesses: pl.DataFrame) -> None:
        """Take note of requests for images that ended in 429 or 5xx."""
        wanted = pl.col("object").is_in(["manifest", "blob"]) & pl.col("method").is_in(["GET", "HEAD"])
        refused = accesses.filter(wanted & ((pl.col("status") == TOO_MANY) | (pl.col("status") >= 500)))
        if len(refused):
            cause = pl.when(pl.col("status") == TOO_MANY).then(pl.lit("quota")).otherwise(pl.lit("outage"))
            told = refused.select(
                pl.col("timestamp").dt.truncate(RETRIES), "client", "repository", cause.alias("cause")
            )
            self._seen.append(told.unique())

    def counted(self) -> dict[str, int]:
        """Pulls by cause, as far as there are any."""
        if not self._seen:
            return {}
        counts = dict(pl.concat(self._seen).unique().group_by("cause").len().iter_rows())
        return {str(cause): counts[cause] for cause in (Cause.OUTAGE, Cause.QUOTA) if cause in counts}


class Blobs:
    """Tells versions apart whose digest no line shows (a tag fetched by GET), by the blobs they brought."""

    def __init__(self) -> None:
        self._seen: list[pl.DataFrame] = []

    def see(self, accesses: pl.DataFrame) -> None:
        """Take note of the blobs that were served."""
        served = accesses.filter(
            (pl.col("object") == "blob") & (pl.col("method") == "GET") & pl.col("status").is_between(200, 308)
        )
        if len(served):
            self._seen.append(
                canonical(served).select(
                    "timestamp", pl.struct("client", "repository").hash().alias("who"),
                    pl.struct("repository", "reference").hash().alias("blob"),
                )
            )  # fmt: skip

    def told(self, pulls: pl.DataFrame) -> pl.DataFrame | None:
        """A name for what each tagged pull without a digest obtained, by KEY; None where there is none.

        A blob was born in the pull that asked for it first; pulls whose youngest blobs were born in the same
        pull obtained the same version, however much of it each client had already.
        """
        nameless = pulls.filter(pl.col("digest").is_null() & pl.col("tag").is_not_null())
        if nameless.is_empty() or not self._seen:
            return None
        began = nameless.with_columns(pl.struct("client", "repository").hash().alias("who")).sort("timestamp")
        rows = began.select("timestamp", "who", "until", pull=pl.int_range(pl.len()))
        asked = pl.concat(self._seen).sort("timestamp").join_asof(
            rows, on="timestamp", by="who", strategy="backward", check_sortedness=False
        )  # fmt: skip
        own = asked.filter(pl.col("timestamp") <= pl.col("until"))
        births = own.with_columns(pl.col("pull").min().over("blob").alias("born"))
        youngest = births.group_by("pull").agg(pl.col("born").max())
        name = pl.format("blobs of pull {}", "born").alias("contents")
        found = began.with_columns(pull=pl.int_range(pl.len())).join(youngest, on="pull")
        return found.select(*KEY, name).unique(KEY, keep="first")


def _read(read: IngestResult) -> dict[str, Any]:
    """What the logs were."""
    return {
        "lines": read.lines,
        "accesses": read.accesses,
        "malformed": read.malformed,
        "formats": sorted({each.format for each in read.files}),
    }


def _traffic(pulls: pl.DataFrame) -> dict[str, Any]:
    """What was pulled."""
    kinds = pulls.group_by(pl.col("kind").fill_null("unknown")).len().sort("kind")
    first, last = pulls.select(a=pl.col("timestamp").min(), b=pl.col("timestamp").max()).row(0)
    agents = pulls.group_by(pl.col("agent").str.extract(r"^([^/\s]*)").alias("agent")).len("pulls")
    return {
        "pulls": len(pulls.filter((pl.col("kind") != "local").fill_null(True))),
        "kinds": dict(kinds.iter_rows()),
        "missed": len(pulls.filter(pl.col("status") == "missed")),
        "clients": pulls["client"].n_unique(),
        "agents": agents.sort("pulls", "agent", descending=[True, False]).head(5).to_dicts(),
        "first": first,
        "last": last,
    }
